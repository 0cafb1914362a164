/** The page: what was asked of the server is kept here, and every part of the page is led by it. */

import * as api from "./api.js";
import { button, canvas, element, input, select } from "./dom.js";
import { Editor } from "./editor.js";
import { asAsked, askExample } from "./examples.js";
import { sendScan, takeHome } from "./files.js";
import { listenToPlanes } from "./input.js";
import { isOver, renderJobs } from "./jobs.js";
import { listenToKeys } from "./keys.js";
import { furtherLabel } from "./labels.js";
import { loadScan } from "./loading.js";
import { renderHeader, renderNetwork, renderOrgans, renderPlace, renderScan } from "./panels.js";
import { inOrder, renderScans } from "./scans.js";
import { Viewer } from "./viewer.js";

const ENDED = 3; // jobs that are over and still listed
const COUNT_AFTER = 300; // ms after a stroke

const message = element("message", HTMLSpanElement);
/** @param {string} text */
const say = (text) => (message.textContent = text);
/** @param {unknown} error */
const sayError = (error) => say(error instanceof Error ? error.message : String(error));

const viewer = new Viewer({ axial: canvas("axial"), coronal: canvas("coronal"), sagittal: canvas("sagittal") });
const editor = new Editor(viewer, say);

/** @type {api.State} */
let state = { version: "", folder: "", read_only: false, labels: [], scans: [], job: null, queue: [], network: null };
/** @type {Map<string, api.Job>} jobs that ended since the page was opened */
const ended = new Map();
let opening = new AbortController();
/** @type {string | null} */
let current = null;
/** @type {Uint32Array | null} voxels of each label of the drawing */
let counts = null;
let counting = 0;

const scanNow = () => asAsked(state.scans.find((scan) => scan.id === current) ?? null);

async function refresh() {
  state = await api.fetchState();
  if (state.job && isOver(state.job)) {
    ended.set(state.job.id, state.job);
    state.job = null;
  }
  renderAll();
}

function renderAll() {
  renderHeader(state);
  editor.readOnly = state.read_only;
  if (!state.labels.some((label) => label.value === editor.label)) editor.label = state.labels[0]?.value ?? 1;
  colour();
  renderScans(element("scans", HTMLUListElement), state.scans, current, (id) => void open(id));
  renderScan(scanNow(), editor);
  renderNumbers();
  renderWork();
}

const colour = () => viewer.colour(state.labels, Number(input("opacity").value));

function renderNumbers() {
  renderOrgans(state, scanNow(), viewer, editor, counts, {
    choose: chooseLabel,
    change: (labels) => void changeLabels(labels),
  });
}

function renderWork() {
  renderNetwork(state);
  const jobs = [...(state.job ? [state.job] : []), ...state.queue, ...[...ended.values()].reverse()];
  renderJobs(element("jobs", HTMLDivElement), jobs, state.read_only, (id) => void attempt(() => api.deleteJob(id)));
}

/** Count what is drawn once the strokes pause: a large scan takes a while. */
function countSoon() {
  window.clearTimeout(counting);
  counting = window.setTimeout(() => {
    counts = editor.drawn()?.counts ?? null;
    renderNumbers();
  }, COUNT_AFTER);
}

/** @param {() => Promise<unknown>} work whose failure is said */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    sayError(error);
  }
}

/** @param {string} id */
async function open(id) {
  if (!(await editor.save())) return;
  const scan = state.scans.find((one) => one.id === id);
  if (!scan) return;
  opening.abort();
  opening = new AbortController();
  const { signal } = opening;
  current = id;
  counts = null;
  editor.close();
  viewer.clear();
  renderAll();
  try {
    const said = await loadScan(scan, viewer, editor, signal, say);
    if (!signal.aborted) say(said);
  } catch (error) {
    if (!signal.aborted) sayError(error);
  }
}

/** @param {number} value */
function chooseLabel(value) {
  editor.label = value;
  renderNumbers();
}

/** @param {api.Label[]} labels */
async function changeLabels(labels) {
  state.labels = labels;
  renderAll();
  try {
    await api.putLabels(labels);
  } catch (error) {
    await attempt(refresh); // the labels as they are
    sayError(error);
  }
}

async function addLabel() {
  const label = furtherLabel(state.labels);
  if (!label) return;
  await changeLabels([...state.labels, label]);
  chooseLabel(label.value);
}

/** @param {"preview" | "segment"} kind */
async function segment(kind) {
  if (!(await editor.save())) return;
  const scans = select("which").value === "this" && current ? [current] : null;
  const minutes = kind === "segment" ? Number(input("minutes").value) || null : null;
  await attempt(() => api.postJob(kind, scans, minutes));
}

async function useAsExample() {
  const scan = scanNow();
  if (!scan) return;
  try {
    takeScan(await askExample(scan, input("example").checked, () => editor.save()));
  } catch (error) {
    sayError(error);
    await attempt(refresh);
  }
}

