"""Finished responses on disk, for ``previous_response_id``: one SQLite file for all processes.

Bounded by count, size and age since the last use; what was not used for longest leaves first.
What one principal has stored is not there for any other; those without a key share theirs. A file
that is corrupt or cannot be written costs the conversations that need it, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, final

import msgspec

from cortex_actors.http.stored_response import StoredResponse

_LOG = logging.getLogger("cortex.http")

_BUSY_S: Final = 2.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, used_at REAL NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON responses (used_at, size);
"""
_SURPLUS: Final = """
DELETE FROM responses WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid,
            row_number() OVER latest AS place,
            sum(size) OVER (latest ROWS UNBOUNDED PRECEDING) AS total
        FROM responses WINDOW latest AS (ORDER BY used_at DESC, rowid DESC)
    ) WHERE place > ? OR total > ?
)
"""


class StoreError(Exception):
    """The file cannot be read."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """``max_depth`` is how many responses one conversation may chain."""

    max_count: int = 10_000
    max_bytes: int = 512 * 2**20
    max_age_s: float = 720 * 3600.0
    max_depth: int = 1000


def _time_of_day() -> float:
    # Ages must outlive the process and the boot, which no monotonic clock does.
    return datetime.now(tz=UTC).timestamp()


@final
class ResponseStore:
    """For any thread of any process; a process opens it after it was forked."""

    def __init__(
        self, path: Path, limits: StoreLimits, now: Callable[[], float] = _time_of_day
    ) -> None:
        self._path = path
        self._limits = limits
        self._now = now
        # SAFETY: sqlite3 connections are shared by threads only one at a time; held for one
        # transaction, which waits at most _BUSY_S for another process's.
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._complained = False

    def put(self, stored: StoredResponse) -> None:
        """Keep a response, if it can be; drop what no longer has a place."""
        body = msgspec.msgpack.encode(stored)
        try:
            with self._transaction() as sql:
                now = self._now()
                row = (stored.id, now, len(body), body)
                sql.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?)", row)
                sql.execute(
                    "DELETE FROM responses WHERE used_at < ?", (now - self._limits.max_age_s,)
                )
                count, size = sql.execute("SELECT count(*), total(size) FROM responses").fetchone()
                if count > self._limits.max_count or size > self._limits.max_bytes:
                    sql.execute(_SURPLUS, (self._limits.max_count, self._limits.max_bytes))
        except StoreError:
            # Serving goes on; the log has it.
            return

    def get(self, id_: str, owner: str) -> StoredResponse | None:
        """Return a response of ``owner``; None if it is not there, or not any more.

        Raises:
            StoreError: The file cannot be read.
        """
        with self._transaction() as sql:
            return self._fetched(sql, id_, owner)

    def chain(self, id_: str, owner: str) -> list[StoredResponse] | None:
        """Return ``owner``'s conversation that ends with ``id_``, oldest first, and mark it used.

        None if any of it is not there any more, or it is longer than it may be.

        Raises:
            StoreError: The file cannot be read.
        """
        found: list[StoredResponse] = []
        with self._transaction() as sql:
            wanted: str | None = id_
            while wanted is not None:
                stored = self._fetched(sql, wanted, owner)
                if stored is None or len(found) == self._limits.max_depth:
                    return None
                found.append(stored)
                wanted = stored.previous
            found.reverse()
            now = self._now()
            used = [(now, stored.id) for stored in found]
            sql.executemany("UPDATE responses SET used_at = ? WHERE id = ?", used)
        return found

    def delete(self, id_: str, owner: str) -> bool:
        """Forget a response of ``owner``; return whether it was there.

        Raises:
            StoreError: The file cannot be written.
        """
        with self._transaction() as sql:
            there = self._fetched(sql, id_, owner) is not None
            if there:
                sql.execute("DELETE FROM responses WHERE id = ?", (id_,))
            return there

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._disconnect()

    def _fetched(self, sql: sqlite3.Connection, id_: str, owner: str) -> StoredResponse | None:
        oldest = self._now() - self._limits.max_age_s
        query = "SELECT body FROM responses WHERE id = ? AND used_at >= ?"
        row = sql.execute(query, (id_, oldest)).fetchone()
        stored = None if row is None else msgspec.msgpack.decode(row[0], type=StoredResponse)
        return stored if stored is not None and stored.owner == owner else None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                sql = self._connected()
                sql.execute("BEGIN IMMEDIATE")
                try:
                    yield sql
                except BaseException:
                    sql.rollback()
                    raise
                sql.commit()
            except (sqlite3.Error, msgspec.DecodeError, OSError) as ex:
                self._disconnect()
                self._complain(ex)
                msg = f"the stored responses cannot be used: {ex}"
                raise StoreError(msg) from ex

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.with_name(f"{self._path.name}.lock").open("w") as lock:
            # Going over to WAL fails, and does not wait, while another process does the same.
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._open()

    def _open(self) -> sqlite3.Connection:
        sql = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._connection = sql
        # Conversations are nobody else's business.
        self._path.chmod(0o600)
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = NORMAL")
        sql.executescript(_SCHEMA)
        return sql

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _complain(self, ex: Exception) -> None:
        if not self._complained:
            self._complained = True
            _LOG.error("responses file=%s unusable=%s", self._path, ex)
