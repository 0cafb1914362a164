/** Shortcuts of the whole page, and the dialog that lists them. */

import { element, make } from "./dom.js";

/**
 * @typedef {object} Shortcut
 * @property {string} key as `KeyboardEvent.key` says it, in lower case
 * @property {boolean} [ctrl]
 * @property {boolean} [shift]
 * @property {string} shown
 * @property {string} does
 * @property {() => void} run
 */

/** Whether a key is meant for what it is typed into. @param {EventTarget | null} target */
const typing = (target) =>
  target instanceof HTMLTextAreaElement ||
  target instanceof HTMLSelectElement ||
  (target instanceof HTMLInputElement && !["checkbox", "range", "color", "file"].includes(target.type));

/**
 * @typedef {object} Actions
 * @property {import("./editor.js").Editor} editor
 * @property {(tool: import("./editor.js").ToolName) => void} tool
 * @property {(at: number) => void} organ the nth of the list, from 0
 * @property {(more: number) => void} resize the pen, in mm
 * @property {() => void} layer show the other one
 * @property {() => void} masks hide or show them
 * @property {() => void} next
 * @property {() => void} help
 */

/** @param {Actions} actions @returns {Shortcut[]} those without a text are in the text of another */
function shortcutsOf({ editor, tool, organ, resize, layer, masks, next, help }) {
  /** @type {(name: string, shown: string, does: string, run: () => void, held?: Partial<Shortcut>) => Shortcut} */
  const key = (name, shown, does, run, held = {}) => ({ key: name, shown, does, run, ...held });
  const ctrl = { ctrl: true };
  return [
    key("v", "V", "look: the left button moves the crosshair", () => tool("look")),
    key("w", "W", "window: the left button sets width and level", () => tool("window")),
    key("o", "O", "outline: draw around an organ, it is filled", () => tool("outline")),
    key("b", "B", "brush", () => tool("brush")),
    key("e", "E", "eraser", () => tool("erase")),
    key("f", "F", "fill what an outline encloses", () => tool("fill")),
    key("[", "[ ]", "smaller and larger pen", () => resize(-1)),
    key("]", "", "", () => resize(1)),
    key("i", "I", "fill the organ between drawn slices", () => editor.interpolate()),
    key("z", "Ctrl Z", "undo", () => editor.undo(), ctrl),
    key("y", "Ctrl Y", "redo", () => editor.redo(), ctrl),
    key("z", "", "", () => editor.redo(), { ctrl: true, shift: true }),
    key("s", "Ctrl S", "save the drawing", () => void editor.save(), ctrl),
    key("x", "X", "show the drawing or the network's mask", layer),
    key("c", "C", "correct the network's mask", () => editor.correct()),
    key("h", "H", "hide or show what lies over the scan", masks),
    key("n", "N", "open the scan to annotate next", next),
    key("1", "1 to 9", "choose an organ", () => organ(0)),
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((at) => key(`${at + 1}`, "", "", () => organ(at))),
    key("?", "?", "this help", help),
  ];
}

/** @param {Actions} actions */
export function listenToKeys(actions) {
  const shortcuts = shortcutsOf(actions);
  const body = element("shortcuts", HTMLTableSectionElement);
  const listed = shortcuts.filter((shortcut) => shortcut.does);
  body.replaceChildren(
    ...listed.map(({ shown, does }) =>
      make("tr", {}, make("th", { scope: "row" }, make("kbd", { textContent: shown })), make("td", { textContent: does })),
    ),
  );
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
    const ctrl = event.ctrlKey || event.metaKey;
    if (typing(event.target) && !(ctrl && event.key === "s")) return;
    const key = event.key.toLowerCase();
    const found = shortcuts.find(
      (one) => one.key === key && (one.ctrl ?? false) === ctrl && (!ctrl || (one.shift ?? false) === event.shiftKey),
    );
    if (!found) return;
    event.preventDefault();
    found.run();
  });
}