/** @param {api.Scan | null} scan as the server has it now */
function takeScan(scan) {
  if (!scan) return;
  const before = state.scans.find((one) => one.id === scan.id);
  state.scans = before ? state.scans.map((one) => (one.id === scan.id ? scan : one)) : [...state.scans, scan];
  renderAll();
  const masked = scan.approach !== null && JSON.stringify([scan.approach, scan.volumes]) !== JSON.stringify([before?.approach, before?.volumes]);
  if (masked && scan.id === current && editor.scan) void attempt(() => editor.reloadMask(opening.signal));
}

/** @param {api.Job} job */
function takeJob(job) {
  state.queue = state.queue.filter((one) => one.id !== job.id);
  if (state.job?.id === job.id) state.job = null;
  if (job.state === "running") state.job = job;
  if (job.state === "queued") state.queue.push(job);
  if (isOver(job)) {
    ended.set(job.id, job);
    for (const id of [...ended.keys()].slice(0, -ENDED)) ended.delete(id);
    void attempt(refresh);
  }
  renderWork();
}

function next() {
  const waiting = inOrder(state.scans).filter((scan) => scan.error === null);
  const at = waiting.findIndex((scan) => scan.id === current);
  const scan = at === 0 || waiting[0]?.next === null ? waiting[at + 1] : waiting[0];
  if (scan) void open(scan.id);
}

function toggleLayer() {
  const other = editor.layer === "mask" ? "drawing" : "mask";
  if (editor.layers[other]) editor.showLayer(other);
}

function toggleMasks() {
  viewer.shownLabels = !viewer.shownLabels;
  button("hide").ariaPressed = String(!viewer.shownLabels);
  viewer.draw();
}

async function showSolid() {
  const labels = editor.layers[editor.layer];
  const solid = await import("./solid.js");
  if (viewer.volume && labels) await solid.showSolid(viewer.volume, labels, state.labels);
}

/** @param {number} more mm */
function resize(more) {
  editor.size = Math.min(Math.max(editor.size + more, 1), 80);
  input("size").value = String(editor.size);
}

function wire() {
  listenToPlanes(viewer, editor);
  for (const event of ["move", "window"]) viewer.addEventListener(event, () => renderPlace(viewer, state.labels));
  editor.addEventListener("change", () => {
    renderScan(scanNow(), editor);
    countSoon();
  });
  editor.addEventListener("saved", (event) => takeScan(/** @type {CustomEvent<api.Scan>} */ (event).detail));
  /** @type {Record<string, () => unknown>} */
  const clicks = {
    "help-button": () => element("help", HTMLDialogElement).showModal(),
    next,
    undo: () => editor.undo(),
    redo: () => editor.redo(),
    interpolate: () => editor.interpolate(),
    save: () => editor.save(),
    hide: toggleMasks,
    "auto-window": () => viewer.volume && viewer.setWindow(viewer.volume.window.low, viewer.volume.window.high),
    "show-drawing": () => editor.showLayer("drawing"),
    "show-mask": () => editor.showLayer("mask"),
    correct: () => editor.correct(),
    solid: () => attempt(showSolid),
    "add-label": addLabel,
    segment: () => segment("segment"),
    preview: () => segment("preview"),
  };
  for (const [id, run] of Object.entries(clicks)) button(id).addEventListener("click", () => void run());
  /** @type {Record<string, () => unknown>} */
  const changes = {
    opacity: colour,
    upload: () => attempt(() => sendScan(input("upload"), say, takeScan)),
    example: useAsExample,
    size: () => (editor.size = Math.min(Math.max(Number(input("size").value) || 8, 1), 80)),
    whole: () => {
      editor.whole = input("whole").checked;
      editor.touched();
    },
  };
  for (const [id, run] of Object.entries(changes)) input(id).addEventListener("change", () => void run());
  for (const link of document.querySelectorAll("#downloads a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      void attempt(() => takeHome(/** @type {HTMLAnchorElement} */ (link)));
    });
  }
  input("opacity").addEventListener("input", colour);
  select("layout").addEventListener("change", () => {
    element("planes", HTMLDivElement).dataset.layout = select("layout").value;
  });
  for (const tool of document.querySelectorAll("[data-tool]")) {
    const name = tool instanceof HTMLElement ? tool.dataset.tool : undefined;
    tool.addEventListener("click", () => chooseTool(/** @type {import("./editor.js").ToolName} */ (name)));
  }
  window.addEventListener("beforeunload", (event) => {
    if (editor.dirty) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => document.hidden && void editor.save());
}

/** @param {import("./editor.js").ToolName} tool */
function chooseTool(tool) {
  if (!state.read_only || tool === "look" || tool === "window") editor.choose(tool);
}

/** @param {number} at */
function chooseNth(at) {
  const label = state.labels[at];
  if (label) chooseLabel(label.value);
}

wire();
listenToKeys({
  editor,
  tool: chooseTool,
  organ: chooseNth,
  resize,
  layer: toggleLayer,
  masks: toggleMasks,
  next,
  help: () => element("help", HTMLDialogElement).showModal(),
});
await attempt(refresh);
if (state.labels.length === 0 && !state.read_only) await addLabel();
api.listen({ job: takeJob, scan: takeScan, state: () => void attempt(refresh) });
document.documentElement.dataset.ready = "true";
