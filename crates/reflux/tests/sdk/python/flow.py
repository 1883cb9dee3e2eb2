"""A flow's run as a client of Temporal sees it: listed, described, signalled, read and waited for.

The run is there and waits for the signal `payment`; FLOW and WORKFLOW_ID name it.
"""

import asyncio
import os

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

PATIENCE = 60


async def seen(client: Client, flow: str, workflow_id: str) -> None:
    run = client.get_workflow_handle(workflow_id)
    await is_listed(client, run, flow, WorkflowExecutionStatus.RUNNING)
    described = await run.describe()
    assert described.workflow_type == flow, described
    assert described.status == WorkflowExecutionStatus.RUNNING and described.close_time is None, described
    before = await kinds(run)
    assert before[0] == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, before
    # What a step did is an activity's events; a flow has no workflow tasks.
    assert EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED in before, before
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED not in before, before

    waiting = asyncio.create_task(run.result())
    await run.signal("payment", {"amount": 12.5})
    result = await waiting
    assert result == {"greeting": "hello Ada", "paid": 12.5}, result

    await is_listed(client, run, flow, WorkflowExecutionStatus.COMPLETED)
    described = await run.describe()
    assert described.status == WorkflowExecutionStatus.COMPLETED and described.close_time, described
    after = await kinds(run)
    assert after[: len(before)] == before, after
    assert EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED in after[len(before) :], after
    assert after[-1] == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, after
    assert described.history_length == len(after), described


async def is_listed(client: Client, run: WorkflowHandle, flow: str, status: WorkflowExecutionStatus) -> None:
    query = f"WorkflowType = '{flow}' AND WorkflowId = '{run.id}'"
    listed = [execution async for execution in client.list_workflows(query)]
    assert [(one.id, one.workflow_type, one.status) for one in listed] == [(run.id, flow, status)], listed


async def kinds(run: WorkflowHandle) -> list[int]:
    """The types of a history's events, in order."""
    events = (await run.fetch_history()).events
    assert [event.event_id for event in events] == list(range(1, len(events) + 1)), events
    return [event.event_type for event in events]


async def main() -> None:
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    await asyncio.wait_for(seen(client, os.environ["FLOW"], os.environ["WORKFLOW_ID"]), PATIENCE)


if __name__ == "__main__":
    asyncio.run(main())
    # All has been checked. The SDK's own threads may still run, and an interpreter that ends in order
    # can crash on them.
    os._exit(0)
