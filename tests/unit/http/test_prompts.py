"""What the tokenizer gets of a request, from HTTP through a whole engine: all of it, and no more.

``shown`` is a template that shows everything that it is given; ``qwen`` is one as models have it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.http.served_engine import Served, user

# What careless handling strips, folds or escapes.
AWKWARD = ' \té\u0065\u0301\r\n<b>&amp;</b> {{ x }} "\\"\n '
BOTH = (" one ", "\n\ntwo\n")
CALL = {"city": "Paris", "days": [1, 2.5]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def chat(served: Served, *messages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return served.shown("/v1/chat/completions", messages=list(messages), max_tokens=4, **more)


def messages(served: Served, *turns: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return served.shown("/v1/messages", messages=list(turns), max_tokens=4, **more)


def responses(served: Served, **more: Any) -> list[dict[str, Any]]:
    return served.shown("/v1/responses", max_output_tokens=4, **more)


# -- chat completions -------------------------------------------------------------------------


def test_a_chat_is_shown_as_it_was_sent(served: Served) -> None:
    """T01 and T05."""
    sent = [
        {"role": "system", "content": AWKWARD},
        {**user(AWKWARD), "name": "ann"},
        {"role": "assistant", "content": BOTH[0]},
        {"role": "system", "content": BOTH[1]},
        user(BOTH[0]),
        user(BOTH[1]),
    ]
    assert chat(served, *sent) == sent


def test_no_system_message_is_put_before_a_chat_that_has_none(served: Served) -> None:
    """T06."""
    assert chat(served, user()) == [user()]


def test_a_developer_is_the_system_of_a_template_that_knows_none(served: Served) -> None:
    assert chat(served, {"role": "developer", "content": AWKWARD}, user()) == [
        {"role": "system", "content": AWKWARD},
        user(),
    ]


def test_parts_of_text_are_joined_with_nothing_between(served: Served) -> None:
    parts = [{"type": "text", "text": text} for text in BOTH]
    assert chat(served, {"role": "user", "content": parts}) == [user("".join(BOTH))]


def test_calls_results_and_tools_of_a_chat_keep_their_places(served: Served) -> None:
    function = {"name": "weather", "arguments": json.dumps(CALL)}
    call = {"id": "c1", "type": "function", "function": function}
    tool = {
        "type": "function",
        "function": {"name": "weather", "description": AWKWARD, "parameters": SCHEMA},
    }
    told = {"role": "assistant", "content": BOTH[0], "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": AWKWARD}
    as_object = {**call, "function": {**function, "arguments": CALL}}
    assert chat(served, user(), told, result, tools=[tool]) == [
        user(),
        {**told, "tool_calls": [as_object]},
        result,
        [tool],
    ]


def test_an_image_in_a_chat_is_refused_before_anything_is_read(served: Served) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    sent = [{"role": "user", "content": [{"type": "text", "text": "See"}, image]}]
    error = served.refused("/v1/chat/completions", messages=sent)
    assert (error["code"], error["param"]) == ("unsupported_parameter", "messages[0].content[1]")


# -- completions ------------------------------------------------------------------------------


def test_a_bare_prompt_has_nothing_around_it(served: Served) -> None:
    assert served.prompt("/v1/completions", prompt=AWKWARD, max_tokens=4) == AWKWARD


def test_token_ids_are_no_text_for_the_tokenizer(served: Served) -> None:
    result = served.post("/v1/completions", prompt=[65, 66, 67], max_tokens=4)
    assert result.json["usage"]["prompt_tokens"] == 3
    assert served.backend.texts == []


# -- responses --------------------------------------------------------------------------------


def test_instructions_and_input_are_two_messages(served: Served) -> None:
    """T02."""
    assert responses(served, instructions=AWKWARD, input=BOTH[1]) == [
        {"role": "system", "content": AWKWARD},
        user(BOTH[1]),
    ]


def test_input_alone_is_all_there_is(served: Served) -> None:
    assert responses(served, input=AWKWARD) == [user(AWKWARD)]


def test_items_of_one_answer_are_one_turn_again(served: Served) -> None:
    items = [
        user(),
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": AWKWARD}]},
        {"type": "message", "role": "assistant", "content": BOTH[0]},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "weather",
            "arguments": json.dumps(CALL),
        },
        {"type": "function_call_output", "call_id": "c1", "output": AWKWARD},
        user(BOTH[1]),
    ]
    function = {"name": "weather", "arguments": CALL}
    assert responses(served, input=items) == [
        user(),
        {
            "role": "assistant",
            "content": BOTH[0],
            "reasoning_content": AWKWARD,
            "thinking": AWKWARD,
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": AWKWARD},
        user(BOTH[1]),
    ]


def test_what_went_before_comes_before_and_instructions_are_not_kept(served: Served) -> None:
    asked = {"input": AWKWARD, "instructions": "Be brief.", "max_output_tokens": 4}
    first = served.post("/v1/responses", **asked).json
    said = first["output"][0]["content"][0]["text"]
    assert said
    again = responses(served, input=BOTH[0], previous_response_id=first["id"])
    assert again == [user(AWKWARD), {"role": "assistant", "content": said}, user(BOTH[0])]


def test_an_image_in_a_response_is_refused_before_anything_is_read(served: Served) -> None:
    parts = [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]
    error = served.refused("/v1/responses", input=[{"role": "user", "content": parts}])
    assert error["param"] == "input[0].content[0].type"


# -- messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "system",
    [
        "".join(BOTH),
        [{"type": "text", "text": "".join(BOTH)}],
        [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}} for text in BOTH],
    ],
)
def test_a_system_prompt_in_any_form_is_the_first_message(served: Served, system: Any) -> None:
    first = {"role": "system", "content": "".join(BOTH)}
    assert messages(served, user(AWKWARD), system=system) == [first, user(AWKWARD)]


@pytest.mark.parametrize("more", [{}, {"system": ""}, {"system": []}])
def test_no_system_prompt_is_no_message(served: Served, more: dict[str, Any]) -> None:
    assert messages(served, user(AWKWARD), **more) == [user(AWKWARD)]


def turns(**result: Any) -> list[dict[str, Any]]:
    """A call and its result, between texts."""
    return [
        user(),
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": AWKWARD, "signature": "s"},
                {"type": "redacted_thinking", "data": "opaque"},
                {"type": "text", "text": BOTH[0]},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": CALL},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": AWKWARD, **result},
                {"type": "text", "text": BOTH[0]},
                {"type": "text", "text": BOTH[1]},
            ],
        },
    ]


def test_blocks_keep_their_places_and_thinking_is_kept(served: Served) -> None:
    tool = {"name": "weather", "description": AWKWARD, "input_schema": SCHEMA}
    assert messages(served, *turns(), tools=[tool]) == [
        user(),
        {
            "role": "assistant",
            "content": BOTH[0],
            "reasoning_content": AWKWARD,
            "thinking": AWKWARD,
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": CALL},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": AWKWARD},
        user("".join(BOTH)),
        [
            {
                "type": "function",
                "function": {"name": "weather", "description": AWKWARD, "parameters": SCHEMA},
            }
        ],
    ]


def test_a_failed_call_is_marked_for_the_template_and_its_text_is_the_clients(
    served: Served, qwen: Served
) -> None:
    """``is_error``: a template may show it; no word of ours is put into the prompt."""
    failed = turns(is_error=True)
    result = messages(served, *failed)[2]
    assert result == {
        "role": "tool",
        "tool_call_id": "t1",
        "content": AWKWARD,
        "is_error": True,
    }
    assert "is_error" not in messages(served, *turns(is_error=False))[2]
    # A template that knows nothing of the mark shows the same as without it.
    texts = [qwen.prompt("/v1/messages", messages=each, max_tokens=4) for each in (failed, turns())]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("place", ["text", "tool_result"])
def test_an_image_in_a_message_is_refused_before_anything_is_read(
    served: Served, place: str
) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    image = {"type": "image", "source": source}
    within = {"type": "tool_result", "tool_use_id": "t1", "content": [image]}
    sent = turns()
    sent[-1]["content"] = [image if place == "text" else within]
    error = served.refused("/v1/messages", messages=sent, max_tokens=4)
    assert error["type"] == "invalid_request_error"
    assert "'image'" in error["message"]


def test_tokens_are_counted_of_the_very_prompt(served: Served) -> None:
    asked = {"messages": turns(), "system": AWKWARD}
    prompt = served.prompt("/v1/messages", max_tokens=4, **asked)
    assert served.prompt("/v1/messages/count_tokens", **asked) == prompt
