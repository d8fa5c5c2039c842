"""The store against a model of it, and against damage."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cortex_actors.http.response_store import ResponseStore, StoreError, StoreLimits
from cortex_actors.http.stored_response import StoredResponse
from tests.model.trials import holds, is_found_out

LIMITS = StoreLimits(max_count=4, max_bytes=1000, max_age_s=10.0, max_depth=3)
IDS = st.integers(0, 9).map(str)
OWNERS = st.sampled_from(["", "", "ann"])


def stored(
    id_: str, previous: str | None = None, text: str = "", owner: str = ""
) -> StoredResponse:
    return StoredResponse(id_, {"id": id_, "output": []}, [{"text": text}], previous, owner)


class Watch:
    """The time of day as a test has it; it never stands still, so that uses have an order."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class StoreMachine(RuleBasedStateMachine):
    """The right store."""

    kind: type[Any] = ResponseStore

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._watch = Watch()
        self._store = self.kind(Path(self._folder.name) / "r.sqlite", LIMITS, self._watch)
        self._kept: dict[str, tuple[float, StoredResponse]] = {}

    def teardown(self) -> None:
        self._store.close()
        self._folder.cleanup()

    @rule(id_=IDS, previous=st.none() | IDS, text=st.sampled_from(["", "x" * 400]), owner=OWNERS)
    def put(self, id_: str, previous: str | None, text: str, owner: str) -> None:
        response = stored(id_, previous, text, owner)
        self._store.put(response)
        self._kept.pop(id_, None)
        self._kept[id_] = (self._watch.now, response)
        self._forget()

    @rule(id_=IDS, owner=OWNERS)
    def chain(self, id_: str, owner: str) -> None:
        expected = self._expected_chain(id_, owner)
        assert self._store.chain(id_, owner) == expected
        for response in expected or ():
            self._kept.pop(response.id)
            self._kept[response.id] = (self._watch.now, response)

    @rule(id_=IDS, owner=OWNERS)
    def delete(self, id_: str, owner: str) -> None:
        self._age()
        there = id_ in self._kept and self._kept[id_][1].owner == owner
        assert self._store.delete(id_, owner) is there
        if there:
            del self._kept[id_]

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self._watch.now += seconds

    @invariant()
    def has_what_the_model_has(self) -> None:
        self._age()
        for id_ in map(str, range(10)):
            kept = self._kept.get(id_)
            for owner in ("", "ann"):
                expected = kept[1] if kept is not None and kept[1].owner == owner else None
                assert self._store.get(id_, owner) == expected

    def _expected_chain(self, id_: str | None, owner: str) -> list[StoredResponse] | None:
        self._age()
        found: list[StoredResponse] = []
        while id_ is not None:
            if id_ not in self._kept or len(found) == LIMITS.max_depth:
                return None
            if self._kept[id_][1].owner != owner:
                return None
            found.insert(0, self._kept[id_][1])
            id_ = found[0].previous
        return found

    def _age(self) -> None:
        oldest = self._watch.now - LIMITS.max_age_s
        self._kept = {id_: each for id_, each in self._kept.items() if each[0] >= oldest}

    def _forget(self) -> None:
        self._age()
        total = 0
        latest = sorted(self._kept.values(), key=lambda each: each[0], reverse=True)
        for place, (_, response) in enumerate(latest, 1):
            total += len(msgspec.msgpack.encode(response))
            if place > LIMITS.max_count or total > LIMITS.max_bytes:
                del self._kept[response.id]


class _Wrapped:
    def __init__(self, path: Path, limits: StoreLimits, now: Watch) -> None:
        self._inner = ResponseStore(path, self.changed(limits), now)

    def changed(self, limits: StoreLimits) -> StoreLimits:
        return limits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Unbounded(_Wrapped):
    def changed(self, limits: StoreLimits) -> StoreLimits:
        return StoreLimits(99, limits.max_bytes, limits.max_age_s, limits.max_depth)


class OfAnySize(_Wrapped):
    def changed(self, limits: StoreLimits) -> StoreLimits:
        return StoreLimits(limits.max_count, 10**9, limits.max_age_s, limits.max_depth)


class Ageless(_Wrapped):
    def changed(self, limits: StoreLimits) -> StoreLimits:
        return StoreLimits(limits.max_count, limits.max_bytes, 10**9, limits.max_depth)


class FirstInFirstOut(_Wrapped):
    """Does not notice that a conversation goes on."""

    def chain(self, id_: str, owner: str) -> list[StoredResponse] | None:
        found: list[StoredResponse] = []
        wanted: str | None = id_
        while wanted is not None:
            one = self._inner.get(wanted, owner)
            if one is None or len(found) == LIMITS.max_depth:
                return None
            found.insert(0, one)
            wanted = one.previous
        return found


class Gapped(_Wrapped):
    """Takes what is left of a conversation for all of it."""

    def chain(self, id_: str, owner: str) -> list[StoredResponse] | None:
        whole = self._inner.chain(id_, owner)
        one = self._inner.get(id_, owner)
        return [one] if whole is None and one is not None else whole


class Everybodys(_Wrapped):
    """Shows whatever there is to whoever knows its id."""

    def get(self, id_: str, owner: str) -> StoredResponse | None:
        return self._inner.get(id_, owner) or self._inner.get(id_, "ann")


class ForgetsForOthers(_Wrapped):
    """Lets anybody who knows its id delete a response."""

    def delete(self, id_: str, owner: str) -> bool:
        mine = self._inner.delete(id_, owner)
        return mine or (self._inner.delete(id_, "ann") and mine)


def test_the_store_is_bounded_and_forgets_what_was_unused_longest() -> None:
    holds(StoreMachine, examples=40, steps=25)


@pytest.mark.parametrize(
    "naive", [Unbounded, OfAnySize, Ageless, FirstInFirstOut, Gapped, Everybodys, ForgetsForOthers]
)
def test_naive_stores_are_found_out(naive: type[Any]) -> None:
    machine = type("NaiveStoreMachine", (StoreMachine,), {"kind": naive})
    is_found_out(machine, steps=25)


def test_a_corrupt_file_costs_chains_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"this is no database at all" * 100)
    store = ResponseStore(path, LIMITS)
    with caplog.at_level(logging.ERROR, "cortex.http"):
        store.put(stored("a"))
        store.put(stored("b"))
        with pytest.raises(StoreError):
            store.chain("a", "")
        with pytest.raises(StoreError):
            store.get("a", "")
    assert len(caplog.records) == 1
    assert str(path) in caplog.text


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = ResponseStore(tmp_path / "file" / "r.sqlite", LIMITS)
    store.put(stored("a"))
    with pytest.raises(StoreError):
        store.get("a", "")


def test_a_row_that_is_not_ours_is_a_store_error(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite", LIMITS)
    store.put(stored("a"))
    with sqlite3.connect(tmp_path / "r.sqlite") as other:
        other.execute("UPDATE responses SET body = ?", (b"\xc1",))
    with pytest.raises(StoreError):
        store.get("a", "")
    store.put(stored("a"))
    assert store.get("a", "") == stored("a")
    store.close()


def test_several_stores_and_threads_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.sqlite"
    limits = StoreLimits(max_count=1000)
    stores = [ResponseStore(path, limits) for _ in range(3)]

    def write(number: int) -> None:
        for index in range(20):
            stores[number % 3].put(stored(f"{number}-{index}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    ids = [f"{number}-{index}" for number in range(6) for index in range(20)]
    assert all(store.get(id_, "") is not None for store in stores for id_ in ids)
    assert path.stat().st_mode & 0o777 == 0o600
    for store in stores:
        store.close()
