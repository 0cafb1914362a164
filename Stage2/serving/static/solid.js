/** The organs of a scan in 3D, drawn by NiiVue from every n-th voxel. */

import { Niivue, NVImage, SLICE_TYPE } from "/vendor/niivue.js";
import { element } from "./dom.js";
import { writeLabels } from "./volume.js";

/** @typedef {import("./volume.js").Volume} Volume */

const MOST = 128; // voxels along an axis
const CLOSE = 1.4; // an organ is smaller than its scan

/** Every n-th voxel of a label map, upright. @param {Volume} volume @param {Uint8Array} labels in the file's order */
export function thinned(volume, labels) {
  const every = volume.size.map((count) => Math.ceil(count / MOST));
  const size = volume.size.map((count, axis) => Math.ceil(count / every[axis]));
  const spacing = volume.spacing.map((mm, axis) => mm * every[axis]);
  const found = new Uint8Array(size[0] * size[1] * size[2]);
  let at = 0;
  for (let z = 0; z < size[2]; z++) {
    for (let y = 0; y < size[1]; y++) {
      const row = volume.start + z * every[2] * volume.step[2] + y * every[1] * volume.step[1];
      for (let x = 0; x < size[0]; x++) found[at++] = labels[row + x * every[0] * volume.step[0]];
    }
  }
  const affine = [spacing[0], 0, 0, 0, 0, spacing[1], 0, 0, 0, 0, spacing[2], 0, 0, 0, 0, 1];
  return { volume: { ...volume, grid: { dims: size, spacing, affine } }, labels: found };
}

/**
 * Show the organs in a dialog; it can be turned by mouse and by arrow keys.
 *
 * @param {Volume} volume
 * @param {Uint8Array} labels in the file's order
 * @param {import("./api.js").Label[]} names
 */
export async function showSolid(volume, labels, names) {
  const dialog = element("solid-dialog", HTMLDialogElement);
  const old = element("solid-canvas", HTMLCanvasElement);
  const canvas = /** @type {HTMLCanvasElement} */ (old.cloneNode(false)); // a new one, for NiiVue keeps what it drew on
  old.replaceWith(canvas);
  dialog.showModal();
  const viewer = new Niivue({ dragAndDropEnabled: false, logLevel: "error", show3Dcrosshair: false, backColor: [0, 0, 0, 1] });
  await viewer.attachToCanvas(canvas);
  viewer.setSliceType(SLICE_TYPE.RENDER);
  const small = thinned(volume, labels);
  const bytes = writeLabels(small.volume, small.labels);
  const image = await NVImage.loadFromUrl({ url: bytes.buffer, name: "organs.nii" });
  const channel = (/** @type {number} */ shift) => [0, ...names.map((one) => (Number.parseInt(one.colour.slice(1), 16) >> shift) & 255)];
  image.setColormapLabel({
    R: channel(16),
    G: channel(8),
    B: channel(0),
    A: [0, ...names.map(() => 255)],
    I: [0, ...names.map((one) => one.value)],
    labels: ["", ...names.map((one) => one.name)],
  });
  viewer.addVolume(image);
  viewer.setScale(CLOSE);
  canvas.focus();
  dialog.dataset.ready = "true";
  const end = () => {
    delete dialog.dataset.ready;
    viewer.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  };
  dialog.addEventListener("close", end, { once: true });
}
