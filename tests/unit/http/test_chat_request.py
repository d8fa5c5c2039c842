from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.http.chat_request import ChatRequest
from cortex_actors.http.errors import ApiError

USER = {"role": "user", "content": "Hi"}


def request(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [USER], **fields}


def refused(body: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ChatRequest.parse(body)
    assert caught.value.status == 400
    return caught.value


def test_everything_that_a_client_may_ask_reaches_the_engine() -> None:
    body = request(
        temperature=0,
        top_p=0.9,
        top_k=40,
        seed=-1,
        stop="\n",
        max_tokens=7,
        n=1,
        user="me",
        tools=[],
        response_format={"type": "text"},
        logprobs=False,
        invented_field={"a": 1},
    )
    question = ChatRequest.parse(body).to_generate("req-1")
    assert question.request_id == "req-1"
    assert question.messages == [USER]
    sampling = question.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0, 0.9, 40)
    assert sampling.stop == ("\n",)
    assert sampling.max_tokens == 7
    assert sampling.seed == 2**63 - 1


def test_what_was_not_asked_is_left_to_the_model() -> None:
    sampling = ChatRequest.parse(request(temperature=None, stop=None)).to_generate("r").sampling
    assert sampling.temperature is None
    assert sampling.max_tokens is None
    assert sampling.seed is None
    assert sampling.stop == ()


def test_max_completion_tokens_is_the_newer_name_and_wins() -> None:
    chat = ChatRequest.parse(request(max_tokens=5, max_completion_tokens=9))
    assert chat.to_generate("r").sampling.max_tokens == 9


def test_text_parts_are_joined_without_adding_anything() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    chat = ChatRequest.parse(request(messages=[{"role": "user", "content": parts}]))
    assert chat.to_generate("r").messages == [{"role": "user", "content": "ab"}]


def test_fields_that_only_templates_know_pass_through() -> None:
    message = {"role": "assistant", "content": None, "name": "bot", "reasoning": "x"}
    chat = ChatRequest.parse(request(messages=[message, USER]))
    assert chat.to_generate("r").messages[0] == {**message, "content": ""}


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"model": 3}, "model"),
    ({"model": ""}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [USER, {"role": "wizard", "content": ""}]}, "messages[1].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"seed": 2**70}, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"stop": 3}, "stop"),
    ({"user": 3}, "user"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_FIELDS, ids=lambda value: str(value)[:40])
def test_a_bad_value_is_refused_and_its_field_is_named(fields: dict[str, Any], param: str) -> None:
    error = refused(request(**fields))
    assert error.param == param
    assert error.message.startswith(param)


UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"functions": [{}]}, "functions"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"logprobs": True}, "logprobs"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content",
    ),
]


@pytest.mark.parametrize(("fields", "param"), UNSUPPORTED, ids=lambda value: str(value)[:40])
def test_what_would_change_the_answer_is_refused_not_ignored(
    fields: dict[str, Any], param: str
) -> None:
    error = refused(request(**fields))
    assert (error.code, error.param) == ("unsupported_parameter", param)


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(missing: str) -> None:
    body = request()
    del body[missing]
    error = refused(body)
    assert (error.code, error.param) == ("missing_required_parameter", missing)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted(ChatRequest.model_fields)), value=JSON)
def test_no_value_of_any_field_causes_anything_but_a_typed_refusal(field: str, value: Any) -> None:
    refusal = None
    try:
        ChatRequest.parse(request(**{field: value})).to_generate("r")
    except ApiError as error:
        refusal = error
    if refusal is not None:
        assert refusal.status == 400
        assert refusal.param is not None
        assert refusal.param.startswith(field)
