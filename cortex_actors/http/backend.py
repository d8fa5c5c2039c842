"""What the HTTP resources need from the rest of the system, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cortex_actors.dialects.events import GenerationEvent, Question
from transports.schemas.body import Body
from transports.schemas.fleet import ServiceState
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class GenerationTimes:
    """Seconds from its start; 0 while it is not so far. ``loaded``: its model had to be, for it.

    ``decode_s`` is how long its text has been coming.
    """

    lease_s: float = 0.0
    first_token_s: float = 0.0
    loaded: bool = False
    decode_s: float = 0.0


class Generation(Protocol):
    """One accepted request, read by one thread."""

    def fileno(self) -> int:
        """Return a descriptor that is readable while events wait to be taken."""
        ...

    def take(self) -> tuple[GenerationEvent, ...]:
        """Return all events that are ready, without waiting."""
        ...

    @property
    def times(self) -> GenerationTimes:
        """When it got how far."""
        ...

    def close(self) -> None:
        """End it: cancels whatever still runs. Idempotent; must always be called."""
        ...


class Backend(Protocol):
    """The daemon and its engines, as seen from a request. Every method is for any thread."""

    @property
    def service(self) -> ServiceState | None:
        """The latest state that the daemon pushed; None before the first."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the link to the daemon is up now."""
        ...

    def generate(self, question: Question, *, streamed: bool = True) -> Generation:
        """Start a generation; what is not a Generate has no text and one answer.

        Unless it is ``streamed``, its descriptor is readable only once the last event is there.

        Raises:
            BackendError: OVERLOADED, at once, when every slot is taken.
        """
        ...

    def count_response(self, route: str, status: str) -> None:
        """Count one HTTP response, of any kind."""
        ...

    def ask(self, question: Body, deadline_s: float) -> Body:
        """Ask the daemon and wait for the answer, at most ``deadline_s``.

        Raises:
            BackendError: The daemon refused, is not there, or did not answer in time.
        """
        ...


class BackendError(Exception):
    """A question that the backend could not answer; ``failure`` may be shown to the user."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure
