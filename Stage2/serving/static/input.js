/** Mouse, touch and keys on the three planes: what they do to the viewer and to the editor's strokes. */

import { PLANE_NAMES, PLANES } from "./planes.js";

/** @typedef {import("./planes.js").PlaneName} PlaneName */
/** @typedef {"pan" | "window" | "look" | "stroke"} Drag */

const NOTCH = 30; // pixels of a wheel that are a slice
const [FAST, STEP] = [10, 0.05];

/** @param {import("./viewer.js").Viewer} viewer @param {import("./editor.js").Editor} editor */
export function listenToPlanes(viewer, editor) {
  for (const plane of PLANE_NAMES) {
    listenToPointers(viewer, editor, plane);
    listenToWheel(viewer, plane);
    viewer.canvases[plane].addEventListener("keydown", (event) => {
      if (viewer.volume && pressed(viewer, editor, plane, event)) event.preventDefault();
    });
    viewer.canvases[plane].addEventListener("blur", () => editor.end(plane));
  }
}

/** @param {PointerEvent} event @param {import("./editor.js").ToolName} tool @returns {Drag} */
function dragOf(event, tool) {
  if (event.button === 1 || event.shiftKey) return "pan";
  if (event.button === 2 || tool === "window") return "window";
  return tool === "look" ? "look" : "stroke";
}

/** @param {import("./viewer.js").Viewer} viewer @param {import("./editor.js").Editor} editor @param {PlaneName} plane */
function listenToPointers(viewer, editor, plane) {
  const canvas = viewer.canvases[plane];
  /** @type {Map<number, PointerEvent>} */
  const fingers = new Map();
  /** @type {Drag | null} */
  let drag = null;

  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    if (!viewer.volume) return;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    if (fingers.size > 1) {
      editor.end(plane);
      drag = null;
      return;
    }
    event.preventDefault();
    drag = dragOf(event, editor.tool);
    if (drag === "look") viewer.lead(plane, viewer.pointAt(plane, event));
    if (drag === "stroke") editor.start(plane, viewer.pointAt(plane, event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!viewer.volume || !before) return;
    if (fingers.size === 2) pinch(viewer, plane, [...fingers.values()], before, event);
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (drag === "pan") viewer.movePan(plane, dx, dy);
    if (drag === "window") viewer.adjustWindow(dx / 200, -dy / 200);
    if (drag === "look") viewer.lead(plane, viewer.pointAt(plane, event));
    if (drag === "stroke") {
      for (const each of event.getCoalescedEvents?.() ?? [event]) editor.move(plane, viewer.pointAt(plane, each));
      editor.move(plane, viewer.pointAt(plane, event));
    }
    fingers.set(event.pointerId, event);
  });
  for (const type of /** @type {const} */ (["pointerup", "pointercancel"])) {
    canvas.addEventListener(type, (event) => {
      fingers.delete(event.pointerId);
      if (drag === "stroke") editor.end(plane);
      drag = null;
    });
  }
}

/**
 * Two fingers zoom and push.
 *
 * @param {import("./viewer.js").Viewer} viewer
 * @param {PlaneName} plane
 * @param {PointerEvent[]} fingers
 * @param {PointerEvent} before
 * @param {PointerEvent} now
 */
function pinch(viewer, plane, fingers, before, now) {
  const other = fingers.find((one) => one.pointerId !== now.pointerId);
  if (!other) return;
  const far = (/** @type {PointerEvent} */ one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
  viewer.zoomBy(far(now) / Math.max(far(before), 1));
  viewer.movePan(plane, (now.clientX - before.clientX) / 2, (now.clientY - before.clientY) / 2);
}

/** @param {import("./viewer.js").Viewer} viewer @param {PlaneName} plane */
function listenToWheel(viewer, plane) {
  let turned = 0;
  viewer.canvases[plane].addEventListener(
    "wheel",
    (event) => {
      if (!viewer.volume) return;
      event.preventDefault();
      if (event.ctrlKey || event.shiftKey) {
        viewer.zoomBy(Math.exp(-(event.deltaY || event.deltaX) / 500));
        return;
      }
      turned += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : event.deltaY * NOTCH;
      if (Math.abs(turned) < NOTCH) return;
      viewer.scroll(plane, turned > 0 ? -1 : 1);
      turned = 0;
    },
    { passive: false },
  );
}

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * A key on a plane.
 *
 * @param {import("./viewer.js").Viewer} viewer
 * @param {import("./editor.js").Editor} editor
 * @param {PlaneName} plane
 * @param {KeyboardEvent} event
 * @returns {boolean} whether it meant something here
 */
function pressed(viewer, editor, plane, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const arrow = ARROWS[event.key];
  if (arrow) {
    if (editor.tool === "window") viewer.adjustWindow(arrow[0] * STEP, -arrow[1] * STEP);
    else steer(viewer, editor, plane, arrow, event.shiftKey ? FAST : 1);
    return true;
  }
  const last = (viewer.volume?.size[PLANES[plane].through] ?? 1) - 1;
  /** @type {Record<string, () => void>} */
  const keys = {
    PageUp: () => viewer.scroll(plane, 1),
    PageDown: () => viewer.scroll(plane, -1),
    Home: () => viewer.scroll(plane, last),
    End: () => viewer.scroll(plane, -last),
    "+": () => viewer.zoomBy(1.25),
    "-": () => viewer.zoomBy(0.8),
    "0": () => viewer.resetView(),
    " ": () => pen(viewer, editor, plane),
    Enter: () => editor.end(plane),
    Escape: () => (editor.tool === "outline" ? editor.cancelOutline() : editor.end(plane)),
  };
  if (!(event.key in keys)) return false;
  if (event.key.startsWith("Page") || event.key === "Home" || event.key === "End") editor.end(plane);
  keys[event.key]();
  return true;
}

/** Lead the crosshair in steps, and a pen that is down with it. */
/**
 * @param {import("./viewer.js").Viewer} viewer
 * @param {import("./editor.js").Editor} editor
 * @param {PlaneName} plane
 * @param {[number, number]} arrow
 * @param {number} steps
 */
function steer(viewer, editor, plane, arrow, steps) {
  const [u, v] = viewer.pointOf(plane);
  viewer.lead(plane, [u + arrow[0] * steps, v + arrow[1] * steps]);
  if (editor.tool !== "outline") editor.move(plane, viewer.pointOf(plane));
}

/** The pen is put down or lifted at the crosshair; an outline gets a corner; a region is filled. */
/** @param {import("./viewer.js").Viewer} viewer @param {import("./editor.js").Editor} editor @param {PlaneName} plane */
function pen(viewer, editor, plane) {
  const point = viewer.pointOf(plane);
  if (editor.tool === "look" || editor.tool === "window") {
    editor.say("Choose a pen first: B brush, O outline, E eraser, F fill.");
  } else if (editor.tool === "outline" && editor.last) {
    editor.move(plane, point);
  } else if (editor.last) {
    editor.end(plane);
  } else {
    editor.start(plane, point);
    if (editor.tool === "fill") editor.end(plane);
  }
}
