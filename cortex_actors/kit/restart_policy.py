"""The rules of supervision, without threads, clock or actors (semantics 5.10).

Events in, effects out. They are OTP's rules made asynchronous: starting and stopping a child take
time, and other events are handled meanwhile. An event of any but a child's current attempt is old
news and ignored.

Children are kept in start order. Each has a phase, and two wishes may be pending for it: to be
stopped because its group restarts (``condemned``) and to be gone for good (``unwanted``). After
each event ``_settle`` emits what phases and wishes call for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from cortex_actors.kit.child import OVER, UNSETTLED, Child, Phase
from cortex_actors.kit.reasons import FENCED, SHUTDOWN, ExitKind, ExitReason
from cortex_actors.kit.restart_rules import (
    BackoffStreak,
    GiveUp,
    Restart,
    RestartRules,
    RestartWindow,
    Strategy,
)
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


class RestartPolicy:
    """The state of one supervisor. ``jitter`` returns numbers from 0 to 1."""

    def __init__(self, rules: RestartRules, jitter: Callable[[], float]) -> None:
        self._rules = rules
        self._jitter = jitter
        self._children: dict[str, Child] = {}
        self._window = RestartWindow(rules.intensity, rules.period_s)
        self._streak = BackoffStreak(rules.backoff, jitter)
        self._attempts = itertools.count(1)
        self._waits = itertools.count(1)
        self._hold = 0
        self._booting = False
        self._ending: ExitReason | None = None
        self._ended = False
        self._effects: list[Effect] = []

    @property
    def phases(self) -> dict[str, Phase]:
        """Where each child is, in start order."""
        return {name: child.phase for name, child in self._children.items()}

    @property
    def ending(self) -> bool:
        """Whether it stops its children for good."""
        return self._ending is not None

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take one event and return what is to be done, in this order.

        Raises:
            ValueError: If a child is added whose id is in use.
        """
        if self._ended:
            return ()
        self._effects = []
        match event:
            case Boot(children):
                self._booting = True
                for spec in children:
                    self._add(spec)
            case ChildAdded():
                self._add(event)
            case ChildRemoved(name):
                self._remove(name)
            case Started() | Exited() | Overdue():
                self._child_event(event, now)
            case Waited(wait):
                self._waited(wait)
            case StopRequested(reason):
                self._ending = self._ending or reason
        self._settle()
        return tuple(self._effects)

    def _add(self, spec: ChildAdded) -> None:
        known = self._children.get(spec.child)
        if known is not None and known.phase not in OVER:
            msg = f"there is a child {spec.child!r} already ({known.phase.value})"
            raise ValueError(msg)
        if self._ending is not None:
            self._effects.append(Forget(spec.child, SHUTDOWN))
            return
        self._children.pop(spec.child, None)
        alone = self._rules.give_up is GiveUp.FAIL_CHILD
        rules = self._rules
        self._children[spec.child] = Child(
            spec,
            RestartWindow(rules.intensity, rules.period_s) if alone else self._window,
            BackoffStreak(rules.backoff, self._jitter) if self._one_for_one else self._streak,
        )

    def _remove(self, name: str) -> None:
        child = self._children.get(name)
        if child is None:
            return
        child.unwanted = True
        if not child.live:
            self._forget(child, SHUTDOWN)

    def _child_event(self, event: Started | Exited | Overdue, now: float) -> None:
        child = self._current(event.child, event.attempt)
        if child is None:
            return
        match event:
            case Started():
                self._started(child, now)
            case Exited(reason=reason):
                self._exited(child, reason, now)
            case Overdue():
                self._overdue(child, now)

    def _current(self, name: str, attempt: int) -> Child | None:
        child = self._children.get(name)
        return child if child is not None and child.live and child.attempt == attempt else None

    def _started(self, child: Child, now: float) -> None:
        if child.phase is not Phase.STARTING:
            return
        child.phase = Phase.UP
        child.proven = True
        child.init_failure = None
        together = (child,) if self._one_for_one else self._children.values()
        if not any(other.phase in UNSETTLED for other in together):
            child.streak.up(now)

    def _exited(self, child: Child, reason: ExitReason, now: float) -> None:
        condemned, child.condemned = child.condemned, False
        temporary = child.spec.restart is Restart.TEMPORARY
        child.phase = Phase.PENDING
        if child.unwanted:
            self._forget(child, reason)
        elif self._ending is not None:
            child.phase = Phase.FINISHED
        elif condemned:
            if temporary:
                self._forget(child, reason)
        elif not child.proven:
            self._first_start_failed(child, reason)
        elif temporary:
            self._forget(child, reason)
        elif child.spec.restart is Restart.PERMANENT or reason.abnormal:
            self._restart(child, reason, now)
        else:
            child.phase = Phase.FINISHED

    def _overdue(self, child: Child, now: float) -> None:
        if child.phase is Phase.UP:
            return
        self._effects.append(Abandon(child.spec.child, child.attempt))
        if child.phase is Phase.STARTING:
            detail = f"not ready within {child.spec.start_s} s"
            self._exited(child, ExitReason(ExitKind.INIT_FAILED, detail), now)
        else:
            self._exited(child, FENCED, now)

    def _first_start_failed(self, child: Child, reason: ExitReason) -> None:
        if self._booting:
            self._ending = ExitReason(ExitKind.INIT_FAILED, f"{child.spec.child}: {reason}")
        else:
            self._forget(child, reason)

    def _restart(self, child: Child, reason: ExitReason, now: float) -> None:
        failed_init = reason if reason.kind is ExitKind.INIT_FAILED else None
        repeated = failed_init is not None and failed_init == child.init_failure
        child.init_failure = failed_init
        # Before the attempt, so that one which never comes up is counted too.
        if not child.window.charge(now) or repeated:
            self._give_up(child, reason)
            return
        for other in self._affected(child):
            if other.live:
                other.condemned = True
            elif other.phase is Phase.FINISHED:
                other.phase = Phase.PENDING
        delay_s = child.streak.next_delay(now)
        if delay_s > 0:
            wait = next(self._waits)
            self._effects.append(Wait(wait, delay_s))
            if self._one_for_one:
                child.phase, child.wait = Phase.WAITING, wait
            else:
                self._hold = wait

    def _affected(self, child: Child) -> Sequence[Child]:
        children = list(self._children.values())
        match self._rules.strategy:
            case Strategy.ONE_FOR_ONE:
                return ()
            case Strategy.ONE_FOR_ALL:
                return [other for other in children if other is not child]
            case Strategy.REST_FOR_ONE:
                return children[children.index(child) + 1 :]

    def _give_up(self, child: Child, reason: ExitReason) -> None:
        rules = self._rules
        if rules.give_up is GiveUp.FAIL_CHILD:
            child.phase = Phase.FAILED
            self._effects.append(Fail(child.spec.child, reason))
        else:
            limit = f"limit {rules.intensity} in {rules.period_s} s"
            detail = f"gave up restarting {child.spec.child}: {reason} ({limit})"
            self._ending = ExitReason(ExitKind.CRASH, detail)

    def _waited(self, wait: int) -> None:
        if wait == self._hold:
            self._hold = 0
        for child in self._children.values():
            if child.phase is Phase.WAITING and child.wait == wait:
                child.phase = Phase.PENDING

    def _forget(self, child: Child, reason: ExitReason) -> None:
        del self._children[child.spec.child]
        self._effects.append(Forget(child.spec.child, reason))

    @property
    def _one_for_one(self) -> bool:
        return self._rules.strategy is Strategy.ONE_FOR_ONE

    def _settle(self) -> None:
        children = list(self._children.values())
        if self._ending is not None:
            self._wind_down(children, self._ending)
            return
        doomed = [child for child in children if child.live and (child.condemned or child.unwanted)]
        pending = [child for child in children if child.phase is Phase.PENDING]
        if self._one_for_one and not self._booting:
            for child in doomed:
                self._stop(child)
            for child in pending:
                self._start(child)
            return
        if doomed:
            self._stop_last(doomed)
        elif not self._hold and not any(child.phase is Phase.STARTING for child in children):
            if pending:
                self._start(pending[0])
            elif self._booting:
                self._booting = False
                self._effects.append(Booted())

    def _wind_down(self, children: Iterable[Child], reason: ExitReason) -> None:
        live = [child for child in children if child.live]
        if live:
            self._stop_last(live)
        else:
            self._ended = True
            self._effects.append(Terminate(reason))

    def _stop_last(self, children: Sequence[Child]) -> None:
        if not any(child.phase is Phase.STOPPING for child in children):
            self._stop(children[-1])

    def _stop(self, child: Child) -> None:
        if child.phase is not Phase.STOPPING:
            child.phase = Phase.STOPPING
            spec = child.spec
            self._effects.append(Stop(spec.child, child.attempt, spec.shutdown_s))

    def _start(self, child: Child) -> None:
        child.phase = Phase.STARTING
        child.attempt = next(self._attempts)
        self._effects.append(Start(child.spec.child, child.attempt, child.spec.start_s))
