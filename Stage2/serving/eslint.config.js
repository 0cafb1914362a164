/** What eslint looks for in the page's own code; its packages lie where tools/setup.sh fetches them. */

import { createRequire } from "node:module";

const fetched = createRequire(new URL("../../.venv/workbench/", import.meta.url));
const js = fetched("@eslint/js");
const globals = fetched("globals");

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: globals.browser },
    rules: {
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: "error",
      curly: ["error", "multi-line"],
      "no-shadow": "error",
      "no-implied-eval": "error",
      "no-restricted-properties": ["error", { property: "innerHTML", message: "use textContent: names come from files" }],
    },
  },
];
