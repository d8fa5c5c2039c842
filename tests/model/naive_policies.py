"""Restart policies with one mistake each; the suite has to notice every one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from cortex_actors.kit.child import Child, Phase
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.restart_policy import RestartPolicy
from cortex_actors.kit.restart_rules import Restart, RestartRules


class OneForOneWhateverTheStrategy(RestartPolicy):
    def _affected(self, child: Child) -> Sequence[Child]:
        return ()


class AllForOneWhateverTheStrategy(RestartPolicy):
    def _affected(self, child: Child) -> Sequence[Child]:
        return [other for other in self._children.values() if other is not child]


class NoWindow(RestartPolicy):
    def __init__(self, rules: RestartRules, jitter: Callable[[], float]) -> None:
        super().__init__(replace(rules, period_s=math.inf), jitter)


class NeverGivesUp(RestartPolicy):
    def __init__(self, rules: RestartRules, jitter: Callable[[], float]) -> None:
        super().__init__(replace(rules, intensity=None), jitter)


class FailedStartsAreFree(RestartPolicy):
    def _restart(self, child: Child, reason: ExitReason, now: float) -> None:
        window = child.window
        if reason.kind == "init_failed":
            child.window = replace(window, intensity=None)
        super()._restart(child, reason, now)
        child.window = window


class RetriesABadConfigurationForEver(RestartPolicy):
    def _restart(self, child: Child, reason: ExitReason, now: float) -> None:
        child.init_failure = None
        super()._restart(child, reason, now)


class StopsInStartOrder(RestartPolicy):
    def _stop_last(self, children: Sequence[Child]) -> None:
        super()._stop_last(children[::-1])


class StopsAllAtOnce(RestartPolicy):
    def _stop_last(self, children: Sequence[Child]) -> None:
        for child in reversed(children):
            self._stop(child)


class EndsBeforeItsChildren(RestartPolicy):
    def _wind_down(self, children: Iterable[Child], reason: ExitReason) -> None:
        super()._wind_down([c for c in children if c.phase is not Phase.STOPPING], reason)


class HeedsOldIncarnations(RestartPolicy):
    def _current(self, name: str, attempt: int) -> Child | None:
        child = self._children.get(name)
        return child if child is not None and child.live else None


class RestartsWhatFinished(RestartPolicy):
    def _exited(self, child: Child, reason: ExitReason, now: float) -> None:
        if child.spec.restart is Restart.TRANSIENT:
            reason = ExitReason.crash("whatever")
        super()._exited(child, reason, now)


class RestartsTemporaryChildren(RestartPolicy):
    def _exited(self, child: Child, reason: ExitReason, now: float) -> None:
        child.spec = replace(child.spec, restart=Restart.PERMANENT)
        super()._exited(child, reason, now)


class BacksOffForEver(RestartPolicy):
    def _started(self, child: Child, now: float) -> None:
        super()._started(child, -math.inf if self._one_for_one else now)
        child.streak.up(math.inf)


class StartsAGroupOutOfOrder(RestartPolicy):
    def _settle(self) -> None:
        self._children = dict(reversed(self._children.items()))
        super()._settle()
        self._children = dict(reversed(self._children.items()))


class DoesNotWaitForTheDying(RestartPolicy):
    def _stop(self, child: Child) -> None:
        super()._stop(child)
        if not child.unwanted and not self.ending:
            child.phase = Phase.PENDING
            child.condemned = False


MUTANTS = tuple(RestartPolicy.__subclasses__())
