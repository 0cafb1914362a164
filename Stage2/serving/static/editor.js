/** Drawing on a scan: tools, the drawing and the network's mask, taking back, filling between slices, saving. */

import { fetchVolume, putDrawing, Refusal, scanUrl } from "./api.js";
import { History } from "./history.js";
import { fillBetween } from "./interpolation.js";
import { PLANES, sectionOf } from "./planes.js";
import { disc, line, polygon, region } from "./shapes.js";
import { drawnSlices, readLabels, uprightAxis, voxels, writeLabels } from "./volume.js";

/** @typedef {import("./planes.js").PlaneName} PlaneName */
/** @typedef {import("./shapes.js").Point} Point */
/** @typedef {"look" | "brush" | "outline" | "erase" | "fill" | "window"} ToolName */
/** @typedef {"drawing" | "mask"} Layer */

const SAVE_AFTER = 10_000; // ms after the last stroke

export class Editor extends EventTarget {
  /** @param {import("./viewer.js").Viewer} viewer @param {(message: string) => void} say */
  constructor(viewer, say) {
    super();
    this.viewer = viewer;
    this.say = say;
    /** @type {import("./api.js").Scan | null} */
    this.scan = null;
    /** @type {{drawing: Uint8Array<ArrayBuffer> | null, mask: Uint8Array<ArrayBuffer> | null}} */
    this.layers = { drawing: null, mask: null };
    /** @type {Layer} */
    this.layer = "drawing";
    /** @type {ToolName} */
    this.tool = "look";
    this.label = 1;
    this.size = 8; // mm across
    this.readOnly = false;
    this.dirty = false;
    /** @type {History | null} */
    this.history = null;
    /** @type {Point | null} */
    this.last = null;
    this.timer = 0;
    /** @type {Promise<void> | null} */
    this.saving = null;
  }

  /** Whether strokes go to a scan: it is there whole, and may be changed. */
  get ready() {
    return !this.readOnly && this.scan !== null && this.history !== null;
  }

  /** Whether the whole scan counts as drawn. */
  get whole() {
    return this.history?.whole ?? false;
  }

