/** Scans to learn from: what was asked for holds on the page until the server has answered. */

import { putExample } from "./api.js";

/** @type {Map<string, boolean>} */
const asked = new Map();

/** A scan as the server has it, but for what was asked of it. @param {import("./api.js").Scan | null} scan */
export const asAsked = (scan) => scan && { ...scan, example: asked.get(scan.id) ?? scan.example };

/**
 * Use a scan as an example, or no longer. What the server tells of the saved drawing comes before its answer to this.
 *
 * @param {import("./api.js").Scan} scan
 * @param {boolean} example
 * @param {() => Promise<boolean>} save the drawing; tells whether it is saved
 */
export async function askExample(scan, example, save) {
  asked.set(scan.id, example);
  try {
    if (!(await save())) throw new Error("Not used as an example, for the drawing could not be saved.");
    return await putExample(scan.id, example);
  } finally {
    asked.delete(scan.id);
  }
}
