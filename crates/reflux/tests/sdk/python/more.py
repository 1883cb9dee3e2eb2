"""What the scenario leaves out: cancellation, failures, conflicts, lists, and workers that stop."""

import asyncio
import logging
import os
import uuid
from datetime import timedelta

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from workflows import (
    ACTIVITIES,
    WORKFLOWS,
    Cancelled,
    Fails,
    Parallel,
    Relays,
    Scenario,
    Stuck,
    Waits,
)

QUEUE = "more"
HELD = "held"  # nobody polls it
LATER = 60


async def cancellation_reaches_a_running_activity(client: Client) -> None:
    run = await start(client, Cancelled.run)
    await until(lambda: has_activity(run))
    await run.cancel()
    await run.cancel()  # asking twice is asking once
    await fails_with(run, CancelledError)
    await replays(run)


async def activities_run_at_once_beside_a_slow_local_one(client: Client) -> None:
    run = await start(client, Parallel.run, 20)
    assert await run.result() == [*(f"hello {n}" for n in range(20)), "local"]
    await replays(run)


async def a_failure_arrives_with_type_and_details(client: Client) -> None:
    run = await start(client, Fails.run)
    error = await fails_with(run, ApplicationError)
    assert (error.type, list(error.details)) == ("Expected", ["a detail"]), error
    await replays(run)


async def a_task_that_fails_is_tried_again(client: Client) -> None:
    run = await start(client, Stuck.run, task_timeout=timedelta(seconds=5))
    assert await run.result() == 2
    await replays(run)


async def a_broken_query_fails_alone(client: Client) -> None:
    run = await start(client, Waits.run, 1)
    for unknown in ("nothing",):
        try:
            await run.query(unknown)
            raise AssertionError("the query was answered")
        except WorkflowQueryFailedError as error:
            assert unknown in str(error), error
    await run.signal(Waits.take, "a")
    assert await run.result() == ["a"]


async def signals_arrive_in_order_and_once(client: Client) -> None:
    run = await start(client, Waits.run, 50)
    for n in range(50):
        await run.signal(Waits.take, str(n))
    assert await run.result() == [str(n) for n in range(50)]
    assert (await (await run.describe()).memo())["taken"] == 50
    await replays(run)


async def one_workflow_signals_and_cancels_another(client: Client) -> None:
    other = await start(client, Waits.run, 2)
    relay = await start(client, Relays.run, other.id)
    await relay.result()
    await fails_with(other, CancelledError)
    await replays(relay)
    await replays(other)


async def signal_with_start_starts_once(client: Client) -> None:
    name = f"with-start-{uuid.uuid4()}"
    runs = [
        await client.start_workflow(
            Waits.run, 2, id=name, task_queue=QUEUE, start_signal="take", start_signal_args=[text]
        )
        for text in ("a", "b")
    ]
    assert runs[0].result_run_id == runs[1].result_run_id
    assert await runs[0].result() == ["a", "b"]


async def a_taken_id_follows_the_policies(client: Client) -> None:
    first = await start(client, Waits.run, 1)
    again = {"id": first.id, "task_queue": QUEUE}
    try:
        await client.start_workflow(Waits.run, 1, **again)
        raise AssertionError("the id was taken twice")
    except WorkflowAlreadyStartedError as error:
        assert error.run_id == first.result_run_id, error
    used = await client.start_workflow(
        Waits.run, 1, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, **again
    )
    assert used.result_run_id == first.result_run_id
    second = await client.start_workflow(
        Waits.run, 1, id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING, **again
    )
    assert second.result_run_id != first.result_run_id
    await fails_with(client.get_workflow_handle(first.id, run_id=first.result_run_id), TerminatedError)
    await second.signal(Waits.take, "a")
    await second.result()
    try:
        await client.start_workflow(
            Waits.run, 1, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE, **again
        )
        raise AssertionError("the id was used again")
    except WorkflowAlreadyStartedError:
        pass


async def a_terminated_run_says_so(client: Client) -> None:
    run = await start(client, Waits.run, 1, queue=HELD)
    await run.terminate("enough")
    await fails_with(run, TerminatedError)
    try:
        await run.signal(Waits.take, "a")
        raise AssertionError("a closed run took a signal")
    except RPCError as error:
        assert error.status == RPCStatusCode.NOT_FOUND, error


async def runs_are_listed_and_counted(client: Client) -> None:
    prefix = f"listed-{uuid.uuid4()}"
    for n in range(5):
        await client.start_workflow(Waits.run, 1, id=f"{prefix}-{n}", task_queue=HELD)
    await client.get_workflow_handle(f"{prefix}-4").terminate()
    query = f"WorkflowId STARTS_WITH '{prefix}'"
    listed = [run.id async for run in client.list_workflows(query, page_size=2)]
    assert sorted(listed) == [f"{prefix}-{n}" for n in range(5)], listed
    running = [
        run async for run in client.list_workflows(f"{query} AND ExecutionStatus = 'Running'")
    ]
    assert len(running) == 4 and {r.status for r in running} == {WorkflowExecutionStatus.RUNNING}
    assert (await client.count_workflows(query)).count == 5
    groups = (await client.count_workflows(f"{query} GROUP BY ExecutionStatus")).groups
    assert {g.group_values[0]: g.count for g in groups} == {"Running": 4, "Terminated": 1}, groups


async def a_query_without_a_worker_gives_up_in_time(client: Client) -> None:
    run = await start(client, Scenario.run, "nobody", queue=HELD)
    try:
        await run.query(Scenario.told, rpc_timeout=timedelta(seconds=1))
        raise AssertionError("nobody could answer")
    except RPCError as error:
        assert error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED), error


async def start(client: Client, run, *args, queue: str = QUEUE, **more):
    name = f"{run.__qualname__}-{uuid.uuid4()}"
    return await client.start_workflow(run, args=args, id=name, task_queue=queue, **more)


async def has_activity(run) -> bool:
    return len((await run.describe()).raw_description.pending_activities) > 0


async def fails_with(run, expected):
    try:
        gave = await run.result(follow_runs=False)
    except WorkflowFailureError as error:
        assert isinstance(error.cause, expected), f"{error.cause!r}"
        return error.cause
    raise AssertionError(f"it gave {gave}")


async def replays(run) -> None:
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    Stuck.failed = 2  # type: ignore[attr-defined]
    await replayer.replay_workflow(await run.fetch_history())


async def until(holds) -> None:
    while not await holds():
        await asyncio.sleep(0.02)


async def main() -> None:
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=timedelta(seconds=5),
    )
    async with worker:
        for check in (
            cancellation_reaches_a_running_activity,
            activities_run_at_once_beside_a_slow_local_one,
            a_failure_arrives_with_type_and_details,
            a_task_that_fails_is_tried_again,
            a_broken_query_fails_alone,
            signals_arrive_in_order_and_once,
            one_workflow_signals_and_cancels_another,
            signal_with_start_starts_once,
            a_taken_id_follows_the_policies,
            a_terminated_run_says_so,
            runs_are_listed_and_counted,
            a_query_without_a_worker_gives_up_in_time,
        ):
            try:
                await asyncio.wait_for(check(client), LATER)
            except BaseException:
                print(f"more: {check.__name__}", flush=True)
                raise


if __name__ == "__main__":
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # tasks fail on purpose
    asyncio.run(main())
    # All has been checked. The SDK's own threads may still run, and an interpreter that ends in order
    # can crash on them.
    os._exit(0)
