from __future__ import annotations

import base64
import re
import struct
from typing import Any

import pytest
from falcon import testing

from cortex_actors.dialects.events import Embedded, GenerationEvent, Started
from cortex_actors.http.app import create_gateway_app, create_neuron_app
from tests.unit.http.doubles import MODEL, ScriptedBackend
from transports.schemas.fleet import ModelState
from transports.schemas.generate import Embed
from transports.schemas.link import Failure

URL = "/v1/embeddings"
VECTORS = ((1.0, 0.0, 0.5), (0.0, -1.0, 0.25))
ROWS = b"".join(struct.pack("<3f", *vector) for vector in VECTORS)
STARTED = Started("org/minilm", "local")


def backend(*events: GenerationEvent) -> ScriptedBackend:
    return ScriptedBackend(events or (STARTED, Embedded(3, 7, ROWS)))


def post(scripted: ScriptedBackend, **fields: Any) -> testing.Result:
    client = testing.TestClient(create_gateway_app(scripted, body_limit=200_000))
    return client.simulate_post(URL, json={"model": MODEL, "input": ["a", "b"], **fields})


def asked(scripted: ScriptedBackend) -> Embed:
    (question,) = scripted.questions
    assert isinstance(question, Embed)
    return question


@pytest.mark.parametrize("encoding_format", [None, "float"])
def test_vectors_come_as_numbers_in_the_order_of_the_inputs(encoding_format: str | None) -> None:
    scripted = backend()
    result = post(scripted, encoding_format=encoding_format)
    assert result.status_code == 200
    assert result.json == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": list(VECTORS[0])},
            {"object": "embedding", "index": 1, "embedding": list(VECTORS[1])},
        ],
        "model": "org/minilm",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert [each.closed for each in scripted.generations] == [1]


def test_vectors_come_as_base64_of_float32() -> None:
    data = post(backend(), encoding_format="base64").json["data"]
    decoded = [struct.unpack("<3f", base64.b64decode(each["embedding"])) for each in data]
    assert decoded == list(VECTORS)


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a text", ("a text",)),
        (["a", "b"], ("a", "b")),
        ([5, 6, 7], ((5, 6, 7),)),
        ([[5, 6], [7]], ((5, 6), (7,))),
        (["a", [7]], ("a", (7,))),
    ],
)
def test_every_form_of_input_becomes_a_list(given: object, inputs: tuple[object, ...]) -> None:
    scripted = backend()
    post(scripted, input=given, dimensions=2)
    question = asked(scripted)
    assert question.inputs == inputs
    assert (question.model, question.dimensions) == (MODEL, 2)


def test_a_neuron_alone_serves_embeddings_too() -> None:
    client = testing.TestClient(create_neuron_app(backend()))
    result = client.simulate_post(URL, json={"model": MODEL, "input": "a"})
    assert result.status_code == 200


def test_each_question_has_an_id_of_its_own_even_when_the_request_id_repeats() -> None:
    scripted = backend()
    client = testing.TestClient(create_gateway_app(scripted))
    for _ in range(2):
        client.simulate_post(
            URL, json={"model": MODEL, "input": "a"}, headers={"x-request-id": "again"}
        )
    ids = {q.request_id for q in scripted.questions if isinstance(q, Embed)}
    assert len(ids) == 2
    assert all(id_.startswith("again.") for id_ in ids)


def test_a_model_that_is_being_loaded_is_waited_for() -> None:
    loading = ModelState(MODEL, "starting", progress=0.5)
    assert post(backend(loading, STARTED, Embedded(3, 7, ROWS))).status_code == 200


def test_without_a_concrete_model_the_asked_name_is_given() -> None:
    assert post(backend(Embedded(3, 7, ROWS))).json["model"] == MODEL


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"input": ""}, "input", "must not be empty"),
        ({"input": []}, "input", "1 to 2048 inputs, not 0"),
        ({"input": ["a", ""]}, "input", r"\[1\] must not be empty"),
        ({"input": [[5], []]}, "input", r"\[1\] must not be empty"),
        ({"input": ["a"] * 2049}, "input", "1 to 2048 inputs, not 2049"),
        ({"input": None}, "input", "must be a string"),
        ({"input": 7}, "input", "must be a string"),
        ({"input": {"text": "a"}}, "input", "must be a string"),
        ({"input": ["a", 5]}, "input", r"\[1\] must be a string"),
        ({"input": [5, "a"]}, "input", "nothing but token ids"),
        ({"input": [-5]}, "input", "nothing but token ids"),
        ({"input": [5.5]}, "input", r"\[0\] must be a string or a list of token ids"),
        ({"input": [True]}, "input", r"\[0\] must be a string or a list of token ids"),
        ({"input": [[5, True]]}, "input", "nothing but token ids"),
        ({"input": [[2**31]]}, "input", "nothing but token ids"),
        ({"encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        ({"dimensions": 0}, "dimensions", "greater than or equal to 1"),
        ({"dimensions": "8"}, "dimensions", "valid integer"),
        ({"model": ""}, "model", "at least 1 character"),
        ({"model": 3}, "model", "valid string"),
        ({"user": 3}, "user", "valid string"),
    ],
)
def test_a_bad_value_is_refused_by_name_without_asking_anyone(
    fields: dict[str, Any], param: str, said: str
) -> None:
    scripted = backend()
    result = post(scripted, **fields)
    assert result.status_code == 400
    error = result.json["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert re.search(said, error["message"])
    assert scripted.questions == []


def test_a_missing_field_is_named() -> None:
    client = testing.TestClient(create_gateway_app(backend()))
    error = client.simulate_post(URL, json={"model": MODEL}).json["error"]
    assert (error["param"], error["code"]) == ("input", "missing_required_parameter")


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure("context_length_exceeded", "maximum context length is 4 tokens", "input"), 400),
        (Failure("invalid_request", "the model 'm' generates text", "model"), 400),
        (Failure("overloaded", "full"), 429),
        (Failure("poisoned_request", "twice"), 500),
    ],
)
def test_a_failure_has_its_status_and_frees_the_slot(failure: Failure, status: int) -> None:
    scripted = backend(STARTED, failure)
    result = post(scripted)
    assert result.status_code == status
    assert result.json["error"]["message"] == failure.message
    assert [each.closed for each in scripted.generations] == [1]
