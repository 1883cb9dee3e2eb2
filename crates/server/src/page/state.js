// How a run stood at any of its events: a slider, and the state there.

import { runState } from "./api.js";
import { block, el, json, moment } from "./dom.js";

const PAUSE = 120; // milliseconds that the slider rests before the state is asked for

export function stateSection(namespace, run, signal) {
  const slider = el("input", { type: "range", min: 1, max: 1, value: 1, "aria-label": "Event" });
  const where = el("output");
  const shown = el("div", { class: "state" });
  let asked = new AbortController();
  let rest;

  // Event 0 is the last there is.
  const load = async (event) => {
    asked.abort();
    asked = new AbortController();
    try {
      const told = await runState(namespace, run, event, AbortSignal.any([asked.signal, signal]));
      slider.max = told.events ?? 1;
      slider.value = told.event ?? 1;
      where.replaceChildren(`event ${told.event ?? 0} of ${told.events ?? 0} `, moment(told.time) || "");
      shown.replaceChildren(...stateAt(told.state ?? {}));
    } catch (error) {
      if (error.name !== "AbortError") shown.replaceChildren(el("p", { class: "failure" }, error.message));
    }
  };
  slider.addEventListener("input", () => {
    where.textContent = `event ${slider.value} of ${slider.max}`;
    clearTimeout(rest);
    rest = setTimeout(() => load(Number(slider.value)), PAUSE);
  });
  const details = el("details", { "data-key": "State" }, el("summary", {}, "State at an event"), slider, where, shown);
  details.addEventListener("toggle", () => details.open && load(0));
  return el("section", { class: "replay" }, details);
}

function stateAt(state) {
  const rows = (state.steps ?? []).map((step) =>
    el("tr", { "data-step-at": step.id },
      el("td", {}, step.id),
      el("td", {}, step.phase === "ended" ? step.outcome : step.phase),
      el("td", { class: "number" }, step.visits ? String(step.visits) : ""),
      el("td", {}, step.items ? `${step.items.done} of ${step.items.total}` : ""),
      el("td", {}, el("code", {}, brief(step.error ?? step.output)))));
  const open = Object.entries(state.open ?? {}).flatMap(([kind, list]) =>
    (Array.isArray(list) ? list : []).map((one) => el("li", {}, `${kind}: ${typeof one === "string" ? one : one.activation ?? one.id ?? one.workflow_id}`)));
  return [
    el("p", {}, `${state.status ?? ""}${state.paused ? `, paused: ${state.paused}` : ""}${state.revision ? `, revision ${state.revision}` : ""}`),
    el("table", {}, el("thead", {}, el("tr", {}, ["Step", "Stands", "Visits", "Items", "Output or error"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, rows)),
    state.steps_omitted ? el("p", { class: "quiet" }, `${state.steps_omitted} more steps`) : undefined,
    open.length ? el("ul", {}, open) : undefined,
    block("Everything", state),
  ].filter(Boolean);
}

const BRIEF = 200; // characters of a value in a row
const brief = (value) => {
  const text = value === undefined || value === null ? "" : json(value).replaceAll("\n", " ");
  return text.length > BRIEF ? `${text.slice(0, BRIEF)}…` : text;
};
