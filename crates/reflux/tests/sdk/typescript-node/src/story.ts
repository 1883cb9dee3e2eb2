// A run that failed is looked at, mended and run again; another is paused, changed, resumed and forked.
// `story.js grpc` calls `reflux.v1` over gRPC, with messages made of the .proto files; `story.js rest` is the client.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { credentials, loadPackageDefinition, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { Client, RefluxError } from "@reflux/sdk";

type Any = any;
/** What the story asks of a server. */
interface Calls {
  deploy(text: string, file: string): Promise<Any>;
  start(flow: string, input: Any, options: { workflowId: string }): Promise<{ runId: string }>;
  get(run: string): Promise<{ status: string }>;
  describe(run: string): Promise<Any>;
  state(run: string, event?: number): Promise<Any>;
  verify(run: string, source?: string): Promise<Any>;
  diff(run: string, other: string): Promise<Any>;
  planRedrive(run: string, redrive: Any): Promise<Any>;
  redrive(run: string, redrive: Any): Promise<{ runId: string }>;
  pause(run: string, reason: string): Promise<void>;
  resume(run: string): Promise<void>;
  signal(run: string, name: string, data: Any): Promise<void>;
  mutate(run: string, patch: Any): Promise<number>;
  fork(run: string, fromEvent: number, workflowId: string): Promise<{ runId: string }>;
  pauseRuns(query: string): Promise<{ runId: string }>;
  resumeRuns(query: string, reason: string, perSecond: number): Promise<{ runId: string }>;
}

class Grpc implements Calls {
  readonly #metadata = new Metadata();
  readonly #flows: Any;
  readonly #runs: Any;

  constructor(address: string, token: string, protos: string) {
    // The annotations that say how a call looks over HTTP come with protobufjs.
    const loader = createRequire(import.meta.url).resolve("@grpc/proto-loader");
    const annotations = dirname(createRequire(loader).resolve("protobufjs/package.json"));
    const files = ["reflux/v1/flow_service.proto", "reflux/v1/run_service.proto"].map((file) => join(protos, file));
    const includeDirs = [protos, annotations];
    const loaded = loadSync(files, { keepCase: true, enums: String, defaults: true, oneofs: true, includeDirs });
    const { reflux } = loadPackageDefinition(loaded) as Any;
    this.#metadata.set("authorization", `Bearer ${token}`);
    this.#flows = new reflux.v1.FlowService(address, credentials.createInsecure());
    this.#runs = new reflux.v1.RunService(address, credentials.createInsecure());
  }

