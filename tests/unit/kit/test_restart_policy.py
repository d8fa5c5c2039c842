"""The restart policy by example; the model test has OTP's rules and the promises."""

from __future__ import annotations

from cortex_actors.kit import supervision as s
from cortex_actors.kit.child import Phase
from cortex_actors.kit.reasons import NORMAL, SHUTDOWN, ExitReason
from cortex_actors.kit.restart_policy import RestartPolicy
from cortex_actors.kit.restart_rules import Backoff, Restart, RestartRules, Strategy

CRASH = ExitReason.crash("ValueError")


class Driver:
    """Feeds a policy, whose children are named by one letter each and are up to begin with."""

    def __init__(self, rules: RestartRules, **restarts: Restart) -> None:
        self.policy = RestartPolicy(rules, lambda: 0.0)
        self.attempts: dict[str, int] = {}
        self.feed(s.Boot(tuple(s.ChildAdded(*each) for each in restarts.items())))
        for name in restarts:
            self.starts(name)

    def feed(self, event: s.Event) -> list[str]:
        """Return what is done, in short."""
        effects = self.policy.handle(event, 0.0)
        starts = [effect for effect in effects if isinstance(effect, s.Start)]
        self.attempts |= {start.child: start.attempt for start in starts}
        return [" ".join((type(e).__name__, getattr(e, "child", ""))).strip() for e in effects]

    def starts(self, name: str) -> list[str]:
        return self.feed(s.Started(name, self.attempts[name]))

    def exits(self, name: str, reason: ExitReason = SHUTDOWN) -> list[str]:
        return self.feed(s.Exited(name, self.attempts[name], reason))


def test_a_child_that_had_finished_starts_again_with_its_group() -> None:
    rules = RestartRules(Strategy.ONE_FOR_ALL)
    group = Driver(rules, a=Restart.TRANSIENT, b=Restart.PERMANENT)

    assert group.exits("a", NORMAL) == []
    assert group.policy.phases["a"] is Phase.FINISHED
    assert group.exits("b", CRASH) == ["Start a"]
    assert group.starts("a") == ["Start b"]


def test_nobody_of_a_group_starts_before_its_wait_is_over() -> None:
    rules = RestartRules(Strategy.ONE_FOR_ALL, backoff=Backoff(1.0, 1.0, 9.0))
    group = Driver(rules, a=Restart.PERMANENT, b=Restart.PERMANENT)

    assert group.exits("a", CRASH) == ["Wait", "Stop b"]
    assert group.exits("b") == []
    assert group.feed(s.Waited(1)) == ["Start a"]


def test_a_child_that_is_added_again_is_the_last_to_start_and_the_first_to_stop() -> None:
    children = Driver(RestartRules(), a=Restart.TRANSIENT, b=Restart.PERMANENT)

    children.exits("a", NORMAL)
    assert children.feed(s.ChildAdded("a")) == ["Start a"]
    children.starts("a")
    assert list(children.policy.phases) == ["b", "a"]
    assert children.feed(s.StopRequested(SHUTDOWN)) == ["Stop a"]


def test_children_end_one_at_a_time_even_if_one_was_leaving_already() -> None:
    children = Driver(RestartRules(), a=Restart.PERMANENT, b=Restart.PERMANENT)

    assert children.feed(s.ChildRemoved("a")) == ["Stop a"]
    assert children.feed(s.StopRequested(SHUTDOWN)) == []
    assert children.exits("a") == ["Forget a", "Stop b"]
    assert children.exits("b") == ["Terminate"]
    assert children.policy.phases == {"b": Phase.FINISHED}
