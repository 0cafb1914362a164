/** Changes of a label map that can be taken back: every step keeps the voxels that it changed, and what they were. */

/**
 * @typedef {object} Step
 * @property {Uint32Array} places
 * @property {Uint8Array} before
 * @property {Uint8Array} after
 * @property {boolean} madeWhole whether the whole scan counts as drawn since, and did not before
 */

const MOST_STEPS = 100;
const MOST_VOXELS = 40_000_000; // 6 bytes each, over all steps

export class History {
  /** @param {Uint8Array} labels in the file's order: is changed @param {boolean} [whole] whether the whole scan is drawn */
  constructor(labels, whole = false) {
    this.labels = labels;
    this.whole = whole;
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

  /**
   * A step of its own: take over another label map, which is drawn throughout.
   *
   * @param {Uint8Array} labels
   * @returns {boolean} whether it changed anything
   */
  replace(labels) {
    const madeWhole = !this.whole;
    labels.forEach((label, place) => this.set(place, label));
    this.whole = true;
    return this.commit(madeWhole);
  }

  /** End a step. @param {boolean} [madeWhole] @returns {boolean} whether it changed anything */
  commit(madeWhole = false) {
    if (this.places.length === 0) return false;
    this.done.push({
      places: Uint32Array.from(this.places),
      before: Uint8Array.from(this.before),
      after: Uint8Array.from(this.after),
      madeWhole,
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
    if (step.madeWhole) this.whole = false;
    this.undone.push(step);
    return true;
  }

  /** @returns {boolean} whether there was a step to do again */
  redo() {
    const step = this.undone.pop();
    if (!step) return false;
    step.places.forEach((place, at) => (this.labels[place] = step.after[at]));
    if (step.madeWhole) this.whole = true;
    this.done.push(step);
    return true;
  }
}
