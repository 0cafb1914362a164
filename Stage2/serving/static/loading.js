/** Fetching a scan into the viewer and the editor: of a large one, every n-th voxel comes first. */

import { fetchVolume, scanUrl } from "./api.js";
import { readVolume } from "./volume.js";

const LARGE = 20_000_000; // voxels

/**
 * @param {import("./api.js").Scan} scan
 * @param {import("./viewer.js").Viewer} viewer
 * @param {import("./editor.js").Editor} editor
 * @param {AbortSignal} signal
 * @param {(message: string) => void} say
 * @returns {Promise<string>} what is to be said at last; empty: nothing
 */
export async function loadScan(scan, viewer, editor, signal, say) {
  say(`${scan.name} is loading`);
  const large = (scan.shape ?? []).reduce((all, side) => all * side, 1) > LARGE;
  const preview = large ? await fetchVolume(scanUrl(scan.id, "preview.nii.gz"), signal) : null;
  if (preview) {
    const small = await readVolume(preview);
    if (signal.aborted) return "";
    viewer.show(small, false);
  }
  const percent = (/** @type {number} */ share) => say(`${scan.name} is loading, ${Math.round(100 * share)} %`);
  const bytes = await fetchVolume(scanUrl(scan.id, "image.nii.gz"), signal, percent);
  if (!bytes) throw new Error(`${scan.name} is not there any more.`);
  const volume = await readVolume(bytes);
  if (signal.aborted) return "";
  viewer.show(volume, preview !== null);
  return editor.open(scan, signal);
}
