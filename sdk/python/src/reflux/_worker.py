"""Serves nodes: registers their manifests, then runs them as activities of Temporal's worker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NoReturn

import temporalio.client
import temporalio.exceptions
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    Worker,
)

from ._client import Client, Error
from ._context import Attempt, Context
from ._failure import Failure
from ._node import Node
from ._schema import Json, write

AnyNode = Node[..., Any]

# The wire between workers and the server: docs/nodes.md has it.
_REPORT = "reflux.report"
_IDEMPOTENCY_KEY = "reflux.idempotency_key"

#: The headers of the task that the current asyncio task is the attempt of.
_headers: ContextVar[Mapping[str, Payload]] = ContextVar("headers")

#: Heartbeats are sent at most this often.
_HEARTBEAT_EVERY = timedelta(seconds=1)
#: The longest wait for a server that is not there yet.
_CONNECT_MAX = timedelta(seconds=60)


def serve(
    nodes: Iterable[AnyNode],
    *,
    address: str | None = None,
    url: str | None = None,
    namespace: str = "default",
    token: str | None = None,
    concurrency: int = 100,
    grace: timedelta = timedelta(seconds=30),
) -> None:
    """Serve nodes until SIGINT or SIGTERM. The arguments are those of :func:`run_worker`."""

    async def until_told() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await run_worker(
            nodes,
            address=address,
            url=url,
            namespace=namespace,
            token=token,
            concurrency=concurrency,
            grace=grace,
            stop=stop,
        )

    asyncio.run(until_told())


async def run_worker(
    nodes: Iterable[AnyNode],
    *,
    address: str | None = None,
    url: str | None = None,
    namespace: str = "default",
    token: str | None = None,
    concurrency: int = 100,
    grace: timedelta = timedelta(seconds=30),
    stop: asyncio.Event | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Serve nodes until `stop` is set or the task is cancelled.

    `address` is the gRPC port (``REFLUX_ADDRESS``, else ``127.0.0.1:7233``), `url` and `token` are those of
    :class:`Client`. At most `concurrency` attempts run at once for each task queue. At the end no new attempt is taken,
    and those under way have `grace` to end; what has not is tried again by another worker. `ready` is called when
    the nodes are registered. A server that is not there yet is waited for.
    """
    by_queue = defaultdict[str, list[AnyNode]](list)
    for each in nodes:
        by_queue[each.task_queue].append(each)
    if not by_queue:
        raise ValueError("there are no nodes to serve")
    stop = stop or asyncio.Event()
    address = address or os.environ.get("REFLUX_ADDRESS") or "127.0.0.1:7233"
    async with Client(url, token=token, namespace=namespace) as client:
        for each in (each for served in by_queue.values() for each in served):
            await _patiently(lambda each=each: client.register_node(each.manifest, task_queue=each.task_queue))
    temporal = await _patiently(lambda: temporalio.client.Client.connect(address, namespace=namespace))
    with ThreadPoolExecutor(concurrency * len(by_queue), thread_name_prefix="node") as threads:
        workers = [
            Worker(
                temporal,
                task_queue=queue,
                activities=[_activity(each, threads) for each in served],
                interceptors=[_Headers()],
                max_concurrent_activities=concurrency,
                graceful_shutdown_timeout=grace,
                max_heartbeat_throttle_interval=_HEARTBEAT_EVERY,
            )
            for queue, served in by_queue.items()
        ]
        async with contextlib.AsyncExitStack() as running:
            for worker in workers:
                await running.enter_async_context(worker)
            if ready is not None:
                ready()
            await stop.wait()
            # All at once: each may take its grace.
            await asyncio.gather(*(worker.shutdown() for worker in workers))


async def _patiently(attempt: Callable[[], Any]) -> Any:
    """Tries again while there is no server."""
    end = asyncio.get_running_loop().time() + _CONNECT_MAX.total_seconds()
    while True:
        try:
            return await attempt()
        except (Error, RuntimeError) as error:
            answered = isinstance(error, Error) and not error.retryable
            if answered or asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(0.5)


