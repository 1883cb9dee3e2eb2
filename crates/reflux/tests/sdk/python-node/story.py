"""A run that failed is looked at, mended and run again; another is paused, changed, resumed and forked.

`story.py grpc` calls `reflux.v1` over gRPC, with messages made of the .proto files; `story.py rest` is the client.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

import reflux

Json = Any


class Calls(Protocol):
    """What the story asks of a server."""

    async def deploy(self, text: str, *, file: str = "") -> dict[str, Json]: ...
    async def start(self, flow: str, *, workflow_id: str = "") -> reflux.Run: ...
    async def get(self, run: str) -> reflux.Run: ...
    async def describe(self, run: str) -> dict[str, Json]: ...
    async def state(self, run: str, *, event: int = 0) -> Json: ...
    async def verify(self, run: str, *, source: str = "") -> dict[str, Json]: ...
    async def diff(self, run: str, other: str) -> dict[str, Json]: ...
    async def plan_redrive(self, run: str, redrive: dict[str, Json]) -> dict[str, Json]: ...
    async def redrive(self, run: str, redrive: dict[str, Json]) -> reflux.Run: ...
    async def pause(self, run: str, reason: str = "") -> None: ...
    async def resume(self, run: str) -> None: ...
    async def signal(self, run: str, name: str, data: Json = None) -> None: ...
    async def mutate(self, run: str, patch: dict[str, Json]) -> int: ...
    async def fork(self, run: str, from_event: int, *, workflow_id: str = "") -> reflux.Run: ...
    async def pause_runs(self, query: str) -> reflux.Run: ...
    async def resume_runs(self, query: str, *, per_second: int = 0) -> reflux.Run: ...


class Grpc:
    """The calls over gRPC. The package `reflux` is our client, so no module is generated for the package of that name."""

    def __init__(self, address: str, token: str, protos: str) -> None:
        grpc, protoc, google, pool, factory, descriptors, self._json = map(
            importlib.import_module,
            (
                "grpc",
                "grpc_tools.protoc",
                "google.api.annotations_pb2",
                "google.protobuf.descriptor_pool",
                "google.protobuf.message_factory",
                "google.protobuf.descriptor_pb2",
                "google.protobuf.json_format",
            ),
        )
        well_known = Path(str(protoc.__file__)).parent / "_proto"
        annotations = Path(str(google.__file__)).parents[2]
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "descriptors"
            paths = [f"--proto_path={path}" for path in (protos, well_known, annotations)]
            services = ["reflux/v1/flow_service.proto", "reflux/v1/run_service.proto"]
            done = protoc.main(["protoc", *paths, "--include_imports", f"--descriptor_set_out={file}", *services])
            assert done == 0, "the .proto files do not compile"
            compiled = descriptors.FileDescriptorSet.FromString(file.read_bytes())
        self._pool = pool.DescriptorPool()
        for one in compiled.file:
            self._pool.Add(one)
        self._message = factory.GetMessageClass
        self._refused = grpc.RpcError
        self._channel = grpc.insecure_channel(address)
        self._metadata = [("authorization", f"Bearer {token}")]

    async def _call(self, service: str, name: str, /, **request: Json) -> dict[str, Json]:
        method = self._pool.FindServiceByName(f"reflux.v1.{service}").methods_by_name[name]
        message = self._json.ParseDict(request, self._message(method.input_type)())
        call = self._channel.unary_unary(
            f"/reflux.v1.{service}/{name}",
            request_serializer=type(message).SerializeToString,
            response_deserializer=self._message(method.output_type).FromString,
        )
        try:
            answer = await asyncio.to_thread(call, message, metadata=self._metadata, timeout=60)
        except self._refused as error:
            refused: Any = error
            raise reflux.Error(refused.code().name, refused.details()) from error
        return self._json.MessageToDict(
            answer,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            descriptor_pool=self._pool,
        )

    async def deploy(self, text: str, *, file: str = "") -> dict[str, Json]:
        return await self._call("FlowService", "DeployFlow", source={"text": text, "file": file})

    async def start(self, flow: str, *, workflow_id: str = "") -> reflux.Run:
        return reflux.Run.of((await self._call("RunService", "StartRun", flow=flow, workflow_id=workflow_id))["run"])

    async def get(self, run: str) -> reflux.Run:
        return reflux.Run.of((await self._call("RunService", "GetRun", run=run))["run"])

    async def describe(self, run: str) -> dict[str, Json]:
        return await self._call("RunService", "DescribeRun", run=run)

    async def state(self, run: str, *, event: int = 0) -> Json:
        return (await self._call("RunService", "GetRunState", run=run, event=event))["state"]

    async def verify(self, run: str, *, source: str = "") -> dict[str, Json]:
        definition = {"with": {"source": {"text": source}}} if source else {}
        return await self._call("RunService", "VerifyRun", run=run, **definition)

    async def diff(self, run: str, other: str) -> dict[str, Json]:
        return await self._call("RunService", "DiffRuns", run=run, other=other)

    async def plan_redrive(self, run: str, redrive: dict[str, Json]) -> dict[str, Json]:
        return await self._call("RunService", "PlanRedrive", run=run, redrive=redrive)

    async def redrive(self, run: str, redrive: dict[str, Json]) -> reflux.Run:
        return reflux.Run.of((await self._call("RunService", "RedriveRun", run=run, redrive=redrive))["run"])

    async def pause(self, run: str, reason: str = "") -> None:
        await self._call("RunService", "PauseRun", run=run, reason=reason)

    async def resume(self, run: str) -> None:
        await self._call("RunService", "ResumeRun", run=run)

    async def signal(self, run: str, name: str, data: Json = None) -> None:
        await self._call("RunService", "SignalRun", run=run, name=name, data=data)

    async def mutate(self, run: str, patch: dict[str, Json]) -> int:
        revision = patch.pop("revision")
        answer = await self._call(
            "RunService", "MutateRun", run=run, patch=json.dumps(patch), expected_revision=revision
        )
        return int(answer["revision"])

    async def fork(self, run: str, from_event: int, *, workflow_id: str = "") -> reflux.Run:
        answer = await self._call("RunService", "ForkRun", run=run, from_event=from_event, workflow_id=workflow_id)
        return reflux.Run.of(answer["run"])

    async def pause_runs(self, query: str) -> reflux.Run:
        return reflux.Run.of((await self._call("RunService", "PauseRuns", query=query))["run"])

    async def resume_runs(self, query: str, *, per_second: int = 0) -> reflux.Run:
        answer = await self._call("RunService", "ResumeRuns", query=query, per_second=per_second)
        return reflux.Run.of(answer["run"])


async def closed(calls: Calls, run: str) -> dict[str, Json]:
    for _ in range(2_000):
        if (await calls.get(run)).status != "running":
            return await calls.describe(run)
        await asyncio.sleep(0.03)
    raise AssertionError(f"{run} does not end")


async def waits(calls: Calls, run: str, step: str) -> None:
    for _ in range(2_000):
        if step in [wait["activation"] for wait in (await calls.describe(run))["waits_for"]]:
            return
        await asyncio.sleep(0.03)
    raise AssertionError(f"{run} does not wait at {step}")


def step_of(state: Json, step: str) -> dict[str, Json]:
    return next(one for one in state["steps"] if one["id"] == step)


async def mended(calls: Calls) -> None:
    """Twenty steps, of which the twelfth is refused."""
    chain, other = Path("chain.yaml").read_text(), Path("mended.yaml").read_text()
    await calls.deploy(chain, file="chain.yaml")
    base = await calls.start("chain", workflow_id="chain-1")
    assert (await closed(calls, base.run_id))["run"]["status"] == "RUN_STATUS_FAILED"

    state = await calls.state(base.run_id)
    assert (state["status"], step_of(state, "s11")["outcome"]) == ("failed", "succeeded"), state
    broken = step_of(state, "s12")
    assert broken["outcome"] == "failed" and "400" in str(broken["error"]), broken
    assert step_of(state, "s13")["phase"] == "idle", state
    assert (await calls.verify(base.run_id))["verified"] is True
    elsewhere = await calls.verify(base.run_id, source=other)
    assert elsewhere["verified"] is False
    assert elsewhere["divergence"]["recorded"]["activation"] == "s12", elsewhere
    assert "input/url" in [one["path"] for one in elsewhere["divergence"]["differences"]], elsewhere

    patch: dict[str, Json] = {"source": {"text": other, "file": "mended.yaml"}, "reason": "mended"}
    plan = await calls.plan_redrive(base.run_id, patch)
    assert (plan["kept"], plan["runs"], plan["needs_consent"]) == (11, 9, ["s12"]), plan
    try:
        await calls.redrive(base.run_id, patch)
        raise AssertionError("what may do harm was called again without consent")
    except reflux.Error as error:
        assert error.code == "failed_precondition" and "s12" in str(error), error
    again = await calls.redrive(base.run_id, {**patch, "allow_unsafe": ["s12"]})
    told = await closed(calls, again.run_id)
    assert (told["run"]["status"], told["output"]) == ("RUN_STATUS_COMPLETED", 20), told
    assert told["redriven_from"]["run_id"] == base.run_id, told
    assert (await calls.diff(base.run_id, again.run_id))["first_difference"] == "s12"


async def steered(calls: Calls) -> None:
    """Stopped where it waits, changed, let go on; and once more from there."""
    await calls.deploy(Path("held.yaml").read_text(), file="held.yaml")
    run = (await calls.start("held", workflow_id="held-1")).run_id
    await waits(calls, run, "ask")
    event = 1
    while step_of(await calls.state(run, event=event), "first")["outcome"] != "succeeded":
        event += 1
    await calls.pause(run, "a break")
    assert "a break" in (await calls.describe(run))["paused"]
    await calls.signal(run, "go", {"by": "Ada"})
    assert step_of(await calls.state(run), "second")["phase"] != "running", "a paused run has started a step"
    changed = [{"set": {"step": "third", "path": "/with/template", "value": "changed"}}]
    assert await calls.mutate(run, {"revision": 0, "ops": changed}) == 1
    try:
        await calls.mutate(run, {"revision": 0, "ops": [{"remove": "third"}]})
        raise AssertionError("a patch for another revision was taken")
    except reflux.Error as error:
        assert error.code == "failed_precondition" and "at revision 1, not 0" in str(error), error
    await calls.resume(run)
    assert (await closed(calls, run))["output"] == {"n": 2, "text": "changed"}

    forked = await calls.fork(run, event, workflow_id="held-2")
    await waits(calls, forked.run_id, "ask")
    await calls.signal("held-2", "go", {"by": "Bo"})
    told = await closed(calls, forked.run_id)
    assert told["run"]["status"] == "RUN_STATUS_COMPLETED" and told["output"]["n"] == 2, told


async def together(calls: Calls) -> None:
    """Three are stopped at once, and go on one after the other."""
    ids = [f"many-{n}" for n in range(3)]
    for one in ids:
        await waits(calls, (await calls.start("held", workflow_id=one)).run_id, "ask")
    took = await closed(calls, (await calls.pause_runs("WorkflowId STARTS_WITH 'many-'")).run_id)
    assert [one.get("paused") for one in took["output"]] == [True] * 3, took
    for one in ids:
        await calls.signal(one, "go")
        assert (await calls.describe(one))["paused"], one
    went = await closed(calls, (await calls.resume_runs("WorkflowId STARTS_WITH 'many-'", per_second=50)).run_id)
    assert [one.get("resumed") for one in went["output"]] == [True] * 3, went
    for one in ids:
        assert (await closed(calls, one))["run"]["status"] == "RUN_STATUS_COMPLETED"


async def main(over: str) -> None:
    token = Path(".reflux/token").read_text().strip()
    calls: Calls
    if over == "grpc":
        calls = Grpc(os.environ["REFLUX_ADDRESS"], token, os.environ["REFLUX_PROTOS"])
    else:
        calls = reflux.Client()
    await mended(calls)
    await steered(calls)
    await together(calls)


asyncio.run(main(sys.argv[1]))
