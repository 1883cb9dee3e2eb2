import { deepStrictEqual, rejects, throws } from "node:assert";
import { test } from "node:test";
import { Context, Failure, type Json, node } from "../src/index.js";
import { check, schemaOf, type Type } from "../src/schema.js";

const upper = node(
  {
    name: "text.upper",
    version: "1.0.0",
    description: "Writes text in capitals.",
    effects: "pure",
    inputs: { text: "string", "times?": "integer" },
    outputs: "string",
    timeoutSec: 5,
    retries: [1, 3],
  },
  // What the types say is tested by compiling this.
  ({ text, times }) => text.toUpperCase().repeat(times ?? 1),
);

test("a manifest follows from what is written", () => {
  deepStrictEqual(upper.manifest, {
    name: "text.upper",
    version: "1.0.0",
    inputs: {
      type: "object",
      properties: { text: { type: "string" }, times: { type: "integer" } },
      required: ["text"],
    },
    outputs: { type: "string" },
    policies: { heartbeatSec: 15, timeoutSec: 5, retries: [1, 3] },
    effects: "pure",
    description: "Writes text in capitals.",
  });
  deepStrictEqual(upper.taskQueue, "node:text.upper");
});

test("a type has its schema", () => {
  const rows: [Type, Json][] = [
    ["any", {}],
    ["number[]", { type: "array", items: { type: "number" } }],
    [{ "a?": "any" }, { type: "object", properties: { a: {} } }],
    [
      { at: { line: "integer" } },
      {
        type: "object",
        properties: { at: { type: "object", properties: { line: { type: "integer" } }, required: ["line"] } },
        required: ["at"],
      },
    ],
  ];
  for (const [type, schema] of rows) deepStrictEqual(schemaOf(type), schema);
  throws(() => schemaOf("strong" as Type), /unknown type strong/);
});

test("an input that does not fit is named but not quoted", () => {
  const type = { text: "string", "times?": "integer", "at?": { line: "integer[]" } } as const;
  const rows: [Json, string][] = [
    [{}, "`text` is missing"],
    [[], "expected object, found array"],
    [{ text: 1 }, "text: expected string, found number"],
    [{ text: "s3cret", times: "s3cret" }, "times: expected integer, found string"],
    [{ text: "", times: 1.5 }, "times: expected integer, found number"],
    [{ text: "", at: { line: [1, true] } }, "at.line[1]: expected integer, found boolean"],
  ];
  for (const [value, message] of rows) {
    throws(() => check(type, value), (error: unknown) => {
      deepStrictEqual(error instanceof Failure && [error.kind, error.message, error.retryable], ["BadInput", message, false]);
      return true;
    });
  }
  deepStrictEqual(check(type, { text: "a", times: null, more: 1 }), { text: "a", more: 1 });
});

test("a node is called like a function", async () => {
  deepStrictEqual(await upper.run({ text: "a", times: 2 }, new Context()), "AA");
  const fails = node({ name: "a", version: "1.0.0", inputs: {}, outputs: "any" }, async () => {
    throw new Failure("Shop.Closed", "come back", { retryable: false });
  });
  await rejects(async () => fails.run({}, new Context()), { kind: "Shop.Closed" });
});

test("what cannot be a node says why", () => {
  const made = (name: string, version: string) => () => node({ name, version, inputs: {}, outputs: "any" }, () => null);
  throws(made("a b", "1.0.0"), /name "a b"/);
  throws(made("a", "1"), /version "1"/);
});

test("a report keeps the tail and what is finite", () => {
  const context = new Context();
  for (let line = 0; line < 1_002; line++) context.log(`line ${line}`);
  context.metric("a", Number.NaN);
  context.progress(2);
  context.tokens(3, 4);
  context.tokens(1, 0);
  context.cost(-1);
  context.cost(0.25);
  const report = context.report({ logs: true });
  deepStrictEqual([report?.logs?.length, report?.logs_dropped, report?.logs?.[0]?.line], [1_000, 2, "line 2"]);
  deepStrictEqual(report?.metrics, { progress: 1 });
  deepStrictEqual([report?.tokens, report?.cost_usd], [{ input: 4, output: 4 }, 0.25]);
  deepStrictEqual(new Context().report({ logs: true }), undefined);
});
