// The scenario of ../../README.md with the TypeScript SDK.
import { deepStrictEqual, ok } from "node:assert";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Client, Connection, type WorkflowHandle } from "@temporalio/client";
import { DefaultLogger, NativeConnection, Runtime, Worker } from "@temporalio/worker";
import * as activities from "./activities.js";
import { go, type Result, Scenario, state } from "./workflows.js";

const queue = "scenario";
const id = "scenario-typescript";
const childId = "scenario-typescript-child";
/** The longest wait for anything that must happen, in milliseconds. */
const patience = 60_000;

const address = process.env.TEMPORAL_ADDRESS ?? "127.0.0.1:7233";
const workflowsPath = fileURLToPath(new URL("./workflows.js", import.meta.url));

async function work(): Promise<void> {
  const worker = await Worker.create({
    connection: await NativeConnection.connect({ address }),
    taskQueue: queue,
    workflowsPath,
    activities,
    stickyQueueScheduleToStartTimeout: "1s",
  });
  await worker.run();
}

async function scenario(): Promise<void> {
  const client = new Client({ connection: await Connection.connect({ address }) });
  const first = startWorker();
  const run = await client.workflow.start(Scenario, { workflowId: id, taskQueue: queue, args: [childId] });
  await waitForState(run, "waiting");
  await kill(first);
  const second = startWorker();
  try {
    await waitForState(run, "waiting");
    await run.signal(go, "go");
    const result: Result = await run.result();
    deepStrictEqual(result, { flaky: 3, resumed: 3, beats: 5, signal: "go", rounds: 2, greeting: "hello go" });
    await waitForState(run, "done");
  } finally {
    await kill(second);
  }
  await replay(client, run.firstExecutionRunId);
}

const workers = new Set<ChildProcess>();
process.on("exit", () => workers.forEach((worker) => worker.kill("SIGKILL")));

function startWorker(): ChildProcess {
  const worker = spawn(process.execPath, [fileURLToPath(import.meta.url), "worker"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  workers.add(worker);
  return worker;
}

async function kill(worker: ChildProcess): Promise<void> {
  const ended = once(worker, "exit");
  worker.kill("SIGKILL");
  await ended;
}

/** Asks until the run says so. A query may time out while no worker is there. */
async function waitForState(run: WorkflowHandle, wanted: string): Promise<void> {
  const end = Date.now() + patience;
  let last: unknown;
  while (Date.now() < end) {
    try {
      const asked = run.client.connection.withDeadline(Date.now() + 5_000, () => run.query(state));
      last = await asked;
      if (last === wanted) return;
    } catch (error) {
      last = error;
    }
    await sleep(50);
  }
  throw new Error(`the run never was ${wanted}`, { cause: last });
}

/** The parent's history and those of both runs of the child. */
async function replay(client: Client, runId: string): Promise<void> {
  const parent = await client.workflow.getHandle(id, runId).fetchHistory();
  const started = parent.events?.find((event) => event.childWorkflowExecutionStartedEventAttributes);
  const child = started?.childWorkflowExecutionStartedEventAttributes?.workflowExecution?.runId;
  ok(child, "the parent's history names no child");
  const first = await client.workflow.getHandle(childId, child).fetchHistory();
  const next = first.events?.at(-1)?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId;
  ok(next, "the child's first run did not continue as new");
  const second = await client.workflow.getHandle(childId, next).fetchHistory();
  const histories = [
    { workflowId: id, history: parent },
    { workflowId: childId, history: first },
    { workflowId: childId, history: second },
  ];
  let replayed = 0;
  for await (const { workflowId, error } of Worker.runReplayHistories({ workflowsPath }, histories)) {
    if (error) throw new Error(`replay of ${workflowId}`, { cause: error });
    replayed++;
  }
  deepStrictEqual(replayed, histories.length);
}

Runtime.install({ logger: new DefaultLogger("ERROR") });
try {
  await (process.argv[2] === "worker" ? work() : scenario());
} catch (error) {
  console.error("scenario:", error);
  process.exitCode = 1;
}
process.exit();
