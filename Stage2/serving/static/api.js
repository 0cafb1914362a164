/** What the page asks of the server, one function a route; a refusal becomes an Error with the server's sentence. */

/** @typedef {{value: number, name: string, colour: string}} Label */
/**
 * @typedef {object} Scan
 * @property {string} id
 * @property {string} name
 * @property {"nifti" | "dicom"} kind
 * @property {number[] | null} shape voxels along x, y, z of the file; null: the series has not been read yet
 * @property {number[] | null} spacing mm
 * @property {number | null} slice_axis 0, 1 or 2: along which of x, y, z its slices are counted
 * @property {"none" | "drawn" | "example" | "segmented" | "corrected"} state
 * @property {boolean} example
 * @property {boolean} drawn whether there is a drawing, whatever else there is
 * @property {boolean} final whether there is a mask to take home
 * @property {Record<string, number>} volumes ml of each label of the mask
 * @property {Record<string, number>} confidence 0 to 1 of each label of the mask
 * @property {number | null} next rank among the scans to annotate next, from 1
 * @property {string | null} error why it cannot be opened
 * @property {string | null} failure why the last job could not segment it
 * @property {number[] | null} annotated_slices null: the whole scan
 * @property {"prototypes" | "adapted" | null} approach what made the mask; null: there is none
 */
/**
 * @typedef {object} Job
 * @property {string} id
 * @property {"preview" | "segment"} kind
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {"prototypes" | "adapting" | "segmenting" | null} stage null: its process starts
 * @property {number} share of the stage, 0 to 1
 * @property {number | null} seconds_left
 * @property {string | null} error
 * @property {string[]} scans
 * @property {string[]} done
 */
/**
 * @typedef {object} State
 * @property {string} version
 * @property {string} folder
 * @property {boolean} read_only
 * @property {Label[]} labels
 * @property {Scan[]} scans
 * @property {Job | null} job
 * @property {Job[]} queue
 * @property {{ready: boolean, examples: string[], minutes: number} | null} network
 */

/** A refusal of the server, in its words. */
export class Refusal extends Error {
  /** @param {string} message @param {number} status of HTTP */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** @param {string} id @param {string} file */
export const scanUrl = (id, file) => `/api/scans/${encodeURIComponent(id)}/${file}`;

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} a good answer
 * @throws {Refusal} the server's sentence
 * @throws {Error} it cannot be reached
 */
async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is it still running?", { cause: error });
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  const sentence = answer?.error ?? `${path}: the server answered ${response.status}.`;
  throw new Refusal(String(sentence), response.status);
}

/** @param {string} path @param {string} method @param {unknown} [body] */
async function change(path, method, body) {
  const headers = { "Content-Type": "application/json" };
  const response = await request(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  return response.status === 204 ? null : response.json().catch(() => null);
}

/** @returns {Promise<State>} */
export const fetchState = async () => (await request("/api/state")).json();

/** @param {Label[]} labels */
export const putLabels = (labels) => change("/api/labels", "PUT", { labels });

/** @param {string} id @param {boolean} example @returns {Promise<Scan | null>} */
export const putExample = (id, example) => change(scanUrl(id, "example"), "PUT", { example });

/**
 * @param {"preview" | "segment"} kind
 * @param {string[] | null} scans null: all but the examples
 * @param {number | null} minutes
 * @returns {Promise<Job>}
 */
export const postJob = (kind, scans, minutes) => change("/api/jobs", "POST", { kind, scans, minutes });

/** @param {string} id */
export const deleteJob = (id) => change(`/api/jobs/${encodeURIComponent(id)}`, "DELETE");

/** @param {string} path */
export const fetchFile = (path) => request(path);

/** @param {File} file @returns {Promise<Scan>} */
export async function postScan(file) {
  const body = new FormData();
  body.append("file", file);
  return (await request("/api/scans", { method: "POST", body })).json();
}

/**
 * @param {string} id
 * @param {Uint8Array<ArrayBuffer>} nifti
 * @param {number[] | null} slices in which something is drawn; null: the whole scan counts as drawn
 * @returns {Promise<Scan | null>}
 */
export async function putDrawing(id, nifti, slices) {
  const query = slices === null ? "" : `?slices=${slices.join(",")}`;
  const body = await new Response(new Blob([nifti]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
  const headers = { "Content-Type": "application/gzip" };
  const response = await request(scanUrl(id, "drawing") + query, { method: "PUT", headers, body });
  return response.json().catch(() => null);
}

/**
 * The bytes of a .nii.gz, unpacked; null where there is no such file.
 *
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {(share: number) => void} [progress] of the download, 0 to 1
 * @returns {Promise<ArrayBuffer | null>}
 */
export async function fetchVolume(path, signal, progress) {
  let response;
  try {
    response = await request(path, { signal, cache: "no-cache" });
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  }
  if (!response.body) return null;
  const total = Number(response.headers.get("Content-Length"));
  let loaded = 0;
  const counted = new TransformStream({
    transform(chunk, controller) {
      loaded += chunk.byteLength;
      if (total && progress) progress(Math.min(loaded / total, 1));
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body.pipeThrough(counted).pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** @param {{job: (job: Job) => void, scan: (scan: Scan) => void, state: () => void}} handlers */
export function listen(handlers) {
  const source = new EventSource("/api/events");
  source.addEventListener("job", (event) => handlers.job(JSON.parse(event.data)));
  source.addEventListener("scan", (event) => handlers.scan(JSON.parse(event.data)));
  source.addEventListener("state", handlers.state);
  // After a break nobody knows what was missed.
  source.addEventListener("error", () => source.addEventListener("open", handlers.state, { once: true }));
  return source;
}
