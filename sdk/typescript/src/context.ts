import type { Json } from "./schema.js";

export type Level = "debug" | "info" | "warn" | "error";

// How much of an attempt is kept; the server cuts to the same.
const logLinesMax = 1_000;
const logBytesMax = 64 << 10;
const metricsMax = 64;

/** Which attempt of which step of which run this is. */
export interface Attempt {
  namespace: string;
  /** The run. */
  runId: string;
  /** The workflow the run belongs to; the same after a re-drive. */
  workflowId: string;
  /** The flow's name. */
  flow: string;
  /** The step's id in the flow. */
  step: string;
  /** The activation: `step`, `step#2` for a visit, `step[3]` for an item. */
  activationId: string;
  /** 1 for the first attempt. */
  attempt: number;
  /** The same for every attempt of this activation; different for every other one. */
  idempotencyKey: string;
  /** When the step was scheduled, in milliseconds since 1970. */
  scheduledAtMs: number;
  /** When the attempt is given up, in milliseconds since 1970. */
  deadlineMs?: number;
  /** The details of the last heartbeat of the attempt before, to continue from. */
  lastHeartbeat?: Json;
}

/** What an attempt told about itself, in the form that the server reads. */
export interface Report {
  logs?: { at_ms: number; level: Level; line: string }[];
  logs_dropped?: number;
  metrics?: { [name: string]: number };
  tokens?: { input: number; output: number };
  cost_usd?: number;
}

/** The attempt a node is called for. A test makes one with `new Context()`. */
export class Context {
  readonly attempt: Readonly<Attempt>;
  /** Aborted when the attempt is asked to stop. */
  readonly signal: AbortSignal;
  #beat: () => void;
  #logs: { at_ms: number; level: Level; line: string }[] = [];
  #logBytes = 0;
  #logsDropped = 0;
  #metrics = new Map<string, number>();
  #tokens = { input: 0, output: 0 };
  #costUsd = 0;
  #details: Json | undefined;

  constructor(attempt: Partial<Attempt> = {}, signal: AbortSignal = new AbortController().signal, beat = () => {}) {
    this.attempt = {
      namespace: "default",
      runId: "",
      workflowId: "",
      flow: "",
      step: "",
      activationId: "",
      attempt: 1,
      idempotencyKey: "",
      scheduledAtMs: 0,
      ...attempt,
    };
    this.signal = signal;
    this.#beat = beat;
    // An attempt that says nothing new hands on where the one before got to.
    this.#details = this.attempt.lastHeartbeat;
  }

  /** Whether the attempt is asked to stop. */
  get cancelled(): boolean {
    return this.signal.aborted;
  }

  /** The time left until the deadline in milliseconds; `undefined` without one, zero when it has passed. */
  remainingMs(): number | undefined {
    const { deadlineMs } = this.attempt;
    return deadlineMs === undefined ? undefined : Math.max(0, deadlineMs - Date.now());
  }

  /**
   * Tell how far the attempt got: the next attempt finds it in `attempt.lastHeartbeat`. That the attempt is alive is
   * told without this.
   */
  heartbeat(details: Json): void {
    this.#details = details;
    this.#beat();
  }

  /** Tell how much is done, from 0 to 1: the metric `progress`. */
  progress(done: number): void {
    this.metric("progress", Math.min(1, Math.max(0, done)));
    this.#beat();
  }

  /** Keep a log line with the attempt. Text with line breaks becomes several lines. */
  log(text: string, level: Level = "info"): void {
    for (const line of text.split(/\r?\n/)) {
      const kept = Buffer.byteLength(line) > logBytesMax ? line.slice(0, logBytesMax / 4) : line;
      this.#logs.push({ at_ms: Date.now(), level, line: kept });
      this.#logBytes += Buffer.byteLength(kept);
      while (this.#logBytes > logBytesMax || this.#logs.length > logLinesMax) {
        this.#logBytes -= Buffer.byteLength(this.#logs.shift()?.line ?? "");
        this.#logsDropped++;
      }
    }
  }

  /** Set a metric; the last value of a name counts, a value that is not finite is dropped. */
  metric(name: string, value: number): void {
    if (!Number.isFinite(value)) return;
    if (this.#metrics.has(name) || this.#metrics.size < metricsMax) this.#metrics.set(name, value);
  }

  /** Add tokens of a language model. */
  tokens(input: number, output: number): void {
    this.#tokens.input += input;
    this.#tokens.output += output;
  }

  /** Add a cost in US dollars; one that is not finite or negative is dropped. */
  cost(usd: number): void {
    if (Number.isFinite(usd) && usd >= 0) this.#costUsd += usd;
  }

  /** For the worker: the details of the next heartbeat. */
  details(): Json | undefined {
    return this.#details;
  }

  /** For the worker: what the attempt told so far; `undefined` when that is nothing. */
  report({ logs }: { logs: boolean }): Report | undefined {
    const report: Report = {};
    if (this.#metrics.size > 0) report.metrics = Object.fromEntries(this.#metrics);
    if (this.#tokens.input > 0 || this.#tokens.output > 0) report.tokens = { ...this.#tokens };
    if (this.#costUsd > 0) report.cost_usd = this.#costUsd;
    if (logs && this.#logs.length > 0) {
      report.logs = [...this.#logs];
      report.logs_dropped = this.#logsDropped;
    }
    return Object.keys(report).length > 0 ? report : undefined;
  }
}
