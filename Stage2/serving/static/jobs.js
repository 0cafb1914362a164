/** The job that runs and those that wait: what is being done, how far it is, how long it takes, and a way to stop it. */

import { make } from "./dom.js";

/** @typedef {import("./api.js").Job} Job */

const STAGES = { prototypes: "first masks from prototypes", adapting: "the network learns", segmenting: "segmenting" };
const ENDS = { queued: "waits", running: "runs", done: "done", failed: "failed", cancelled: "stopped" };

/** @param {number} seconds @returns {string} */
export function lasting(seconds) {
  if (seconds < 60) return `${Math.max(Math.round(seconds), 1)} s`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {Job} job @returns {string} what it does now, in words */
export function saying(job) {
  if (job.state === "failed") return `failed: ${job.error ?? "no reason was given"}`;
  if (job.state !== "running") return ENDS[job.state];
  const left = job.seconds_left === null ? "" : `, ${lasting(job.seconds_left)} left`;
  return `${job.stage ? STAGES[job.stage] : "starting"}, ${job.done.length} of ${job.scans.length} scans done${left}`;
}

/** @param {Job} job */
export const isOver = (job) => ["done", "failed", "cancelled"].includes(job.state);

/** @param {HTMLElement} box @param {Job[]} jobs the one that runs first @param {boolean} readOnly @param {(id: string) => void} cancel */
export function renderJobs(box, jobs, readOnly, cancel) {
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.job : undefined;
  box.replaceChildren(
    ...jobs.map((job) => {
      const title = job.kind === "preview" ? "First masks" : "Segment";
      const row = make("div", { className: `job ${job.state}` }, make("span", { textContent: `${title}: ${saying(job)}` }));
      if (job.state === "running") row.append(make("progress", { max: 1, value: job.share, ariaLabel: `${title}, share done` }));
      if (!readOnly && !isOver(job)) {
        const stop = make("button", { type: "button", textContent: "Stop" });
        stop.dataset.job = job.id;
        stop.addEventListener("click", () => cancel(job.id));
        row.append(stop);
        if (focused === job.id) queueMicrotask(() => stop.focus());
      }
      return row;
    }),
  );
}
