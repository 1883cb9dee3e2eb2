"""A client of the server's REST API: flows are deployed, runs started, followed and answered."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast
from urllib.parse import quote, urlencode, urlsplit

Json = Any
Status = Literal["running", "completed", "failed", "canceled", "terminated", "timed_out", "continued_as_new"]

#: The longest wait for an answer, in seconds. A stream says something more often than that.
_TIMEOUT_SEC = 60
#: How often a request is sent while the server cannot take it, and the waits in between in seconds.
_WAITS_SEC = (0.1, 0.4, 1.0, 2.0)


class Error(Exception):
    """The server refused a request, or there is none."""

    def __init__(self, code: str, message: str, suggestion: str = "") -> None:
        super().__init__(f"{message}; {suggestion}" if suggestion else message)
        #: A stable word: ``not_found``, ``invalid_argument``, ``unavailable``.
        self.code = code.lower()
        self.message = message
        #: What to do next; may be empty.
        self.suggestion = suggestion

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in ("unavailable", "resource_exhausted")


class RunFailed(Exception):
    """A run ended without a result."""

    def __init__(self, run: Run, error: Json) -> None:
        super().__init__(f"run {run.run_id} of {run.flow} is {run.status}: {run.error or error}")
        self.run = run
        #: ``{"kind", "message", …}``, or ``None`` if the run did not fail but was ended.
        self.error = error


@dataclass(frozen=True)
class Run:
    """How a run stands."""

    namespace: str
    workflow_id: str
    run_id: str
    flow: str
    status: Status
    started: datetime | None
    closed: datetime | None
    #: Steps that are over, of those known so far, from 0 to 100.
    progress_percent: int
    steps_done: int
    steps_total: int
    #: Why it failed; empty otherwise.
    error: str

    @classmethod
    def of(cls, message: Mapping[str, Json]) -> Run:
        return cls(
            namespace=message.get("namespace", ""),
            workflow_id=message.get("workflow_id", ""),
            run_id=message.get("run_id", ""),
            flow=message.get("flow", ""),
            status=cast(Status, message.get("status", "").removeprefix("RUN_STATUS_").lower()),
            started=_time(message.get("started")),
            closed=_time(message.get("closed")),
            progress_percent=message.get("progress_percent", 0),
            steps_done=message.get("steps_done", 0),
            steps_total=message.get("steps_total", 0),
            error=message.get("error", ""),
        )


@dataclass(frozen=True)
class Update:
    """What happened in a run, and how it stands then."""

    #: Where to go on after a stream broke.
    sequence: int
    #: What happened, in order: objects with ``type``, ``time``, ``facts``.
    entries: list[dict[str, Json]]
    run: Run
    #: Ids of the steps that are at work or wait.
    current_steps: list[str]
    #: Whether this is the last update.
    closed: bool


class Client:
    """A client of one namespace.

    `url` is the server's HTTP address (``REFLUX_URL``, else ``http://127.0.0.1:8233``), `token` what it asks for
    (``REFLUX_TOKEN``, else the content of ``.reflux/token`` in this directory or one above it).
    Every call may raise :class:`Error`. A request that the server could not take is repeated for a few seconds; a
    repeated one counts once.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None, namespace: str = "default") -> None:
        self._url = urlsplit(url or os.environ.get("REFLUX_URL") or "http://127.0.0.1:8233")
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ValueError(f"url {url!r}: write it as http://127.0.0.1:8233")
        self._token = token or os.environ.get("REFLUX_TOKEN")
        self._namespace = namespace

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass  # connections live as long as their request

    async def deploy(self, text: str, *, file: str = "") -> dict[str, Json]:
        """Deploy a flow's definition as the next version; the same again gives the version that is there."""
        return await self._post("/api/v1/flows", {"source": {"text": text, "file": file}})

    async def start(
        self,
        flow: str,
        input: Mapping[str, Json] | None = None,
        *,
        workflow_id: str = "",
        version: int = 0,
        request_id: str = "",
        use_existing: bool = False,
    ) -> Run:
        """Start a run; it is durable when this returns. `request_id` is the same for repetitions of one request."""
        answer = await self._post(
            "/api/v1/runs",
            {
                "flow": flow,
                "version": version,
                "input": dict(input or {}),
                "workflow_id": workflow_id,
                "request_id": request_id or str(uuid.uuid4()),
                "use_existing": use_existing,
            },
        )
        return Run.of(answer["run"])

    async def run(self, flow: str, input: Mapping[str, Json] | None = None, *, workflow_id: str = "") -> Json:
        """Start a run and wait for its output. Raises :class:`RunFailed`."""
        started = await self.start(flow, input, workflow_id=workflow_id)
        return await self.result(started.run_id)

    async def get(self, run: str) -> Run:
        """How a run stands, by run id or workflow id."""
        return Run.of((await self._get(_run(run)))["run"])

    async def describe(self, run: str) -> dict[str, Json]:
        """What happened in a run, step by step, and what it waits for."""
        return await self._get(_run(run, "describe"))

    async def state(self, run: str, *, event: int = 0) -> Json:
        """How a run stood when that event was its last, or as it is now."""
        return (await self._get(_run(run, "state"), event=str(event)))["state"]

    async def verify(self, run: str, *, source: str = "") -> dict[str, Json]:
        """Whether the run's flow, or the definition in `source`, would decide what was recorded."""
        return await self._post(_run(run, "verify"), {"with": {"source": {"text": source}}} if source else {})

    async def diff(self, run: str, other: str) -> dict[str, Json]:
        """Two runs side by side, step by step."""
        return await self._get(_run(run, "diff"), other=other)

    async def runs(self, *, flow: str = "", text: str = "") -> AsyncIterator[Run]:
        """Runs, newest first."""
        page = ""
        while True:
            answer = await self._get("/api/v1/runs", flow=flow, text=text, page_token=page)
            for message in answer.get("runs", []):
                yield Run.of(message)
            page = answer.get("next_page_token", "")
            if not page:
                return

    async def result(self, run: str) -> Json:
        """Wait until a run closes; its output. Raises :class:`RunFailed`."""
        async for _ in self.watch(run):
            pass
        described = await self.describe(run)
        closed = Run.of(described["run"])
        if closed.status != "completed":
            raise RunFailed(closed, described.get("error"))
        return described.get("output")

    async def watch(self, run: str, *, after: int = 0) -> AsyncIterator[Update]:
        """Follow a run until it closes; a stream that breaks is taken up again."""
        failures = 0
        while True:
            try:
                async for message in self._stream(_run(run, "watch"), after):
                    failures = 0
                    update = Update(
                        sequence=message.get("sequence", after),
                        entries=message.get("entries", []),
                        run=Run.of(message.get("run", {})),
                        current_steps=message.get("current_steps", []),
                        closed=message.get("closed", False),
                    )
                    after = update.sequence
                    yield update
                    if update.closed:
                        return
            except Error as error:
                failures += 1
                if not error.retryable or failures > len(_WAITS_SEC):
                    raise
            await asyncio.sleep(_WAITS_SEC[max(0, failures - 1)])

    async def signal(self, run: str, name: str, data: Json = None) -> None:
        """Send a signal to an open run."""
        await self._post(_run(run, "signal"), {"name": name, "data": data, "request_id": str(uuid.uuid4())})

    async def query(self, run: str, query: str = "state") -> Json:
        """Read ``state``, ``input``, ``output`` or ``steps/STEP`` of a run."""
        return (await self._get(_run(run, "query"), query=query)).get("result")

    async def approve(self, run: str, *, approved: bool = True, step: str = "", by: str = "", comment: str = "") -> None:
        """Answer an approval that a run waits for."""
        body = {"approved": approved, "step": step, "by": by, "comment": comment, "request_id": str(uuid.uuid4())}
        await self._post(_run(run, "approve"), body)

    async def cancel(self, run: str, reason: str = "") -> None:
        """Ask a run to end; what it did is taken back where the flow says so."""
        await self._post(_run(run, "cancel"), {"reason": reason, "request_id": str(uuid.uuid4())})

    async def terminate(self, run: str, reason: str = "") -> None:
        """End a run at once."""
        await self._post(_run(run, "terminate"), {"reason": reason})

    async def pause(self, run: str, reason: str = "") -> None:
        """Hand out nothing new until :meth:`resume`."""
        await self._post(_run(run, "pause"), {"reason": reason, "request_id": str(uuid.uuid4())})

    async def resume(self, run: str) -> None:
        """Let a paused run go on."""
        await self._post(_run(run, "resume"), {"request_id": str(uuid.uuid4())})

    async def mutate(self, run: str, patch: Mapping[str, Json], *, reason: str = "") -> int:
        """Change the graph of a run; the revision of its flow from then on."""
        body = {"patch": json.dumps(dict(patch)), "reason": reason, "request_id": str(uuid.uuid4())}
        return int(cast(float, (await self._post(_run(run, "mutate"), body))["revision"]))

    async def breakpoints(self, run: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Pause a run before these steps; no more before those."""
        body = {"add": list(add), "remove": list(remove), "request_id": str(uuid.uuid4())}
        await self._post(_run(run, "breakpoints"), body)

    async def step(self, run: str, steps: int = 1) -> None:
        """Let a run go on for so many starts, then pause it again."""
        await self._post(_run(run, "step"), {"steps": steps, "request_id": str(uuid.uuid4())})

    async def redrive(self, run: str, redrive: Mapping[str, Json] | None = None, *, request_id: str = "") -> Run:
        """Run a run again without doing again what it did; `redrive` has the fields of the API's message."""
        body = {"redrive": dict(redrive or {}), "request_id": request_id or str(uuid.uuid4())}
        return Run.of((await self._post(_run(run, "redrive"), body))["run"])

    async def plan_redrive(self, run: str, redrive: Mapping[str, Json] | None = None) -> dict[str, Json]:
        """What a re-drive would do. Nothing is called or recorded."""
        return await self._post(_run(run, "redrive/plan"), {"redrive": dict(redrive or {})})

    async def redrive_runs(self, query: str, redrive: Mapping[str, Json] | None = None, *, per_second: int = 0) -> Run:
        """Re-drive every run that a query takes; the run that does so."""
        body = {"query": query, "redrive": dict(redrive or {}), "per_second": per_second}
        answer = await self._post("/api/v1/redrives", {**body, "request_id": str(uuid.uuid4())})
        return Run.of(answer["run"])

    async def pause_runs(self, query: str, reason: str = "", *, per_second: int = 0) -> Run:
        """Pause every open run that a query takes; the run that does so."""
        return await self._suspend_runs("pause", query, reason, per_second)

    async def resume_runs(self, query: str, reason: str = "", *, per_second: int = 0) -> Run:
        """Let every paused run that a query takes go on; the run that does so."""
        return await self._suspend_runs("resume", query, reason, per_second)

    async def _suspend_runs(self, what: str, query: str, reason: str, per_second: int) -> Run:
        body = {"query": query, "reason": reason, "per_second": per_second, "request_id": str(uuid.uuid4())}
        return Run.of((await self._post(f"/api/v1/runs:{what}", body))["run"])

    async def fork(self, run: str, from_event: int, *, workflow_id: str = "", reason: str = "") -> Run:
        """A new run in the state that a run had at one of its events."""
        body = {"from_event": from_event, "workflow_id": workflow_id, "reason": reason}
        answer = await self._post(_run(run, "fork"), {**body, "request_id": str(uuid.uuid4())})
        return Run.of(answer["run"])

    async def register_node(self, manifest: Mapping[str, Json], *, task_queue: str = "") -> None:
        """Make a node known that workers serve. The same again does nothing."""
        await self._patiently("POST", "/api/v1/nodes", {"manifest": dict(manifest), "task_queue": task_queue})

    async def nodes(self, *, text: str = "") -> AsyncIterator[dict[str, Json]]:
        """Every node in every version, by name."""
        page = ""
        while True:
            query = urlencode({"text": text, "page_token": page})
            answer = await self._patiently("GET", f"/api/v1/nodes?{query}", None)
            for message in answer.get("nodes", []):
                yield message
            page = answer.get("next_page_token", "")
            if not page:
                return

    async def _get(self, path: str, **query: str) -> dict[str, Json]:
        query = {name: value for name, value in {"namespace": self._namespace, **query}.items() if value}
        return await self._patiently("GET", f"{path}?{urlencode(query)}", None)

    async def _post(self, path: str, body: Mapping[str, Json]) -> dict[str, Json]:
        return await self._patiently("POST", path, {"namespace": self._namespace, **body})

    async def _patiently(self, method: str, path: str, body: Mapping[str, Json] | None) -> dict[str, Json]:
        for wait in _WAITS_SEC:
            try:
                return await asyncio.to_thread(self._send, method, path, body)
            except Error as error:
                if not error.retryable:
                    raise
            await asyncio.sleep(wait)
        return await asyncio.to_thread(self._send, method, path, body)

    def _send(self, method: str, path: str, body: Mapping[str, Json] | None) -> dict[str, Json]:
        connection = self._connect()
        try:
            return self._answer(self._request(connection, method, path, body))
        finally:
            connection.close()

    async def _stream(self, path: str, after: int) -> AsyncIterator[dict[str, Json]]:
        connection = self._connect()
        try:
            query = urlencode({"namespace": self._namespace, "after": after})
            response = await asyncio.to_thread(
                self._request, connection, "GET", f"{path}?{query}", None, "text/event-stream"
            )
            if response.status != 200:
                await asyncio.to_thread(self._answer, response)
            while True:
                data = await asyncio.to_thread(_event, response)
                if data is None:
                    return
                if "error" in data:
                    raise _error(data, "unavailable")
                yield data
        finally:
            # Also ends the read of a thread whose task was cancelled.
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = cast(str, self._url.hostname), self._url.port
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SEC, context=context)
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SEC)

    def _request(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, Json] | None,
        accept: str = "application/json",
    ) -> http.client.HTTPResponse:
        headers = {"Accept": accept}
        # The file comes with the server's first start, which may be after this client's.
        if token := self._token or _token_of_project():
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._url.path.rstrip("/") + path, _dump(body), headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Error("unavailable", f"no answer from {self._url.geturl()}: {error}", "is the server running?") from error

    def _answer(self, response: http.client.HTTPResponse) -> dict[str, Json]:
        try:
            answer = cast("dict[str, Json]", json.loads(response.read() or b"{}"))
        except (OSError, http.client.HTTPException) as error:
            raise Error("unavailable", f"the answer broke off: {error}") from error
        except ValueError:
            answer = dict[str, Json]()
        if response.status < 300:
            return answer
        raise _error(answer, "unavailable" if response.status >= 500 else str(response.status))


