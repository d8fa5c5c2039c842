"""What a few characters of a constraint may make its compiler do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from math import lcm
from typing import Any

import msgspec

from neuron_runtime.engine.grammar import GrammarError
from neuron_runtime.engine.tokenizer import LONG_CHARACTERS
from transports.schemas.generate import Generate

MOST_DIVISOR = 100_000
"""The compiler has a state for each remainder: this many take 0.3 s, ten times as many 12 s."""

_FEW = 1000
"""So many copies of a part, or remainders, take some milliseconds."""

_COUNT = re.compile(r"\{(?:\d*,)?(\d+)(?:,)?\}")
_DIVISOR = re.compile(r'"multipleOf": *-?([0-9.]+)')
# By these a number may have to be a multiple of several at once.
_JOINING = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties")


def characters_of(question: Generate) -> int:
    """Return how many characters a question's constraint has beside its prompt.

    Of one with many repetitions, as ``((a{99}){99}){99}``, which takes a second, or a large
    divisor, it is as many as a long text has.
    """
    own = "" if question.constraint is None else question.constraint.value
    called = msgspec.json.encode(question.tools).decode() if _are_called(question) else ""
    slow = _is_slow(own) or _is_slow(called)
    return len(own) + (LONG_CHARACTERS + 1 if slow else 0)


def check_divisors(schema: Any) -> None:
    """Check that what the values of ``multipleOf`` come to can be compiled.

    Raises:
        GrammarError: They are too large.
    """
    nodes = list(_objects(schema))
    found = [number for node in nodes if (number := _number(node.get("multipleOf"))) is not None]
    joined = any(key in node for node in nodes for key in _JOINING)
    for divisors in [found] if joined else [[number] for number in found]:
        if _common(divisors) > MOST_DIVISOR:
            msg = f"the values of multipleOf must not come to more than {MOST_DIVISOR}"
            raise GrammarError(msg)


def _is_slow(text: str) -> bool:
    if any(len(divisor) >= len(str(_FEW)) for divisor in _DIVISOR.findall(text)):
        return True
    # Whether one repeats another, or only stands beside it, is not looked at.
    copies = 1.0
    for count in _COUNT.findall(text):
        copies *= max(1.0, float(count))
    return copies > _FEW


def _are_called(question: Generate) -> bool:
    choice = question.tool_choice
    return choice not in {"auto", "none"} or (choice == "auto" and question.constraint is not None)


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo += node.values()
        elif isinstance(node, list | tuple):
            todo += node


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return abs(Decimal(str(value))) or None


def _common(divisors: list[Decimal]) -> int:
    """Return the least common multiple, in units of their last digit."""
    places = max((_places(each) for each in divisors), default=0)
    return lcm(*(int(each.scaleb(places)) for each in divisors))


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
