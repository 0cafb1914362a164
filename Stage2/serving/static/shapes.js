/** Pixels of a slice under a pen, along a line, inside an outline, in a connected region: pairs of column and row. */

/** @typedef {import("./planes.js").Section} Section */
/** @typedef {[number, number]} Point column and row */

/** @param {Section} section @param {Point} point */
const inside = (section, [u, v]) => u >= 0 && v >= 0 && u < section.width && v < section.height;

/**
 * An ellipse that is round in mm.
 *
 * @param {Section} section
 * @param {Point} centre
 * @param {[number, number]} radii in columns and rows; below 1: that one pixel wide
 * @returns {Point[]}
 */
export function disc(section, [u, v], [across, down]) {
  /** @type {Point[]} */
  const points = [];
  for (let row = Math.ceil(v - down); row <= v + down; row++) {
    for (let column = Math.ceil(u - across); column <= u + across; column++) {
      const far = ((column - u) / Math.max(across, 0.5)) ** 2 + ((row - v) / Math.max(down, 0.5)) ** 2;
      if (far <= 1 && inside(section, [column, row])) points.push([column, row]);
    }
  }
  return points;
}

/**
 * Every pixel that a line passes, both ends too.
 *
 * @param {Point} from
 * @param {Point} to
 * @returns {Point[]}
 */
export function line([u, v], [toU, toV]) {
  const steps = Math.max(Math.abs(toU - u), Math.abs(toV - v), 1);
  return Array.from({ length: steps + 1 }, (_, at) => [
    Math.round(u + ((toU - u) * at) / steps),
    Math.round(v + ((toV - v) * at) / steps),
  ]);
}

/**
 * Pixels on and inside a closed outline (even-odd).
 *
 * @param {Section} section
 * @param {Point[]} corners
 * @returns {Point[]}
 */
export function polygon(section, corners) {
  const points = corners.flatMap((corner, at) => line(corner, corners[(at + 1) % corners.length]));
  const rows = corners.map((corner) => corner[1]);
  for (let row = Math.max(Math.min(...rows), 0); row <= Math.min(Math.max(...rows), section.height - 1); row++) {
    /** @type {number[]} */
    const crossings = [];
    for (let at = 0; at < corners.length; at++) {
      const [[u, v], [toU, toV]] = [corners[at], corners[(at + 1) % corners.length]];
      if (v <= row !== toV <= row) crossings.push(u + ((row - v) / (toV - v)) * (toU - u));
    }
    crossings.sort((one, other) => one - other);
    for (let at = 0; at + 1 < crossings.length; at += 2) {
      for (let column = Math.ceil(crossings[at]); column <= crossings[at + 1]; column++) points.push([column, row]);
    }
  }
  return points.filter((point) => inside(section, point));
}

/**
 * The region of one label around a pixel, neighbours by edges.
 *
 * @param {Section} section
 * @param {Uint8Array} labels in the file's order
 * @param {Point} seed
 * @returns {Point[] | null} null: the region is empty and reaches the border, so no outline encloses it
 */
export function region(section, labels, seed) {
  if (!inside(section, seed)) return null;
  const { width, height, origin, right, below } = section;
  const wanted = labels[origin + seed[0] * right + seed[1] * below];
  const seen = new Uint8Array(width * height);
  seen[seed[1] * width + seed[0]] = 1;
  const points = [seed];
  for (const [u, v] of points) {
    if (wanted === 0 && (u === 0 || v === 0 || u === width - 1 || v === height - 1)) return null;
    for (const next of /** @type {Point[]} */ ([[u - 1, v], [u + 1, v], [u, v - 1], [u, v + 1]])) {
      const place = next[1] * width + next[0];
      if (!inside(section, next) || seen[place] || labels[origin + next[0] * right + next[1] * below] !== wanted) continue;
      seen[place] = 1;
      points.push(next);
    }
  }
  return points;
}
