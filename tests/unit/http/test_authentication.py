"""Who is let in with which key, and in whose name an engine is asked."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from cortex_actors.config.api_keys import ApiKey, add_api_key, read_api_keys, remove_api_key
from cortex_actors.config.errors import ConfigError, Problem
from cortex_actors.dialects.events import Counted, Embedded
from cortex_actors.http.app import create_gateway_app, create_neuron_app
from cortex_actors.http.authentication import Authentication
from cortex_actors.http.key_ring import LOOK_S, KeyOwner, KeyRing
from cortex_actors.http.response_store import ResponseStore, StoreLimits
from tests.unit.http.doubles import MODEL, ScriptedBackend
from transports.clock import ManualClock
from transports.schemas.fleet import MetricsText, QueryMetrics
from transports.schemas.generate import CountTokens

CHAT = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
MESSAGE = {**BODY, "max_tokens": 5}


class Door:
    """A gateway with the keys of Ann and of an operator."""

    def __init__(self, folder: Path, *, required: bool) -> None:
        self.file = folder / "keys.yaml"
        self.clock = ManualClock()
        self.ann = add_api_key(self.file, "ann")
        self.operator = add_api_key(self.file, "op", operator=True)
        self.ring = KeyRing(self.file, self.clock)
        self.backend = ScriptedBackend()
        self.authentication = Authentication(self.ring, required=required)
        self.store = ResponseStore(folder / "r.sqlite", StoreLimits())
        self.gateway = testing.TestClient(
            create_gateway_app(
                self.backend,
                store=self.store,
                cors_origins=("*",),
                authentication=self.authentication,
            )
        )

    def ask(self, path: str, body: Any = None, key: str = "", **headers: str) -> testing.Result:
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        method = "GET" if body is None else "POST"
        return self.gateway.simulate_request(method, path, json=body, headers=headers)

    def asked_for(self) -> str:
        """In whose name the last question was asked."""
        question: Any = self.backend.questions[-1]
        inner = question.question if isinstance(question, CountTokens) else question
        return str(inner.principal)


@pytest.fixture
def open_door(tmp_path: Path) -> Door:
    return Door(tmp_path, required=False)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path, required=True)


def test_engines_are_asked_in_the_name_of_the_key(open_door: Door) -> None:
    door = open_door
    for headers in (
        {"authorization": f"Bearer {door.ann}"},
        {"authorization": f"bearer  {door.ann} "},
        {"x-api-key": door.ann},
    ):
        assert door.gateway.simulate_post(CHAT, json=BODY, headers=headers).status_code == 200
        assert door.asked_for() == "ann"
    for key in ("none", "", "sk-cortex-", f"{door.ann}x", "\xff"):
        assert door.ask(CHAT, BODY, key).status_code == 200
        assert door.asked_for() == ""


def test_every_kind_of_question_has_its_asker(open_door: Door) -> None:
    door = open_door
    for path, body in (
        (CHAT, BODY),
        ("/v1/completions", {"model": MODEL, "prompt": "Hi"}),
        ("/v1/messages", MESSAGE),
        ("/v1/responses", {"model": MODEL, "input": "Hi"}),
    ):
        assert door.ask(path, body, door.ann).status_code == 200
        assert door.asked_for() == "ann"
    door.backend.events = (Embedded(1, 2, b"\0\0\0\0"),)
    assert door.ask("/v1/embeddings", {"model": MODEL, "input": "Hi"}, door.ann).status_code == 200
    assert door.asked_for() == "ann"
    door.backend.events = (Counted(3),)
    assert door.ask("/v1/messages/count_tokens", BODY, door.ann).status_code == 200
    assert door.asked_for() == "ann"


def test_without_a_key_nothing_but_probes_is_answered(door: Door) -> None:
    for path in ("/", "/health", "/ready", "/version", "/openapi.json"):
        assert door.ask(path).status_code == 200
    for path in ("/v1/models", "/v1/nope", "/admin/status", "/debug/actors", "/nope"):
        refused = door.ask(path)
        assert refused.status_code == 401
        assert refused.json["error"]["code"] == "invalid_api_key"
        assert "no API key" in refused.json["error"]["message"]
        assert refused.headers["www-authenticate"] == "Bearer"
    assert door.ask(CHAT, BODY, "sk-cortex-wrong").status_code == 401
    assert not door.backend.questions


def test_a_refusal_is_in_the_clients_own_envelope_and_never_shows_the_key(door: Door) -> None:
    refused = door.ask("/v1/messages", MESSAGE, "sk-cortex-wrong")
    assert refused.status_code == 401
    assert refused.json["error"]["type"] == "authentication_error"
    assert "wrong" not in refused.text


def test_only_an_operators_key_opens_operators_routes(door: Door) -> None:
    assert door.ask(CHAT, BODY, door.ann).status_code == 200
    assert door.ask(CHAT, BODY, door.operator).status_code == 200
    asked = len(door.backend.questions)
    for path, body in (("/admin/unload", {"model": MODEL}), ("/debug/actors", None)):
        refused = door.ask(path, body, door.ann)
        assert refused.status_code == 403
        assert refused.json["error"]["code"] == "operator_key_required"
    assert len(door.backend.questions) == asked
    assert door.ask("/admin/status", key=door.operator).status_code == 200


def test_a_route_that_is_not_there_is_not_there_for_anybody(door: Door) -> None:
    for key in (door.ann, door.operator):
        refused = door.ask("/chat/completions", BODY, key)
        assert refused.status_code == 404
        assert "the API is under /v1" in refused.json["error"]["message"]


def test_a_key_that_is_known_counts_beside_one_that_is_not(door: Door) -> None:
    headers = {"x-api-key": door.ann}
    assert door.ask(CHAT, BODY, "dummy", **headers).status_code == 200
    assert door.asked_for() == "ann"


def test_a_neurons_figures_are_for_everybody_and_its_loads_are_not(door: Door) -> None:
    neuron = testing.TestClient(create_neuron_app(door.backend, authentication=door.authentication))
    refused = neuron.simulate_post("/models/load", json={"model": MODEL})
    assert refused.status_code == 401
    door.backend.answers[QueryMetrics] = MetricsText("up 1", "text/plain")
    assert neuron.simulate_get("/metrics").text == "up 1"


def test_a_preflight_needs_no_key(door: Door) -> None:
    headers = {"origin": "https://chat.example", "access-control-request-method": "POST"}
    answer = door.gateway.simulate_options(CHAT, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


def test_where_no_key_is_required_operators_routes_are_as_they_were(open_door: Door) -> None:
    assert open_door.ask("/admin/status").status_code == 200


def test_what_one_has_stored_is_not_there_for_another(open_door: Door) -> None:
    door = open_door
    mine = door.ask("/v1/responses", {"model": MODEL, "input": "Hi"}, door.ann).json["id"]
    path = f"/v1/responses/{mine}"
    follow_up = {"model": MODEL, "input": "And?", "previous_response_id": mine}
    for key in ("", door.operator):
        assert door.ask(path, key=key).status_code == 404
        assert door.ask(f"{path}/input_items", key=key).status_code == 404
        headers = {"authorization": f"Bearer {key}"} if key else {}
        assert door.gateway.simulate_delete(path, headers=headers).status_code == 404
        refused = door.ask("/v1/responses", follow_up, key)
        assert refused.json["error"]["code"] == "previous_response_not_found"
    assert door.ask(path, key=door.ann).json["id"] == mine
    assert door.ask("/v1/responses", follow_up, door.ann).status_code == 200


def test_the_log_names_the_owner_of_the_key(
    open_door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cortex.http"):
        open_door.ask(CHAT, BODY, open_door.ann).text  # noqa: B018 -- read to the end
        open_door.ask(CHAT, BODY, "sk-something").text  # noqa: B018
    lines = [line for line in caplog.messages if line.startswith("request ")]
    assert [" key=ann " in line for line in lines] == [True, False]
    assert open_door.ann not in caplog.text


def test_changes_count_within_a_second(door: Door) -> None:
    assert door.ask(CHAT, BODY, door.ann).status_code == 200
    remove_api_key(door.file, "ann")
    bob = add_api_key(door.file, "bob")
    door.clock.advance(LOOK_S)
    assert door.ask(CHAT, BODY, door.ann).status_code == 401
    assert door.ask(CHAT, BODY, bob).status_code == 200


def test_a_file_that_breaks_leaves_the_keys_as_they_were(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    assert door.ring.owner(door.ann) == KeyOwner("ann")
    door.file.write_text("keys: [")
    for _ in range(3):
        door.clock.advance(LOOK_S)
        assert door.ring.owner(door.ann) == KeyOwner("ann")
    assert len([line for line in caplog.messages if "unusable" in line]) == 1
    door.file.unlink()
    door.clock.advance(LOOK_S)
    assert door.ring.owner(door.ann) == KeyOwner("ann")


def test_keys_are_known_from_the_first_request_on(door: Door) -> None:
    door.clock.advance(LOOK_S)
    ring, found, ready = KeyRing(door.file, door.clock), [], threading.Barrier(8)

    def ask() -> None:
        ready.wait(10.0)
        found.append(ring.owner(door.ann))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert found == [KeyOwner("ann")] * 8


def test_who_reads_slowly_does_not_bring_old_keys_back(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slowly(path: Path) -> tuple[ApiKey, ...]:
        keys = read_api_keys(path)
        began.set()
        assert go_on.wait(10.0)
        return keys

    add_api_key(door.file, "bob")
    door.clock.advance(LOOK_S)
    monkeypatch.setattr("cortex_actors.http.key_ring.read_api_keys", slowly)
    slow = threading.Thread(target=door.ring.owner, args=(door.ann,))
    slow.start()
    assert began.wait(10.0)
    monkeypatch.setattr("cortex_actors.http.key_ring.read_api_keys", read_api_keys)
    remove_api_key(door.file, "ann")
    door.clock.advance(LOOK_S)
    assert door.ring.owner(door.ann) == KeyOwner("ann"), "nobody waits for who reads"
    go_on.set()
    slow.join(10.0)
    door.clock.advance(LOOK_S)
    assert door.ring.owner(door.ann) is None


def test_a_file_that_can_be_read_again_is_read(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_allowed(path: Path) -> tuple[ApiKey, ...]:
        raise ConfigError([Problem(str(path), "cannot be read: Permission denied")])

    remove_api_key(door.file, "ann")
    monkeypatch.setattr("cortex_actors.http.key_ring.read_api_keys", not_allowed)
    door.clock.advance(LOOK_S)
    assert door.ring.owner(door.ann) == KeyOwner("ann")
    monkeypatch.undo()
    door.file.chmod(0o640)
    door.clock.advance(LOOK_S)
    assert door.ring.owner(door.ann) is None


def test_a_process_that_starts_without_the_file_lets_nobody_in(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "nothing.yaml", ManualClock())
    assert ring.owner("sk-cortex-x") is None
