"""Choosing an actor's method by the type of the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

A = TypeVar("A")
M = TypeVar("M")
R = TypeVar("R")
_MARK = "__handles__"

HandlerTable = dict[type, Callable[[Any, Any], Any] | None]


def handles(message_type: type[M]) -> Callable[[Callable[[A, M], R]], Callable[[A, M], R]]:
    """Mark a method as the handler of messages of this type and of its subclasses.

    Its return value answers an ask; a ``Future`` answers later.
    """

    def mark(method: Callable[[A, M], R]) -> Callable[[A, M], R]:
        setattr(method, _MARK, message_type)
        return method

    return mark


def handler_table(actor: type) -> HandlerTable:
    """Collect a class's handlers; a subclass overrides by method name or by message type."""
    names: dict[type, str] = {}
    for base in reversed(actor.__mro__):
        for name, member in vars(base).items():
            message_type = getattr(member, _MARK, None)
            if message_type is not None:
                names[message_type] = name
    return {message_type: getattr(actor, name) for message_type, name in names.items()}


def find_handler(table: HandlerTable, message_type: type) -> Callable[[Any, Any], Any] | None:
    """Look a type up, then its bases, and remember the answer in the table."""
    for base in message_type.__mro__:
        if table.get(base) is not None:
            table[message_type] = table[base]
            return table[base]
    table[message_type] = None
    return None
