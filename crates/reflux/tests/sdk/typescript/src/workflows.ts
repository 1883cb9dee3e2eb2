import {
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  executeChild,
  proxyActivities,
  setHandler,
  sleep,
} from "@temporalio/workflow";
import type * as activities from "./activities.js";

export interface Result {
  flaky: number;
  resumed: number;
  beats: number;
  signal: string;
  rounds: number;
  greeting: string;
}

export const state = defineQuery<string>("state");
export const go = defineSignal<[string]>("go");

const { flaky, beat, greet } = proxyActivities<typeof activities>({
  startToCloseTimeout: "20s",
  heartbeatTimeout: "10s",
  retry: { initialInterval: "10ms", backoffCoefficient: 1, maximumAttempts: 5 },
});

export async function Scenario(childId: string): Promise<Result> {
  let now = "begun";
  let signal: string | undefined;
  setHandler(state, () => now);
  setHandler(go, (value) => {
    signal = value;
  });
  const [attempts, beaten] = await Promise.all([flaky(), beat()]);
  await sleep("100ms");
  now = "waiting";
  await condition(() => signal !== undefined);
  now = "signalled";
  const rounds = await executeChild(Rounds, { workflowId: childId, args: [1] });
  const greeting = await greet(signal ?? "");
  now = "done";
  return { flaky: attempts, ...beaten, signal: signal ?? "", rounds, greeting };
}

/** Continues as new once and gives the number of its runs. */
export async function Rounds(round: number): Promise<number> {
  if (round < 2) return continueAsNew<typeof Rounds>(round + 1);
  return round;
}
