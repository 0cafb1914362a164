/** Changes of a label map that can be taken back: every step keeps the voxels that it changed, and what they were. */

/** @typedef {{places: Uint32Array, before: Uint8Array, after: Uint8Array}} Step */

const MOST_STEPS = 100;
const MOST_VOXELS = 40_000_000; // 6 bytes each, over all steps

export class History {
  /** @param {Uint8Array} labels in the file's order: is changed */
  constructor(labels) {
    this.labels = labels;
    /** @type {Step[]} */
    this.done = [];
    /** @type {Step[]} */
    this.undone = [];
    this.forget();
  }

  /** Forget the step that was begun; its changes stay. */
  forget() {
    /** @type {number[]} */
    this.places = [];
    /** @type {number[]} */
    this.before = [];
    /** @type {number[]} */
    this.after = [];
  }

  /** @param {number} place @param {number} label */
  set(place, label) {
    const was = this.labels[place];
    if (was === label) return;
    this.places.push(place);
    this.before.push(was);
    this.after.push(label);
    this.labels[place] = label;
  }

  /** End a step. @returns {boolean} whether it changed anything */
  commit() {
    if (this.places.length === 0) return false;
    this.done.push({
      places: Uint32Array.from(this.places),
      before: Uint8Array.from(this.before),
      after: Uint8Array.from(this.after),
    });
    this.undone = [];
    this.forget();
    let voxels = this.done.reduce((sum, step) => sum + step.places.length, 0);
    while (this.done.length > MOST_STEPS || (voxels > MOST_VOXELS && this.done.length > 1)) {
      voxels -= this.done.shift()?.places.length ?? 0;
    }
    return true;
  }

  /** @returns {boolean} whether there was a step to take back */
  undo() {
    const step = this.done.pop();
    if (!step) return false;
    for (let at = step.places.length - 1; at >= 0; at--) this.labels[step.places[at]] = step.before[at];
    this.undone.push(step);
    return true;
  }

  /** @returns {boolean} whether there was a step to do again */
  redo() {
    const step = this.undone.pop();
    if (!step) return false;
    step.places.forEach((place, at) => (this.labels[place] = step.after[at]));
    this.done.push(step);
    return true;
  }
}
