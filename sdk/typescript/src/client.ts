/** A client of the server's REST API: flows are deployed, runs started, followed and answered. */
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Manifest } from "./node.js";
import type { Json } from "./schema.js";

/** How long a request waits between its repetitions while the server cannot take it, in milliseconds. */
const waitsMs = [100, 400, 1_000, 2_000];
/** The longest wait for an answer. */
const timeoutMs = 15_000;

type Message = { [field: string]: Json };

export type RunStatus =
  | "running"
  | "completed"
  | "failed"
  | "canceled"
  | "terminated"
  | "timed_out"
  | "continued_as_new";

export interface ClientOptions {
  /** The server's HTTP address: `REFLUX_URL`, else `http://127.0.0.1:8233`. */
  url?: string;
  /** What the server asks for: `REFLUX_TOKEN`, else the content of `.reflux/token` here or in a directory above. */
  token?: string;
  namespace?: string;
}

export interface StartOptions {
  workflowId?: string;
  /** Which deployed version; the latest unless said. */
  version?: number;
  /** The same for repetitions of one request. */
  requestId?: string;
  /** Whether an open run that has the workflow id is the answer instead of an error. */
  useExisting?: boolean;
}

/** How a run stands. */
export interface Run {
  namespace: string;
  workflowId: string;
  runId: string;
  flow: string;
  status: RunStatus;
  started?: Date;
  closed?: Date;
  /** Steps that are over, of those known so far, from 0 to 100. */
  progressPercent: number;
  stepsDone: number;
  stepsTotal: number;
  /** Why it failed; empty otherwise. */
  error: string;
}

/** What happened in a run, and how it stands then. */
export interface Update {
  /** Where to go on after a stream broke. */
  sequence: number;
  /** What happened, in order: `type`, `time`, `facts`. */
  entries: Message[];
  run: Run;
  /** Ids of the steps that are at work or wait. */
  currentSteps: string[];
  /** Whether this is the last update. */
  closed: boolean;
}

/** The server refused a request, or there is none. */
export class RefluxError extends Error {
  /** A stable word: `not_found`, `invalid_argument`, `unavailable`. */
  readonly code: string;

  constructor(code: string, message: string, readonly suggestion = "") {
    super(suggestion === "" ? message : `${message}; ${suggestion}`);
    this.name = "RefluxError";
    this.code = code.toLowerCase();
  }

  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    return this.code === "unavailable" || this.code === "resource_exhausted";
  }
}

/** A run ended without a result. */
export class RunFailed extends Error {
  constructor(
    readonly run: Run,
    /** `{ kind, message, … }`; absent if the run did not fail but was ended. */
    readonly error: Json | undefined,
  ) {
    super(`run ${run.runId} of ${run.flow} is ${run.status}: ${run.error}`);
    this.name = "RunFailed";
  }
}

/**
 * A client of one namespace. Every call may throw a `RefluxError`. A request that the server could not take is repeated for
 * a few seconds; a repeated one counts once.
 */
export class Client {
  readonly #url: string;
  readonly #token: string | undefined;
  readonly #namespace: string;

  constructor(options: ClientOptions = {}) {
    const url = new URL(options.url ?? process.env.REFLUX_URL ?? "http://127.0.0.1:8233");
    this.#url = url.href.replace(/\/$/, "");
    this.#token = options.token ?? process.env.REFLUX_TOKEN;
    this.#namespace = options.namespace ?? "default";
  }

  /** Deploy a flow's definition as the next version; the same again gives the version that is there. */
  async deploy(text: string, file = ""): Promise<Message> {
    return this.#post("/api/v1/flows", { source: { text, file } });
  }

  /** Start a run; it is durable when this returns. */
  async start(flow: string, input: { [name: string]: Json } = {}, options: StartOptions = {}): Promise<Run> {
    const answer = await this.#post("/api/v1/runs", { flow, input, requestId: randomUUID(), ...options });
    return runOf(answer.run);
  }

