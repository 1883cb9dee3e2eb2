"""Python's types as JSON Schema, and JSON values as Python's types and back.

Known: ``str``, ``int``, ``float``, ``bool``, ``None``, ``Any``, ``list``, ``dict`` with text as keys, ``Literal``,
``Enum``, dataclasses, ``TypedDict``, unions of these, and ``Annotated[type, "what it is for"]``.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, cast

import typing_extensions
from typing_extensions import NotRequired, Required

from ._failure import Failure

Json = Any
Schema = dict[str, Any]

#: Types nested deeper than this are taken for a type that contains itself.
DEPTH_MAX = 32

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    Any: {},
    object: {},
    dict: {"type": "object"},
    list: {"type": "array"},
}
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


@dataclasses.dataclass
class Field:
    """A field of an object."""

    name: str
    type: Any
    required: bool


def schema_of(kind: Any, depth: int = 0) -> Schema:
    """The JSON Schema of a type. A ``TypeError`` says which part of it has none."""
    if depth > DEPTH_MAX:
        raise TypeError(f"{kind!r} contains itself; give its inner part the type dict")
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        text = next((note for note in args[1:] if isinstance(note, str)), None)
        inner = schema_of(args[0], depth + 1)
        return inner if text is None else {**inner, "description": text}
    if _hashable(kind) and kind in _PLAIN:
        return dict(_PLAIN[kind])
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return _union([schema_of(arg, depth + 1) for arg in args])
    if origin in (list, Sequence):
        return {"type": "array", "items": schema_of(args[0], depth + 1)}
    if origin in (dict, Mapping) and args[0] is str:
        return {"type": "object", "additionalProperties": schema_of(args[1], depth + 1)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    fields = fields_of(kind)
    if fields is not None:
        return object_schema(fields, depth + 1)
    raise TypeError(f"{kind!r} has no JSON Schema; use str, int, float, bool, list, dict, a dataclass or a TypedDict")


def object_schema(fields: Sequence[Field], depth: int = 0) -> Schema:
    """The JSON Schema of an object."""
    schema: Schema = {
        "type": "object",
        "properties": {field.name: schema_of(field.type, depth) for field in fields},
    }
    required = [field.name for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def fields_of(kind: Any) -> list[Field] | None:
    """The fields of a dataclass or a TypedDict; ``None`` for any other type."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind, include_extras=True)
        missing = dataclasses.MISSING
        return [
            Field(field.name, hints[field.name], field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(kind)
            if field.init
        ]
    if typing_extensions.is_typeddict(kind):
        hints = typing_extensions.get_type_hints(kind, include_extras=True)
        required = cast("frozenset[str]", getattr(kind, "__required_keys__"))  # noqa: B009
        # Keys of postponed annotations all count as required: the hints know better.
        return [
            Field(name, _without_required(hint), name in required and typing.get_origin(hint) is not NotRequired)
            for name, hint in hints.items()
        ]
    return None


def read(kind: Any, value: Json, path: str = "") -> Any:
    """A JSON value as that type. What does not fit is a ``BadInput``, which never quotes the value: it may be a secret."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return read(args[0], value, path)
    if _hashable(kind) and kind in _PLAIN:
        return _read_plain(kind, value, path)
    if origin is Literal:
        return _one_of(value, {arg: arg for arg in args}, path)
    if origin in (Union, types.UnionType):
        return _read_union(args, value, path)
    if origin in (list, Sequence):
        items = cast("list[Json]", _of(list, value, path))
        return [read(args[0], item, f"{path}[{index}]") for index, item in enumerate(items)]
    if origin in (dict, Mapping):
        members = cast("dict[str, Json]", _of(dict, value, path))
        return {name: read(args[1], item, _join(path, name)) for name, item in members.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _one_of(value, {member.value: member for member in kind}, path)
    fields = fields_of(kind)
    if fields is None:
        return value
    given = read_fields(fields, value, path)
    is_object: bool = typing_extensions.is_typeddict(cast(Any, kind))
    return given if is_object else cast(Any, kind)(**given)


def read_fields(fields: Sequence[Field], value: Json, path: str = "") -> dict[str, Any]:
    """The fields of an object that are given. Null is as good as absent for one that is not required."""
    members = cast("dict[str, Json]", _of(dict, value, path))
    given: dict[str, Any] = {}
    for field in fields:
        if field.name not in members:
            if field.required:
                raise _bad(path, f"`{field.name}` is missing")
        elif members[field.name] is not None or field.required or _takes_null(field.type):
            given[field.name] = read(field.type, members[field.name], _join(path, field.name))
    return given


def write(value: Any) -> Json:
    """A value as JSON: dataclasses become objects, enums their values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: write(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        members = cast("Mapping[Any, Any]", value)
        return {str(name): write(item) for name, item in members.items()}
    if isinstance(value, (list, tuple)):
        return [write(item) for item in cast("Sequence[Any]", value)]
    return value


def _union(schemas: list[Schema]) -> Schema:
    kinds = [schema["type"] for schema in schemas if schema.keys() == {"type"}]
    return {"type": kinds} if len(kinds) == len(schemas) else {"anyOf": schemas}


def _read_plain(kind: Any, value: Json, path: str) -> Any:
    if kind in (Any, object):
        return value
    if kind in (None, type(None)):
        if value is not None:
            raise _bad(path, f"expected null, found {_name(value)}")
        return None
    # JSON has one kind of number: 2.0 is an integer, and 2 a number.
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return _of(kind, value, path)


def _read_union(kinds: Sequence[Any], value: Json, path: str) -> Any:
    problem: Failure | None = None
    for kind in kinds:
        try:
            return read(kind, value, path)
        except Failure as failure:
            problem = problem or failure
    raise problem or _bad(path, "nothing fits")


def _one_of(value: Json, choices: dict[Any, Any], path: str) -> Any:
    for choice, meaning in choices.items():
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return meaning
    raise _bad(path, f"expected one of {', '.join(map(repr, choices))}")


def _of(kind: type, value: Json, path: str) -> Json:
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise _bad(path, f"expected {_NAMES[kind]}, found {_name(value)}")
    return value


def _name(value: Json) -> str:
    return "null" if value is None else next(name for kind, name in _NAMES.items() if isinstance(value, kind))


def _bad(path: str, what: str) -> Failure:
    return Failure.bad_input(f"{path}: {what}" if path else what)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _takes_null(kind: Any) -> bool:
    try:
        read(kind, None)
    except Failure:
        return False
    return True


def _without_required(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (Required, NotRequired) else hint


def _hashable(kind: Any) -> bool:
    try:
        hash(kind)
    except TypeError:
        return False
    return True
