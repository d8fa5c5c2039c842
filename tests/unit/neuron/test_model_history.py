"""Records of loads, and the times that models are shown with."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.neuron.model_history import MOST_RECORDS, ModelHistory
from cortex_actors.neuron.record_file import RecordFile
from transports.schemas.fleet import ModelRecord, ModelState


def model(
    state: str, id_: str = "m", running: int = 0, waiting: int = 0, mb: int = 100
) -> ModelState:
    return ModelState(id_, state, running=running, waiting=waiting, memory_mb=mb)


def load(history: ModelHistory, began: float, took: float, id_: str = "m", mb: int = 100) -> None:
    history.observe([model("starting", id_, mb=mb)], began)
    assert history.observe([model("ready", id_, mb=mb)], began + took)


def shown(history: ModelHistory, state: ModelState, now: float) -> ModelState:
    (timed,) = history.timeline.at([state], now)
    return timed


def test_a_load_is_timed_from_the_start_of_its_processes() -> None:
    history = ModelHistory()
    assert not history.observe([model("preparing")], 0.0)
    assert not history.observe([model("starting")], 50.0)
    assert not history.observe([model("starting")], 51.0)
    assert history.observe([model("ready", mb=300)], 54.0)
    assert not history.observe([model("ready", mb=300, running=1)], 60.0)

    assert history.records == (ModelRecord("m", cold_load_s=4.0, memory_mb=300),)


def test_a_record_says_what_the_model_can_do_and_what_it_was_loaded_from(tmp_path: Path) -> None:
    history, file = ModelHistory(), RecordFile(tmp_path / "records.json")
    able = ModelState("m", "ready", capabilities=("chat", "tools"))
    history.observe([model("starting")], 0.0)
    history.observe([able], 4.0, sources={"m": "file:///m.gguf"})
    file.write(history.records)

    (record,) = file.read()
    assert (record.source, record.capabilities) == ("file:///m.gguf", ("chat", "tools"))


@pytest.mark.parametrize("end", ["failed", "unloading", "recovering"])
def test_a_load_that_does_not_succeed_is_no_measurement(end: str) -> None:
    history = ModelHistory()
    history.observe([model("starting")], 0.0)

    assert not history.observe([model(end)], 1.0)
    assert not history.observe([model("ready")], 2.0)
    assert history.records == ()


def test_the_next_load_takes_as_long_as_the_last() -> None:
    history = ModelHistory()
    load(history, 0.0, 8.0)
    history.observe([], 10.0)
    history.observe([model("preparing")], 20.0)
    assert shown(history, model("preparing"), 25.0).eta_s == 8.0

    history.observe([model("starting")], 30.0)
    half = shown(history, model("starting"), 34.0)
    late = shown(history, model("starting"), 99.0)
    assert (half.eta_s, half.progress) == (4.0, 0.5)
    assert (late.eta_s, late.progress) == (0.0, 0.99)


def test_a_model_that_was_never_loaded_takes_as_long_as_others_of_its_size() -> None:
    history = ModelHistory([ModelRecord("a", cold_load_s=2.0, memory_mb=100)])

    assert history.expected_s("b", 300) == pytest.approx(6.0)
    assert history.expected_s("b", 0) == 0.0
    assert ModelHistory().expected_s("b", 300) == 0.0


def test_a_model_is_idle_from_its_last_request_on() -> None:
    history = ModelHistory()
    load(history, 0.0, 1.0)
    assert shown(history, model("ready"), 4.0).idle_s == 3.0
    history.observe([model("ready", running=1)], 5.0)
    assert shown(history, model("ready", running=1), 9.0).idle_s == 0.0
    history.observe([model("ready", waiting=1)], 9.0)
    history.observe([model("ready")], 10.0)
    history.observe([model("ready")], 12.0)

    assert shown(history, model("ready"), 13.0).idle_s == 3.0


def test_the_oldest_records_go_first() -> None:
    history = ModelHistory(ModelRecord(f"m{n}", cold_load_s=1.0) for n in range(MOST_RECORDS + 5))
    load(history, 0.0, 2.0, "m5")
    load(history, 3.0, 2.0, "new")

    names = [record.model for record in history.records]
    assert len(names) == MOST_RECORDS
    assert (names[0], names[-2:]) == ("m7", ["m5", "new"])


WARM = frozenset({"m"})


def test_a_wake_is_timed_apart_from_a_cold_load() -> None:
    history = ModelHistory()
    load(history, 0.0, 8.0)
    history.observe([], 10.0, WARM)
    assert history.records == (ModelRecord("m", 8.0, memory_mb=100, warm=True),)
    history.observe([model("starting")], 20.0, WARM)
    assert shown(history, model("starting"), 20.0).eta_s == 8.0
    assert history.observe([model("ready")], 20.5, weights_mb={"m": 70})

    assert history.records == (ModelRecord("m", 8.0, 0.5, 100, weights_mb=70),)
    history.observe([], 30.0, WARM)
    history.observe([model("starting")], 40.0, WARM)
    assert shown(history, model("starting"), 40.1).eta_s == pytest.approx(0.4)
    assert history.expected_s("m", 100) == 8.0


def test_a_wake_that_fails_is_timed_as_the_cold_load_that_it_becomes() -> None:
    history = ModelHistory([ModelRecord("m", 8.0, 0.5, 100)])
    history.observe([], 0.0, WARM)
    history.observe([model("starting")], 10.0, WARM)
    history.observe([model("starting")], 13.0)
    assert shown(history, model("starting"), 15.0).eta_s == 6.0

    assert history.observe([model("ready")], 20.0)
    assert history.records == (ModelRecord("m", 7.0, 0.5, 100),)


STATES = st.sampled_from(["preparing", "starting", "ready", "recovering", "unloading", "failed"])
MODEL = st.tuples(st.sampled_from("abc"), STATES, st.integers(0, 1))
STEP = st.tuples(
    st.lists(MODEL, unique_by=lambda model: model[0]),
    st.floats(0.0, 100.0),
)


@given(st.lists(STEP, max_size=30))
def test_no_figure_is_ever_negative_or_shown_where_it_has_no_meaning(
    steps: list[tuple[list[tuple[str, str, int]], float]],
) -> None:
    history, now = ModelHistory(), 0.0
    for models, passed in steps:
        now += passed
        states = [model(state, id_, running) for id_, state, running in models]
        history.observe(states, now)
        for timed in history.timeline.at(states, now + passed):
            assert min(timed.idle_s, timed.eta_s) >= 0.0
            assert 0.0 <= timed.progress <= 0.99
            assert timed.idle_s == 0.0 or (timed.state == "ready" and not timed.running)
            assert timed.eta_s == 0.0 or timed.state in ("preparing", "starting")
        assert all(record.cold_load_s >= 0.0 for record in history.records)


def test_records_outlive_their_neuron_but_the_warm_tier_does_not(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "cache" / "records.json")
    assert file.read() == ()
    file.write([ModelRecord("m", 2.0, 0.5, 100, warm=True)])

    assert file.read() == (ModelRecord("m", 2.0, 0.5, 100),)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["records.json"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1]",
        b'{"type": "x"}',
        b"\xff\xfe",
        b'[{"type": "ModelRecord", "model": "m", "memory_mb": -1}]',
        b" " * (2 << 20),
    ],
)
def test_a_file_that_makes_no_sense_is_an_empty_one_with_a_warning(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "cortex")
    path = tmp_path / "records.json"
    path.write_bytes(text)

    assert RecordFile(path).read() == ()
    assert len(caplog.records) == 1
    assert str(path) in caplog.text


def test_a_file_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "cortex")
    blocked = tmp_path / "file"
    blocked.write_text("")
    RecordFile(blocked / "records.json").write([ModelRecord("m", 1.0)])

    assert "not kept" in caplog.text
