"""Placements that cannot work, on a whole daemon: a typed error, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex_actors.config.catalogue import CatalogueEntry
from tests.eventually import eventually
from tests.process.damaged_rank import SHARD
from tests.process.tenant import Tenant
from tests.process.whole_neuron import DEVICES, WholeNeuron, entry
from tests.unit.neuron.asking_front_end import WAIT_S
from transports.failures import FailureCode
from transports.link import Completed, Failed
from transports.schemas.fleet import LeaseRequest, ModelLoaded
from transports.schemas.link import Failure

pytestmark = pytest.mark.process


def bad_models(directory: Path) -> tuple[CatalogueEntry, ...]:
    nine = {"num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536}
    entries = (
        entry(directory, "small", 1),
        entry(directory, "pair", 2),
        entry(directory, "wide", DEVICES + 1),
        entry(directory, "nine", 2, nine),
        entry(directory, "damaged", 2),
        entry(directory, "mute"),
    )
    (directory / "mute" / "tokenizer.json").write_text("{")
    # The shard is one byte short of what its header promises.
    header = b'{"w":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(7)
    (directory / "damaged" / SHARD).write_bytes(content)
    return entries


@pytest.fixture
def neuron(
    directory: Path, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WholeNeuron]:
    neuron = WholeNeuron(directory, tenant, monkeypatch, bad_models)
    yield neuron
    neuron.close()


@pytest.fixture
def other(neuron: WholeNeuron) -> Iterator[None]:
    """Another model that serves before and after, by the same processes."""
    assert isinstance(neuron.load("small"), ModelLoaded)
    processes = tuple(neuron.launcher.handles)
    yield
    assert neuron.root.alive
    small = neuron.await_state("small", "ready")
    assert (small.restarts, small.error) == (0, "")
    assert not any(handle.exited.is_set() for handle in processes)
    assert isinstance(neuron.front_end.ask(LeaseRequest("id", "small")), Completed)


@pytest.mark.usefixtures("other")
def test_a_number_of_ranks_that_does_not_divide_starts_no_process(neuron: WholeNeuron) -> None:
    failure = neuron.refusal("nine")

    assert failure.code == FailureCode.LOAD_FAILED
    assert "cannot be divided among 2 devices; possible are 1, 3" in failure.message
    assert neuron.await_state("nine", "failed").error == failure.message
    assert neuron.launcher.spawned("model/nine/") == []


@pytest.mark.usefixtures("other")
def test_more_ranks_than_devices_are_refused(neuron: WholeNeuron) -> None:
    failure = neuron.refusal("wide")

    assert failure.code == FailureCode.INSUFFICIENT_DEVICES
    assert "'wide' needs 4 devices; this neuron has 3: cpu:0, cpu:1, cpu:2" in failure.message


@pytest.mark.usefixtures("other")
def test_a_group_on_a_device_of_another_group_is_refused(neuron: WholeNeuron) -> None:
    assert isinstance(neuron.load("pair"), ModelLoaded)
    failure = neuron.refusal("damaged")

    assert failure.code == FailureCode.INSUFFICIENT_DEVICES
    assert "resident: small on cpu:0, pair on cpu:1+cpu:2" in failure.message
    neuron.await_state("pair", "ready")
    assert neuron.launcher.spawned("model/damaged/") == []


@pytest.mark.usefixtures("other")
def test_a_shard_that_one_rank_cannot_read_fails_the_model_and_names_rank_and_file(
    neuron: WholeNeuron,
) -> None:
    failure = neuron.refusal("damaged")

    assert failure.code == FailureCode.SOURCE_CORRUPT
    assert "rank 1: " in failure.message
    assert f"{SHARD} is truncated: 7 of 8 bytes" in failure.message
    assert "rank 0" not in failure.message
    neuron.await_state("damaged", "failed")
    # A second epoch may have been begun before the model heard of the first one's end.
    ranks = {"model/damaged/rank0", "model/damaged/rank1"}
    assert set(neuron.launcher.spawned("model/damaged/rank")) == ranks
    assert isinstance(neuron.load("pair"), ModelLoaded)


@pytest.mark.usefixtures("other")
def test_a_tokenizer_that_cannot_be_read_fails_the_model_at_once_and_is_named(
    neuron: WholeNeuron,
) -> None:
    failure = neuron.refusal("mute")

    assert failure.code == FailureCode.SOURCE_CORRUPT
    assert "cannot read the tokenizer" in failure.message
    assert "/mute/tokenizer.json" in failure.message
    assert neuron.launcher.spawned("model/mute/engine") == ["model/mute/engine"]


@pytest.mark.usefixtures("other")
def test_a_device_that_vanishes_fails_its_model_and_is_given_to_no_other(
    neuron: WholeNeuron,
) -> None:
    assert isinstance(neuron.load("pair"), ModelLoaded)
    neuron.present.discard("cpu:2")
    neuron.measure()

    cause = "rank 1 had cpu:2, which is gone"
    assert cause in neuron.await_state("pair", "failed").error
    for refused in (neuron.refusal("pair"), _lease_refusal(neuron, "pair")):
        assert (refused.code, cause in refused.message) == (FailureCode.DEVICE_LOST, True)
    later = neuron.refusal("damaged")
    assert later.code == FailureCode.INSUFFICIENT_DEVICES
    assert "gone: cpu:2" in later.message
    neuron.present.add("cpu:2")
    neuron.measure(1)
    eventually(lambda: isinstance(_replaced(neuron), Failure), WAIT_S)


def _lease_refusal(neuron: WholeNeuron, model: str) -> Failure:
    answer = neuron.front_end.ask(LeaseRequest("id", model))
    assert isinstance(answer, Failed), answer
    return answer.failure


def _replaced(neuron: WholeNeuron) -> Failure | None:
    """The damaged model's own failure, which it has only where it could be placed."""
    failure = neuron.refusal("damaged")
    return failure if failure.code == FailureCode.SOURCE_CORRUPT else None
