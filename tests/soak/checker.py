"""Judges a soak's history. Pure: what it does not flag has not happened.

A request may fail only while the fleet is disturbed, and a connection may be cut only when a
process was hit that holds it. Nothing excuses a wrong text, a second end, or a wait past the
deadline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.soak.history import Blow, Disturbance, End, Exchange, Fall, History, Remains

DEADLINE_S = 100.0
RECOVERY_S = 30.0
AFTERMATH_S = 1.0
"""How long after all doors answered again a failure may still be the disturbance's."""
SLACK = 6
"""File descriptors or threads that a daemon may have more than at its start."""

CENSUS: Mapping[str, int] = {
    "neurond": 1,
    "fork_server": 1,
    "neuron arbiter": 1,
    "neuron worker": 1,
    "engine": 1,
    "rank0": 1,
    "rank1": 1,
    "cortexd": 1,
    "gateway arbiter": 1,
    "gateway worker": 2,
}
"""The processes of a fleet that is well, by role."""

HONEST_CODES = frozenset(
    {
        "overloaded",
        "model_unavailable",
        "model_loading",
        "shutting_down",
        "deadline_exceeded",
        "worker_died",
        "poisoned_request",
        "link_lost",
        "step_failed",
    }
)
HOLDERS = {
    "gateway": frozenset({"cortexd", "gateway arbiter", "gateway worker"}),
    "neuron": frozenset({"neurond", "neuron arbiter", "neuron worker"}),
}
"""Whose end cuts the connections of which door."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def check(history: History) -> tuple[Violation, ...]:
    """Return everything that must not have happened."""
    found: list[Violation] = []
    for exchange in history.exchanges:
        about = _Excuses(exchange, history.disturbances)
        found += (Violation(rule, _shown(exchange, text)) for rule, text in _exchange(about))
    for disturbance in history.disturbances:
        found += _recovery(disturbance)
    found += (violation for fall in history.falls for violation in _fall(fall, history))
    found += _remains(history.remains)
    return tuple(found)


class _Excuses:
    """What was going on while an exchange ran."""

    def __init__(self, exchange: Exchange, disturbances: tuple[Disturbance, ...]) -> None:
        self.exchange = exchange
        over = exchange.ended if exchange.ended is not None else float("inf")
        self.blows: tuple[Blow, ...] = tuple(
            blow
            for disturbance in disturbances
            if disturbance.began <= over and exchange.began <= _over(disturbance)
            for blow in disturbance.blows
        )

    @property
    def disturbed(self) -> bool:
        return bool(self.blows)

    @property
    def holder_hit(self) -> bool:
        return any(blow.target in HOLDERS[self.exchange.door] for blow in self.blows)


def _over(disturbance: Disturbance) -> float:
    return float("inf") if disturbance.served is None else disturbance.served + AFTERMATH_S


def _exchange(about: _Excuses) -> Iterator[tuple[str, str]]:
    exchange = about.exchange
    if exchange.ended is None or not exchange.ends:
        yield "no terminal event", "never heard of again"
        return
    if exchange.ended - exchange.began > DEADLINE_S:
        yield "deadline", f"took {exchange.ended - exchange.began:.1f} s"
    if len(exchange.ends) > 1 or exchange.late:
        yield "several terminal events", " ".join(exchange.ends) + (" + more" * exchange.late)
    match exchange.ends[0]:
        case End.FINISHED:
            yield from _finished(exchange)
        case End.FAILED:
            yield from _failed(about)
        case End.CUT if not about.holder_hit:
            yield "connection cut", f"and nobody hit who holds it: {exchange.detail}"
        case _:
            pass
    if not exchange.expected.startswith(exchange.text):
        yield "wrong text", _difference(exchange)


def _finished(exchange: Exchange) -> Iterator[tuple[str, str]]:
    if exchange.expected != exchange.text and exchange.expected.startswith(exchange.text):
        yield "text missing", f"{len(exchange.text)} of {len(exchange.expected)} characters"
    if exchange.finish != "length":
        yield "wrong finish reason", exchange.finish
    if exchange.counted != exchange.tokens:
        yield "wrong token count", f"{exchange.counted} of {exchange.tokens}"
    if exchange.streamed and not exchange.closing:
        yield "unclosed stream", "no [DONE] after the finish"


def _failed(about: _Excuses) -> Iterator[tuple[str, str]]:
    exchange = about.exchange
    if exchange.closing:
        yield "failure ended cleanly", "[DONE] after an error"
    if not about.disturbed:
        yield "failed undisturbed", exchange.detail
    elif exchange.detail not in HONEST_CODES:
        yield "dishonest failure", exchange.detail


def _difference(exchange: Exchange) -> str:
    words, due = exchange.text.split(), exchange.expected.split()
    for index, (word, expected) in enumerate(zip(words, due, strict=False)):
        if word != expected:
            known = f" (its own token {due.index(word)})" if word in due else ""
            return f"token {index} is {word}{known}, not {expected}"
    return "it is too long or broken up"


def _recovery(disturbance: Disturbance) -> Iterator[Violation]:
    blows = ", ".join(f"{blow.kind} {blow.target}" for blow in disturbance.blows)
    if disturbance.served is None:
        yield Violation("no recovery", f"after {blows} (t={disturbance.began:.1f})")
    elif disturbance.served - disturbance.rested > RECOVERY_S:
        took = disturbance.served - disturbance.rested
        yield Violation("slow recovery", f"{took:.1f} s after {blows} (t={disturbance.began:.1f})")


def _fall(fall: Fall, history: History) -> Iterator[Violation]:
    """A daemon that we killed may fail to start while its predecessor's children leave."""
    excused = any(
        blow.target == fall.daemon and blow.kind == "kill"
        for disturbance in history.disturbances
        if disturbance.began <= fall.at <= _over(disturbance)
        for blow in disturbance.blows
    )
    if not excused:
        yield Violation("daemon fell", f"{fall.daemon} with code {fall.code} (t={fall.at:.1f})")


def _remains(remains: Remains) -> Iterator[Violation]:
    yield from (Violation("not idle", f"{name}={n}") for name, n in remains.busy.items() if n)
    for role in sorted({*CENSUS, *remains.census}):
        found, due = remains.census.get(role, 0), CENSUS.get(role, 0)
        if found != due:
            yield Violation("census", f"{role}: {found} instead of {due}")
    yield from _growth(remains)
    for daemon, code in remains.exit_codes.items():
        if code != 0:
            yield Violation("unclean end", f"{daemon} ended with {code}")
    yield from (Violation("orphan", orphan) for orphan in remains.orphans)
    yield from (Violation("ipc file left", path) for path in remains.ipc_files)


def _growth(remains: Remains) -> Iterator[Violation]:
    for daemon, (first, last) in remains.sizes.items():
        if last.fds > first.fds + SLACK:
            yield Violation("leak", f"{daemon} has {last.fds} fds, had {first.fds}")
        if last.threads > first.threads + SLACK:
            yield Violation("leak", f"{daemon} has {last.threads} threads, had {first.threads}")


def _shown(exchange: Exchange, text: str) -> str:
    kind = "stream" if exchange.streamed else "whole"
    return f"request {exchange.number} ({kind}, {exchange.door}, t={exchange.began:.1f}): {text}"
