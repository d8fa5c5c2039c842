"""Daemons of two versions on one link: what the newer adds means nothing to the older."""

from __future__ import annotations

import msgspec

from transports import codec
from transports.envelope import Kind
from transports.schemas import Body
from transports.schemas.fleet import ModelRecord, NeuronState, UnloadModel

OLD_STATE = {
    "t": "NeuronState",
    "name": "n",
    "boot": 1,
    "version": "1",
    "hostname": "h",
    "uptime_s": 1.0,
    "devices": [],
    "models": [],
    "records": [{"t": "ModelRecord", "model": "m", "cold_load_s": 2.0}],
}


def decoded(content: dict[str, object]) -> Body | None:
    return codec.decode_body(Kind.NOTE, msgspec.msgpack.encode(content))


def test_an_older_gateways_unload_is_for_good() -> None:
    assert decoded({"t": "UnloadModel", "model": "m"}) == UnloadModel("m", keep_warm=False)


def test_an_unload_for_good_is_what_an_older_neuron_knows() -> None:
    wire = msgspec.msgpack.decode(codec.encode_body(UnloadModel("m")))
    assert wire == {"t": "UnloadModel", "model": "m"}


def test_an_older_neuron_has_no_warm_tier() -> None:
    state = decoded(OLD_STATE)
    assert isinstance(state, NeuronState)
    assert (state.warm_mb, state.warm_used_mb) == (0, 0)
    assert state.records == (ModelRecord("m", 2.0),)


def test_what_a_newer_neuron_adds_is_ignored() -> None:
    assert decoded({**OLD_STATE, "frozen_mb": 7}) == decoded(OLD_STATE)
