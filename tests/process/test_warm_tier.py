"""Models that sleep and wake on a whole neuron: real engines and ranks, the same text after."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from cortex_actors.config.catalogue import CatalogueEntry
from cortex_actors.neuron.messages import UnloadAsked
from neuron_runtime.backends.fake import fake_token
from neuron_runtime.engine.tokenizer import Tokenizer
from neuron_runtime.stopped import process_state
from tests.eventually import eventually
from tests.process.engine_process import Handler, Stream
from tests.process.tenant import Tenant
from tests.process.whole_neuron import WholeNeuron, entry
from tests.unit.neuron.asking_front_end import WAIT_S
from tests.unit.serving.doubles import FakeRequest
from transports.identity import process_identity
from transports.link import Completed, IncomingRequest
from transports.schemas.fleet import (
    Lease,
    LeaseRequest,
    LoadModelById,
    ModelLoaded,
    ModelRecord,
    ModelUnloaded,
    NeuronState,
    UnloadModel,
)
from transports.schemas.generate import Generate, SamplingOptions
from transports.schemas.group import InjectFault

pytestmark = pytest.mark.process
TOKENS = 12


def models(directory: Path) -> tuple[CatalogueEntry, ...]:
    # What the ranks say that they take is what the catalogue says: 1 MB.
    return entry(directory, "small"), entry(directory, "other"), entry(directory, "pair", 2)


@pytest.fixture
def neuron(
    directory: Path,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[WholeNeuron]:
    neuron = WholeNeuron(
        directory, tenant, monkeypatch, models, warm_mb=getattr(request, "param", 1)
    )
    yield neuron
    neuron.close()
    assert [handle.name for handle in neuron.launcher.handles if process_state(handle.pid)] == []


def unload(neuron: WholeNeuron, model: str, *, keep_warm: bool = True) -> None:
    """Have it unloaded, as a gateway would; returns when the neuron says that it is."""
    request = FakeRequest(UnloadModel(model, keep_warm))
    asked = UnloadAsked(model, cast("IncomingRequest", request), keep_warm)
    neuron.tree.registry.find("models").notify(asked)
    eventually(lambda: bool(request.answers), WAIT_S)
    assert request.answers == [ModelUnloaded(model)]


def load(neuron: WholeNeuron, model: str) -> None:
    assert isinstance(neuron.load(model), ModelLoaded)
    neuron.await_state(model, "ready")


def state(neuron: WholeNeuron) -> NeuronState:
    return neuron.tree.neuron_state()


def record(neuron: WholeNeuron, model: str) -> ModelRecord:
    return next(each for each in state(neuron).records if each.model == model)


def await_warm(neuron: WholeNeuron, *warm: str) -> None:
    def found() -> bool:
        return {each.model for each in state(neuron).records if each.warm} == set(warm)

    eventually(found, WAIT_S)


def living(neuron: WholeNeuron, model: str) -> dict[str, int]:
    """The model's processes, name by pid."""
    return {
        handle.name.rpartition("/")[2]: handle.pid
        for handle in neuron.launcher.handles
        if handle.name.startswith(f"model/{model}/") and not handle.exited.is_set()
    }


def answer(neuron: WholeNeuron, model: str) -> str:
    """The text of one greedy request, through a lease and the engine's own address."""
    leased = neuron.front_end.ask(LeaseRequest("id", model))
    assert isinstance(leased, Completed), leased
    assert isinstance(leased.body, Lease)
    stream = Stream()
    messages = [{"role": "user", "content": "hi"}]
    options = SamplingOptions(temperature=0.0, max_tokens=TOKENS)
    body = Generate("r", model, messages, options)

    class Client(Handler):
        def on_up(self, link: object) -> None:
            link.request(body, stream, deadline_s=WAIT_S)  # type: ignore[attr-defined]

    me = process_identity("front_end", "t")
    neuron.reactor.connect(leased.body.endpoint, me, Client())
    assert isinstance(stream.ends.get(timeout=WAIT_S), Completed)
    return stream.text


def right_answer(neuron: WholeNeuron, model: str) -> str:
    tokenizer = Tokenizer.load(neuron.directory / model)
    fed = list(tokenizer.encode_chat([{"role": "user", "content": "hi"}]))
    prompt = len(fed)
    for _ in range(TOKENS):
        fed.append(fake_token(fed))
    return tokenizer.decode(fed[prompt:])


@pytest.mark.parametrize("model", ["small", "pair"])
def test_a_model_that_slept_wakes_in_the_same_processes_and_says_the_same(
    neuron: WholeNeuron, model: str
) -> None:
    load(neuron, model)
    processes = living(neuron, model)
    assert answer(neuron, model) == right_answer(neuron, model)

    for _ in range(2):
        unload(neuron, model)
        await_warm(neuron, model)
        assert model not in {each.id for each in state(neuron).models}
        assert (state(neuron).warm_mb, state(neuron).warm_used_mb) == (1, 1)
        load(neuron, model)
        await_warm(neuron)
        assert answer(neuron, model) == right_answer(neuron, model)

    assert living(neuron, model) == processes
    assert neuron.model(model).restarts == 0
    assert 0 < record(neuron, model).warm_load_s < record(neuron, model).cold_load_s


