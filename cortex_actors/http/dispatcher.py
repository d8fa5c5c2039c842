"""A front-end process's way to its daemon and the engines: one reactor, its links, its slots."""

from __future__ import annotations

import os
import queue
from functools import partial
from pathlib import Path
from typing import Final, final

from cortex_actors.dialects.events import Question, principal_of
from cortex_actors.http.backend import BackendError
from cortex_actors.http.daemon_link import DaemonLink
from cortex_actors.http.engine_links import EngineLinks
from cortex_actors.http.generation import RoutedGeneration, Routes
from cortex_actors.http.leases import Leases
from cortex_actors.http.progress_watch import Deadlines
from cortex_actors.http.request_slots import RequestSlots
from cortex_actors.http.response_counts import ResponseCounts
from transports.clock import Clock, MonotonicClock
from transports.curve import load_keys
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.link import CallEvent, Completed, Failed, Lost
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import ServiceState
from transports.schemas.link import Failure

_OPERATORS: Final = "*"
"""Whose slots questions to the daemon take; no key has this name."""

_REACTOR_PATIENCE_S = 2.0
_FEW = 32
_STOP_S = 2.0


@final
class Dispatcher:
    """A ``Backend`` over real links. Create it in the process that uses it, never before a fork.

    ``slots`` is how many generations and operator questions may be open at once; keep it below the
    number of server threads, so that /health always finds one. With ``keys`` nobody may have all of
    them. ``key_file`` is what this process
    proves its identity to engines with; a key's owner is named like the file.
    """

    def __init__(
        self,
        daemon_endpoint: str,
        service: str,
        *,
        slots: int,
        keys: bool = False,
        deadlines: Deadlines | None = None,
        key_file: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        name = f"{service}-{os.getpid()}"
        self._clock = clock or MonotonicClock()
        self._deadlines = deadlines or Deadlines()
        self._reactor = Reactor(f"{name}-reactor", clock=self._clock)
        self._responses = ResponseCounts()
        self._daemon = DaemonLink(self._reactor, daemon_endpoint, name, self._responses)
        own_keys = None if key_file is None else load_keys(key_file)
        leases = Leases(self._reactor, self._daemon)
        me = key_file.stem if key_file else name
        self._engines = EngineLinks(self._reactor, me, own_keys, on_lost=leases.engine_lost)
        self._routes = Routes(self._reactor, self._daemon, leases, self._engines, self._clock)
        self._slots = RequestSlots(slots, shared=keys)
        self._running: set[RoutedGeneration] = set()
        self._look_through_at = _FEW
        self._drained = False

    def start(self) -> None:
        """Start the reactor's thread and connect to the daemon."""
        self._reactor.start()
        self._reactor.call_soon(self._daemon.open)

    @property
    def service(self) -> ServiceState | None:
        """The latest state that the daemon pushed; None before the first."""
        return self._daemon.service

    @property
    def connected(self) -> bool:
        """Whether the link to the daemon is up now."""
        return self._daemon.connected

    def generate(self, question: Question, *, streamed: bool = True) -> RoutedGeneration:
        """Start a generation.

        Raises:
            BackendError: OVERLOADED, at once, when the principal gets no slot.
        """
        principal = principal_of(question)
        self._take_slot(principal)
        give_back = partial(self._slots.release, principal)
        generation = RoutedGeneration(
            question, self._routes, self._deadlines, give_back, streamed=streamed
        )
        self._reactor.call_soon(lambda: self._begin(generation))
        return generation

    def count_response(self, route: str, status: str) -> None:
        """Count one HTTP response; the daemon is told within a second."""
        self._responses.add(route, status)

    def ask(self, question: Body, deadline_s: float) -> Body:
        """Ask the daemon and wait for the answer, at most ``deadline_s``.

        Raises:
            BackendError: The daemon refused, is not there, or did not answer in time.
        """
        self._take_slot(_OPERATORS)
        try:
            answer = self._ask(question, deadline_s)
        finally:
            self._slots.release(_OPERATORS)
        if isinstance(answer, Failure):
            raise BackendError(answer)
        return answer

    def drain(self, grace_s: float) -> None:
        """Let what runs go on for ``grace_s``; then end it with SHUTTING_DOWN."""
        self._reactor.call_later(grace_s, self._end_all)

    def close(self) -> None:
        """Close the links and stop the reactor's thread."""
        self._reactor.call_soon(self._routes.leases.close)
        self._reactor.call_soon(self._daemon.close)
        self._reactor.call_soon(self._engines.close)
        self._reactor.stop()
        self._reactor.join(_STOP_S)

    def _take_slot(self, principal: str) -> None:
        if not self._slots.take(principal):
            raise BackendError(
                Failure(
                    FailureCode.OVERLOADED,
                    "this server process has as many requests open as it can serve",
                )
            )

    def _ask(self, question: Body, deadline_s: float) -> Body:
        answers: queue.SimpleQueue[Body] = queue.SimpleQueue()

        def on_event(event: CallEvent) -> None:
            match event:
                case Completed(body):
                    answers.put(body)
                case Failed(failure):
                    answers.put(failure)
                case Lost(reason, _):
                    answers.put(_no_answer(reason))
                case _:
                    pass

        def send() -> None:
            try:
                self._daemon.request(question, on_event, deadline_s=deadline_s)
            except TransportError as ex:
                answers.put(_no_answer(ex.code))

        self._reactor.call_soon(send)
        try:
            return answers.get(timeout=deadline_s + _REACTOR_PATIENCE_S)
        except queue.Empty:
            return _no_answer("deadline")

    def _begin(self, generation: RoutedGeneration) -> None:
        if len(self._running) >= self._look_through_at:
            # PERF: now and then, for with each request it would cost as many as there are.
            self._running = {other for other in self._running if not other.ended}
            self._look_through_at = 2 * len(self._running) + _FEW
        self._running.add(generation)
        generation.begin()
        if self._drained:
            generation.cancel(_shutting_down())

    def _end_all(self) -> None:
        self._drained = True
        for generation in self._running:
            generation.cancel(_shutting_down())


def _shutting_down() -> Failure:
    return Failure(FailureCode.SHUTTING_DOWN, "the service is shutting down")


def _no_answer(reason: str) -> Failure:
    if reason == "deadline":
        return Failure(FailureCode.DEADLINE_EXCEEDED, "the daemon did not answer in time")
    return Failure(
        FailureCode.MODEL_UNAVAILABLE,
        "the daemon is not reachable; try again",
        detail={"reason": reason},
    )
