/** Files that come and go: scans that are added, masks that are taken home; a refusal is said on the page. */

import { fetchFile, postScan } from "./api.js";
import { make } from "./dom.js";

const KEPT = 60_000; // ms that a browser has to take a file over

/**
 * @param {HTMLInputElement} chooser
 * @param {(message: string) => void} say
 * @param {(scan: import("./api.js").Scan) => void} take
 */
export async function sendScan(chooser, say, take) {
  const [file] = chooser.files ?? [];
  if (!file) return;
  say(`${file.name} is sent`);
  try {
    take(await postScan(file));
    say(`${file.name} was added.`);
  } finally {
    chooser.value = "";
  }
}

/** @param {Response} response @param {string} path */
function nameOf(response, path) {
  const header = response.headers.get("Content-Disposition") ?? "";
  const quoted = /filename\*=utf-8''([^;]+)/.exec(header)?.[1]; // of other characters than ASCII
  const told = quoted ? decodeURIComponent(quoted) : /filename="?([^";]+)"?/.exec(header)?.[1];
  return told ?? path.split("?")[0].split("/").pop() ?? "file";
}

/** Fetch what a link leads to, and hand it to the browser as a file. @param {HTMLAnchorElement} link */
export async function takeHome(link) {
  const response = await fetchFile(link.href);
  const address = URL.createObjectURL(await response.blob());
  make("a", { href: address, download: nameOf(response, new URL(link.href).pathname) }).click();
  window.setTimeout(() => URL.revokeObjectURL(address), KEPT);
}