def test_what_sleeps_leaves_its_devices_to_others(neuron: WholeNeuron) -> None:
    load(neuron, "pair")
    unload(neuron, "pair")
    load(neuron, "small")
    load(neuron, "other")

    # Two of the three devices have a tenant now: the pair cannot wake where it fell asleep.
    failure = neuron.refusal("pair")
    assert "needs 2 device(s)" in failure.message
    unload(neuron, "other", keep_warm=False)
    load(neuron, "pair")
    assert answer(neuron, "pair") == right_answer(neuron, "pair")


def test_the_longest_asleep_ends_when_the_budget_is_short(neuron: WholeNeuron) -> None:
    for model in ("small", "other"):
        load(neuron, model)
        unload(neuron, model)
    await_warm(neuron, "other")

    eventually(lambda: living(neuron, "small") == {}, WAIT_S)
    load(neuron, "small")
    assert answer(neuron, "small") == right_answer(neuron, "small")


@pytest.mark.parametrize("neuron", [0], indirect=True)
def test_without_a_budget_nothing_sleeps(neuron: WholeNeuron) -> None:
    load(neuron, "small")
    unload(neuron, "small")

    assert living(neuron, "small") == {}
    await_warm(neuron)


def test_what_an_operator_unloads_is_gone_also_from_its_sleep(neuron: WholeNeuron) -> None:
    load(neuron, "small")
    unload(neuron, "small", keep_warm=False)
    assert living(neuron, "small") == {}

    load(neuron, "small")
    unload(neuron, "small")
    unload(neuron, "small", keep_warm=False)
    assert living(neuron, "small") == {}
    await_warm(neuron)


@pytest.mark.parametrize("role", ["rank0", "rank1", "engine"])
def test_a_sleeper_that_loses_a_process_is_no_longer_warm_and_loads_cold(
    neuron: WholeNeuron, role: str
) -> None:
    load(neuron, "pair")
    unload(neuron, "pair")
    await_warm(neuron, "pair")
    before = living(neuron, "pair")
    os.kill(before[role], signal.SIGKILL)

    await_warm(neuron)
    eventually(lambda: living(neuron, "pair") == {}, WAIT_S)
    load(neuron, "pair")
    assert not set(before.values()) & set(living(neuron, "pair").values())
    assert answer(neuron, "pair") == right_answer(neuron, "pair")


def test_a_load_that_meets_a_death_it_has_not_heard_of_is_cold_and_right(
    neuron: WholeNeuron,
) -> None:
    load(neuron, "pair")
    unload(neuron, "pair")
    await_warm(neuron, "pair")
    asked = neuron.front_end.ask_later(LoadModelById("pair"))
    os.kill(living(neuron, "pair")["rank1"], signal.SIGKILL)

    end = asked.get(timeout=WAIT_S)
    assert isinstance(end, Completed), end
    eventually(lambda: neuron.model("pair").state == "ready", WAIT_S)
    assert answer(neuron, "pair") == right_answer(neuron, "pair")


def test_a_rank_that_dies_as_it_wakes_has_the_model_started_anew(neuron: WholeNeuron) -> None:
    load(neuron, "pair")
    engine = neuron.tree.registry.find("model/pair/engine")
    # The first operation is the sleep, the second the wake.
    engine.notify(InjectFault("kill-rank", "before", rank=1, after=1))
    ranks = living(neuron, "pair")
    unload(neuron, "pair")
    await_warm(neuron, "pair")

    load(neuron, "pair")
    assert living(neuron, "pair")["engine"] == ranks["engine"]
    assert living(neuron, "pair")["rank1"] != ranks["rank1"]
    assert neuron.model("pair").restarts == 1
    assert answer(neuron, "pair") == right_answer(neuron, "pair")
    assert record(neuron, "pair").warm_load_s == 0.0


def test_a_rank_that_dies_as_it_falls_asleep_ends_the_model(neuron: WholeNeuron) -> None:
    load(neuron, "pair")
    engine = neuron.tree.registry.find("model/pair/engine")
    engine.notify(InjectFault("kill-rank", "before", rank=0))
    unload(neuron, "pair")

    await_warm(neuron)
    assert living(neuron, "pair") == {}
    load(neuron, "pair")
    assert answer(neuron, "pair") == right_answer(neuron, "pair")


def test_a_device_that_vanishes_ends_who_would_wake_on_it(neuron: WholeNeuron) -> None:
    load(neuron, "pair")
    (device, _) = neuron.model("pair").devices
    unload(neuron, "pair")
    await_warm(neuron, "pair")
    neuron.present.discard(device)
    neuron.measure()

    await_warm(neuron)
    eventually(lambda: living(neuron, "pair") == {}, WAIT_S)
    load(neuron, "pair")
    assert device not in neuron.model("pair").devices
