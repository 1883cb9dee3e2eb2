// Which view is shown, and what they share: the namespace, the key, the word on the connection.

import { Refused, keep } from "./api.js";
import { el } from "./dom.js";
import { showRun } from "./run.js";
import { showRuns } from "./runs.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
const key = document.getElementById("key");
const namespace = document.getElementById("namespace");
let leave = new AbortController();

function route() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  namespace.value = new URLSearchParams(query).get("namespace") ?? "default";
  linked(true);
  main.replaceChildren(el("p", { class: "quiet" }, "Loading…"));
  const run = path.match(/^\/runs\/([^/]+)$/);
  const view = run ? showRun(main, namespace.value, decodeURIComponent(run[1]), signal, linked) : showRuns(main, namespace.value, signal, linked);
  view.catch((error) => signal.aborted || failed(error));
}

function failed(error) {
  const wantsKey = error instanceof Refused && (error.status === 401 || error.status === 403);
  key.hidden = !wantsKey;
  main.replaceChildren(el("p", { class: "failure", role: "alert" }, error.message || String(error)));
}

function linked(isLinked) {
  link.textContent = isLinked ? "" : "The server does not answer; trying again…";
}

namespace.addEventListener("change", () => {
  location.hash = `#/?${new URLSearchParams({ namespace: namespace.value || "default" })}`;
});
key.addEventListener("submit", (event) => {
  event.preventDefault();
  keep(key.querySelector("input").value.trim());
  key.hidden = true;
  route();
});
window.addEventListener("hashchange", route);
route();
