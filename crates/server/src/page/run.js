// One run: how it stands, what it waits for, its steps on a timeline with attempts, errors and logs.

import { describeRun, history, watch } from "./api.js";
import { stateSection } from "./state.js";
import { between, block, chip, el, json, length, moment, word } from "./dom.js";

const REDRAW = 300; // milliseconds between two looks at a run that changes all the time
const VISITS_SHOWN = 100; // of one step; a for_each can have thousands

export async function showRun(main, namespace, run, signal, linked) {
  const head = el("section");
  const steps = el("section");
  const past = historySection(namespace, run);
  const state = stateSection(namespace, run, signal);
  const draw = (told) => {
    keepOpen(head, () => head.replaceChildren(...heading(told)));
    keepOpen(steps, () => steps.replaceChildren(...timeline(told)));
  };

  draw(await describeRun(namespace, run, signal));
  main.replaceChildren(el("p", {}, el("a", { href: namespace === "default" ? "#/" : `#/?${new URLSearchParams({ namespace })}` }, "← Runs")), head, steps, state, past);

  let due = false;
  const look = async () => {
    if (due) return;
    due = true;
    await new Promise((resolve) => setTimeout(resolve, REDRAW));
    due = false;
    if (!signal.aborted) await describeRun(namespace, run, signal).then(draw, () => signal.aborted || linked(false));
  };
  const clock = setInterval(look, 5000);
  signal.addEventListener("abort", () => clearInterval(clock));
  await watch(namespace, run, signal, look, linked);
  clearInterval(clock);
}

function heading(told) {
  const run = told.run ?? {};
  const usage = told.usage ?? {};
  const tokens = (usage.tokens_in ?? 0) + (usage.tokens_out ?? 0);
  const facts = [
    ["Status", el("span", {}, chip(run.status), told.handled_failure ? " after a handled failure" : "", told.paused ? ` paused: ${told.paused}` : "", told.cancel_requested && !run.closed ? " asked to end" : "")],
    ["Workflow id", run.workflow_id],
    ["Run id", el("code", {}, run.run_id ?? "")],
    ["Started", moment(run.started)],
    ["Took", length(between(run.started, run.closed))],
    told.steps?.length ? ["Revision", String(told.revision ?? 0)] : undefined,
    ["Progress", el("span", {}, el("progress", { max: 100, value: run.progress_percent ?? 0 }), ` ${run.steps_done ?? 0} of ${run.steps_total ?? 0} steps`)],
    tokens || usage.cost_usd ? ["Used", `${tokens} tokens, $${(usage.cost_usd ?? 0).toFixed(4)}`] : undefined,
  ].filter(Boolean);
  const waits = (told.waits_for ?? []).map((wait) => el("li", {}, wait.activation ? el("b", {}, `${wait.activation}: `) : "", wait.text ?? wait.kind));
  return [
    el("h1", {}, run.flow ?? run.workflow_id ?? ""),
    el("dl", {}, facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value ?? "")])),
    told.error ? el("p", { class: "failure" }, told.error.message ?? json(told.error)) : undefined,
    waits.length ? el("div", { class: "waits" }, el("h2", {}, "Waits for"), el("ul", {}, waits)) : undefined,
    block("Input", told.input), block("Output", told.output, true), block("Error", told.error),
  ].filter(Boolean);
}

function timeline(told) {
  if (!told.steps?.length) return [];
  const begin = new Date(told.run.started).getTime();
  const end = Math.max(begin + 1, told.run.closed ? new Date(told.run.closed).getTime() : Date.now());
  const place = (from, to) => {
    const left = (100 * (new Date(from).getTime() - begin)) / (end - begin);
    const width = (100 * ((to ? new Date(to).getTime() : end) - new Date(from).getTime())) / (end - begin);
    return { left: `${Math.min(Math.max(left, 0), 100)}%`, width: `max(3px, ${Math.min(Math.max(width, 0), 100 - left)}%)` };
  };
  return [el("h2", {}, "Steps"), el("ol", { class: "steps" }, told.steps.map((step) => stepRow(step, place)))];
}

