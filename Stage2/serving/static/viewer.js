/** A scan in three planes: slices, zoom, window and level, crosshair, and where a point of the screen lies. */

import { colourTable, paintSection, PLANE_NAMES, PLANES, sectionOf } from "./planes.js";

/** @typedef {import("./planes.js").PlaneName} PlaneName */
/** @typedef {import("./shapes.js").Point} Point */
/** @typedef {import("./volume.js").Volume} Volume */

const CROSSHAIR = "#ffd54f";
const MARGIN = 4;
/** @type {CanvasRenderingContext2DSettings} */
const IN_MEMORY = { willReadFrequently: true }; // painted by the processor, as voxels are: nothing goes to a GPU and back

export class Viewer extends EventTarget {
  /** @param {Record<PlaneName, HTMLCanvasElement>} canvases */
  constructor(canvases) {
    super();
    this.canvases = canvases;
    /** @type {Volume | null} */
    this.volume = null;
    /** @type {Uint8Array | null} */
    this.labels = null;
    this.window = { low: 0, high: 1 };
    this.cursor = [0, 0, 0];
    this.zoom = 1;
    /** @type {Record<PlaneName, [number, number]>} */
    this.pan = { axial: [0, 0], coronal: [0, 0], sagittal: [0, 0] };
    this.table = colourTable([], 0);
    this.shownLabels = true;
    /** @type {Point[]} */
    this.outline = [];
    /** @type {PlaneName} */
    this.outlinePlane = "axial";
    /** @type {Map<PlaneName, {canvas: OffscreenCanvas, image: ImageData, pixels: Uint32Array, shown: string}>} */
    this.sections = new Map();
    this.version = 0; // of all that colours voxels
    this.waiting = false;
    const observer = new ResizeObserver(() => this.draw(false));
    for (const canvas of Object.values(canvases)) observer.observe(canvas);
  }

  /**
   * Show a scan; the crosshair stays where it was if it is the same scan in other voxels.
   *
   * @param {Volume} volume
   * @param {boolean} same
   */
  show(volume, same) {
    const shares = same && this.volume ? this.cursor.map((at, axis) => (at + 0.5) / (this.volume?.size[axis] ?? 1)) : [0.5, 0.5, 0.5];
    this.volume = volume;
    this.labels = null;
    this.sections.clear();
    if (!same) {
      this.window = { ...volume.window };
      this.resetView();
    }
    this.cursor = shares.map((share, axis) => Math.min(Math.floor(share * volume.size[axis]), volume.size[axis] - 1));
    this.moved();
  }

  clear() {
    this.volume = null;
    this.labels = null;
    this.draw();
  }

  resetView() {
    this.zoom = 1;
    for (const plane of PLANE_NAMES) this.pan[plane] = [0, 0];
    this.draw();
  }

  /** @param {import("./api.js").Label[]} labels @param {number} opacity 0 to 1 */
  colour(labels, opacity) {
    this.table = colourTable(labels, opacity);
    this.draw();
  }

  /** @param {number} low @param {number} high real values shown black and white */
  setWindow(low, high) {
    this.window = { low, high: Math.max(high, low + 1e-6) };
    this.dispatchEvent(new Event("window"));
    this.draw();
  }

  /**
   * Change window and level by a drag or by keys.
   *
   * @param {number} wider share of the width
   * @param {number} brighter share of the width
   */
  adjustWindow(wider, brighter) {
    const { low, high } = this.window;
    const width = (high - low) * Math.exp(wider);
    const level = (low + high) / 2 - (high - low) * brighter;
    this.setWindow(level - width / 2, level + width / 2);
  }

  /** @param {PlaneName} plane */
  slice(plane) {
    return this.cursor[PLANES[plane].through];
  }

  /** @param {PlaneName} plane @param {number} slices */
  scroll(plane, slices) {
    const axis = PLANES[plane].through;
    this.moveTo(this.cursor.map((at, other) => (other === axis ? at + slices : at)));
  }

  /** @param {number[]} cursor voxel of the upright grid; is kept inside */
  moveTo(cursor) {
    const size = this.volume?.size ?? [1, 1, 1];
    this.cursor = cursor.map((at, axis) => Math.min(Math.max(Math.round(at), 0), size[axis] - 1));
    this.moved();
  }

  moved() {
    this.dispatchEvent(new Event("move"));
    this.draw(false);
  }

  /** Column and row of the crosshair in a plane. @param {PlaneName} plane @returns {Point} */
  pointOf(plane) {
    const { across, down } = PLANES[plane];
    const size = this.volume?.size ?? [1, 1, 1];
    return [size[across] - 1 - this.cursor[across], size[down] - 1 - this.cursor[down]];
  }

  /** Lead the crosshair to a column and row of a plane. @param {PlaneName} plane @param {Point} point */
  lead(plane, [u, v]) {
    if (!this.volume) return;
    const { across, down } = PLANES[plane];
    const cursor = [...this.cursor];
    cursor[across] = this.volume.size[across] - 1 - u;
    cursor[down] = this.volume.size[down] - 1 - v;
    this.moveTo(cursor);
  }

