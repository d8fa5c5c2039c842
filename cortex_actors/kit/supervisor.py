"""The actor that starts, watches, restarts and stops others; ``RestartPolicy`` decides.

A child that does not end within its ``shutdown_s`` is abandoned: its reference is fenced, which
makes it dead to everyone, and its thread, which nothing can kill, ends when its handler returns.
What must not have two owners (a device, a process) therefore has to be released or killed in the
child's ``on_stop``, within ``shutdown_s``.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.actor_timer import ActorTimer
from cortex_actors.kit.asking import Future
from cortex_actors.kit.child import OVER, Phase
from cortex_actors.kit.children import (
    ChildInfo,
    ChildSpec,
    StartChild,
    StopChild,
    WhichChildren,
)
from cortex_actors.kit.errors import ExpectedError
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.monitor import Down, Monitor
from cortex_actors.kit.reasons import SHUTDOWN, ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.registry import Registry
from cortex_actors.kit.restart_policy import RestartPolicy
from cortex_actors.kit.restart_rules import RestartRules
from cortex_actors.kit.supervision import (
    Abandon,
    Boot,
    Booted,
    ChildAdded,
    ChildRemoved,
    Effect,
    Event,
    Exited,
    Fail,
    Forget,
    Overdue,
    Start,
    Started,
    Stop,
    StopRequested,
    Terminate,
    Wait,
    Waited,
)
from transports.clock import Clock, MonotonicClock
from transports.failures import FailureCode

_log = logging.getLogger("cortex.supervisor")

_AT_REST = frozenset({Phase.PENDING, Phase.WAITING, Phase.FINISHED, Phase.FAILED})


@dataclass(slots=True, eq=False)
class _Child:
    spec: ChildSpec
    attempt: int = 0
    starts: int = 0
    ref: ActorRef | None = None
    monitor: Monitor | None = None
    limit: ActorTimer | None = None
    start_asked: Future[ActorRef] = field(default_factory=Future)
    stop_asked: Future[None] = field(default_factory=Future)

    @property
    def restarts(self) -> int:
        return max(self.starts - 1, 0)

    def set_limit(self, timer: ActorTimer | None) -> None:
        if self.limit is not None:
            self.limit.cancel()
        self.limit = timer


@dataclass(frozen=True, slots=True)
class _Later:
    """An event for the policy that comes through the mailbox, so that a stop can come between."""

    event: Event


class Supervisor(SupervisedActor):
    """Runs its children by ``rules``; ready when all of ``children`` are.

    ``registry`` lists the children, but not the supervisor itself: whoever starts it does that.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec] = (),
        rules: RestartRules | None = None,
        *,
        registry: Registry | None = None,
        jitter: Callable[[], float] = random.random,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._children = {spec.id: _Child(spec) for spec in children}
        self._policy = RestartPolicy(rules or RestartRules(), jitter)
        self._registry = registry or Registry()
        self._clock = clock or MonotonicClock()
        self._booted: Future[None] = Future()

    def on_start(self) -> Future[None]:
        """Start the children in order."""
        self._feed(Boot(tuple(_added(child.spec) for child in self._children.values())))
        return self._booted

    def on_stop_request(self, reason: ExitReason) -> None:
        """Stop the children in reverse order, then end."""
        self._feed(StopRequested(reason))

    def on_stop(self, reason: ExitReason) -> None:
        """Leave no child behind, even if this supervisor crashed."""
        del reason
        for child in reversed(self._children.values()):
            if child.ref is None:
                continue
            child.ref.stop(SHUTDOWN)
            if not child.ref.exit.wait(child.spec.shutdown_s):
                self._abandon(child)
            self._registry.forget(child.ref)

    def on_child_failed(self, child: str, reason: ExitReason) -> None:
        """Hook: this child is not restarted any more (``GiveUp.FAIL_CHILD``)."""

    def summary(self) -> str:
        """How many children are up."""
        phases = list(self._policy.phases.values())
        return f"{phases.count(Phase.UP)}/{len(phases)} children up"

    @handles(StartChild)
    def _start_child(self, message: StartChild) -> Future[ActorRef]:
        spec = message.spec
        me = self.ref.name
        if self._policy.ending:
            raise ExpectedError(f"{me} is shutting down", code=FailureCode.SHUTTING_DOWN)
        phase = self._policy.phases.get(spec.id)
        if phase is not None and phase not in OVER:
            raise ExpectedError(f"{me} has a child {spec.id!r} already ({phase.value})")
        self._children.pop(spec.id, None)
        child = self._children[spec.id] = _Child(spec)
        self._feed(_added(spec))
        return child.start_asked

    @handles(StopChild)
    def _stop_child(self, message: StopChild) -> Future[None] | None:
        child = self._children.get(message.id)
        if child is None:
            return None
        self._feed(ChildRemoved(message.id))
        return child.stop_asked

    @handles(WhichChildren)
    def _which_children(self, _: WhichChildren) -> tuple[ChildInfo, ...]:
        phases = self._policy.phases
        return tuple(
            ChildInfo(name, phases[name], child.restarts, child.ref)
            for name, child in self._children.items()
        )

    @handles(Down)
    def _child_down(self, down: Down) -> None:
        for child in self._children.values():
            if child.monitor is down.tag:
                child.set_limit(None)
                # Not the Down's own: who died before it was monitored has died of something too.
                self._exited(child, down.tag.cause)
                return

    @handles(_Later)
    def _later(self, later: _Later) -> None:
        self._feed(later.event)

    def _feed(self, event: Event) -> None:
        for effect in self._policy.handle(event, self._clock.now()):
            self._execute(effect)

    def _execute(self, effect: Effect) -> None:
        match effect:
            case Start(name, attempt, within_s):
                self._start(self._children[name], attempt, within_s)
            case Stop(name, attempt, within_s):
                self._stop_one(self._children[name], attempt, within_s)
            case Abandon(name):
                self._abandon(self._children[name])
            case Wait(wait, delay_s):
                self.tell_later(delay_s, _Later(Waited(wait)))
            case Forget(name, reason):
                self._forget(self._children.pop(name), reason)
            case Fail(name, reason):
                self.on_child_failed(name, reason)
            case Booted():
                self._booted.resolve(None)
            case Terminate(reason):
                self.leave(reason)

    def _start(self, child: _Child, attempt: int, within_s: float) -> None:
        name = child.spec.id
        child.attempt, child.ref, child.monitor = attempt, None, None
        child.starts += 1
        try:
            ref = child.spec.start()
        except BaseException as error:  # noqa: BLE001 - a child's constructor is a child's failure
            _log.exception("event=start_failed supervisor=%s child=%s", self.ref.name, name)
            failed = Exited(name, attempt, ExitReason.init_failed(error))
            self.ref.notify(_Later(failed))
            return
        child.ref = ref
        child.monitor = self.monitor(ref)
        child.set_limit(self.tell_later(within_s, _Later(Overdue(name, attempt))))
        self._registry.register(ref, child.restarts)
        self.when_done(ref.ready, lambda ready: self._ready(child, attempt, ready))

    def _ready(self, child: _Child, attempt: int, ready: Future[None]) -> None:
        starting = self._policy.phases.get(child.spec.id) is Phase.STARTING
        if ready.error is not None or child.attempt != attempt or child.ref is None or not starting:
            return
        child.set_limit(None)
        child.start_asked.resolve(child.ref)
        self._feed(Started(child.spec.id, attempt))

    def _stop_one(self, child: _Child, attempt: int, within_s: float) -> None:
        if child.ref is not None:
            child.set_limit(self.tell_later(within_s, _Later(Overdue(child.spec.id, attempt))))
            child.ref.stop(SHUTDOWN)

    def _exited(self, child: _Child, reason: ExitReason) -> None:
        name = child.spec.id
        level = logging.WARNING if reason.abnormal else logging.INFO
        _log.log(
            level, "event=child_exited name=%s child=%s reason=%s", self.ref.name, name, reason
        )
        ref = child.ref
        self._feed(Exited(name, child.attempt, reason))
        phase = self._policy.phases.get(name)
        if ref is not None and phase in _AT_REST:
            self._registry.park(ref, child.restarts, phase.value, str(reason))

    def _abandon(self, child: _Child) -> None:
        if child.monitor is not None:
            child.monitor.cancel()
        child.set_limit(None)
        if child.ref is not None and child.ref.fence():
            _log.error("event=child_abandoned name=%s child=%r", self.ref.name, child.ref)

    def _forget(self, child: _Child, reason: ExitReason) -> None:
        child.set_limit(None)
        if child.ref is not None:
            self._registry.forget(child.ref)
        child.start_asked.fail(ExpectedError(f"{child.spec.id} did not start: {reason}"))
        child.stop_asked.resolve(None)


def _added(spec: ChildSpec) -> ChildAdded:
    return ChildAdded(spec.id, spec.restart, spec.start_s, spec.shutdown_s)
