/** The three planes through a scan, and how a slice of one is painted: sections of voxels, seen from the feet and left. */

/** @typedef {import("./volume.js").Volume} Volume */
/** @typedef {"axial" | "coronal" | "sagittal"} PlaneName */

/**
 * Axes of the upright grid that run across, down and through a plane, and the letters at its left, right, top, bottom.
 * Columns and rows count against the axes: the patient's right is at the left, as radiologists look at scans.
 *
 * @type {Record<PlaneName, {across: number, down: number, through: number, marks: string[]}>}
 */
export const PLANES = {
  axial: { across: 0, down: 1, through: 2, marks: ["R", "L", "A", "P"] },
  coronal: { across: 0, down: 2, through: 1, marks: ["R", "L", "S", "I"] },
  sagittal: { across: 1, down: 2, through: 0, marks: ["A", "P", "S", "I"] },
};
/** @type {PlaneName[]} */
export const PLANE_NAMES = ["axial", "coronal", "sagittal"];

/**
 * A slice: column u and row v of it is voxel `origin + u * right + v * below` of the file's order.
 *
 * @typedef {{width: number, height: number, origin: number, right: number, below: number}} Section
 */

/** @param {Volume} volume @param {PlaneName} plane @param {number} slice @returns {Section} */
export function sectionOf(volume, plane, slice) {
  const { across, down, through } = PLANES[plane];
  return sectionAlong(volume, across, down, through, slice);
}

/** @param {Volume} volume @param {number} across @param {number} down @param {number} through @param {number} slice */
export function sectionAlong(volume, across, down, through, slice) {
  const { size, step, start } = volume;
  return {
    width: size[across],
    height: size[down],
    origin: start + slice * step[through] + (size[across] - 1) * step[across] + (size[down] - 1) * step[down],
    right: -step[across],
    below: -step[down],
  };
}

/**
 * Colours of every label over every grey value, so that painting looks up one number a voxel.
 *
 * @param {import("./api.js").Label[]} labels
 * @param {number} opacity 0 to 1
 * @returns {Uint32Array} (256 labels x 256 greys) of ABGR
 */
export function colourTable(labels, opacity) {
  const table = new Uint32Array(256 * 256);
  const colours = new Map(labels.map((label) => [label.value, Number.parseInt(label.colour.slice(1), 16)]));
  for (let label = 0; label < 256; label++) {
    const colour = colours.get(label) ?? 0xff00ff;
    const alpha = label === 0 ? 0 : opacity;
    for (let grey = 0; grey < 256; grey++) {
      const mix = (/** @type {number} */ part) => Math.round(grey * (1 - alpha) + part * alpha);
      const [red, green, blue] = [mix(colour >> 16), mix((colour >> 8) & 255), mix(colour & 255)];
      table[label * 256 + grey] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
  }
  return table;
}

/**
 * Paint a slice.
 *
 * @param {Uint32Array} pixels (height x width) of ABGR: is overwritten
 * @param {Section} section
 * @param {Volume} volume
 * @param {Uint8Array | null} labels in the file's order
 * @param {{low: number, high: number}} window real values shown black and white
 * @param {Uint32Array} table of `colourTable`
 */
export function paintSection(pixels, section, volume, labels, window, table) {
  const { data, slope, intercept } = volume;
  const scale = 255 / Math.max(window.high - window.low, 1e-6);
  const [gain, offset] = [slope * scale, (intercept - window.low) * scale];
  const { width, height, origin, right, below } = section;
  let pixel = 0;
  for (let row = 0; row < height; row++) {
    let index = origin + row * below;
    for (let column = 0; column < width; column++, index += right) {
      const value = data[index] * gain + offset;
      const grey = value > 255 ? 255 : value > 0 ? value | 0 : 0; // NaN: black
      pixels[pixel++] = table[labels === null ? grey : (labels[index] << 8) | grey];
    }
  }
}
