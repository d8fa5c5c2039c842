from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.openai.chat_request import ChatRequest
from transports.codec import encode_body

USER = {"role": "user", "content": "Hi"}


def request(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [USER], **fields}


PART = {"type": "text", "text": "a"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}


def choice(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


TOOL = function(parameters={"type": "object", "properties": {"a": {"type": "integer"}}})


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


def test_a_conversation_with_tools_passes_as_it_is() -> None:
    messages = [
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        {"tool_call_id": "c1", "content": [PART, PART], "role": "tool"},
        {"role": "assistant", "content": None, "tool_calls": [], "refusal": None},
    ]
    tools = [{"function": {"parameters": {}, "name": "g", "x-own": 1}, "type": "function"}, TOOL]
    body = request(messages=messages, tools=tools, tool_choice=choice("g"))
    question = ChatRequest.parse({**body, "parallel_tool_calls": False}).to_generate("r")
    assert question.messages == [
        USER,
        {"role": "assistant", "tool_calls": [CALL], "content": ""},
        {"tool_call_id": "c1", "content": "aa", "role": "tool"},
        {"role": "assistant", "content": "", "refusal": None},
    ]
    assert list(question.messages[2]) == ["tool_call_id", "content", "role"]
    assert list(question.tools[0]["function"]) == ["parameters", "name", "x-own"]
    assert question.tools == tuple(tools)
    assert question.tool_choice == "g"
    assert not question.parallel_tool_calls


@pytest.mark.parametrize("word", ["auto", "none", "required"])
def test_a_choice_of_tools_may_be_a_word(word: str) -> None:
    question = ChatRequest.parse(request(tools=[TOOL], tool_choice=word)).to_generate("r")
    assert question.tool_choice == word
    assert question.parallel_tool_calls


def test_who_names_a_tool_gets_one_call_of_it() -> None:
    question = ChatRequest.parse(request(tools=[TOOL], tool_choice=choice("f"))).to_generate("r")
    assert question.tool_choice == "f"
    assert not question.parallel_tool_calls


def test_every_way_to_sample_reaches_the_engine() -> None:
    body = request(
        min_p=0.1,
        frequency_penalty=-2,
        presence_penalty=2,
        repetition_penalty=1.2,
        logit_bias={"50256": -100, "7": 1.5},
        ignore_eos=True,
        n=16,
        logprobs=True,
        top_logprobs=20,
    )
    question = ChatRequest.parse(body).to_generate("r")
    sampling = question.sampling
    assert question.n == 16
    assert (sampling.min_p, sampling.repetition_penalty) == (0.1, 1.2)
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (-2, 2)
    assert dict(sampling.logit_bias) == {50256: -100, 7: 1.5}
    assert sampling.logprobs == 20
    assert sampling.ignore_eos


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [({}, None), ({"logprobs": False}, None), ({"logprobs": True}, 0)],
)
def test_log_probabilities_come_only_when_asked_for(
    fields: dict[str, Any], wanted: int | None
) -> None:
    assert ChatRequest.parse(request(**fields)).to_generate("r").sampling.logprobs == wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"chat_template_kwargs": {}}, None),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none", "enable_thinking": False}),
        (
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}},
            {"reasoning_effort": "none", "enable_thinking": True},
        ),
    ],
    ids=str,
)
def test_variables_for_the_template(fields: dict[str, Any], wanted: dict[str, Any] | None) -> None:
    assert ChatRequest.parse(request(**fields)).to_generate("r").template == wanted