def _activity(node: AnyNode, threads: ThreadPoolExecutor) -> Callable[..., Any]:
    @activity.defn(name=node.name)
    async def attempt(input: RawValue) -> RawValue:
        loop = asyncio.get_running_loop()
        context, beat = _context(), asyncio.Event()
        context._beat = lambda: _from_any_thread(loop, beat.set)  # pyright: ignore[reportPrivateUsage]
        beats = asyncio.create_task(_beats(context, beat, node.heartbeat_sec))
        try:
            output = await _call(node, context, _json(input), threads)
            return RawValue(_payload(output, _report(context, logs=True)))
        except asyncio.CancelledError:
            context._cancelled.set()  # pyright: ignore[reportPrivateUsage]
            raise
        except Exception as error:
            _fail(error, context)
        finally:
            beats.cancel()

    return attempt


async def _call(node: AnyNode, context: Context, input: Json, threads: ThreadPoolExecutor) -> Json:
    arguments = node.arguments(context, input)
    if node.is_async:
        return write(await node.function(**arguments))
    running = asyncio.get_running_loop().run_in_executor(threads, lambda: node.function(**arguments))
    try:
        return write(await asyncio.shield(running))
    except asyncio.CancelledError:
        # A thread cannot be stopped: it is told, and its end is waited for.
        context._cancelled.set()  # pyright: ignore[reportPrivateUsage]
        await asyncio.wait([running])
        raise


async def _beats(context: Context, beat: asyncio.Event, heartbeat_sec: float) -> None:
    """Says that the attempt is alive, with what it told so far. What is too often is held back by Temporal's worker."""
    while True:
        activity.heartbeat(RawValue(_payload(context._details, _report(context, logs=False))))  # pyright: ignore[reportPrivateUsage]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(beat.wait(), heartbeat_sec / 3)
        beat.clear()


def _fail(error: Exception, context: Context) -> NoReturn:
    report = _report(context, logs=True)
    if isinstance(error, Failure):
        failure, cause = error, error.__cause__
    else:
        failure, cause = Failure(type(error).__name__, str(error) or type(error).__name__), error
    carried = [RawValue(_payload(failure.details, report))] if report or failure.details is not None else []
    raise temporalio.exceptions.ApplicationError(
        failure.message,
        *carried,
        type=failure.kind,
        non_retryable=not failure.retryable,
        next_retry_delay=failure.retry_after,
    ) from cause


def _context() -> Context:
    info = activity.info()
    key = _headers.get().get(_IDEMPOTENCY_KEY)
    deadline = info.started_time + info.start_to_close_timeout if info.start_to_close_timeout else None
    details = info.heartbeat_details
    return Context(
        Attempt(
            namespace=info.namespace,
            run_id=info.workflow_run_id or "",
            workflow_id=info.workflow_id or "",
            flow=info.workflow_type or "",
            step=_step(info.activity_id),
            activation_id=info.activity_id,
            attempt=info.attempt,
            idempotency_key=json.loads(key.data) if key else _derived_key(info),
            scheduled_at_ms=int(info.scheduled_time.timestamp() * 1000),
            deadline_ms=int(deadline.timestamp() * 1000) if deadline else None,
            last_heartbeat=details[0] if details else None,
        )
    )


def _step(activation: str) -> str:
    """``parent/step#2[3].compensate`` is an activation of ``parent/step``."""
    parents, slash, own = activation.rpartition("/")
    return parents + slash + re.sub(r"(#\d+)?(\[\d+\])?(\.compensate)?$", "", own)


def _derived_key(info: activity.Info) -> str:
    """For an activity of a code workflow, which no server gave a key."""
    parts = [info.namespace, info.workflow_id or "", info.workflow_run_id or "", info.activity_id]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _json(input: RawValue) -> Json:
    data = input.payload.data
    return json.loads(data) if data else None


def _report(context: Context, *, logs: bool) -> dict[str, Any]:
    return context._report(logs)  # pyright: ignore[reportPrivateUsage]


def _payload(value: Json, report: Mapping[str, Any]) -> Payload:
    """A value with the attempt's report in its metadata."""
    metadata = {"encoding": b"binary/null" if value is None else b"json/plain"}
    if report:
        metadata[_REPORT] = json.dumps(report, separators=(",", ":")).encode()
    data = b"" if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    return Payload(metadata=metadata, data=data)


def _from_any_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: the attempt is over
        loop.call_soon_threadsafe(call)


class _Headers(Interceptor):
    """Keeps the headers of a task where its attempt finds them."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _HeadersInbound(next)


class _HeadersInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        _headers.set(input.headers)
        return await super().execute_activity(input)
