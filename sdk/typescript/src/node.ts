import type { Context } from "./context.js";
import { type Fields, type Json, type JsonSchema, schemaOf, type Type, type ValueOf } from "./schema.js";

/** What a call does to the world; `unsafe` is assumed if nothing is said. */
export type Effects = "pure" | "reads" | "idempotent" | "unsafe";

/** Silence after which a worker counts as lost, in seconds. Workers speak three times as often. */
const heartbeatSec = 15;

/** An input that an optimizer may turn. */
export interface Tunable {
  name: string;
  type: "integer" | "number" | "boolean" | "string";
  /** `[least, greatest]` for numbers; otherwise every choice. */
  range?: Json[];
  default?: Json;
}

/** What a node is called, takes, gives and promises. */
export interface NodeOptions<I extends Fields, O extends Type> {
  /** `module.action`, of letters, digits, `_`, `-` and `.`. */
  name: string;
  /** A semver version; `0.1.0-draft` is a draft. */
  version: string;
  /** One sentence for people. */
  description?: string;
  inputs: I;
  outputs: O;
  effects?: Effects;
  /** The longest an attempt may take. */
  timeoutSec?: number;
  heartbeatSec?: number;
  /** The pauses before further attempts, in seconds. */
  retries?: number[];
  /** How equal calls are recognised, for example `sha1(inputs)`. */
  idempotency?: string;
  /** How often it is called, by all runs together: `10/s`, `100/m`, `5/h`, `1/d`. */
  rate?: string;
  /** When it is not called for a while, because its calls fail anyway. */
  circuit?: Circuit;
  metrics?: string[];
  tunables?: Tunable[];
  alternatives?: string[];
  /** Where its workers listen; `node:` and the name unless said. */
  taskQueue?: string;
}

/** So many failed attempts within so long a time, and nothing is called for so long. */
export interface Circuit {
  failures: number;
  withinSec: number;
  openSec: number;
}

/** What the server knows of a node. */
export interface Manifest {
  name: string;
  version: string;
  description?: string;
  inputs: JsonSchema;
  outputs: JsonSchema;
  policies: {
    heartbeatSec: number;
    timeoutSec?: number;
    retries?: number[];
    idempotency?: string;
    rate?: string;
    circuit?: Circuit;
  };
  effects: Effects;
  taskQueue?: string;
  metrics?: string[];
  tunables?: Tunable[];
  alternatives?: string[];
}

/** A function and its manifest. */
export class Node<I, O> {
  constructor(
    readonly manifest: Manifest,
    /** What an input is checked against. */
    readonly inputs: Fields,
    readonly run: (input: I, context: Context) => O | Promise<O>,
  ) {}

  /** Where its workers listen. */
  get taskQueue(): string {
    return this.manifest.taskQueue ?? `node:${this.manifest.name}`;
  }
}

/** A node of any input and output. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a function's input is contravariant
export type AnyNode = Node<any, Json | void>;

const names = /^[A-Za-z0-9_.-]{1,200}$/;
const versions = /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/;

/** Make a node of a function, `async` or not. What it returns is the step's output. */
export function node<const I extends Fields, const O extends Type>(
  options: NodeOptions<I, O>,
  run: (input: ValueOf<I>, context: Context) => ValueOf<O> | Promise<ValueOf<O>>,
): Node<ValueOf<I>, ValueOf<O>> {
  const { name, version, inputs, outputs, timeoutSec, retries, idempotency, rate, circuit, effects, ...more } =
    options;
  if (!names.test(name)) {
    throw new TypeError(`name ${JSON.stringify(name)}: use letters, digits, \`_\`, \`-\` and \`.\`, for example text.upper`);
  }
  if (!versions.test(version)) {
    throw new TypeError(`version ${JSON.stringify(version)} of ${name}: use major.minor.patch, for example 1.4.2`);
  }
  const { heartbeatSec: silence = heartbeatSec, ...rest } = more;
  const manifest: Manifest = {
    name,
    version,
    inputs: schemaOf(inputs),
    outputs: schemaOf(outputs),
    policies: {
      heartbeatSec: silence,
      ...(timeoutSec === undefined ? {} : { timeoutSec }),
      ...(retries === undefined ? {} : { retries }),
      ...(idempotency === undefined ? {} : { idempotency }),
      ...(rate === undefined ? {} : { rate }),
      ...(circuit === undefined ? {} : { circuit }),
    },
    effects: effects ?? (idempotency === undefined ? "unsafe" : "idempotent"),
    ...rest,
  };
  return new Node(manifest, inputs, run);
}
