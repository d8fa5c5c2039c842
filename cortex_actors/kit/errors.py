"""What goes wrong between actors.

An ``ExpectedError`` is an answer: whoever asked gets it and the actor lives. Anything else that a
handler raises is a crash: the actor ends and its supervisor decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from cortex_actors.kit.reasons import ExitReason
from transports.failures import FailureCode
from transports.schemas.link import Failure


class ActorError(Exception):
    """Root of the kit's errors. ``code`` is a ``FailureCode`` word."""

    code: str = FailureCode.INTERNAL
    retryable: bool = False

    @property
    def failure(self) -> Failure:
        """The same as a message body, to answer a link with."""
        return Failure(code=self.code, message=str(self))


class ExpectedError(ActorError):
    """A handler's refusal: goes to whoever asked, and the actor lives.

    Subclasses set ``code`` and ``retryable`` for all of their instances.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        detail: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = type(self).code if code is None else code
        self.retryable = type(self).retryable if retryable is None else retryable
        self.param = param
        self.retry_after_s = retry_after_s
        self.detail = dict(detail or {})

    @classmethod
    def of(cls, failure: Failure, *, retryable: bool = False) -> Self:
        """Pass on a failure that came over a link."""
        return cls(
            failure.message,
            code=failure.code,
            retryable=retryable or failure.retry_after_s is not None,
            param=failure.param,
            retry_after_s=failure.retry_after_s,
            detail=failure.detail,
        )

    @property
    def failure(self) -> Failure:
        """The same as a message body, to answer a link with."""
        return Failure(
            code=self.code,
            message=str(self),
            param=self.param,
            retry_after_s=self.retry_after_s,
            detail=self.detail,
        )


class UnhandledMessage(ExpectedError):
    """The actor has no handler for messages of this type."""

    def __init__(self, actor: str, message: object) -> None:
        super().__init__(f"{actor} has no handler for {type(message).__name__}")


class ActorDead(ActorError):
    """The actor has ended, or ended before it answered."""

    def __init__(self, actor: str, reason: ExitReason | None = None) -> None:
        super().__init__(f"actor {actor} has ended" + ("" if reason is None else f": {reason}"))
        self.actor = actor
        self.reason = reason


class ActorCrashed(ActorDead):
    """The actor ended because of this very question."""


class MailboxFull(ActorError):
    """The actor has too much to do; try again later or elsewhere."""

    code = FailureCode.OVERLOADED
    retryable = True

    def __init__(self, actor: str, limit: int) -> None:
        super().__init__(f"the mailbox of {actor} is full ({limit} messages)")
        self.actor = actor
        self.limit = limit


class AskTimeout(ActorError):
    """No answer within the deadline; the question may still be worked on."""

    code = FailureCode.DEADLINE_EXCEEDED
    retryable = True
