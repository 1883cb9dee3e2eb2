// Elements without markup in strings: text from runs is never read as HTML.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return node;
}

export const word = (constant) => (constant ?? "").replace(/^[A-Z]+_STATUS_/, "").toLowerCase().replaceAll("_", " ");

export const chip = (constant) => el("span", { class: `chip ${word(constant).replaceAll(" ", "-")}` }, word(constant) || "unknown");

export function moment(text) {
  if (!text) return "";
  const at = new Date(text);
  return el("time", { datetime: text, title: text }, at.toLocaleString(undefined, { hour12: false }));
}

export function length(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "";
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export const between = (from, to) => new Date(to ?? Date.now()) - new Date(from);

// A value as people read it; long ones are cut, the API has them whole.
const TEXT_MAX = 20000;
export function json(value) {
  const text = JSON.stringify(value, null, 2) ?? "";
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}\n… ${text.length - TEXT_MAX} more characters` : text;
}

export const block = (title, value, open = false) =>
  value === undefined || value === null
    ? undefined
    : el("details", { open, "data-key": title }, el("summary", {}, title), el("pre", {}, typeof value === "string" ? value : json(value)));