def test_each_servers_word_for_no_limit_is_taken() -> None:
    question = ChatRequest.parse(request(top_k=-1, top_p=0)).to_generate("r")
    assert (question.sampling.top_k, question.sampling.top_p) == (0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"functions": []},
        {"function_call": "none"},
        {"modalities": ["text"]},
        {"n": None},
        {"grammar": "", "include_stop_str_in_output": False, "skip_special_tokens": True},
        {"stream_options": {"include_usage": None}},
    ],
)
def test_what_asks_for_nothing_special_is_accepted(fields: dict[str, Any]) -> None:
    assert ChatRequest.parse(request(**fields)).choices == 1


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"model": 3}, "model"),
    ({"model": ""}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [USER, {"role": "wizard", "content": ""}]}, "messages[1].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
    ({"messages": [USER, {"role": "user", "content": [PART, {}]}]}, "messages[1].content[1]"),
    ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages[0].content"),
    ({"messages": [{**USER, "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": 3}}]}]},
        "messages[0].tool_calls[0].function.name",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "type": "x"}]}]},
        "messages[0].tool_calls[0].type",
    ),
    (
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 3}}]}
            ]
        },
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"seed": 2**70}, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"stop": 3}, "stop"),
    ({"user": 3}, "user"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"n": True}, "n"),
    ({"min_p": 1.1}, "min_p"),
    ({"frequency_penalty": 2.5}, "frequency_penalty"),
    ({"presence_penalty": -2.5}, "presence_penalty"),
    ({"presence_penalty": "x"}, "presence_penalty"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"repetition_penalty": float("inf")}, "repetition_penalty"),
    ({"logit_bias": {"7": 101}}, "logit_bias.7"),
    ({"logit_bias": {"7": "x"}}, "logit_bias.7"),
    ({"logit_bias": {"the": 1}}, "logit_bias.the"),
    ({"logit_bias": {"-1": 1}}, "logit_bias.-1"),
    ({"logit_bias": {"9" * 30: 1}}, "logit_bias." + "9" * 30),
    ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
    ({"logit_bias": []}, "logit_bias"),
    ({"logit_bias": {"0" * 11 + "9" * 30: 1}}, "logit_bias." + "0" * 11 + "9" * 30),
    ({"messages": [{**USER, "own": 2**64}]}, "messages"),
    ({"tools": [function(parameters={"properties": {"a": {"const": -(2**64)}}})]}, "tools"),
    ({"chat_template_kwargs": {"budget": 2**64}}, "chat_template_kwargs"),
    ({"ignore_eos": 1}, "ignore_eos"),
    ({"logprobs": 3}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"tools": {}}, "tools"),
    ({"tools": ["f"]}, "tools[0]"),
    ({"tools": [TOOL, {"type": "function"}]}, "tools[1].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [function(name="a b")]}, "tools[0].function.name"),
    ({"tools": [function(name="")]}, "tools[0].function.name"),
    ({"tools": [function(parameters=[])]}, "tools[0].function.parameters"),
    ({"tools": [function(parameters={"type": "array"})]}, "tools[0].function.parameters.type"),
    (
        {"tools": [function(parameters={"properties": 3})]},
        "tools[0].function.parameters.properties",
    ),
    ({"tools": [function(description=3)]}, "tools[0].function.description"),
    ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
    ({"tools": [TOOL], "tool_choice": "always"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function.name"),
    ({"tools": [TOOL], "tool_choice": choice("nobody")}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": choice("auto")}, "tool_choice.function.name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [], "tool_choice": choice("f")}, "tool_choice"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
    ),
    ({"guided_json": "{"}, "guided_json"),
    ({"guided_json": 3}, "guided_json"),
    ({"guided_regex": ""}, "guided_regex"),
    ({"guided_choice": []}, "guided_choice"),
    ({"guided_choice": [""]}, "guided_choice[0]"),
    ({"guided_choice": ["a"], "guided_regex": "b"}, "guided_choice"),
    ({"structured_outputs": {"regex": 3}}, "structured_outputs.regex"),
    (
        {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
        "structured_outputs",
    ),
    ({"reasoning_effort": "extreme"}, "reasoning_effort"),
    ({"chat_template_kwargs": []}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs.tools"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_FIELDS, ids=lambda value: str(value)[:40])
def test_a_bad_value_is_refused_and_its_field_is_named(fields: dict[str, Any], param: str) -> None:
    error = refused(request(**fields))
    assert error.param == param
    assert error.message.startswith(param)


UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"functions": [{}]}, "functions"),
    ({"tools": [{"type": "web_search", "function": {"name": "f"}}]}, "tools[0].type"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
    ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ({"structured_outputs": {"grammar": "x"}}, "structured_outputs.grammar"),
    ({"guided_grammar": "x"}, "guided_grammar"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"best_of": 2}, "best_of"),
    ({"grammar": "root ::= x"}, "grammar"),
    ({"json_schema": {"type": "object"}}, "json_schema"),
    ({"include_stop_str_in_output": True}, "include_stop_str_in_output"),
    ({"skip_special_tokens": False}, "skip_special_tokens"),
    ({"truncate_prompt_tokens": 100}, "truncate_prompt_tokens"),
    ({"return_token_ids": True}, "return_token_ids"),
    ({"return_tokens_as_token_ids": True}, "return_tokens_as_token_ids"),
    ({"min_tokens": 3}, "min_tokens"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"add_generation_prompt": False}, "add_generation_prompt"),
    (
        {"messages": [{"role": "user", "content": [PART, {"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[1]",
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
        encode_body(ChatRequest.parse(request(**{field: value})).to_generate("r"))
    except ApiError as error:
        refusal = error
    if refusal is not None:
        assert refusal.status == 400
        assert refusal.param is not None
        assert refusal.param.startswith(field)