  set whole(whole) {
    if (this.history) this.history.whole = whole;
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  close() {
    window.clearTimeout(this.timer);
    this.scan = null;
    this.layers = { drawing: null, mask: null };
    this.history = null;
    this.dirty = false;
    this.cancelOutline();
    this.changed();
  }

  /**
   * Take a scan up: its drawing and mask are fetched; the viewer shows it already.
   *
   * @param {import("./api.js").Scan} scan
   * @param {AbortSignal} signal
   * @returns {Promise<string>} what is to be said: why its drawing is not shown
   */
  async open(scan, signal) {
    const volume = this.viewer.volume;
    if (!volume) return "";
    let [drawing, said] = [/** @type {ArrayBuffer | null} */ (null), ""];
    try {
      drawing = scan.drawn ? await fetchVolume(scanUrl(scan.id, "drawing.nii.gz"), signal) : null;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      said = error.message; // it does not fit the scan, on which one may draw anew
    }
    const mask = scan.approach ? await fetchVolume(scanUrl(scan.id, "mask.nii.gz"), signal) : null;
    const layers = {
      drawing: drawing ? await readLabels(drawing, volume) : null,
      mask: mask ? await readLabels(mask, volume) : null,
    };
    if (signal.aborted) return "";
    this.scan = scan;
    this.layers = layers;
    const whole = layers.drawing !== null && scan.annotated_slices === null;
    this.history = new History(layers.drawing ?? new Uint8Array(voxels(volume)), whole);
    this.dirty = false;
    this.showLayer(layers.drawing === null && layers.mask !== null ? "mask" : "drawing");
    return said;
  }

  /** The network's mask has changed. @param {AbortSignal} signal */
  async reloadMask(signal) {
    const [scan, volume] = [this.scan, this.viewer.volume];
    if (!scan || !volume) return;
    const bytes = await fetchVolume(scanUrl(scan.id, "mask.nii.gz"), signal);
    if (signal.aborted || this.scan?.id !== scan.id) return;
    this.layers.mask = bytes ? await readLabels(bytes, volume) : null;
    this.showLayer(this.layers.mask && (this.layer === "mask" || !this.layers.drawing) ? "mask" : this.layer);
  }

  /** @param {Layer} layer */
  showLayer(layer) {
    this.layer = layer;
    this.viewer.labels = this.layers[layer];
    this.viewer.draw();
    this.changed();
  }

  /** @param {ToolName} tool */
  choose(tool) {
    this.lift();
    this.tool = tool;
    this.changed();
  }

  cancelOutline() {
    this.viewer.outline = [];
    this.last = null;
    this.viewer.draw(false);
  }

  /** Lift the pen: a stroke that was begun counts, an outline that is open does not. */
  lift() {
    this.cancelOutline();
    this.commit();
  }

  /** Make the drawing the layer that strokes go to. @returns {boolean} whether they may */
  prepare() {
    if (this.readOnly || !this.history) {
      this.say(this.readOnly ? "This server is read-only: nothing can be drawn." : "The scan is still loading.");
      return false;
    }
    if (this.layer === "mask" && this.layers.mask) {
      if (this.layers.drawing) {
        this.say("This is the network's mask. Press C to correct it, or X to see your drawing.");
        return false;
      }
      this.correct();
    }
    if (!this.layers.drawing) this.layers.drawing = /** @type {Uint8Array<ArrayBuffer>} */ (this.history.labels);
    if (this.layer !== "drawing" || this.viewer.labels !== this.layers.drawing) this.showLayer("drawing");
    return true;
  }

  /** Copy the network's mask into the drawing, to be corrected; it can be taken back. */
  correct() {
    const { mask } = this.layers;
    if (!mask || !this.history || this.readOnly) return;
    this.lift();
    this.layers.drawing = /** @type {Uint8Array<ArrayBuffer>} */ (this.history.labels);
    if (this.history.replace(mask)) this.touched();
    this.showLayer("drawing");
  }

  /** @param {PlaneName} plane @param {Point[]} points @param {number} label */
  put(plane, points, label) {
    if (!this.viewer.volume || !this.history) return;
    const section = sectionOf(this.viewer.volume, plane, this.viewer.slice(plane));
    for (const [u, v] of points) this.history.set(section.origin + u * section.right + v * section.below, label);
    this.viewer.draw();
  }

  /** @param {PlaneName} plane @param {Point} from @param {Point} to */
  stamp(plane, from, to) {
    if (!this.viewer.volume) return;
    const { across, down } = PLANES[plane];
    const { spacing } = this.viewer.volume;
    /** @type {[number, number]} */
    const radii = [this.size / 2 / spacing[across], this.size / 2 / spacing[down]];
    const section = sectionOf(this.viewer.volume, plane, this.viewer.slice(plane));
    const label = this.tool === "erase" ? 0 : this.label;
    for (const point of line(from, to)) this.put(plane, disc(section, point, radii), label);
  }

  /** A stroke begins. @param {PlaneName} plane @param {Point} point */
  start(plane, point) {
    if (!this.prepare()) return;
    if (this.tool === "fill") this.fill(plane, point);
    if (this.tool === "outline") {
      this.viewer.outlinePlane = plane;
      this.viewer.outline = [point];
      this.viewer.draw(false);
    }
    if (this.tool === "brush" || this.tool === "erase") this.stamp(plane, point, point);
    this.last = point;
  }

  /** A stroke goes on. @param {PlaneName} plane @param {Point} point */
  move(plane, point) {
    if (!this.last || (point[0] === this.last[0] && point[1] === this.last[1])) return;
    if (this.tool === "outline") {
      this.viewer.outline.push(point);
      this.viewer.draw(false);
    }
    if (this.tool === "brush" || this.tool === "erase") this.stamp(plane, this.last, point);
    this.last = point;
  }

  /** A stroke ends; an outline is closed and filled. @param {PlaneName} plane */
  end(plane) {
    if (!this.last) return;
    if (this.tool === "outline" && this.viewer.volume) {
      const section = sectionOf(this.viewer.volume, plane, this.viewer.slice(plane));
      this.put(plane, polygon(section, this.viewer.outline), this.label);
    }
    this.cancelOutline();
    this.commit();
  }

  /** @param {PlaneName} plane @param {Point} point */
  fill(plane, point) {
    if (!this.viewer.volume || !this.history) return;
    const section = sectionOf(this.viewer.volume, plane, this.viewer.slice(plane));
    const points = region(section, this.history.labels, point);
    if (points) this.put(plane, points, this.label);
    else this.say("No outline encloses this place: close it, then fill.");
  }

  /** Fill the label in between the slices that show it. */
  interpolate() {
    if (!this.prepare() || !this.viewer.volume || !this.scan || !this.history) return;
    const [history, label] = [this.history, this.label];
    const through = uprightAxis(this.viewer.volume, this.scan.slice_axis ?? 2);
    const filled = fillBetween(this.viewer.volume, history.labels, label, through, (place) => history.set(place, label));
    this.say(filled ? `${filled} slices filled in between.` : "Draw this organ in two slices first, with slices between.");
    this.commit();
  }

  commit() {
    if (!this.history?.commit()) return;
    this.touched();
  }

  undo() {
    this.lift();
    if (this.ready && this.history?.undo()) this.touched();
  }

  redo() {
    this.lift();
    if (this.ready && this.history?.redo()) this.touched();
  }

  touched() {
    this.dirty = true;
    this.viewer.draw();
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.save(), SAVE_AFTER);
    this.changed();
  }

  /** Slices of the file that show a label, and ml of each. */
  drawn() {
    const { volume } = this.viewer;
    if (!volume || !this.layers.drawing || !this.scan) return null;
    return drawnSlices(volume, this.layers.drawing, this.scan.slice_axis ?? 2);
  }

  /** Save what has changed. A failure is said, and the drawing stays unsaved. @returns {Promise<boolean>} */
  async save() {
    this.commit(); // a stroke whose pen is still down
    window.clearTimeout(this.timer);
    await this.saving;
    const { scan, layers } = this;
    const { volume } = this.viewer;
    if (!this.dirty || !scan || !volume || !layers.drawing) return true;
    this.dirty = false;
    const slices = this.whole ? null : (this.drawn()?.slices ?? []);
    const sent = putDrawing(scan.id, writeLabels(volume, layers.drawing), slices);
    this.saving = sent.then(() => undefined, () => undefined);
    this.changed();
    try {
      const answer = await sent;
      if (answer) this.dispatchEvent(new CustomEvent("saved", { detail: answer }));
      return true;
    } catch (error) {
      if (this.scan === scan) this.dirty = true;
      this.say(`Not saved: ${error instanceof Error ? error.message : error}`);
      return false;
    } finally {
      this.saving = null;
      this.changed();
    }
  }
}
