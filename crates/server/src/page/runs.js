// The list of runs, newest first; it follows what happens while it is looked at.

import { Refused, listRuns } from "./api.js";
import { between, chip, el, length, moment } from "./dom.js";

const REFRESH = 2000; // milliseconds
const PAGE = 50;
const STATUSES = ["RUNNING", "COMPLETED", "FAILED", "CANCELED", "TERMINATED", "TIMED_OUT", "CONTINUED_AS_NEW"];

export async function showRuns(main, namespace, signal, linked) {
  const status = el("select", { "aria-label": "Status" }, el("option", { value: "" }, "any status"),
    STATUSES.map((name) => el("option", { value: `RUN_STATUS_${name}` }, name.toLowerCase().replaceAll("_", " "))));
  const text = el("input", { type: "search", placeholder: "flow, id or error", "aria-label": "Search", maxlength: 200 });
  const rows = el("tbody");
  const more = el("button", { hidden: true, type: "button" }, "Show more");
  const none = el("p", { class: "quiet", hidden: true });
  let pages = 1;

  async function load() {
    const runs = [];
    let pageToken = "";
    for (let page = 0; page < pages; page += 1) {
      const answer = await listRuns({ namespace, page_size: PAGE, page_token: pageToken, statuses: status.value, text: text.value.trim() }, signal);
      runs.push(...(answer.runs ?? []));
      pageToken = answer.next_page_token ?? "";
      if (!pageToken) break;
    }
    linked(true);
    more.hidden = !pageToken;
    none.hidden = runs.length > 0;
    none.textContent = status.value || text.value ? "No run is like that." : "No runs yet. Start one with reflux run FLOW, or over the API.";
    rows.replaceChildren(...runs.map((run) => row(run, namespace)));
  }

  const again = () => load().catch((error) => signal.aborted || (rows.replaceChildren(), (none.hidden = false), (none.textContent = error.message)));
  status.addEventListener("change", again);
  text.addEventListener("input", debounce(again, 250));
  more.addEventListener("click", () => ((pages += 1), again()));

  await load();
  main.replaceChildren(
    el("div", { class: "filters" }, status, text),
    el("table", { class: "runs" },
      el("thead", {}, el("tr", {}, ["Status", "Flow", "Workflow id", "Started", "Took", "Steps", "Error"].map((name) => el("th", { scope: "col" }, name)))),
      rows),
    none, more);

  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, REFRESH));
    // Nobody is asked while nobody looks, and what somebody is about to click holds still.
    if (signal.aborted || document.hidden || rows.contains(document.activeElement)) continue;
    await load().catch((error) => {
      if (signal.aborted) return;
      if (error instanceof Refused) throw error;
      linked(false);
    });
  }
}

function row(run, namespace) {
  const address = `#/runs/${encodeURIComponent(run.run_id)}${namespace === "default" ? "" : `?${new URLSearchParams({ namespace })}`}`;
  const steps = run.steps_total ? `${run.steps_done ?? 0} of ${run.steps_total}` : "";
  return el("tr", {},
    el("td", {}, chip(run.status)),
    el("td", {}, run.flow ?? ""),
    el("td", {}, el("a", { href: address, title: run.run_id }, run.workflow_id)),
    el("td", {}, moment(run.started)),
    el("td", { class: "number" }, length(between(run.started, run.closed))),
    el("td", { class: "number" }, steps),
    el("td", { class: "error" }, run.error ?? ""));
}

function debounce(work, wait) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, wait);
  };
}