function stepRow(step, place) {
  const visits = step.visits ?? [];
  const bars = visits.slice(-VISITS_SHOWN).flatMap((visit) => {
    const attempts = visit.attempts ?? [];
    const whole = el("i", { class: `bar ${visit.error ? "failed" : visit.ended ? "succeeded" : word(step.status)}`, style: place(visit.started, visit.ended), title: `${visit.activation}: ${length(between(visit.started, visit.ended))}` });
    const each = attempts.length > 1 || attempts.some((attempt) => attempt.outcome && attempt.outcome !== "completed")
      ? attempts.map((attempt) => el("i", { class: `attempt ${attempt.outcome || "running"}`, style: place(attempt.started, attempt.ended), title: `attempt ${attempt.number}: ${attempt.outcome || "running"}` }))
      : [];
    return [whole, ...each];
  });
  const items = step.items_total ? ` ${step.items_done ?? 0} of ${step.items_total}` : "";
  return el("li", { "data-step": step.id },
    el("details", { "data-key": `step ${step.id}` },
      el("summary", {},
        el("span", { class: "name" }, step.id, el("small", {}, ` ${step.node ?? ""}${items}`)),
        chip(step.status),
        el("span", { class: "track", "aria-hidden": "true" }, bars)),
      step.reason ? el("p", {}, step.reason) : undefined,
      visits.length > VISITS_SHOWN ? el("p", { class: "quiet" }, `the last ${VISITS_SHOWN} of ${visits.length}`) : undefined,
      visits.slice(-VISITS_SHOWN).map(visitBlock)));
}

function visitBlock(visit) {
  const attempts = (visit.attempts ?? []).map((attempt) =>
    el("tr", { class: attempt.outcome || "running" },
      el("td", { class: "number" }, String(attempt.number)),
      el("td", {}, attempt.outcome || "running"),
      el("td", {}, moment(attempt.started)),
      el("td", { class: "number" }, length(between(attempt.started, attempt.ended))),
      el("td", {}, attempt.worker ?? ""),
      el("td", { class: "error" }, attempt.error?.message ?? "", attempt.next_attempt ? el("span", {}, " again at ", moment(attempt.next_attempt)) : "")));
  const logs = (visit.attempts ?? []).flatMap((attempt) => [
    ...(attempt.logs_dropped ? [`attempt ${attempt.number}: ${attempt.logs_dropped} lines were dropped`] : []),
    ...(attempt.logs ?? []).map((line) => `${line.time ?? ""} ${attempt.number} ${line.level ?? ""} ${line.text ?? ""}`),
  ]);
  return el("section", { class: "visit" },
    el("h3", {}, visit.activation, visit.compensates ? " (takes back)" : "", visit.led_to?.length ? ` → ${visit.led_to.join(", ")}` : ""),
    attempts.length
      ? el("table", { class: "attempts" }, el("thead", {}, el("tr", {}, ["Attempt", "Outcome", "Began", "Took", "Worker", "Error"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, attempts))
      : undefined,
    visit.error ? el("p", { class: "failure" }, visit.error.message ?? json(visit.error)) : undefined,
    logs.length ? el("pre", { class: "logs" }, logs.join("\n")) : undefined,
    keyed(block("Input", visit.input), visit.activation), keyed(block("Output", visit.output), visit.activation));
}

function keyed(details, activation) {
  if (details) details.dataset.key = `${activation} ${details.dataset.key}`;
  return details;
}

// What a person has opened stays open when the run goes on.
function keepOpen(within, draw) {
  const states = new Map([...within.querySelectorAll("details")].map((details) => [details.dataset.key, details.open]));
  const focused = within.contains(document.activeElement) ? document.activeElement.closest("details")?.dataset.key : undefined;
  draw();
  for (const details of within.querySelectorAll("details")) {
    if (states.has(details.dataset.key)) details.open = states.get(details.dataset.key);
    if (focused !== undefined && details.dataset.key === focused) details.querySelector("summary").focus({ preventScroll: true });
  }
}

function historySection(namespace, run) {
  const rows = el("tbody");
  const more = el("button", { type: "button", hidden: true }, "Show more");
  let next;
  const load = async () => {
    const page = await history(namespace, run, next).catch((error) => ({ entries: [{ type: error.message }] }));
    next = page.next_page_token;
    more.hidden = !next;
    rows.append(...(page.entries ?? []).map((entry) =>
      el("tr", {}, el("td", { class: "number" }, entry.event ? String(entry.event) : ""), el("td", {}, moment(entry.time)), el("td", {}, entry.type ?? ""), el("td", {}, el("code", {}, JSON.stringify(entry.facts ?? {}))))));
  };
  more.addEventListener("click", load);
  const details = el("details", { "data-key": "History" }, el("summary", {}, "History"),
    el("table", { class: "history" }, el("thead", {}, el("tr", {}, ["Event", "Time", "What", "Facts"].map((name) => el("th", { scope: "col" }, name)))), rows), more);
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    rows.replaceChildren();
    next = undefined;
    load();
  });
  return el("section", {}, details);
}
