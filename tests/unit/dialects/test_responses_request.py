from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.responses.responses_request import ResponsesRequest
from transports.schemas.generate import Constraint, Generate

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"},
}


def asked(**fields: Any) -> Generate:
    return ResponsesRequest.parse({"model": "m", "input": "Hi", **fields}).to_generate("r")


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        ResponsesRequest.parse({"model": "m", "input": "Hi", **fields})
    assert refusal.value.status == 400
    return refusal.value


def test_text_is_what_the_user_says_and_nothing_is_added() -> None:
    question = asked()
    assert question.messages == [{"role": "user", "content": "Hi"}]
    assert (question.tools, question.tool_choice, question.template) == ((), "auto", None)


def test_instructions_come_first_and_every_system_message_stays_in_its_place() -> None:
    items = [
        {"role": "system", "content": "A"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": " x "}]},
        {"role": "developer", "content": "B"},
        {"role": "system", "content": "C"},
    ]
    assert asked(instructions="Be brief.\n", input=items).messages == [
        {"role": "system", "content": "Be brief.\n"},
        {"role": "system", "content": "A"},
        {"role": "user", "content": " x "},
        {"role": "developer", "content": "B"},
        {"role": "system", "content": "C"},
    ]


def test_what_the_model_gave_in_one_go_is_one_turn_again() -> None:
    items = [
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Ok"}],
        },
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "custom_tool_call", "call_id": "2", "name": "apply_patch", "input": 'say "x"'},
        {"type": "function_call_output", "call_id": "1", "output": "Rain"},
        {
            "type": "custom_tool_call_output",
            "call_id": "2",
            "output": [{"type": "input_text", "text": "do"}, {"type": "input_text", "text": "ne"}],
        },
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "So"}]},
        {"type": "message", "role": "assistant", "content": "Rain."},
        {"type": "message", "role": "assistant", "content": "Bye."},
    ]

    def call(id_: str, name: str, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return {"id": id_, "type": "function", "function": function}

    assert asked(input=items).messages == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Ok",
            "reasoning_content": "Hm",
            "tool_calls": [
                call("1", "f", '{"a": 1}'),
                call("2", "apply_patch", '{"input": "say \\"x\\""}'),
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "Rain"},
        {"role": "tool", "tool_call_id": "2", "content": "done"},
        {"role": "assistant", "content": "Rain.", "reasoning_content": "So"},
        {"role": "assistant", "content": "Bye."},
    ]


def test_what_codex_replays_without_ids_and_with_empty_content_is_taken() -> None:
    items = [
        {"type": "message", "role": "assistant", "content": []},
        {"type": "reasoning", "summary": [], "encrypted_content": None},
        {"role": "user", "content": None},
    ]
    assert asked(input=items).messages == [
        {"role": "assistant", "content": ""},
        {"role": "user", "content": ""},
    ]


def test_earlier_responses_come_between_instructions_and_input() -> None:
    request = ResponsesRequest.parse(
        {"model": "m", "input": "More", "instructions": "New.", "previous_response_id": "resp_1"}
    )
    request.after([{"role": "user", "content": "Old"}, {"role": "assistant", "content": "Yes"}])
    contents = [message["content"] for message in request.to_generate("r").messages]
    assert contents == ["New.", "Old", "Yes", "More"]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "item_reference", "id": "x"}, "input[0].type"),
        ({"type": "computer_call"}, "input[0].type"),
        ({"type": 3}, "input[0].type"),
        ({"role": "tool", "content": ""}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"type": "function_call", "call_id": "1", "name": "f"}, "input[0].arguments"),
        ({"type": "function_call_output", "call_id": "1"}, "input[0].output"),
        ({"type": "reasoning", "content": "x"}, "input[0].content"),
        ("text", "input[0]"),
    ],
)
def test_an_item_that_cannot_be_taken_is_named(item: Any, param: str) -> None:
    assert refused(input=[item]).param == param


def test_tools_are_offered_to_the_model_under_flat_names() -> None:
    namespace = {"type": "namespace", "name": "mcp", "description": "", "tools": [FUNCTION]}
    question = asked(tools=[FUNCTION, PATCH, namespace, {"type": "web_search"}])
    functions = [tool["function"] for tool in question.tools]
    assert [each["name"] for each in functions] == ["f", "apply_patch", "mcp__f"]
    assert functions[0] == {key: FUNCTION[key] for key in ("name", "parameters", "strict")}
    patch = functions[1]
    assert patch["description"] == "Edits files."
    assert patch["parameters"]["properties"]["input"]["description"] == "start: /x/"


def test_only_tools_that_can_be_called_are_listed() -> None:
    request = ResponsesRequest.parse(
        {"model": "m", "input": "", "tools": [{"type": "web_search"}, PATCH]}
    )
    created = request.encoder("r", 1).keep_alive()[0]["response"]
    assert created["tools"] == [PATCH]


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        (None, "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, "f"),
        ({"type": "custom", "name": "apply_patch"}, "apply_patch"),
    ],
)
def test_tool_choices(choice: Any, word: str) -> None:
    question = asked(tools=[FUNCTION, PATCH], tool_choice=choice)
    assert question.tool_choice == word
    assert question.parallel_tool_calls is not isinstance(choice, dict)


def test_allowed_tools_are_all_that_is_offered() -> None:
    choice = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "custom", "name": "apply_patch"}],
    }
    question = asked(tools=[FUNCTION, PATCH], tool_choice=choice)
    assert question.tool_choice == "required"
    assert [tool["function"]["name"] for tool in question.tools] == ["apply_patch"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0]"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        (
            {"tools": [{"type": "custom", "name": "a", "format": {"type": "x"}}]},
            "tools[0].format.type",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
        (
            {"tool_choice": {"type": "function", "name": "g"}, "tools": [FUNCTION]},
            "tool_choice.name",
        ),
        ({"tool_choice": {"type": "custom", "name": "f"}, "tools": [FUNCTION]}, "tool_choice.name"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"include": ["everything"]}, "include[0]"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"n": 2}, "n"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"truncation": "some"}, "truncation"),
    ],
)
def test_what_cannot_be_honoured_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


def test_options_reach_the_engine() -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    question = asked(
        text={"format": {"type": "json_schema", "name": "x", "schema": schema}, "verbosity": "low"},
        reasoning={"effort": "none", "summary": "auto"},
        max_output_tokens=7,
        temperature=0.5,
        top_p=0.9,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=2,
        parallel_tool_calls=False,
        stream_options={"include_obfuscation": False},
        prompt_cache_key="k",
        service_tier="auto",
        truncation="auto",
    )
    assert question.constraint == Constraint("json_schema", msgspec.json.encode(schema).decode())
    assert question.template == {
        "reasoning_effort": "none",
        "enable_thinking": False,
        "verbosity": "low",
    }
    sampling = question.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (7, 0.5, 0.9)
    assert sampling.logprobs == 2
    assert not question.parallel_tool_calls
    assert asked(text={"format": {"type": "json_object"}}).constraint == Constraint("json_object")
    assert asked().sampling.logprobs is None
