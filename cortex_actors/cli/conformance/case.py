"""One behaviour that is checked, and how checks say what is wrong; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar, final

import msgspec

from cortex_actors.cli.conformance.server import Server

Shape = TypeVar("Shape")


class Unmet(Exception):
    """The server does not behave so; the message says what it did instead."""


class NotOffered(Exception):
    """The server has no such route."""


class Verdict(Enum):
    """What became of a case."""

    PASSED = "pass"
    FAILED = "FAIL"
    NOT_OFFERED = "not offered"


@final
@dataclass(frozen=True, slots=True)
class Case:
    """``check`` returns if the server behaves as ``name`` says.

    Raises:
        Unmet: From ``check``: it does not.
        NotOffered: From ``check``: it has no such route.
    """

    dialect: str
    name: str
    check: Callable[[Server], None]


def cases(dialect: str, **checks: Callable[[Server], None]) -> tuple[Case, ...]:
    """Return the cases of one dialect; their names are the keywords, with blanks."""
    return tuple(Case(dialect, name.replace("_", " "), check) for name, check in checks.items())


def expect(condition: object, otherwise: str) -> None:
    """Go on if ``condition`` holds.

    Raises:
        Unmet: With ``otherwise``, it does not.
    """
    if not condition:
        raise Unmet(otherwise)


def equal(found: object, wanted: object, what: str) -> None:
    """Go on if the two are equal.

    Raises:
        Unmet: They are not.
    """
    expect(found == wanted, f"{what} is {_short(found)}, not {_short(wanted)}")


def one_of(found: object, wanted: Iterable[object], what: str) -> None:
    """Go on if ``found`` is among ``wanted``.

    Raises:
        Unmet: It is not.
    """
    choices = list(wanted)
    expect(found in choices, f"{what} is {_short(found)}, none of {choices}")


def shaped(thing: Any, shape: type[Shape], what: str) -> Shape:
    """Return JSON as the object that it should be.

    Raises:
        Unmet: A field is missing or of another type; names it.
    """
    try:
        return msgspec.convert(thing, type=shape)
    except msgspec.ValidationError as error:
        raise Unmet(f"{what}: {error}") from error


def parsed(text: str, what: str) -> Any:
    """Return what ``text`` holds as JSON.

    Raises:
        Unmet: It is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Unmet(f"{what} is not JSON: {_short(text)}") from error


def _short(thing: object) -> str:
    text = repr(thing)
    return text if len(text) <= 80 else f"{text[:60]}…{text[-16:]}"
