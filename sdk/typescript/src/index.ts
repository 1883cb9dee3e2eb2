/**
 * Nodes and a client for Reflux.
 *
 * A node is a typed function; a worker serves it, and flows call it:
 *
 *     const upper = node(
 *       { name: "text.upper", version: "1.0.0", effects: "pure", inputs: { text: "string" }, outputs: "string" },
 *       ({ text }) => text.toUpperCase(),
 *     );
 *     await serve([upper]);
 */
export { Client, type ClientOptions, RefluxError, type Run, RunFailed, type RunStatus, type StartOptions, type Update } from "./client.js";
export { type Attempt, Context, type Level } from "./context.js";
export { Failure, type FailureOptions } from "./failure.js";
export { type AnyNode, type Circuit, type Effects, type Manifest, Node, node, type NodeOptions, type Tunable } from "./node.js";
export type { Fields, Json, JsonSchema, Type, ValueOf } from "./schema.js";
export { runWorker, serve, type WorkerOptions } from "./worker.js";
