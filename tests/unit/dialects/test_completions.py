"""POST /v1/completions: the request, the objects, and both together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from falcon import testing

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.openai.completion_encoder import CompletionEncoder
from cortex_actors.dialects.openai.completion_request import CompletionRequest
from cortex_actors.http.app import create_gateway_app
from tests.unit.http.doubles import MODEL, ScriptedBackend
from transports.schemas.generate import (
    Constraint,
    Generate,
    GenerateDone,
    TextDelta,
    TokenLogprob,
    TopLogprob,
)

BODY = {"model": MODEL, "prompt": "Once"}
CHOICES = 2


def parsed(**fields: Any) -> Generate:
    return CompletionRequest.parse({**BODY, **fields}).to_generate("r")


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [("Once", "Once"), (["Once"], "Once"), ([1, 2], (1, 2)), ([[1, 2]], (1, 2))],
)
def test_a_prompt_is_text_or_token_ids(prompt: Any, wanted: Any) -> None:
    question = parsed(prompt=prompt)
    assert question.prompt == wanted
    assert question.messages == []


def test_what_is_asked_reaches_the_engine() -> None:
    question = parsed(n=2, max_tokens=5, logprobs=3, stop="\n", guided_regex="a+")
    assert question.n == 2
    assert (question.sampling.max_tokens, question.sampling.logprobs) == (5, 3)
    assert question.constraint == Constraint("regex", "a+")
    assert parsed().sampling.max_tokens == 16


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": [""]}, "prompt", "invalid_value"),
        ({"prompt": None}, "prompt", "invalid_value"),
        ({"prompt": [1, -1]}, "prompt", "invalid_value"),
        ({"prompt": [1, True]}, "prompt", "invalid_value"),
        ({"prompt": [1, "a"]}, "prompt", "invalid_value"),
        ({"prompt": [2**40]}, "prompt", "invalid_value"),
        ({"prompt": ["a", "b"]}, "prompt", "unsupported_parameter"),
        ({"prompt": [[1], [2]]}, "prompt", "unsupported_parameter"),
        ({"echo": True}, "echo", "unsupported_parameter"),
        ({"suffix": "x"}, "suffix", "unsupported_parameter"),
        ({"best_of": 3}, "best_of", "unsupported_parameter"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"logprobs": 21}, "logprobs", "invalid_value"),
        ({"logprobs": True}, "logprobs", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
    ],
)
def test_a_bad_value_is_refused_and_its_field_is_named(
    fields: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        parsed(**fields)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_a_missing_prompt_is_named() -> None:
    with pytest.raises(ApiError) as caught:
        CompletionRequest.parse({"model": MODEL})
    assert (caught.value.param, caught.value.code) == ("prompt", "missing_required_parameter")


def encoder() -> CompletionEncoder:
    return CompletionEncoder("r", "alias", 1700000000, include_usage=True, choices=CHOICES)


def test_log_probabilities_have_openais_older_shape() -> None:
    gathering = encoder()
    first = TokenLogprob("ab", -0.5, top=(TopLogprob("x", -1.0),))
    gathering.gather(TextDelta("ab", 0, logprobs=(first,)))
    gathering.gather(TextDelta("c", 1, logprobs=(TokenLogprob("c", float("-inf")),)))
    whole = gathering.gather(GenerateDone("stop", 1, 2))
    assert whole is not None
    assert whole["choices"][0]["logprobs"] == {
        "tokens": ["ab", "c"],
        "token_logprobs": [-0.5, -9999.0],
        "top_logprobs": [{"x": -1.0, "ab": -0.5}, {"c": -9999.0}],
        "text_offset": [0, 2],
    }
    assert whole["choices"][1] == {
        "index": 1,
        "text": "",
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_offsets_are_places_in_the_text_where_several_tokens_are_one_character() -> None:
    tokens = (b"a", b"\xf0\x9f", b"\x99\x82", b"bc", b"\xff", b"d")
    logprobs = tuple(TokenLogprob(each.decode(errors="replace"), -1.0, each) for each in tokens)
    gathering = encoder()
    gathering.gather(TextDelta("a", 0, logprobs=logprobs[:1]))
    gathering.gather(TextDelta("\U0001f642bc\ufffdd", 1, logprobs=logprobs[1:]))

    whole = gathering.gather(GenerateDone("stop", 1, 6))

    assert whole is not None
    text, offsets = (whole["choices"][0][key] for key in ("text", "logprobs"))
    assert offsets["text_offset"] == [0, 1, 1, 2, 4, 5]
    assert text[offsets["text_offset"][-1]] == "d"


def test_tokens_that_are_parts_of_characters_are_told_apart() -> None:
    halves = (TopLogprob("\ufffd", -0.1, b"\xf0\x9f"), TopLogprob("\ufffd", -2.0, b"\xe2\x80"))
    twice = (TopLogprob("a", -0.2, b"a"), TopLogprob("a", -9.0, b"a"))
    gathering = encoder()
    first = TokenLogprob("\ufffd", -0.1, b"\xf0\x9f", halves)
    second = TokenLogprob("a", -9.0, b"a", twice)
    gathering.gather(TextDelta("\ufffda", 0, logprobs=(first, second)))

    whole = gathering.gather(GenerateDone("stop", 1, 2))

    assert whole is not None
    shown = whole["choices"][0]["logprobs"]
    assert shown["tokens"] == [r"bytes:\xf0\x9f", "a"]
    assert shown["top_logprobs"] == [
        {r"bytes:\xf0\x9f": -0.1, r"bytes:\xe2\x80": -2.0},
        {"a": -0.2},
    ]


def post(backend: ScriptedBackend, **fields: Any) -> testing.Result:
    client = testing.TestClient(create_gateway_app(backend, body_limit=1024))
    return client.simulate_post("/v1/completions", json={**BODY, **fields})


def test_a_whole_completion() -> None:
    backend = ScriptedBackend()
    result = post(backend)
    assert result.json["choices"][0]["text"] == "Hello"
    assert result.json["usage"]["total_tokens"] == 7
    assert backend.generations[0].closed


def test_a_streamed_completion() -> None:
    backend = ScriptedBackend()
    result = post(backend, stream=True)
    *events, done = result.text.rstrip("\n").split("\n\n")
    assert done == "data: [DONE]"
    objects = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(each["choices"][0]["text"] for each in objects) == "Hello"
    assert backend.generations[0].closed


def test_a_bad_field_is_named_and_nothing_is_asked() -> None:
    backend = ScriptedBackend()
    result = post(backend, echo=True)
    assert (result.status_code, result.json["error"]["param"]) == (400, "echo")
    assert backend.questions == []
