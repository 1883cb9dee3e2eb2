// The server's API, as far as the page reads it.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const KEY = "reflux-key";
export const keep = (key) => sessionStorage.setItem(KEY, key);

function headers(accept) {
  const key = sessionStorage.getItem(KEY);
  return { accept, ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

async function ask(path, parameters, accept, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== undefined && one !== "") query.append(name, one);
  }
  const answer = await fetch(`/api/v1${path}?${query}`, { headers: headers(accept), signal });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const error = body.error ?? {};
  throw new Refused(answer.status, [error.message ?? answer.statusText, error.suggestion].filter(Boolean).join("; "));
}

const get = async (path, parameters, signal) => (await ask(path, parameters, "application/json", signal)).json();

export const listRuns = (parameters, signal) => get("/runs", parameters, signal);
export const describeRun = (namespace, run, signal) => get(`/runs/${encodeURIComponent(run)}/describe`, { namespace }, signal);
export const history = (namespace, run, pageToken) => get(`/runs/${encodeURIComponent(run)}/history`, { namespace, page_token: pageToken, page_size: 200 });
export const runState = (namespace, run, event, signal) => get(`/runs/${encodeURIComponent(run)}/state`, { namespace, event }, signal);

// Calls `told` for every update until the run closes or `signal` ends it; resumes after a break.
// Not an EventSource: that could not send the key.
export async function watch(namespace, run, signal, told, linked) {
  let after = 0;
  let wait = 500;
  while (!signal.aborted) {
    try {
      const answer = await ask(`/runs/${encodeURIComponent(run)}/watch`, { namespace, after }, "text/event-stream", signal);
      linked(true);
      wait = 500;
      for await (const event of events(answer.body)) {
        const update = JSON.parse(event);
        if (update.error) throw new Refused(0, update.error.message);
        after = update.sequence ?? after;
        told(update);
        if (update.closed) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
    }
    linked(false);
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, 10000);
  }
}

// The data of server-sent events.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value.replaceAll("\r\n", "\n")).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length) yield data.join("\n");
    }
  }
}
