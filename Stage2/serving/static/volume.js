/** Scans and label maps as NIfTI: NiiVue reads them; voxels stay in the file's order, and steps lead through them upright. */

import { NVImage } from "/vendor/niivue.js";

/**
 * A scan. Its upright grid runs to the patient's right, front and head; voxel (x, y, z) of it is
 * `data[start + x * step[0] + y * step[1] + z * step[2]]`.
 *
 * @typedef {object} Volume
 * @property {ArrayLike<number>} data in the file's order
 * @property {number[]} shape voxels of the file along x, y, z
 * @property {number[]} size voxels of the upright grid
 * @property {number[]} spacing mm of the upright grid
 * @property {number} start
 * @property {number[]} step
 * @property {number} slope of stored values to real ones
 * @property {number} intercept
 * @property {{low: number, high: number}} window real values shown black and white at first
 * @property {{low: number, high: number}} range real values that there are
 * @property {{dims: number[], spacing: number[], affine: number[]}} grid of the file, for what is saved on it
 */

/** @param {ArrayBuffer} bytes of a NIfTI file */
const read = (bytes) => NVImage.loadFromUrl({ url: bytes, name: "scan.nii", colormap: "gray" });

/**
 * @param {ArrayBuffer} bytes of a NIfTI file
 * @returns {Promise<Volume>}
 * @throws {Error} it is no scan of one value a voxel
 */
export async function readVolume(bytes) {
  const image = await read(bytes);
  const { hdr, img, dimsRAS, pixDimsRAS, img2RASstart, img2RASstep } = image;
  if (!hdr || !img || !dimsRAS || !pixDimsRAS || !img2RASstart || !img2RASstep) throw new Error("This is no NIfTI scan.");
  const shape = hdr.dims.slice(1, 4);
  if (img.length < shape[0] * shape[1] * shape[2]) throw new Error("The scan has fewer voxels than its header says.");
  const slope = hdr.scl_slope === 0 || !Number.isFinite(hdr.scl_slope) ? 1 : hdr.scl_slope;
  return {
    data: img,
    shape,
    size: dimsRAS.slice(1, 4),
    spacing: pixDimsRAS.slice(1, 4).map((mm) => Math.abs(mm) || 1),
    start: img2RASstart[0] + img2RASstart[1] + img2RASstart[2],
    step: [...img2RASstep],
    slope,
    intercept: Number.isFinite(hdr.scl_inter) ? hdr.scl_inter : 0,
    window: { low: image.cal_min ?? 0, high: image.cal_max ?? 1 },
    range: { low: image.global_min ?? 0, high: image.global_max ?? 1 },
    grid: { dims: shape, spacing: hdr.pixDims.slice(1, 4), affine: hdr.affine.flat() },
  };
}

/**
 * @param {ArrayBuffer} bytes of a NIfTI file of labels 0 to 255
 * @param {Volume} volume the scan that it belongs to
 * @returns {Promise<Uint8Array<ArrayBuffer>>} in the file's order
 * @throws {Error} its grid is not the scan's
 */
export async function readLabels(bytes, volume) {
  const { hdr, img } = await read(bytes);
  const shape = hdr?.dims.slice(1, 4) ?? [];
  if (!img || shape.join() !== volume.shape.join()) {
    throw new Error(`The mask has ${shape.join(" x ")} voxels, the scan ${volume.shape.join(" x ")}.`);
  }
  return Uint8Array.from(img);
}

/** @param {Volume} volume @param {Uint8Array} labels in the file's order @returns {Uint8Array<ArrayBuffer>} a NIfTI file */
export function writeLabels(volume, labels) {
  const { dims, spacing, affine } = volume.grid;
  const UINT8 = 2;
  return new Uint8Array(NVImage.createNiftiArray(dims, spacing, affine, UINT8, labels));
}

/** @param {Volume} volume @returns {number} voxels */
export const voxels = (volume) => volume.shape[0] * volume.shape[1] * volume.shape[2];

/** @param {Volume} volume @returns {number} ml of a voxel */
export const millilitres = (volume) => (volume.spacing[0] * volume.spacing[1] * volume.spacing[2]) / 1000;

/**
 * The axis of the upright grid that an axis of the file is.
 *
 * @param {Volume} volume
 * @param {number} axis 0, 1 or 2: x, y, z of the file
 */
export function uprightAxis(volume, axis) {
  const stride = [1, volume.shape[0], volume.shape[0] * volume.shape[1]][axis];
  const found = volume.step.findIndex((step, at) => Math.abs(step) === stride && volume.size[at] === volume.shape[axis]);
  return found < 0 ? 2 : found;
}

/**
 * Slices along an axis of the file that show a label, and how many voxels each label has.
 *
 * @param {Volume} volume
 * @param {Uint8Array} labels in the file's order
 * @param {number} axis 0, 1 or 2: x, y, z of the file
 * @returns {{slices: number[], counts: Uint32Array}} counts: 256 of them
 */
export function drawnSlices(volume, labels, axis) {
  const [nx, ny, nz] = volume.shape;
  const counts = new Uint32Array(256);
  const seen = new Uint8Array(volume.shape[axis]);
  let index = 0;
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++, index++) {
        const label = labels[index];
        if (label === 0) continue;
        counts[label]++;
        seen[axis === 0 ? x : axis === 1 ? y : z] = 1;
      }
    }
  }
  return { slices: [...seen.keys()].filter((slice) => seen[slice]), counts };
}
