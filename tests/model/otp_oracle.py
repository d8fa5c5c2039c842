"""OTP's supervision rules, written down a second time: synchronous, as OTP is, and brief."""

from __future__ import annotations

from types import SimpleNamespace as Child
from typing import Any

from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.restart_rules import GiveUp, Restart, RestartRules, Strategy


class OtpSupervisor:
    def __init__(self, rules: RestartRules) -> None:
        self.rules, self.now = rules, 0.0
        self.children: dict[str, Any] = {}
        self.did: list[tuple[str, object]] = []
        self.failing: list[ExitReason] = []  # what becomes of the next starts
        self.common = Child(charges=[], streak=0, since=None)

    def add(self, name: str, restart: Restart) -> Any:
        self.children.pop(name, None)
        new = Child(
            name=name, restart=restart, up=False, init=None, charges=[], streak=0, since=None
        )
        self.children[name] = new
        return self.start(new, first=True)

    def exit(self, child: Any, reason: ExitReason) -> None:
        child.up = False
        if child.restart is Restart.TEMPORARY:
            self.forget(child)
        elif child.restart is Restart.PERMANENT or reason.kind not in ("normal", "shutdown"):
            self.restart(child, reason)

    def restart(self, child: Any, reason: ExitReason) -> Any:
        names = list(self.children)
        fails_alone = self.rules.give_up is GiveUp.FAIL_CHILD
        again, child.init = reason.kind == "init_failed" and reason == child.init, reason
        charges = (child if fails_alone else self.common).charges
        charges[:] = [at for at in charges if at >= self.now - self.rules.period_s] + [self.now]
        if again or (self.rules.intensity is not None and len(charges) > self.rules.intensity):
            return self.did.append(("fail", child.name)) if fails_alone else self.end("crash")
        alone = self.rules.strategy is Strategy.ONE_FOR_ONE
        first = 0 if self.rules.strategy is Strategy.ONE_FOR_ALL else names.index(child.name)
        group = [child] if alone else [self.children[name] for name in names[first:]]
        self.back_off(child if alone else self.common)
        self.stop(group)
        return next((None for c in group if c.name in self.children and not self.start(c)), None)

    def start(self, child: Any, *, first: bool = False) -> Any:
        self.did.append(("start", child.name))
        if self.failing:
            failure = self.failing.pop(0)
            return None if first else self.restart(child, failure)
        child.up, child.init, child.since, self.common.since = True, None, self.now, self.now
        return True

    def stop(self, group: list[Any], *, ending: bool = False) -> None:
        for child in [child for child in reversed(group) if child.up]:
            child.up = False
            self.did.append(("stop", child.name))
            if child.restart is Restart.TEMPORARY and not ending:
                self.forget(child)

    def back_off(self, scope: Any) -> None:
        if (backoff := self.rules.backoff) is not None:
            healthy = scope.since is not None and self.now - scope.since >= backoff.healthy_s
            delay = min(backoff.first_s * 2 ** (0 if healthy else scope.streak), backoff.max_s)
            scope.streak, scope.since = 1 + (0 if healthy else scope.streak), None
            self.now += delay
            self.did.append(("wait", delay))

    def end(self, kind: str) -> None:
        self.stop(list(self.children.values()), ending=True)
        self.did.append(("end", kind))

    def forget(self, child: Any) -> None:
        del self.children[child.name]
        self.did.append(("forget", child.name))
