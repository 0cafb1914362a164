/** The organs: their names and colours, which one the pen draws, volume and confidence of each. */

import { make } from "./dom.js";

/** @typedef {import("./api.js").Label} Label */

const COLOURS = ["#e6194b", "#3cb44b", "#4363d8", "#f58231", "#46f0f0", "#f032e6", "#ffe119", "#9a6324", "#fabebe"];
const LAST = 254; // 255 says that a voxel is unknown

/** @param {Label[]} labels @returns {Label | null} a further label; null: there are as many as can be */
export function furtherLabel(labels) {
  const used = new Set(labels.map((label) => label.value));
  for (let value = 1; value <= LAST; value++) {
    if (used.has(value)) continue;
    return { value, name: `organ ${value}`, colour: COLOURS[(value - 1) % COLOURS.length] };
  }
  return null;
}

/**
 * @typedef {object} Numbers
 * @property {number | undefined} drawn ml of the drawing
 * @property {number | undefined} found ml of the network's mask
 * @property {number | undefined} confidence
 */

/**
 * @param {HTMLTableSectionElement} body
 * @param {Label[]} labels
 * @param {number} chosen value of the label that the pen draws
 * @param {boolean} readOnly
 * @param {(value: number) => Numbers} numbers
 * @param {{choose: (value: number) => void, change: (labels: Label[]) => void}} handlers
 */
export function renderLabels(body, labels, chosen, readOnly, numbers, handlers) {
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.id : "";
  body.replaceChildren(...labels.map((label, at) => rowOf(label, at)));
  if (focused && body.querySelector(`#${CSS.escape(focused)}`)) document.getElementById(focused)?.focus();

  /** @param {Label} label @param {number} at */
  function rowOf(label, at) {
    const pick = make("input", { type: "radio", name: "label", id: `label-${label.value}`, checked: label.value === chosen });
    pick.ariaLabel = `draw ${label.name}`;
    pick.addEventListener("change", () => handlers.choose(label.value));
    const colour = make("input", { type: "color", value: label.colour, disabled: readOnly, id: `colour-${label.value}` });
    colour.ariaLabel = `colour of ${label.name}`;
    colour.addEventListener("change", () => put({ ...label, colour: colour.value }));
    const name = make("input", { type: "text", value: label.name, disabled: readOnly, id: `name-${label.value}`, maxLength: 60 });
    name.ariaLabel = `name of label ${label.value}`;
    name.addEventListener("change", () => put({ ...label, name: name.value.trim() || label.name }));
    const { drawn, found, confidence } = numbers(label.value);
    const row = document.createElement("tr");
    row.append(make("td", {}, pick, make("kbd", { textContent: at < 9 ? `${at + 1}` : "" })));
    row.append(make("td", { className: "named" }, colour, name));
    for (const text of [drawn?.toFixed(1), found?.toFixed(1), confidence?.toFixed(2)]) {
      row.append(make("td", { textContent: text ?? "" }));
    }
    return row;
  }

  /** @param {Label} label */
  function put(label) {
    handlers.change(labels.map((one) => (one.value === label.value ? label : one)));
  }
}
