"""A message body as the object that clients are answered with; pure."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from cortex_actors.dialects.answer_object import AnswerObject
from transports.schemas.body import Body

AnswerT = TypeVar("AnswerT", bound=AnswerObject)


def body_view(body: Body, kind: type[AnswerT]) -> AnswerT:
    """Return the fields that an object of this kind has, with those that are as by default too.

    Bodies in the body become objects, tuples lists.

    Raises:
        msgspec.ValidationError: The body lacks a field of the object, or has it of another type.
    """
    return msgspec.convert(body, kind, from_attributes=True)
