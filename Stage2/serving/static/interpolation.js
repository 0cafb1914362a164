/** An organ drawn in some slices, filled in between: signed distances of both outlines are mixed, centre led to centre. */

import { sectionAlong } from "./planes.js";

/** @typedef {import("./planes.js").Section} Section */

const FAR = 1e20;

/**
 * Squared distance to the nearest zero along a line of squared distances (Felzenszwalb and Huttenlocher, 2012).
 *
 * @param {Float64Array} line is overwritten
 */
function transformLine(line) {
  const source = Float64Array.from(line);
  const [places, bounds] = [new Int32Array(line.length), new Float64Array(line.length + 1)];
  let last = 0;
  bounds[0] = -Infinity;
  bounds[1] = Infinity;
  for (let at = 1; at < line.length; at++) {
    let cross;
    for (;;) {
      const place = places[last];
      cross = (source[at] + at * at - source[place] - place * place) / (2 * (at - place));
      if (cross > bounds[last] || last === 0) break;
      last--;
    }
    if (cross > bounds[last]) last++;
    places[last] = at;
    bounds[last] = cross;
    bounds[last + 1] = Infinity;
  }
  for (let at = 0, piece = 0; at < line.length; at++) {
    while (bounds[piece + 1] < at) piece++;
    line[at] = (at - places[piece]) ** 2 + source[places[piece]];
  }
}

/** @param {Uint8Array} mask @param {number} width @param {number} height @param {number} from 0 or 1: distance to it */
function distances(mask, width, height, from) {
  const squared = Float64Array.from(mask, (value) => (value === from ? 0 : FAR));
  for (let u = 0; u < width; u++) {
    const column = Float64Array.from({ length: height }, (_, v) => squared[v * width + u]);
    transformLine(column);
    column.forEach((value, v) => (squared[v * width + u] = value));
  }
  for (let v = 0; v < height; v++) transformLine(squared.subarray(v * width, (v + 1) * width));
  return squared.map(Math.sqrt);
}

/**
 * Distance to the outline, positive inside.
 *
 * @param {Uint8Array} mask (height x width) of 0 and 1
 * @param {number} width
 * @param {number} height
 */
export function signedDistances(mask, width, height) {
  const outside = distances(mask, width, height, 1);
  return distances(mask, width, height, 0).map((inside, at) => inside - outside[at]);
}

/** @param {Uint8Array} mask @param {number} width @returns {[number, number]} */
function centre(mask, width) {
  let [u, v, count] = [0, 0, 0];
  mask.forEach((value, at) => {
    if (value) [u, v, count] = [u + (at % width), v + Math.floor(at / width), count + 1];
  });
  return [u / count, v / count];
}

/**
 * @typedef {{mask: Uint8Array, distance: Float64Array, centre: [number, number]}} Outline
 */

/** @param {Uint8Array} mask @param {number} width @param {number} height @returns {Outline} */
export function outlineOf(mask, width, height) {
  return { mask, distance: signedDistances(mask, width, height), centre: centre(mask, width) };
}

/**
 * The mask at a share of the way from one outline to another.
 *
 * @param {Outline} one
 * @param {Outline} other
 * @param {number} width
 * @param {number} height
 * @param {number} share 0 to 1
 * @returns {Uint8Array} (height x width) of 0 and 1
 */
export function between(one, other, width, height, share) {
  const shift = (/** @type {number} */ axis) => other.centre[axis] - one.centre[axis];
  const [du, dv] = [shift(0), shift(1)];
  const found = new Uint8Array(width * height);
  const at = (/** @type {Outline} */ outline, /** @type {number} */ u, /** @type {number} */ v) => {
    const [column, row] = [Math.min(Math.max(u, 0), width - 1), Math.min(Math.max(v, 0), height - 1)];
    return outline.distance[row * width + column] - Math.hypot(u - column, v - row);
  };
  const [backU, backV] = [Math.round(du * share), Math.round(dv * share)];
  const [onU, onV] = [Math.round(du * (1 - share)), Math.round(dv * (1 - share))];
  for (let v = 0; v < height; v++) {
    for (let u = 0; u < width; u++) {
      const mixed = (1 - share) * at(one, u - backU, v - backV) + share * at(other, u + onU, v + onV);
      found[v * width + u] = mixed > 0 ? 1 : 0;
    }
  }
  return found;
}

/**
 * Fill a label in between the slices that show it, where nothing is drawn.
 *
 * @param {import("./volume.js").Volume} volume
 * @param {Uint8Array} labels in the file's order
 * @param {number} label
 * @param {number} through axis of the upright grid
 * @param {(index: number) => void} set is called for every voxel to fill
 * @returns {number} slices that were filled
 */
export function fillBetween(volume, labels, label, through, set) {
  const [across, down] = [0, 1, 2].filter((axis) => axis !== through);
  /** @param {number} slice */
  const maskOf = (slice) => {
    const section = sectionAlong(volume, across, down, through, slice);
    const mask = new Uint8Array(section.width * section.height);
    let some = false;
    for (let v = 0, at = 0; v < section.height; v++) {
      for (let u = 0; u < section.width; u++, at++) {
        if (labels[section.origin + u * section.right + v * section.below] !== label) continue;
        mask[at] = 1;
        some = true;
      }
    }
    return some ? mask : null;
  };
  const { width, height } = sectionAlong(volume, across, down, through, 0);
  /** @type {{slice: number, mask: Uint8Array} | null} */
  let last = null;
  let filled = 0;
  for (let slice = 0; slice < volume.size[through]; slice++) {
    const mask = maskOf(slice);
    if (mask === null) continue;
    if (last !== null && slice - last.slice > 1) {
      const [one, other] = [outlineOf(last.mask, width, height), outlineOf(mask, width, height)];
      for (let middle = last.slice + 1; middle < slice; middle++) {
        const section = sectionAlong(volume, across, down, through, middle);
        const share = (middle - last.slice) / (slice - last.slice);
        between(one, other, width, height, share).forEach((inside, at) => {
          const index = section.origin + (at % width) * section.right + Math.floor(at / width) * section.below;
          if (inside && labels[index] === 0) set(index);
        });
        filled++;
      }
    }
    last = { slice, mask };
  }
  return filled;
}
