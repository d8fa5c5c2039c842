"""What both real daemons answer on their own routes is as each one's OpenAPI document says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from cortex_actors.http.operations import (
    GATEWAY_OPERATIONS,
    JSON,
    NEURON_OPERATIONS,
    Operation,
)
from tests.eventually import eventually
from tests.process.serving_fleet import ServingFleet
from tests.soak.oracle import MODEL, Question

jsonschema = pytest.importorskip("jsonschema_rs", reason="make test installs it")

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

WAIT_S = 60.0
GONE_S = 10.0
OPERATIONS = {"gateway": GATEWAY_OPERATIONS, "neuron": NEURON_OPERATIONS}
NAMED = {"model": MODEL}
HARMLESS = {"fault": "slow-step", "phase": "inside", "seconds": 0.001}
COMMANDS: dict[str, dict[str, Any]] = {
    "/admin/reload": {},
    "/admin/plan": NAMED,
    "/admin/pin": {**NAMED, "pinned": False},
    "/admin/unload": NAMED,
    "/admin/load": NAMED,
    "/chaos": {**NAMED, **HARMLESS},
    "/models/unload": NAMED,
    "/models/load": NAMED,
}
"""In the order in which they are given."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[ServingFleet]:
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="routes-", dir="/tmp") as directory:
        fleet_ = ServingFleet(Path(directory))
        try:
            yield fleet_
        finally:
            codes = fleet_.fleet.stop()
        assert set(codes.values()) == {0}
        eventually(lambda: not fleet_.fleet.orphans(), GONE_S)


class Door:
    """One daemon's routes, and its own document of them."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=WAIT_S, trust_env=False, verify=False)
        self._document = self._client.get("/openapi.json").json()

    def close(self) -> None:
        self._client.close()

    def ask(self, operation: Operation, request_id: str = "", **more: Any) -> Any:
        """Ask, check the answer and return it."""
        path = operation.path.format(model_id=MODEL, request_id=request_id)
        answer = self._client.request(operation.verb, path, **more)
        assert answer.status_code == 200, (path, answer.text)
        described = self._document["paths"][operation.path][operation.verb]["responses"]["200"]
        schema = {
            **described["content"][JSON]["schema"],
            "components": self._document["components"],
        }
        validator = jsonschema.Draft202012Validator(schema)
        validator.validate(answer.json())
        assert not validator.is_valid({**answer.json(), "nobody_said_so": 1})
        return answer.json()

    def chat(self) -> str:
        """Have a chat; return its id."""
        body = Question("of routes", 4, None).body(stream=False)
        return self._client.post("/v1/chat/completions", json=body).headers["x-request-id"]


@pytest.fixture(params=sorted(OPERATIONS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def door(fleet: ServingFleet, name: str) -> Iterator[Door]:
    with closing(Door(fleet.fleet.urls[name])) as door_:
        yield door_


def described(name: str, verb: str) -> list[Operation]:
    """The operations whose answers are told by the daemon alone."""
    return [
        each
        for each in OPERATIONS[name]
        if (each.verb, each.content_type) == (verb, JSON)
        and each.body is None
        and not each.path.startswith("/v1/responses/")
    ]


def test_what_is_read_is_as_documented(door: Door, name: str) -> None:
    request_id = door.chat()
    for operation in described(name, "get"):
        door.ask(operation, request_id)
        if operation.anthropic is not None:
            door.ask(operation, headers={"anthropic-version": "2023-06-01"})


def test_a_request_that_has_ended_shows_its_figures_as_documented(fleet: ServingFleet) -> None:
    (explain,) = (each for each in described("gateway", "get") if "{request_id}" in each.path)
    with closing(Door(fleet.fleet.urls["gateway"])) as door:
        request_id = door.chat()
        eventually(lambda: door.ask(explain, request_id)["settled"], WAIT_S)


def test_commands_are_answered_as_documented(door: Door, name: str) -> None:
    commands = {each.path: each for each in described(name, "post")}
    assert commands.keys() <= COMMANDS.keys()
    for path, body in COMMANDS.items():
        if path in commands:
            door.ask(commands[path], json=body)