def _event(response: http.client.HTTPResponse) -> dict[str, Json] | None:
    """The data of the next server-sent event; ``None`` at the end of the stream."""
    data: list[str] = []
    try:
        while True:
            line = response.readline().decode()
            if not line:
                return None
            line = line.rstrip("\r\n")
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line and data:
                return json.loads("\n".join(data))
    except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
        raise Error("unavailable", f"the stream broke off: {error}") from error


def _error(answer: Mapping[str, Json], code: str) -> Error:
    error = cast("dict[str, Json]", answer.get("error", {}))
    return Error(error.get("code") or code, error.get("message") or f"HTTP {code}", error.get("suggestion") or "")


def _run(run: str, what: str = "") -> str:
    return f"/api/v1/runs/{quote(run, safe='')}" + (f"/{what}" if what else "")


def _dump(body: Mapping[str, Json] | None) -> bytes | None:
    return None if body is None else json.dumps(body, allow_nan=False).encode()


def _time(text: str | None) -> datetime | None:
    """RFC 3339 with up to nine digits of a second; Python reads six."""
    if not text:
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", lambda m: m[1].ljust(7, "0"), text).replace("Z", "+00:00"))


def _token_of_project() -> str | None:
    here = Path.cwd()
    for directory in (here, *here.parents):
        file = directory / ".reflux" / "token"
        if file.is_file():
            return file.read_text().strip()
    return None
