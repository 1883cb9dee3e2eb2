import { activityInfo, heartbeat } from "@temporalio/activity";

/** Fails twice. */
export async function flaky(): Promise<number> {
  const { attempt } = activityInfo();
  if (attempt < 3) throw new Error(`attempt ${attempt} fails`);
  return attempt;
}

/** Fails after three heartbeats, and its next attempt goes on from there. */
export async function beat(): Promise<{ resumed: number; beats: number }> {
  const resumed = (activityInfo().heartbeatDetails as number | undefined) ?? 0;
  for (let n = resumed + 1; n <= 5; n++) {
    heartbeat(n);
    if (n === 3) throw new Error(`fails after ${n} heartbeats`);
  }
  return { resumed, beats: 5 };
}

/** What comes after the signal. */
export async function greet(name: string): Promise<string> {
  return `hello ${name}`;
}
