"""Every actor of one daemon by name, for look-ups and for the table that operators see."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import final

from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.ref import ActorRef
from transports.schemas.fleet import ActorRow, ActorTable


@dataclass(frozen=True, slots=True)
class _Entry:
    ref: ActorRef
    restarts: int
    state: str
    detail: str


@final
class Registry:
    """Name to reference and incarnation. All methods may be called from any thread.

    SAFETY: the lock guards one dictionary; no actor is called while it is held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def register(self, ref: ActorRef, restarts: int = 0) -> None:
        """List an actor under its name, in place of an earlier incarnation."""
        self._put(_Entry(ref, restarts, "", ""))

    def park(self, ref: ActorRef, restarts: int, state: str, detail: str) -> None:
        """Keep a dead actor listed, with what its supervisor says about it (backoff, failed)."""
        self._put(_Entry(ref, restarts, state, detail))

    def forget(self, ref: ActorRef) -> None:
        """Stop listing this incarnation; a later one of the same name stays."""
        with self._lock:
            entry = self._entries.get(ref.name)
            if entry is not None and entry.ref.inc == ref.inc:
                del self._entries[ref.name]

    def find(self, name: str) -> ActorRef:
        """Return the living actor of this name.

        Raises:
            ActorDead: If there is none.
        """
        with self._lock:
            entry = self._entries.get(name)
        if entry is None or not entry.ref.alive:
            raise ActorDead(name)
        return entry.ref

    def table(self) -> ActorTable:
        """Describe every listed actor, in order of names; waits for none of them."""
        with self._lock:
            entries = list(self._entries.values())
        return ActorTable(tuple(sorted(map(_row, entries), key=lambda row: row.name)))

    def _put(self, entry: _Entry) -> None:
        with self._lock:
            known = self._entries.get(entry.ref.name)
            if known is None or known.ref.inc <= entry.ref.inc:
                self._entries[entry.ref.name] = entry


def _row(entry: _Entry) -> ActorRow:
    ref = entry.ref
    return ActorRow(
        name=ref.name,
        kind=ref.kind,
        state=entry.state or ref.state,
        restarts=entry.restarts,
        mailbox=ref.mailbox,
        handled=ref.handled,
        detail=entry.detail or ref.summary(),
    )
