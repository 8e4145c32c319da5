"""Stand-ins for the nodes of ComfyUI that give, join and show texts and numbers.

Names, inputs and results are those of ComfyUI's own nodes, as `host_nodes` has them for pictures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from .host_nodes import stands_for
from .problems import RunError, shown_text
from .terminal import say

LARGEST = 2**63 - 1
LONGEST = 1_000_000  # characters of a text that a node makes; chained nodes could double it on and on
ANY = "*"
NODES: dict[str, tuple[type, str]] = {}
TEXT = ("STRING", {"multiline": True})
LINE = ("STRING", {"default": ""})
SWITCH = ("BOOLEAN", {"default": False})
SENSITIVE = ("BOOLEAN", {"default": True})
CONTROL = {"control_after_generate": "fixed"}  # what the browser does to a number once it is queued
SIGNED = ("INT", {"default": 0, "min": -LARGEST, "max": LARGEST})
CASES = {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
TRIMS = {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}
COMPARISONS = {"Starts With": str.startswith, "Ends With": str.endswith, "Equal": str.__eq__}


def computes(name: str, shown: str, output: str | tuple[str, ...], **inputs):
    """Decorator: the node `name`, shown as `shown`, gives what the function answers."""
    outputs = (output,) if isinstance(output, str) else output

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(**given: Any) -> tuple:
            answer = function(**given)
            return (answer,) if isinstance(output, str) else answer

        stands_for(name, shown, outputs, NODES, **inputs)(type(name, (), {"run": staticmethod(run)}))
        return function

    return add


@computes("PrimitiveString", "Text", "STRING", value=LINE)
@computes("PrimitiveStringMultiline", "Text (Multiline)", "STRING", value=TEXT)
@computes("PrimitiveInt", "Int", "INT", value=("INT", {**SIGNED[1], **CONTROL}))
@computes("PrimitiveFloat", "Float", "FLOAT", value=("FLOAT", {"default": 0.0, "min": -LARGEST, "max": LARGEST}))
@computes("PrimitiveBoolean", "Boolean", "BOOLEAN", value=SWITCH)
def same(value: Any) -> Any:
    return value


@computes("SeedNode", "Seed", "INT", seed=("INT", {"default": 0, "min": 0, "max": LARGEST, **CONTROL}))
def seed_of(seed: int) -> int:
    return seed


@computes("StringConcatenate", "Concatenate Text", "STRING", string_a=TEXT, string_b=TEXT, delimiter=LINE)
def joined(string_a: str, string_b: str, delimiter: str) -> str:
    return checked(string_a + delimiter + string_b)


@computes("StringReplace", "Replace Text", "STRING", string=TEXT, find=TEXT, replace=TEXT)
def replaced(string: str, find: str, replace: str) -> str:
    check_length(len(string) + string.count(find) * (len(replace) - len(find)))
    return string.replace(find, replace)


@computes("StringSubstring", "Substring", "STRING", string=TEXT, start=SIGNED, end=SIGNED)
def part(string: str, start: int, end: int) -> str:
    return string[start:end]


@computes("StringTrim", "Trim Text", "STRING", string=TEXT, mode=(list(TRIMS),))
def trimmed(string: str, mode: str) -> str:
    return TRIMS[mode](string)


@computes("CaseConverter", "Convert Text Case", "STRING", string=TEXT, mode=(list(CASES),))
def in_case(string: str, mode: str) -> str:
    return CASES[mode](string)


@computes("StringLength", "Text Length", "INT", string=TEXT)
def length(string: str) -> int:
    return len(string)


@computes("StringContains", "Contains Text", "BOOLEAN", string=TEXT, substring=TEXT, case_sensitive=SENSITIVE)
def contains(string: str, substring: str, case_sensitive: bool) -> bool:
    return substring in string if case_sensitive else substring.lower() in string.lower()


@computes(
    "StringCompare",
    "Compare Text",
    "BOOLEAN",
    string_a=TEXT,
    string_b=TEXT,
    mode=(list(COMPARISONS),),
    case_sensitive=SENSITIVE,
)
def compares(string_a: str, string_b: str, mode: str, case_sensitive: bool) -> bool:
    texts = (string_a, string_b) if case_sensitive else (string_a.lower(), string_b.lower())
    return COMPARISONS[mode](*texts)


@computes("ComfyNumberConvert", "Convert Number", ("FLOAT", "INT"), value=("INT,FLOAT,STRING,BOOLEAN",))
def as_number(value: Any) -> tuple[float, int]:
    try:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise RunError(f"value is {shown_text(repr(value), 80)}; expected a finite number") from None
    try:
        return number, int(value)
    except ValueError:  # the text of a fraction
        return number, int(number)


@computes("ComfySwitchNode", "If/Else Switch", ANY, switch=SWITCH, on_false=(ANY,), on_true=(ANY,))
def either(switch: bool, on_false: Any, on_true: Any) -> Any:
    return on_true if switch else on_false


@stands_for("PreviewAny", "Preview as Text", ("STRING",), NODES, source=(ANY,))
class PreviewAny:
    OUTPUT_NODE = True

    def run(self, source: Any) -> tuple:
        text = source if isinstance(source, str) else _written(source)
        say(f"Preview as Text: {shown_text(text)}")
        return (text,)


def _written(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float)):
        return str(value)
    try:
        return json.dumps(value, indent=4, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def checked(text: str) -> str:
    check_length(len(text))
    return text


def check_length(characters: int) -> None:
    if characters > LONGEST:
        raise RunError(f"the text would have {characters:,} characters; {LONGEST:,} are made at the most")
