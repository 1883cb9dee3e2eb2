"""The scenario of ../README.md with the Python SDK."""

import asyncio
import logging
import os
import signal
import sys
from datetime import timedelta

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from workflows import ACTIVITIES, WORKFLOWS, Result, Rounds, Scenario

QUEUE = "scenario"
ID = "scenario-python"
CHILD = "scenario-python-child"
# The longest wait for anything that must happen.
PATIENCE = 60


async def work() -> None:
    async with Worker(
        await Client.connect(os.environ["TEMPORAL_ADDRESS"]),
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await asyncio.Event().wait()


async def start_worker() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, __file__, "worker")


async def scenario() -> None:
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    worker = await start_worker()
    try:
        run = await client.start_workflow(Scenario.run, CHILD, id=ID, task_queue=QUEUE)
        await wait_for_state(client, "waiting")
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
        worker = await start_worker()
        await wait_for_state(client, "waiting")
        await run.signal(Scenario.go, "go")
        result = await run.result()
        expected = Result(3, 3, 5, "go", 2, "hello go")
        assert result == expected, f"expected {expected}, found {result}"
        await wait_for_state(client, "done")
        await replay(client, run.result_run_id)
    finally:
        worker.kill()


async def wait_for_state(client: Client, wanted: str) -> None:
    """Asks until the run says so. A query may time out while no worker is there."""
    found: object = None
    for _ in range(PATIENCE * 10):
        try:
            found = await client.get_workflow_handle(ID).query(
                Scenario.told, rpc_timeout=timedelta(seconds=5)
            )
        except RPCError as error:
            found = error
        if found == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the run never was {wanted}: {found}")


async def replay(client: Client, run_id: str | None) -> None:
    """The parent's history and those of both runs of the child."""
    parent = await history(client, ID, run_id)
    child = next(
        event.child_workflow_execution_started_event_attributes.workflow_execution.run_id
        for event in parent.events
        if event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
    )
    first = await history(client, CHILD, child)
    continued = first.events[-1].workflow_execution_continued_as_new_event_attributes
    assert continued.new_execution_run_id, "the child's first run did not continue as new"
    second = await history(client, CHILD, continued.new_execution_run_id)
    replayer = Replayer(
        workflows=[Scenario, Rounds], workflow_runner=UnsandboxedWorkflowRunner()
    )
    for one in (parent, first, second):
        await replayer.replay_workflow(one)


async def history(client: Client, workflow_id: str, run_id: str | None) -> WorkflowHistory:
    return await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()


if __name__ == "__main__":
    logging.getLogger("temporalio").setLevel(logging.ERROR)  # attempts fail on purpose
    asyncio.run(work() if sys.argv[1:] == ["worker"] else asyncio.wait_for(scenario(), PATIENCE * 3))
    # All has been checked. The SDK's own threads may still run, and an interpreter that ends in order
    # can crash on them.
    os._exit(0)