  /** Start a run and wait for its output. Throws `RunFailed`. */
  async run(flow: string, input: { [name: string]: Json } = {}, options: StartOptions = {}): Promise<Json> {
    const { runId } = await this.start(flow, input, options);
    return this.result(runId);
  }

  /** How a run stands, by run id or workflow id. */
  async get(run: string): Promise<Run> {
    return runOf((await this.#get(path(run))).run);
  }

  /** What happened in a run, step by step, and what it waits for. */
  async describe(run: string): Promise<Message> {
    return this.#get(path(run, "describe"));
  }

  /** How a run stood when that event was its last, or as it is now. */
  async state(run: string, event = 0): Promise<Json> {
    return (await this.#get(path(run, "state"), { event: String(event) })).state ?? null;
  }

  /** Whether the run's flow, or the definition in `source`, would decide what was recorded. */
  async verify(run: string, source = ""): Promise<Message> {
    return this.#post(path(run, "verify"), source ? { with: { source: { text: source } } } : {});
  }

  /** Two runs side by side, step by step. */
  async diff(run: string, other: string): Promise<Message> {
    return this.#get(path(run, "diff"), { other });
  }

  /** Runs, newest first. */
  async *runs(filter: { flow?: string; text?: string } = {}): AsyncGenerator<Run> {
    const pages = this.#pages("/api/v1/runs", "runs", filter, this.#namespace);
    for await (const message of pages) yield runOf(message);
  }

  /** Wait until a run closes; its output. Throws `RunFailed`. */
  async result(run: string): Promise<Json> {
    for await (const { closed } of this.watch(run)) if (closed) break;
    const described = await this.describe(run);
    const closed = runOf(described.run);
    if (closed.status !== "completed") throw new RunFailed(closed, described.error);
    return described.output ?? null;
  }

  /** Follow a run until it closes; a stream that breaks is taken up again. */
  async *watch(run: string, after = 0): AsyncGenerator<Update> {
    let failures = 0;
    for (;;) {
      try {
        for await (const message of this.#stream(path(run, "watch"), after)) {
          failures = 0;
          const update = updateOf(message, after);
          after = update.sequence;
          yield update;
          if (update.closed) return;
        }
      } catch (error) {
        if (!(error instanceof RefluxError) || !error.retryable || ++failures > waitsMs.length) throw error;
      }
      await sleep(waitsMs[Math.max(0, failures - 1)]);
    }
  }

  /** Send a signal to an open run. */
  async signal(run: string, name: string, data: Json = null): Promise<void> {
    await this.#post(path(run, "signal"), { name, data, requestId: randomUUID() });
  }

  /** Read `state`, `input`, `output` or `steps/STEP` of a run. */
  async query(run: string, query = "state"): Promise<Json> {
    return (await this.#get(path(run, "query"), { query })).result ?? null;
  }

  /** Answer an approval that a run waits for. */
  async approve(
    run: string,
    answer: { approved?: boolean; step?: string; by?: string; comment?: string } = {},
  ): Promise<void> {
    await this.#post(path(run, "approve"), { approved: true, ...answer, requestId: randomUUID() });
  }

  /** Ask a run to end; what it did is taken back where the flow says so. */
  async cancel(run: string, reason = ""): Promise<void> {
    await this.#post(path(run, "cancel"), { reason, requestId: randomUUID() });
  }

  /** End a run at once. */
  async terminate(run: string, reason = ""): Promise<void> {
    await this.#post(path(run, "terminate"), { reason });
  }

  /** Hand out nothing new until `resume`. */
  async pause(run: string, reason = ""): Promise<void> {
    await this.#post(path(run, "pause"), { reason, requestId: randomUUID() });
  }

  /** Run a run again without doing again what it did; `redrive` has the fields of the API's message. */
  async redrive(run: string, redrive: Message = {}, requestId: string = randomUUID()): Promise<Run> {
    const answer = await this.#post(path(run, "redrive"), { redrive, requestId });
    return runOf(answer.run);
  }

  /** What a re-drive would do. Nothing is called or recorded. */
  async planRedrive(run: string, redrive: Message = {}): Promise<Message> {
    return this.#post(path(run, "redrive/plan"), { redrive });
  }

  /** Re-drive every run that a query takes; the run that does so. */
  async redriveRuns(query: string, redrive: Message = {}, perSecond = 0): Promise<Run> {
    const body = { query, redrive, perSecond, requestId: randomUUID() };
    const answer = await this.#post("/api/v1/redrives", body);
    return runOf(answer.run);
  }

  /** Pause every open run that a query takes; the run that does so. */
  async pauseRuns(query: string, reason = "", perSecond = 0): Promise<Run> {
    const body = { query, reason, perSecond, requestId: randomUUID() };
    return runOf((await this.#post("/api/v1/runs:pause", body)).run);
  }

  /** Let every paused run that a query takes go on; the run that does so. */
  async resumeRuns(query: string, reason = "", perSecond = 0): Promise<Run> {
    const body = { query, reason, perSecond, requestId: randomUUID() };
    return runOf((await this.#post("/api/v1/runs:resume", body)).run);
  }

  /** A new run in the state that a run had at one of its events. */
  async fork(run: string, fromEvent: number, workflowId = "", reason = ""): Promise<Run> {
    const body = { fromEvent, workflowId, reason, requestId: randomUUID() };
    const answer = await this.#post(path(run, "fork"), body);
    return runOf(answer.run);
  }

  /** Let a paused run go on. */
  async resume(run: string): Promise<void> {
    await this.#post(path(run, "resume"), { requestId: randomUUID() });
  }

  /** Change the graph of a run; the revision of its flow from then on. */
  async mutate(run: string, patch: Json, reason = ""): Promise<number> {
    const body = { patch: JSON.stringify(patch), reason, requestId: randomUUID() };
    const answer = await this.#post(path(run, "mutate"), body);
    return Number(answer["revision"]);
  }

  /** Pause a run before these steps; no more before those. */
  async breakpoints(run: string, add: string[], remove: string[] = []): Promise<void> {
    await this.#post(path(run, "breakpoints"), { add, remove, requestId: randomUUID() });
  }

  /** Let a run go on for so many starts, then pause it again. */
  async step(run: string, steps = 1): Promise<void> {
    await this.#post(path(run, "step"), { steps, requestId: randomUUID() });
  }

  /** Make a node known that workers serve. The same again does nothing. */
  async registerNode(manifest: Manifest, taskQueue = ""): Promise<void> {
    const body = { manifest: manifest as unknown as Json, task_queue: taskQueue };
    await this.#patiently("POST", "/api/v1/nodes", JSON.stringify(body));
  }

  /** Every node in every version, by name. */
  nodes(filter: { text?: string } = {}): AsyncGenerator<Message> {
    return this.#pages("/api/v1/nodes", "nodes", filter, "");
  }

  async *#pages(
    path: string,
    field: string,
    filter: { [name: string]: string },
    namespace: string,
  ): AsyncGenerator<Message> {
    let page_token = "";
    do {
      const answer = await this.#get(path, { ...filter, namespace, page_token });
      yield* (answer[field] ?? []) as Message[];
      page_token = (answer.next_page_token ?? "") as string;
    } while (page_token !== "");
  }

  async #get(path: string, query: { [name: string]: string } = {}): Promise<Message> {
    return this.#patiently("GET", `${path}?${this.#query(query)}`);
  }

  async #post(path: string, body: Message): Promise<Message> {
    return this.#patiently("POST", path, JSON.stringify({ namespace: this.#namespace, ...body }));
  }

  async #patiently(method: string, path: string, body?: string): Promise<Message> {
    for (const wait of waitsMs) {
      try {
        return await this.#send(method, path, body);
      } catch (error) {
        if (!(error instanceof RefluxError) || !error.retryable) throw error;
      }
      await sleep(wait);
    }
    return this.#send(method, path, body);
  }

  async #send(method: string, path: string, body?: string): Promise<Message> {
    const abort = new AbortController();
    // A timer of its own keeps the process alive: `fetch` alone does not when its connection is closed
    // before the request was written, and then it may never settle.
    const timer = setTimeout(() => abort.abort(), timeoutMs);
    try {
      const response = await this.#request(method, path, "application/json", abort.signal, body);
      const answer = await response.text().catch((error: unknown) => {
        throw new RefluxError("unavailable", `the answer broke off: ${String(error)}`);
      });
      return answerOf(response, answer);
    } finally {
      clearTimeout(timer);
    }
  }

  async *#stream(path: string, after: number): AsyncGenerator<Message> {
    const abort = new AbortController();
    const query = this.#query({ after: String(after) });
    const response = await this.#request("GET", `${path}?${query}`, "text/event-stream", abort.signal);
    if (!response.ok || response.body === null) {
      answerOf(response, await response.text());
      return;
    }
    let text = "";
    try {
      for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
        text += part.replaceAll("\r\n", "\n");
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const lines = text.slice(0, end).split("\n");
          text = text.slice(end + 2);
          const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
          if (data.length === 0) continue;
          const message = JSON.parse(data.join("\n")) as Message;
          if (message.error !== undefined) throw errorOf(message, "unavailable");
          yield message;
        }
      }
    } catch (error) {
      if (error instanceof RefluxError) throw error;
      throw new RefluxError("unavailable", `the stream broke off: ${String(error)}`);
    } finally {
      abort.abort();
    }
  }

