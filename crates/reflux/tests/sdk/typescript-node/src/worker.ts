// Serves the node `ring.typescript` from the installed package.
import { setTimeout as sleep } from "node:timers/promises";
import { Failure, node, serve } from "@reflux/sdk";

const ring = node(
  {
    name: "ring.typescript",
    version: "1.0.0",
    description: "Calls a number and writes itself behind the path.",
    inputs: { url: "string", path: "string[]" },
    outputs: "string[]",
    effects: "idempotent",
    heartbeatSec: 3,
    retries: Array<number>(30).fill(0.1),
    metrics: ["rung"],
  },
  async ({ url, path }, context) => {
    const { idempotencyKey: key, workflowId: run, step, attempt } = context.attempt;
    context.progress(0.5);
    const headers = { "content-type": "application/json" };
    await fetch(url, { method: "POST", headers, body: JSON.stringify({ key, run, step, attempt }) });
    await sleep(100);
    context.log(`rang for ${step}`);
    context.metric("rung", 1);
    context.tokens(3, 2);
    context.cost(0.5);
    return [...path, step];
  },
);

const fail = node(
  { name: "fail.typescript", version: "1.0.0", inputs: { text: "string" }, outputs: "string", effects: "pure", retries: [] },
  ({ text }, context): string => {
    context.log(`it was ${text}`);
    throw new Failure("Told.To", `not ${text}`, { retryable: false, details: { text } });
  },
);

await serve([ring, fail]);
