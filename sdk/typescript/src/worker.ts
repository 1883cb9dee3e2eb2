/** Serves nodes: registers their manifests, then runs them as activities of Temporal's worker. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Info, Context as ActivityContext } from "@temporalio/activity";
import { ApplicationFailure, defaultPayloadConverter, type Payload, RawValue } from "@temporalio/common";
import { DefaultLogger, NativeConnection, Runtime, Worker } from "@temporalio/worker";
import { Client, RefluxError } from "./client.js";
import { Context, type Report } from "./context.js";
import { Failure } from "./failure.js";
import type { AnyNode } from "./node.js";
import { check, type Json } from "./schema.js";

// The wire between workers and the server: docs/nodes.md has it.
const reportMetadata = "reflux.report";
const idempotencyKeyHeader = "reflux.idempotency_key";

/** Heartbeats are sent at most this often. */
const heartbeatEveryMs = 1_000;
/** The longest wait for a server that is not there yet. */
const connectMaxMs = 60_000;

/** Where the server is, and how nodes are served. */
export interface WorkerOptions {
  /** The gRPC port: `REFLUX_ADDRESS`, else `127.0.0.1:7233`. */
  address?: string;
  /** The HTTP address: `REFLUX_URL`, else `http://127.0.0.1:8233`. */
  url?: string;
  namespace?: string;
  token?: string;
  /** How many attempts run at once for each task queue; 100 unless said. */
  concurrency?: number;
  /** How long attempts under way may take to end; 30,000 unless said. What has not is tried again by another worker. */
  graceMs?: number;
  /** Aborted to stop. */
  signal?: AbortSignal;
  /** Called when the nodes are registered and served. */
  ready?: () => void;
}

/** Serve nodes until SIGINT or SIGTERM. */
export async function serve(nodes: Iterable<AnyNode>, options: Omit<WorkerOptions, "signal"> = {}): Promise<void> {
  const stop = new AbortController();
  const signals: NodeJS.Signals[] = ["SIGINT", "SIGTERM"];
  const told = () => stop.abort();
  signals.forEach((signal) => process.on(signal, told));
  // Its own handler would stop the workers before they are waited for.
  Runtime.install({ logger: new DefaultLogger("WARN"), shutdownSignals: [] });
  try {
    await runWorker(nodes, { ...options, signal: stop.signal });
  } finally {
    signals.forEach((signal) => process.off(signal, told));
  }
}

/**
 * Serve nodes until the signal is aborted. At the end no new attempt is taken, and those under way may end. A server that
 * is not there yet is waited for.
 */
export async function runWorker(nodes: Iterable<AnyNode>, options: WorkerOptions = {}): Promise<void> {
  const { namespace = "default", concurrency = 100, graceMs = 30_000, signal } = options;
  const queues = new Map<string, AnyNode[]>();
  for (const each of nodes) queues.set(each.taskQueue, [...(queues.get(each.taskQueue) ?? []), each]);
  if (queues.size === 0) throw new TypeError("there are no nodes to serve");
  const client = new Client({ ...options, namespace });
  for (const each of [...queues.values()].flat()) {
    await patiently(() => client.registerNode(each.manifest, each.taskQueue), signal);
  }
  const address = options.address ?? process.env.REFLUX_ADDRESS ?? "127.0.0.1:7233";
  const connection = await patiently(() => NativeConnection.connect({ address }), signal);
  try {
    const workers = await Promise.all(
      [...queues].map(([taskQueue, served]) =>
        Worker.create({
          connection,
          namespace,
          taskQueue,
          activities: Object.fromEntries(served.map((each) => [each.manifest.name, activity(each)])),
          interceptors: { activity: [keepHeaders] },
          maxConcurrentActivityTaskExecutions: concurrency,
          shutdownGraceTime: graceMs,
          maxHeartbeatThrottleInterval: heartbeatEveryMs,
        }),
      ),
    );
    const stop = () => workers.filter((worker) => worker.getState() === "RUNNING").forEach((worker) => worker.shutdown());
    const running = Promise.all(workers.map((worker) => worker.run()));
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    options.ready?.();
    try {
      await running;
    } finally {
      signal?.removeEventListener("abort", stop);
      stop();
    }
  } finally {
    await connection.close();
  }
}

