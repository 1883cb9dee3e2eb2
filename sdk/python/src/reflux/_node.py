"""A typed function as a node: its manifest follows from its signature and its docstring."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast

from ._context import Context
from ._schema import Field, Json, Schema, fields_of, object_schema, read, read_fields, schema_of, write

P = ParamSpec("P")
R = TypeVar("R")

Effects = Literal["pure", "reads", "idempotent", "unsafe"]

#: As the server checks them.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")

#: Silence after which a worker counts as lost, in seconds. Workers speak three times as often.
_HEARTBEAT_SEC = 15.0

_NOTHING: list[Any] = []


@dataclass(frozen=True)
class Tunable:
    """An input that an optimizer may turn."""

    name: str
    type: Literal["integer", "number", "boolean", "string"]
    #: ``[least, greatest]`` for numbers; otherwise every choice.
    range: Sequence[Any] = ()
    default: Any = None


@dataclass(frozen=True)
class Circuit:
    """So many failed attempts within so long a time, and nothing is called for so long."""

    failures: int
    within_sec: int
    open_sec: int


class Node(Generic[P, R]):
    """A function and its manifest. Called like the function it was made of."""

    def __init__(self, function: Callable[P, R], manifest: dict[str, Json], signature: _Signature) -> None:
        self.function = function
        #: What the server knows of the node.
        self.manifest = manifest
        self._signature = signature
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", manifest["name"])
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<node {self.name}@{self.manifest['version']}>"

    @property
    def name(self) -> str:
        """``module.action``."""
        return cast(str, self.manifest["name"])

    @property
    def task_queue(self) -> str:
        """Where its workers listen."""
        return cast(str, self.manifest.get("taskQueue") or f"node:{self.name}")

    @property
    def heartbeat_sec(self) -> float:
        """Silence after which a worker counts as lost."""
        return cast(float, self.manifest["policies"]["heartbeatSec"])

    @property
    def is_async(self) -> bool:
        """Whether the function is ``async``. Any other one runs in a thread."""
        return inspect.iscoroutinefunction(self.function)

    def arguments(self, context: Context, input: Json) -> dict[str, Any]:
        """The function's arguments for an input. One that does not fit is a ``BadInput``."""
        return self._signature.arguments(context, input)

    async def run(self, input: Json, context: Context | None = None) -> Json:
        """One attempt as a worker makes it, from JSON to JSON: for tests."""
        output: Any = self.function(**self.arguments(context or Context(), input))  # type: ignore[call-arg]
        if inspect.isawaitable(output):
            output = await output
        return write(output)


def node(
    *,
    name: str,
    version: str,
    effects: Effects | None = None,
    timeout_sec: float | None = None,
    heartbeat_sec: float = _HEARTBEAT_SEC,
    retries: Sequence[float] | None = None,
    idempotency: str | None = None,
    rate: str | None = None,
    circuit: Circuit | None = None,
    metrics: Sequence[str] = (),
    tunables: Sequence[Tunable] = (),
    alternatives: Sequence[str] = (),
    task_queue: str | None = None,
) -> Callable[[Callable[P, R]], Node[P, R]]:
    """Make a node of a typed function, ``async`` or not.

    Its parameters are the node's inputs; one that has a default may be left out. A single parameter that is a dataclass
    or a ``TypedDict`` is the whole input. A parameter of type :class:`Context` is given the attempt. What it
    returns is the step's output.

    ``effects`` says what a call does to the world: ``pure``, ``reads``, ``idempotent`` (once for one
    ``context.attempt.idempotency_key``) or ``unsafe``, which is assumed if nothing is said. ``retries`` are the pauses
    before further attempts, in seconds. ``rate`` says how often it is called, by all runs together: ``10/s``;
    ``circuit`` when it is not called for a while, because its calls fail anyway. Errors are ``TypeError`` and ``ValueError``.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: use letters, digits, `_`, `-` and `.`, for example `text.upper`")
    if not _VERSION.fullmatch(version):
        raise ValueError(f"version {version!r} of {name}: use major.minor.patch, for example `1.4.2`")

    def decorate(function: Callable[P, R]) -> Node[P, R]:
        signature = _Signature.of(function, name)
        policies: dict[str, Json] = {"heartbeatSec": heartbeat_sec}
        if timeout_sec is not None:
            policies["timeoutSec"] = timeout_sec
        if retries is not None:
            policies["retries"] = list(retries)
        if idempotency is not None:
            policies["idempotency"] = idempotency
        if rate is not None:
            policies["rate"] = rate
        if circuit is not None:
            policies["circuit"] = {
                "failures": circuit.failures,
                "withinSec": circuit.within_sec,
                "openSec": circuit.open_sec,
            }
        manifest: dict[str, Json] = {
            "name": name,
            "version": version,
            "description": _description(function),
            "inputs": signature.inputs,
            "outputs": signature.outputs,
            "policies": policies,
            "effects": effects or ("idempotent" if idempotency else "unsafe"),
            "taskQueue": task_queue,
            "metrics": list(metrics),
            "tunables": [write(tunable) for tunable in tunables],
            "alternatives": list(alternatives),
        }
        # An empty schema says something: anything.
        said: dict[str, Json] = {key: value for key, value in manifest.items() if value not in ("", None, _NOTHING)}
        return Node(function, said, signature)

    return decorate


@dataclass
class _Signature:
    inputs: Schema
    outputs: Schema
    fields: list[Field]
    #: The parameter that takes the whole input, and its type.
    whole: tuple[str, Any] | None
    #: The parameter that takes the attempt.
    context: str | None

    @classmethod
    def of(cls, function: Callable[..., Any], name: str) -> _Signature:
        hints = typing.get_type_hints(function, include_extras=True)
        context, fields = None, list[Field]()
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(f"{name}: parameter {parameter} has no name to be an input")
            if parameter.name not in hints:
                raise TypeError(f"{name}: parameter {parameter.name} has no type")
            hint = hints[parameter.name]
            if hint is Context:
                context = parameter.name
            else:
                fields.append(Field(parameter.name, hint, parameter.default is parameter.empty))
        if "return" not in hints:
            raise TypeError(f"{name}: say what it returns, for example `-> str`")
        outputs = hints["return"]
        try:
            if len(fields) == 1 and fields_of(fields[0].type) is not None:
                whole = (fields[0].name, fields[0].type)
                return cls(schema_of(whole[1]), schema_of(outputs), [], whole, context)
            return cls(object_schema(fields), schema_of(outputs), fields, None, context)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None

    def arguments(self, context: Context, input: Json) -> dict[str, Any]:
        given: Json = {} if input is None else input
        if self.whole is None:
            arguments = read_fields(self.fields, given)
        else:
            arguments = {self.whole[0]: read(self.whole[1], given)}
        if self.context is not None:
            arguments[self.context] = context
        return arguments


def _description(function: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, on one line."""
    text = inspect.getdoc(function) or ""
    return " ".join(text.split("\n\n")[0].split())
