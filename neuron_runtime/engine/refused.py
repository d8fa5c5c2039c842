"""A question that an engine does not take."""

from __future__ import annotations

from typing import final

from transports.schemas.link import Failure


@final
class Refused(Exception):
    """The request cannot be accepted; ``failure`` is what the client is told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
