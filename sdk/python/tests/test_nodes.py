"""What a node is: its manifest, its arguments, its failures. Run with `python -m unittest`."""

from __future__ import annotations

import asyncio
import enum
import unittest
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

from typing_extensions import NotRequired, TypedDict

import reflux


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Line:
    sku: str
    amount: int = 1


class Order(TypedDict):
    lines: list[Line]
    note: NotRequired[str]


@reflux.node(name="text.upper", version="1.0.0", effects="pure", timeout_sec=5, retries=[1, 3])
def upper(text: Annotated[str, "what is written"], times: int = 1) -> str:
    """Writes text in capitals.

    More about it.
    """
    return text.upper() * times


@reflux.node(name="shop.total", version="2.1.0-draft", task_queue="shop")
async def total(order: Order, context: reflux.Context) -> dict[str, int]:
    context.metric("lines", len(order["lines"]))
    return {line.sku: line.amount for line in order["lines"]}


class Manifests(unittest.TestCase):
    def test_a_manifest_follows_from_signature_and_docstring(self) -> None:
        expected = {
            "name": "text.upper",
            "version": "1.0.0",
            "description": "Writes text in capitals.",
            "inputs": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "what is written"},
                    "times": {"type": "integer"},
                },
                "required": ["text"],
            },
            "outputs": {"type": "string"},
            "policies": {"heartbeatSec": 15.0, "timeoutSec": 5, "retries": [1, 3]},
            "effects": "pure",
        }
        self.assertEqual(upper.manifest, expected)
        self.assertEqual((upper.task_queue, total.task_queue), ("node:text.upper", "shop"))

    def test_one_dataclass_or_typed_dict_is_the_whole_input(self) -> None:
        self.assertEqual(list(total.manifest["inputs"]["properties"]), ["lines", "note"])
        self.assertEqual(total.manifest["inputs"]["required"], ["lines"])
        self.assertEqual(total.manifest["effects"], "unsafe")

    def test_a_type_has_its_schema(self) -> None:
        rows: list[tuple[Any, Any]] = [
            (str, {"type": "string"}),
            (Any, {}),
            (Optional[int], {"type": ["integer", "null"]}),
            (int | str, {"type": ["integer", "string"]}),
            (list[float], {"type": "array", "items": {"type": "number"}}),
            (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
            (Literal["a", 1], {"enum": ["a", 1]}),
            (Colour, {"enum": ["red"]}),
            (list[Line] | None, {"anyOf": [
                {"type": "array", "items": {
                    "type": "object",
                    "properties": {"sku": {"type": "string"}, "amount": {"type": "integer"}},
                    "required": ["sku"],
                }},
                {"type": "null"},
            ]}),
        ]
        for kind, schema in rows:
            def function(value: Any) -> None: ...
            function.__annotations__["value"] = kind
            made = reflux.node(name="a", version="1.0.0")(function)
            self.assertEqual(made.manifest["inputs"]["properties"]["value"], schema, kind)

    def test_what_cannot_be_a_node_says_why(self) -> None:
        def untyped(a) -> None: ...  # type: ignore[no-untyped-def]  # pyright: ignore
        def starred(*a: int) -> None: ...
        def silent(a: int): ...  # pyright: ignore
        def odd(a: bytes) -> None: ...

        rows: list[tuple[Any, str]] = [
            (untyped, "parameter a has no type"),
            (starred, "has no name to be an input"),
            (silent, "say what it returns"),
            (odd, "has no JSON Schema"),
        ]
        for function, expected in rows:
            with self.assertRaisesRegex(TypeError, expected):
                reflux.node(name="a", version="1.0.0")(function)
        for name, version, expected in [("a b", "1.0.0", "name 'a b'"), ("a", "1", "version '1'")]:
            with self.assertRaisesRegex(ValueError, expected):
                reflux.node(name=name, version=version)


class Calls(unittest.TestCase):
    def test_a_node_is_still_the_function(self) -> None:
        self.assertEqual(upper("a", times=2), "AA")

    def test_json_goes_in_and_comes_out(self) -> None:
        context = reflux.Context()
        rows: list[tuple[reflux.Node[..., Any], Any, Any]] = [
            (upper, {"text": "a"}, "A"),
            (upper, {"text": "a", "times": 2.0}, "AA"),
            (upper, {"text": "a", "times": None}, "A"),
            (upper, {"text": "a", "more": 1}, "A"),
            (total, {"lines": [{"sku": "x"}, {"sku": "y", "amount": 3}]}, {"x": 1, "y": 3}),
        ]
        for made, given, expected in rows:
            self.assertEqual(asyncio.run(made.run(given, context)), expected, given)
        self.assertEqual(context._report(logs=True), {"metrics": {"lines": 2.0}})  # pyright: ignore[reportPrivateUsage]

    def test_an_input_that_does_not_fit_is_named_but_not_quoted(self) -> None:
        rows: list[tuple[reflux.Node[..., Any], Any, str]] = [
            (upper, {}, "`text` is missing"),
            (upper, None, "`text` is missing"),
            (upper, [], "expected object, found array"),
            (upper, {"text": 1}, "text: expected string, found integer"),
            (upper, {"text": "s3cret", "times": "s3cret"}, "times: expected integer, found string"),
            (upper, {"text": "a", "times": True}, "times: expected integer, found boolean"),
            (total, {"lines": [{"amount": 1}]}, "lines[0]: `sku` is missing"),
        ]
        for made, given, expected in rows:
            with self.assertRaises(reflux.Failure) as raised:
                asyncio.run(made.run(given))
            failure = raised.exception
            self.assertEqual((failure.kind, failure.message, failure.retryable), ("BadInput", expected, False))


class Contexts(unittest.TestCase):
    def test_a_report_keeps_the_tail_and_what_is_finite(self) -> None:
        context = reflux.Context()
        for number in range(1_002):
            context.log(f"line {number}")
        context.metric("a", float("nan"))
        context.progress(2)
        context.tokens(3, 4)
        context.tokens(1, 0)
        context.cost(-1)
        context.cost(0.25)
        report = context._report(logs=True)  # pyright: ignore[reportPrivateUsage]
        self.assertEqual((len(report["logs"]), report["logs_dropped"]), (1_000, 2))
        self.assertEqual(report["logs"][0]["line"], "line 2")
        self.assertEqual(report["metrics"], {"progress": 1.0})
        self.assertEqual((report["tokens"], report["cost_usd"]), ({"input": 4, "output": 4}, 0.25))
        self.assertNotIn("logs", context._report(logs=False))  # pyright: ignore[reportPrivateUsage]


if __name__ == "__main__":
    unittest.main()
