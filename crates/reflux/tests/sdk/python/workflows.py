"""Workflows and activities of the scenario in ../README.md, and of more.py."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

QUICK = RetryPolicy(initial_interval=timedelta(milliseconds=20))
SOON = timedelta(seconds=20)


@dataclass
class Result:
    flaky: int = 0
    resumed: int = 0
    beats: int = 0
    signal: str = ""
    rounds: int = 0
    greeting: str = ""


@activity.defn
async def flaky() -> int:
    attempt = activity.info().attempt
    if attempt < 3:
        raise ApplicationError(f"attempt {attempt} fails")
    return attempt


@activity.defn
async def beat() -> list[int]:
    found = list(activity.info().heartbeat_details)
    begin = found[0] if found else 0
    for count in range(begin + 1, 6):
        activity.heartbeat(count)
        if count == 3 and not found:
            raise ApplicationError("the first attempt fails")
    return [begin, 5]


@activity.defn
async def greet(name: str) -> str:
    return f"hello {name}"


@activity.defn
async def until_cancelled() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.05)


@workflow.defn
class Rounds:
    @workflow.run
    async def run(self, rounds: int) -> int:
        if rounds < 2:
            workflow.continue_as_new(rounds + 1)
        return rounds


@workflow.defn
class Scenario:
    def __init__(self) -> None:
        self.state = "begun"
        self.signal = ""

    @workflow.run
    async def run(self, child: str) -> Result:
        count = await workflow.execute_activity(
            flaky, start_to_close_timeout=SOON, retry_policy=QUICK
        )
        resumed, beats = await workflow.execute_activity(
            beat, start_to_close_timeout=SOON, heartbeat_timeout=SOON, retry_policy=QUICK
        )
        await asyncio.sleep(0.1)
        self.state = "waiting"
        await workflow.wait_condition(lambda: self.signal != "")
        rounds = await workflow.execute_child_workflow(Rounds.run, 1, id=child)
        greeting = await workflow.execute_activity(
            greet, self.signal, start_to_close_timeout=SOON
        )
        self.state = "done"
        return Result(count, resumed, beats, self.signal, rounds, greeting)

    @workflow.signal
    def go(self, value: str) -> None:
        self.signal = value

    @workflow.query(name="state")
    def told(self) -> str:
        return self.state

    @workflow.query
    def broken(self) -> str:
        raise ApplicationError("this query fails")


@workflow.defn
class Cancelled:
    """Ends as cancelled after it has told its activity to stop."""

    @workflow.run
    async def run(self) -> None:
        handle = workflow.start_activity(
            until_cancelled,
            start_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=5),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await handle


@workflow.defn
class Parallel:
    """Fans out, and heartbeats a local activity over several workflow tasks."""

    @workflow.run
    async def run(self, width: int) -> list[str]:
        local = workflow.start_local_activity(slow_local, start_to_close_timeout=SOON)
        greetings = await asyncio.gather(
            *(
                workflow.execute_activity(greet, str(n), start_to_close_timeout=SOON)
                for n in range(width)
            )
        )
        return [*greetings, await local]


@activity.defn
async def slow_local() -> str:
    await asyncio.sleep(2.5)
    return "local"


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("as it should", "a detail", type="Expected", non_retryable=True)


@workflow.defn
class Stuck:
    """Fails its task twice, so that transient tasks follow, and then goes on."""

    @workflow.run
    async def run(self) -> int:
        failed = getattr(Stuck, "failed", 0)
        if failed < 2:
            Stuck.failed = failed + 1  # type: ignore[attr-defined]
            raise RuntimeError("a defect, not a failure of the workflow")
        return failed


@workflow.defn
class Waits:
    def __init__(self) -> None:
        self.taken: list[str] = []

    @workflow.run
    async def run(self, count: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.taken) >= count)
        workflow.upsert_memo({"taken": len(self.taken)})
        return self.taken

    @workflow.signal
    def take(self, value: str) -> None:
        self.taken.append(value)


@workflow.defn
class Relays:
    """Signals another workflow and asks it to end."""

    @workflow.run
    async def run(self, other: str) -> None:
        handle = workflow.get_external_workflow_handle(other)
        await handle.signal("take", "relayed")
        await handle.cancel()


WORKFLOWS = [Scenario, Rounds, Cancelled, Parallel, Fails, Stuck, Waits, Relays]
ACTIVITIES = [flaky, beat, greet, until_cancelled, slow_local]
