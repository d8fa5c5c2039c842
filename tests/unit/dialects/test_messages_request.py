"""What of an Anthropic request reaches the chat template, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cortex_actors.dialects.anthropic.errors import envelope
from cortex_actors.dialects.anthropic.messages_request import CountRequest, MessagesRequest
from cortex_actors.dialects.api_error import ApiError
from transports.failures import FailureCode
from transports.schemas.generate import Constraint, CountTokens, Generate, SamplingOptions
from transports.schemas.link import Failure

WEATHER = {"name": "weather", "description": "d", "input_schema": {"type": "object"}}
HELLO = [{"role": "user", "content": "Hello"}]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}


def asked(**fields: Any) -> Generate:
    body = {"model": "m", "max_tokens": 9, "messages": HELLO, **fields}
    return MessagesRequest.parse(body).to_generate("r1")


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        asked(**fields)
    return raised.value


def test_nothing_is_added_when_nothing_was_sent() -> None:
    """T06."""
    assert asked().messages == HELLO


@pytest.mark.parametrize(
    "system",
    ["Be brief.", [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]],
)
def test_the_system_prompt_is_one_message_and_the_first(system: Any) -> None:
    """T03 and T04."""
    assert asked(system=system).messages == [{"role": "system", "content": "Be brief."}, *HELLO]


def test_tools_results_and_calls_have_the_shape_that_templates_know() -> None:
    """B06: arguments are an object, ids are kept, and results keep their place."""
    turns = [
        *HELLO,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "redacted_thinking", "data": "opaque"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "Sunny"},
                {
                    "type": "tool_result",
                    "tool_use_id": "t2",
                    "is_error": True,
                    "content": [{"type": "text", "text": "no "}, {"type": "text", "text": "city"}],
                },
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    generate = asked(messages=turns, tools=[WEATHER], tool_choice={"type": "any"})

    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    empty = {"type": "function", "function": {"name": "weather", "arguments": {}}}
    assert generate.messages == [
        *HELLO,
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "t1", **call}, {"id": "t2", **empty}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "Sunny"},
        {"role": "tool", "tool_call_id": "t2", "content": "no city", "is_error": True},
        {"role": "user", "content": "And now?"},
    ]
    function = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    assert generate.tools == ({"type": "function", "function": function},)
    assert generate.tool_choice == "required"


@pytest.mark.parametrize(
    ("choice", "word", "parallel"),
    [
        ({"type": "auto"}, "auto", True),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", False),
        ({"type": "tool", "name": "weather"}, "weather", True),
        ({"type": "none"}, "none", True),
    ],
)
def test_tool_choice(choice: dict[str, Any], word: str, parallel: bool) -> None:
    generate = asked(tools=[WEATHER], tool_choice=choice)
    assert (generate.tool_choice, generate.parallel_tool_calls) == (word, parallel)


def test_an_answer_that_was_begun_is_continued() -> None:
    begun = [*HELLO, {"role": "assistant", "content": [{"type": "text", "text": "The answer is"}]}]
    generate = asked(messages=begun)
    assert generate.continue_final
    assert generate.messages[-1] == {"role": "assistant", "content": "The answer is"}


def test_sampling() -> None:
    fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["END"]}
    assert asked(**fields).sampling == SamplingOptions(
        max_tokens=9, temperature=0.5, top_p=0.9, top_k=40, stop=("END",)
    )
    assert asked(top_p=0).sampling.top_p == 0


@pytest.mark.parametrize(
    ("fields", "template"),
    [
        ({}, {"enable_thinking": False}),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, {"enable_thinking": True}),
        ({"thinking": {"type": "adaptive"}}, None),
        (
            {"output_config": {"effort": "low"}},
            {"enable_thinking": False, "reasoning_effort": "low"},
        ),
    ],
)
def test_thinking_is_the_templates(fields: dict[str, Any], template: Any) -> None:
    assert asked(**fields).template == template


def test_an_answer_in_a_given_form() -> None:
    format_ = {"type": "json_schema", "schema": {"type": "object"}}
    expected = Constraint("json_schema", '{"type":"object"}')
    assert asked(output_config={"format": format_}).constraint == expected
    assert asked(output_format=format_).constraint == expected


def test_what_changes_no_answer_is_accepted() -> None:
    cached = {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}
    generate = asked(
        messages=[{"role": "user", "content": [cached]}],
        metadata={"user_id": "u"},
        service_tier="auto",
        context_management={"edits": []},
        mcp_servers=[],
        tools=[{**WEATHER, "type": "custom", "cache_control": {"type": "ephemeral"}}],
    )
    assert generate.messages == HELLO


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}
                        ],
                    }
                ]
            },
            "messages[0].content[0].content[0]",
        ),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": {}, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
        ({"messages": [*HELLO, {"role": "assistant", "content": " "}]}, "messages"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [{**WEATHER, "name": "two words"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"temperature": 3}, "temperature"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert (error.status, error.param) == (400, param)
    assert envelope(error, "req-1")["error"]["type"] == "invalid_request_error"
    assert param in error.message


def test_a_budget_must_leave_room_for_the_answer() -> None:
    error = refused(thinking={"type": "enabled", "budget_tokens": 9})
    assert "thinking.budget_tokens" in error.message


def test_counting_needs_no_limit_and_counts_the_same_prompt() -> None:
    body = {"model": "m", "messages": HELLO, "system": "Be brief.", "tools": [WEATHER]}
    counted = CountRequest.parse(body).to_count("r1")
    assert isinstance(counted, CountTokens)
    same = asked(system="Be brief.", tools=[WEATHER])
    assert (counted.question.messages, counted.question.tools) == (same.messages, same.tools)
    assert counted.question.template == same.template


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (FailureCode.INVALID_REQUEST, "invalid_request_error"),
        (FailureCode.MODEL_NOT_FOUND, "not_found_error"),
        (FailureCode.OVERLOADED, "rate_limit_error"),
        (FailureCode.MODEL_LOADING, "overloaded_error"),
        (FailureCode.LOAD_FAILED, "api_error"),
        (FailureCode.DEADLINE_EXCEEDED, "timeout_error"),
        (FailureCode.INTERNAL, "api_error"),
    ],
)
def test_failures_have_the_types_that_clients_know(code: FailureCode, kind: str) -> None:
    error = ApiError.from_failure(Failure(code, "because"))
    assert envelope(error, "req-1") == {
        "type": "error",
        "error": {"type": kind, "message": "because"},
        "request_id": "req-1",
    }
