/** The panels beside the planes: what is shown of the scan that is open, its organs, the network and the place of the crosshair. */

import { scanUrl } from "./api.js";
import { button, element, input, link } from "./dom.js";
import { renderLabels } from "./labels.js";
import { PLANE_NAMES, PLANES } from "./planes.js";
import { millilitres } from "./volume.js";

/** @typedef {import("./api.js").Label} Label */
/** @typedef {import("./api.js").Scan} Scan */
/** @typedef {import("./api.js").State} State */
/** @typedef {import("./editor.js").Editor} Editor */
/** @typedef {import("./viewer.js").Viewer} Viewer */

/** @param {State} state */
export function renderHeader(state) {
  document.body.classList.toggle("is-read-only", state.read_only);
  element("read-only", HTMLSpanElement).hidden = !state.read_only;
  element("folder", HTMLSpanElement).textContent = state.folder;
}

/** @param {Scan | null} scan that is open @param {Editor} editor */
export function renderScan(scan, editor) {
  element("scan-title", HTMLHeadingElement).textContent = scan ? scan.name : "No scan is open";
  element("welcome", HTMLParagraphElement).hidden = scan !== null;
  const { drawing, mask } = editor.layers;
  for (const layer of /** @type {const} */ (["drawing", "mask"])) {
    button(`show-${layer}`).disabled = !editor.layers[layer];
    button(`show-${layer}`).ariaPressed = String(editor.layer === layer);
  }
  button("correct").disabled = !mask || !editor.ready;
  button("solid").disabled = !editor.layers[editor.layer];
  input("whole").disabled = !drawing;
  input("whole").checked = editor.whole;
  input("example").disabled = !drawing;
  input("example").checked = scan?.example ?? false;
  button("undo").disabled = !editor.history?.done.length;
  button("redo").disabled = !editor.history?.undone.length;
  button("interpolate").disabled = !drawing;
  button("save").disabled = !editor.dirty && editor.saving === null;
  for (const tool of document.querySelectorAll("[data-tool]")) {
    if (tool instanceof HTMLElement) tool.ariaPressed = String(tool.dataset.tool === editor.tool);
  }
  const files = /** @type {const} */ ([
    ["mask", "final.nii.gz", scan?.final],
    ["dicom", "mask.dcm", scan?.final && scan.kind === "dicom"],
    ["drawing", "drawing.nii.gz", scan?.drawn],
  ]);
  for (const [name, file, there] of files) {
    element(`item-${name}`, HTMLLIElement).hidden = !there;
    if (scan) link(`get-${name}`).href = scanUrl(scan.id, file);
  }
}

/**
 * @param {State} state
 * @param {Scan | null} scan that is open
 * @param {Viewer} viewer
 * @param {Editor} editor
 * @param {Uint32Array | null} counts voxels of each label of the drawing
 * @param {{choose: (value: number) => void, change: (labels: Label[]) => void}} handlers
 */
export function renderOrgans(state, scan, viewer, editor, counts, handlers) {
  const ml = viewer.volume ? millilitres(viewer.volume) : 0;
  const numbers = (/** @type {number} */ value) => ({
    drawn: counts?.[value] ? counts[value] * ml : undefined,
    found: scan?.volumes[value],
    confidence: scan?.confidence[value],
  });
  renderLabels(element("labels", HTMLTableSectionElement), state.labels, editor.label, state.read_only, numbers, handlers);
}

/** @param {State} state */
export function renderNetwork(state) {
  const examples = state.scans.filter((scan) => scan.example).length;
  const { network } = state;
  const learnt = network?.ready ? ` The network has learnt from ${network.examples.length}.` : "";
  element("network", HTMLParagraphElement).textContent =
    (examples ? `${examples} ${examples === 1 ? "example" : "examples"}.` : "Draw in a scan and use it as an example first.") +
    learnt;
  button("segment").disabled = button("preview").disabled = examples === 0 && !network?.ready;
}

/** @param {Viewer} viewer @param {Label[]} labels */
export function renderPlace(viewer, labels) {
  const { volume, cursor } = viewer;
  for (const plane of PLANE_NAMES) {
    const place = volume ? `${viewer.slice(plane) + 1} of ${volume.size[PLANES[plane].through]}` : "";
    element(`${plane}-place`, HTMLElement).textContent = place && `${plane} ${place}`;
    viewer.canvases[plane].ariaLabel = place ? `${plane} plane, slice ${place}` : `${plane} plane`;
  }
  const { low, high } = viewer.window;
  const at = volume ? volume.start + cursor.reduce((sum, index, axis) => sum + index * volume.step[axis], 0) : 0;
  const label = viewer.labels?.[at] ?? 0;
  const organ = labels.find((one) => one.value === label)?.name ?? "";
  element("place", HTMLParagraphElement).textContent = volume
    ? `value ${(volume.data[at] * volume.slope + volume.intercept).toPrecision(4)} ${organ} · ` +
      `window ${(high - low).toPrecision(4)}, level ${((low + high) / 2).toPrecision(4)}`
    : "";
}