  /** Where a plane lies on its canvas, in pixels of the screen. @param {PlaneName} plane */
  frame(plane) {
    const canvas = this.canvases[plane];
    const { across, down } = PLANES[plane];
    const { size, spacing } = /** @type {Volume} */ (this.volume);
    const [width, height] = [size[across] * spacing[across], size[down] * spacing[down]];
    const fit = Math.min((canvas.width - 2 * MARGIN) / width, (canvas.height - 2 * MARGIN) / height);
    const scale = Math.max(fit, 1e-3) * this.zoom;
    const [panU, panV] = this.pan[plane];
    const left = canvas.width / 2 - (width * scale) / 2 + panU * scale;
    const top = canvas.height / 2 - (height * scale) / 2 + panV * scale;
    return { left, top, scale, perColumn: spacing[across] * scale, perRow: spacing[down] * scale };
  }

  /** Column and row under a point of the window. @param {PlaneName} plane @param {MouseEvent} event @returns {Point} */
  pointAt(plane, event) {
    const canvas = this.canvases[plane];
    const box = canvas.getBoundingClientRect();
    const { left, top, perColumn, perRow } = this.frame(plane);
    const x = ((event.clientX - box.left) * canvas.width) / Math.max(box.width, 1);
    const y = ((event.clientY - box.top) * canvas.height) / Math.max(box.height, 1);
    return [Math.floor((x - left) / perColumn), Math.floor((y - top) / perRow)];
  }

  /** @param {PlaneName} plane @param {number} dx @param {number} dy in pixels of the page */
  movePan(plane, dx, dy) {
    const scale = this.frame(plane).scale / devicePixelRatio;
    this.pan[plane] = [this.pan[plane][0] + dx / scale, this.pan[plane][1] + dy / scale];
    this.draw(false);
  }

  /** @param {number} factor */
  zoomBy(factor) {
    this.zoom = Math.min(Math.max(this.zoom * factor, 0.5), 20);
    this.draw(false);
  }

  /** Paint before the next frame. @param {boolean} [coloured] whether voxels may look different, not lines alone */
  draw(coloured = true) {
    if (coloured) this.version++;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      for (const plane of PLANE_NAMES) this.drawPlane(plane);
    });
  }

  /** @param {PlaneName} plane */
  drawPlane(plane) {
    const canvas = this.canvases[plane];
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (width === 0 || height === 0) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", IN_MEMORY);
    if (!context) return;
    context.fillStyle = "black";
    context.fillRect(0, 0, width, height);
    if (!this.volume) return;
    const section = sectionOf(this.volume, plane, this.slice(plane));
    const picture = this.pictureOf(plane, section);
    const shown = `${this.slice(plane)} ${this.version}`;
    if (picture.shown !== shown) {
      paintSection(picture.pixels, section, this.volume, this.shownLabels ? this.labels : null, this.window, this.table);
      picture.canvas.getContext("2d", IN_MEMORY)?.putImageData(picture.image, 0, 0);
      picture.shown = shown;
    }
    const { left, top, perColumn, perRow } = this.frame(plane);
    context.imageSmoothingEnabled = perColumn < 3;
    context.drawImage(picture.canvas, left, top, section.width * perColumn, section.height * perRow);
    this.drawLines(context, plane, { left, top, perColumn, perRow });
  }

  /** @param {PlaneName} plane @param {import("./planes.js").Section} section */
  pictureOf(plane, section) {
    let picture = this.sections.get(plane);
    if (!picture) {
      const image = new ImageData(section.width, section.height);
      const canvas = new OffscreenCanvas(section.width, section.height);
      picture = { canvas, image, pixels: new Uint32Array(image.data.buffer), shown: "" };
      this.sections.set(plane, picture);
    }
    return picture;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {PlaneName} plane
   * @param {{left: number, top: number, perColumn: number, perRow: number}} frame
   */
  drawLines(context, plane, { left, top, perColumn, perRow }) {
    const { width, height } = context.canvas;
    const place = (/** @type {Point} */ [u, v]) => [left + (u + 0.5) * perColumn, top + (v + 0.5) * perRow];
    const [x, y] = place(this.pointOf(plane));
    const gap = 8 * devicePixelRatio;
    context.lineWidth = devicePixelRatio;
    context.strokeStyle = CROSSHAIR;
    context.globalAlpha = 0.6;
    context.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
    context.globalAlpha = 1;
    if (plane === this.outlinePlane && this.outline.length > 0) {
      context.beginPath();
      for (const point of [...this.outline, this.outline[0]]) context.lineTo(...(/** @type {Point} */ (place(point))));
      context.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
      context.stroke();
      context.setLineDash([]);
    }
    context.fillStyle = "white";
    context.font = `${12 * devicePixelRatio}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const edge = 10 * devicePixelRatio;
    const [start, end, above, below] = PLANES[plane].marks;
    context.fillText(start, edge, height / 2);
    context.fillText(end, width - edge, height / 2);
    context.fillText(above, width / 2, edge);
    context.fillText(below, width / 2, height - edge);
  }
}