  #query(query: { [name: string]: string }): string {
    const said = Object.entries({ namespace: this.#namespace, ...query }).filter(([, value]) => value !== "");
    return new URLSearchParams(said).toString();
  }

  async #request(method: string, path: string, accept: string, signal: AbortSignal, body?: string): Promise<Response> {
    const headers: { [name: string]: string } = { accept };
    // The file comes with the server's first start, which may be after this client's.
    const token = this.#token ?? tokenOfProject();
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    try {
      return await fetch(this.#url + path, { method, headers, signal, ...(body === undefined ? {} : { body }) });
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      throw new RefluxError("unavailable", `no answer from ${this.#url}: ${cause}`, "is the server running?");
    }
  }
}

function answerOf(response: Response, text: string): Message {
  let answer: Message = {};
  try {
    answer = JSON.parse(text === "" ? "{}" : text) as Message;
  } catch {
    // what is no JSON is told by its status
  }
  if (response.ok) return answer;
  throw errorOf(answer, response.status >= 500 ? "unavailable" : String(response.status));
}

function errorOf(answer: Message, code: string): RefluxError {
  const error = (answer.error ?? {}) as { code?: string; message?: string; suggestion?: string };
  return new RefluxError(error.code ?? code, error.message ?? `HTTP ${code}`, error.suggestion ?? "");
}

function runOf(json: Json | undefined): Run {
  const message = (json ?? {}) as Message;
  const text = (name: string) => (message[name] ?? "") as string;
  const number = (name: string) => (message[name] ?? 0) as number;
  return {
    namespace: text("namespace"),
    workflowId: text("workflow_id"),
    runId: text("run_id"),
    flow: text("flow"),
    status: text("status").replace("RUN_STATUS_", "").toLowerCase() as RunStatus,
    ...(message.started == null ? {} : { started: new Date(text("started")) }),
    ...(message.closed == null ? {} : { closed: new Date(text("closed")) }),
    progressPercent: number("progress_percent"),
    stepsDone: number("steps_done"),
    stepsTotal: number("steps_total"),
    error: text("error"),
  };
}

function updateOf(message: Message, after: number): Update {
  return {
    sequence: (message.sequence ?? after) as number,
    entries: (message.entries ?? []) as Message[],
    run: runOf(message.run),
    currentSteps: (message.current_steps ?? []) as string[],
    closed: message.closed === true,
  };
}

function path(run: string, what = ""): string {
  return `/api/v1/runs/${encodeURIComponent(run)}${what === "" ? "" : `/${what}`}`;
}

function tokenOfProject(): string | undefined {
  for (let directory = process.cwd(); ; directory = dirname(directory)) {
    const file = join(directory, ".reflux", "token");
    if (existsSync(file)) return readFileSync(file, "utf8").trim();
    if (directory === dirname(directory)) return undefined;
  }
}