  #call(client: Any, method: string, request: Any): Promise<Any> {
    return new Promise((resolve, reject) => {
      client[method](request, this.#metadata, (error: ServiceError | null, answer: Any) => {
        if (error === null) resolve(answer);
        else reject(new RefluxError(status[error.code] ?? "unknown", error.details));
      });
    });
  }

  deploy(text: string, file: string): Promise<Any> {
    return this.#call(this.#flows, "DeployFlow", { source: { text, file } });
  }

  async start(flow: string, _input: Any, { workflowId }: { workflowId: string }): Promise<{ runId: string }> {
    return { runId: (await this.#call(this.#runs, "StartRun", { flow, workflow_id: workflowId })).run.run_id };
  }

  async get(run: string): Promise<{ status: string }> {
    const { status } = (await this.#call(this.#runs, "GetRun", { run })).run;
    return { status: status.replace("RUN_STATUS_", "").toLowerCase() };
  }

  async describe(run: string): Promise<Any> {
    const told = await this.#call(this.#runs, "DescribeRun", { run });
    return { ...told, output: valueOf(told.output) };
  }

  async state(run: string, event = 0): Promise<Any> {
    return fieldsOf((await this.#call(this.#runs, "GetRunState", { run, event })).state);
  }

  async verify(run: string, source = ""): Promise<Any> {
    const definition = source === "" ? {} : { with: { source: { text: source } } };
    const { divergence, ...told } = await this.#call(this.#runs, "VerifyRun", { run, ...definition });
    return divergence === null ? told : { ...told, divergence: { ...divergence, recorded: fieldsOf(divergence.recorded) } };
  }

  diff(run: string, other: string): Promise<Any> {
    return this.#call(this.#runs, "DiffRuns", { run, other });
  }

  planRedrive(run: string, redrive: Any): Promise<Any> {
    return this.#call(this.#runs, "PlanRedrive", { run, redrive });
  }

  async redrive(run: string, redrive: Any): Promise<{ runId: string }> {
    return { runId: (await this.#call(this.#runs, "RedriveRun", { run, redrive })).run.run_id };
  }

  pause(run: string, reason: string): Promise<void> {
    return this.#call(this.#runs, "PauseRun", { run, reason });
  }

  resume(run: string): Promise<void> {
    return this.#call(this.#runs, "ResumeRun", { run });
  }

  signal(run: string, name: string, data: Any): Promise<void> {
    return this.#call(this.#runs, "SignalRun", { run, name, data: messageOf(data) });
  }

  async mutate(run: string, { revision, ...patch }: Any): Promise<number> {
    const request = { run, patch: JSON.stringify(patch), expected_revision: revision };
    return (await this.#call(this.#runs, "MutateRun", request)).revision;
  }

  async fork(run: string, fromEvent: number, workflowId: string): Promise<{ runId: string }> {
    const request = { run, from_event: fromEvent, workflow_id: workflowId };
    return { runId: (await this.#call(this.#runs, "ForkRun", request)).run.run_id };
  }

  async pauseRuns(query: string): Promise<{ runId: string }> {
    return { runId: (await this.#call(this.#runs, "PauseRuns", { query })).run.run_id };
  }

  async resumeRuns(query: string, reason: string, perSecond: number): Promise<{ runId: string }> {
    const request = { query, reason, per_second: perSecond };
    return { runId: (await this.#call(this.#runs, "ResumeRuns", request)).run.run_id };
  }
}

/** A `google.protobuf.Value` as JSON. */
function valueOf(value: Any): Any {
  if (value === null || value === undefined) return null;
  if (value.kind === "structValue") return fieldsOf(value.structValue);
  if (value.kind === "listValue") return value.listValue.values.map(valueOf);
  return value.kind === "nullValue" ? null : value[value.kind];
}

function fieldsOf(struct: Any): Any {
  return Object.fromEntries(Object.entries(struct?.fields ?? {}).map(([name, value]) => [name, valueOf(value)]));
}

/** Text in an object: all that the story sends. */
function messageOf(fields: { [name: string]: string }): Any {
  const all = Object.entries(fields).map(([name, text]) => [name, { stringValue: text }]);
  return { structValue: { fields: Object.fromEntries(all) } };
}

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (let time = 0; time < 2_000; time++) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(30);
  }
  throw new Error(`waited in vain for ${what}`);
}

function closed(calls: Calls, run: string): Promise<Any> {
  return until(`the end of ${run}`, async () =>
    (await calls.get(run)).status === "running" ? undefined : calls.describe(run));
}

async function waits(calls: Calls, run: string, step: string): Promise<void> {
  await until(`${run} at ${step}`, async () => {
    const { waits_for } = await calls.describe(run);
    return waits_for.some((wait: Any) => wait.activation === step) || undefined;
  });
}

function stepOf(state: Any, id: string): Any {
  return state.steps.find((step: Any) => step.id === id);
}

/** Twenty steps, of which the twelfth is refused. */
async function mended(calls: Calls): Promise<void> {
  const [chain, other] = [readFileSync("chain.yaml", "utf8"), readFileSync("mended.yaml", "utf8")];
  await calls.deploy(chain, "chain.yaml");
  const base = (await calls.start("chain", {}, { workflowId: "chain-1" })).runId;
  assert.equal((await closed(calls, base)).run.status, "RUN_STATUS_FAILED");

  const state = await calls.state(base);
  assert.deepEqual([state.status, stepOf(state, "s11").outcome], ["failed", "succeeded"]);
  assert.equal(stepOf(state, "s12").outcome, "failed");
  assert.match(JSON.stringify(stepOf(state, "s12").error), /400/);
  assert.equal(stepOf(state, "s13").phase, "idle");
  assert.equal((await calls.verify(base)).verified, true);
  const elsewhere = await calls.verify(base, other);
  assert.equal(elsewhere.verified, false);
  assert.equal(elsewhere.divergence.recorded.activation, "s12");
  assert.ok(elsewhere.divergence.differences.some((one: Any) => one.path === "input/url"));

  const patch = { source: { text: other, file: "mended.yaml" }, reason: "mended" };
  const plan = await calls.planRedrive(base, patch);
  assert.deepEqual([plan.kept, plan.runs, plan.needs_consent], [11, 9, ["s12"]]);
  const without = calls.redrive(base, patch);
  await assert.rejects(without, (error: RefluxError) => error.code === "failed_precondition" && /s12/.test(error.message));
  const again = (await calls.redrive(base, { ...patch, allow_unsafe: ["s12"] })).runId;
  const told = await closed(calls, again);
  assert.deepEqual([told.run.status, told.output, told.redriven_from.run_id], ["RUN_STATUS_COMPLETED", 20, base]);
  assert.equal((await calls.diff(base, again)).first_difference, "s12");
}

/** Stopped where it waits, changed, let go on; and once more from there. */
async function steered(calls: Calls): Promise<void> {
  await calls.deploy(readFileSync("held.yaml", "utf8"), "held.yaml");
  const run = (await calls.start("held", {}, { workflowId: "held-1" })).runId;
  await waits(calls, run, "ask");
  let event = 1;
  while (stepOf(await calls.state(run, event), "first").outcome !== "succeeded") event += 1;
  await calls.pause(run, "a break");
  assert.match((await calls.describe(run)).paused, /a break/);
  await calls.signal(run, "go", { by: "Ada" });
  assert.notEqual(stepOf(await calls.state(run), "second").phase, "running", "a paused run has started a step");
  const ops = [{ set: { step: "third", path: "/with/template", value: "changed" } }];
  assert.equal(await calls.mutate(run, { revision: 0, ops }), 1);
  const stale = calls.mutate(run, { revision: 0, ops: [{ remove: "third" }] });
  await assert.rejects(
    stale,
    (error: RefluxError) => error.code === "failed_precondition" && /at revision 1, not 0/.test(error.message),
  );
  await calls.resume(run);
  assert.deepEqual((await closed(calls, run)).output, { n: 2, text: "changed" });

  const forked = (await calls.fork(run, event, "held-2")).runId;
  await waits(calls, forked, "ask");
  await calls.signal("held-2", "go", { by: "Bo" });
  const told = await closed(calls, forked);
  assert.deepEqual([told.run.status, told.output.n], ["RUN_STATUS_COMPLETED", 2]);
}

/** Three are stopped at once, and go on one after the other. */
async function together(calls: Calls): Promise<void> {
  const ids = ["many-0", "many-1", "many-2"];
  for (const workflowId of ids) await waits(calls, (await calls.start("held", {}, { workflowId })).runId, "ask");
  const took = await closed(calls, (await calls.pauseRuns("WorkflowId STARTS_WITH 'many-'")).runId);
  assert.deepEqual(took.output.map((one: Any) => one.paused), [true, true, true]);
  for (const id of ids) {
    await calls.signal(id, "go", { by: "Ada" });
    assert.notEqual((await calls.describe(id)).paused, "");
  }
  const went = await closed(calls, (await calls.resumeRuns("WorkflowId STARTS_WITH 'many-'", "back", 50)).runId);
  assert.deepEqual(went.output.map((one: Any) => one.resumed), [true, true, true]);
  for (const id of ids) assert.equal((await closed(calls, id)).run.status, "RUN_STATUS_COMPLETED");
}

const { REFLUX_ADDRESS = "", REFLUX_PROTOS = "" } = process.env;
const token = readFileSync(".reflux/token", "utf8").trim();
const calls: Calls = process.argv[2] === "grpc" ? new Grpc(REFLUX_ADDRESS, token, REFLUX_PROTOS) : new Client();
await mended(calls);
await steered(calls);
await together(calls);
process.exit(0); // the channels of gRPC would keep it
