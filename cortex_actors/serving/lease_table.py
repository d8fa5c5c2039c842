"""Leases: who may use which engine right now. Pure; one owner, no locks.

A lease is granted to one holder (a front-end process, named by its link's boot and incarnation)
and ends exactly once: settled by its holder, or released because the holder is gone. Until then it
may serve one request after another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import final

from transports.link import Link

Holder = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Grant:
    """One lease in force; ``request_id`` is empty once the request that it was granted to is over.

    Who uses it after that is told when that request is over too.
    """

    lease: int
    holder: Holder
    request_id: str
    model: str
    neuron: str
    tokens: int = 1


@final
class LeaseTable:
    """All leases in force, by id and by holder."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._grants: dict[int, Grant] = {}
        self._outstanding: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()

    def grant(
        self, holder: Holder, request_id: str, model: str, neuron: str, tokens: int = 1
    ) -> Grant:
        """Record a new lease, of a request that will cost about ``tokens``, and return it."""
        grant = Grant(next(self._ids), holder, request_id, model, neuron, max(tokens, 1))
        self._grants[grant.lease] = grant
        self._outstanding[model, neuron] += 1
        self._tokens[model, neuron] += grant.tokens
        return grant

    def settle(self, holder: Holder, lease: int) -> Grant | None:
        """End a lease; None when it is not this holder's or has ended already."""
        grant = self._held_by(holder, lease)
        return None if grant is None else self._end(grant)

    def used(self, holder: Holder, lease: int) -> Grant | None:
        """Note that a request is over whose lease goes on; None as for ``settle``."""
        grant = self._held_by(holder, lease)
        if grant is not None and grant.request_id:
            self._grants[lease] = replace(grant, request_id="")
        return grant

    def release_all(self, holder: Holder) -> tuple[Grant, ...]:
        """End every lease of a holder that is gone, oldest first."""
        gone = tuple(grant for grant in self._grants.values() if grant.holder == holder)
        return tuple(self._end(grant) for grant in gone)

    def outstanding(self, model: str, neuron: str) -> int:
        """How many leases on ``model`` at ``neuron`` are in force."""
        return self._outstanding[model, neuron]

    def tokens(self, model: str, neuron: str) -> int:
        """How many tokens the leases on ``model`` at ``neuron`` are expected to cost."""
        return self._tokens[model, neuron]

    def by_replica(self) -> Mapping[tuple[str, str], int]:
        """How many leases are in force, by model and neuron."""
        return self._outstanding

    def __len__(self) -> int:
        return len(self._grants)

    def _held_by(self, holder: Holder, lease: int) -> Grant | None:
        grant = self._grants.get(lease)
        return grant if grant is not None and grant.holder == holder else None

    def _end(self, grant: Grant) -> Grant:
        del self._grants[grant.lease]
        key = grant.model, grant.neuron
        self._outstanding[key] -= 1
        self._tokens[key] -= grant.tokens
        if not self._outstanding[key]:
            del self._outstanding[key], self._tokens[key]
        return grant


def holder_of(link: Link) -> Holder:
    """The holder that a front end's link stands for: every process has a boot of its own."""
    return link.peer.boot, link.peer.inc
