/** The list of scans: picture, state, confidence; what to annotate next comes first. */

import { scanUrl } from "./api.js";
import { make } from "./dom.js";

/** @typedef {import("./api.js").Scan} Scan */

const STATES = {
  none: "not drawn yet",
  drawn: "drawn",
  example: "example",
  segmented: "segmented",
  corrected: "corrected",
};

/** @param {Scan[]} scans @returns {Scan[]} by rank; those without one follow by name */
export function inOrder(scans) {
  const rank = (/** @type {Scan} */ scan) => scan.next ?? Infinity;
  return [...scans].sort((one, other) =>
    rank(one) === rank(other) ? one.name.localeCompare(other.name, "en", { numeric: true }) : rank(one) - rank(other),
  );
}

/** The lowest confidence of a scan's organs, which says whether to look. @param {Scan} scan @returns {number | null} */
export function confidenceOf(scan) {
  const all = Object.values(scan.confidence);
  return all.length ? Math.min(...all) : null;
}

/**
 * @param {HTMLUListElement} list
 * @param {Scan[]} scans
 * @param {string | null} current id of the scan that is open
 * @param {(id: string) => void} open
 */
export function renderScans(list, scans, current, open) {
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.scan : undefined;
  const rows = inOrder(scans).map((scan) => make("li", {}, rowOf(scan, scan.id === current, open)));
  list.replaceChildren(...rows);
  if (focused !== undefined) {
    list.querySelectorAll("button").forEach((button) => {
      if (button.dataset.scan === focused) button.focus({ preventScroll: true });
    });
  }
}

/** @param {Scan} scan @param {boolean} current @param {(id: string) => void} open */
function rowOf(scan, current, open) {
  const picture = make("img", { src: scanUrl(scan.id, "thumbnail.png"), alt: "", loading: "lazy", width: 56, height: 56 });
  const confidence = confidenceOf(scan);
  const facts = [STATES[scan.state]];
  if (scan.example && scan.state !== "example") facts.push("example");
  if (confidence !== null) facts.push(`confidence ${confidence.toFixed(2)}`);
  const text = make(
    "span",
    { className: "facts" },
    make("strong", { textContent: scan.name }),
    make("span", { className: `state ${scan.state}`, textContent: scan.error ?? scan.failure ?? facts.join(", ") }),
  );
  if (confidence !== null && !scan.error) {
    text.append(make("meter", { min: 0, max: 1, low: 0.6, high: 0.8, optimum: 1, value: confidence, ariaHidden: "true" }));
  }
  const button = make("button", { type: "button", className: "scan", disabled: scan.error !== null }, picture, text);
  if (scan.next !== null) {
    button.append(make("span", { className: "rank", textContent: `${scan.next}`, title: "what to annotate next" }));
  }
  button.dataset.scan = scan.id;
  if (current) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => open(scan.id));
  return button;
}