/** Tries again while there is no server. */
async function patiently<T>(attempt: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const end = Date.now() + connectMaxMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const answered = error instanceof RefluxError && !error.retryable;
      if (answered || signal?.aborted || Date.now() > end) throw error;
    }
    await sleep(500);
  }
}

type Headers = { [name: string]: Payload };

const headersOf = new WeakMap<ActivityContext, Headers>();

/** Keeps the headers of a task where its attempt finds them. */
function keepHeaders(context: ActivityContext) {
  return {
    inbound: {
      async execute(input: { args: unknown[]; headers: Headers }, next: (input: never) => Promise<unknown>) {
        headersOf.set(context, input.headers);
        return next(input as never);
      },
    },
  };
}

/** One attempt of a node. */
function activity(served: AnyNode): (input: Json) => Promise<RawValue> {
  return async (input) => {
    const temporal = ActivityContext.current();
    const beat = () => temporal.heartbeat(value(context.details(), context.report({ logs: false })));
    const context = contextOf(temporal, () => beat());
    const beats = setInterval(beat, (served.manifest.policies.heartbeatSec * 1_000) / 3);
    try {
      beat();
      const checked = check(served.inputs, input ?? {});
      const output = await served.run(checked, context);
      return value(output ?? undefined, context.report({ logs: true }));
    } catch (error) {
      // What ends because it was asked to is told as it is: the attempt counts as canceled.
      if (temporal.cancellationSignal.aborted) await temporal.cancelled;
      throw failureOf(error, context.report({ logs: true }));
    } finally {
      clearInterval(beats);
    }
  };
}

function contextOf(temporal: ActivityContext, beat: () => void): Context {
  const { info } = temporal;
  const key = headersOf.get(temporal)?.[idempotencyKeyHeader];
  return new Context(
    {
      namespace: info.workflowNamespace ?? "",
      runId: info.workflowExecution?.runId ?? "",
      workflowId: info.workflowExecution?.workflowId ?? "",
      flow: info.workflowType ?? "",
      step: stepOf(info.activityId),
      activationId: info.activityId,
      attempt: info.attempt,
      idempotencyKey: key === undefined ? derivedKey(info) : defaultPayloadConverter.fromPayload<string>(key),
      scheduledAtMs: info.scheduledTimestampMs,
      ...(info.startToCloseTimeoutMs > 0
        ? { deadlineMs: info.currentAttemptScheduledTimestampMs + info.startToCloseTimeoutMs }
        : {}),
      ...(info.heartbeatDetails == null ? {} : { lastHeartbeat: info.heartbeatDetails as Json }),
    },
    temporal.cancellationSignal,
    beat,
  );
}

/** `parent/step#2[3].compensate` is an activation of `parent/step`. */
function stepOf(activation: string): string {
  const own = activation.lastIndexOf("/") + 1;
  return activation.slice(0, own) + activation.slice(own).replace(/(#\d+)?(\[\d+\])?(\.compensate)?$/, "");
}

/** For an activity of a code workflow, which no server gave a key. */
function derivedKey({ workflowNamespace, workflowExecution: run, activityId }: Info): string {
  const parts = [workflowNamespace, run?.workflowId, run?.runId, activityId];
  return createHash("sha256").update(parts.join("\0")).digest("hex");
}

/** A value with the attempt's report in its metadata. */
function value(json: Json | undefined, report: Report | undefined): RawValue {
  const payload = defaultPayloadConverter.toPayload(json ?? null);
  if (report === undefined) return RawValue.fromPayload(payload);
  const metadata = { ...payload.metadata, [reportMetadata]: Buffer.from(JSON.stringify(report)) };
  return RawValue.fromPayload({ ...payload, metadata });
}

function failureOf(error: unknown, report: Report | undefined): ApplicationFailure {
  const failure = error instanceof Failure ? error : new Failure(nameOf(error), textOf(error));
  const carried = report === undefined && failure.details === undefined ? [] : [value(failure.details, report)];
  return ApplicationFailure.create({
    message: failure.message,
    type: failure.kind,
    nonRetryable: !failure.retryable,
    details: carried,
    ...(failure.retryAfterMs === undefined ? {} : { nextRetryDelay: failure.retryAfterMs }),
    ...(error instanceof Error && !(error instanceof Failure) ? { cause: error } : {}),
  });
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "Error";
}

function textOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)) || nameOf(error);
}
