"""Tools in chat completions."""

from __future__ import annotations

from typing import Any, Final

from cortex_actors.cli.conformance.case import cases, equal, expect, parsed
from cortex_actors.cli.conformance.chat_api import PATH, refusal, request, stream, whole
from cortex_actors.cli.conformance.prompts import GREETING, WEATHER, WEATHER_SCHEMA, names_a_city
from cortex_actors.cli.conformance.server import Server

_FUNCTION: Final = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": WEATHER_SCHEMA,
}
_TOOLS: Final = [{"type": "function", "function": _FUNCTION}]
_NAMED: Final = {"type": "function", "function": {"name": "get_weather"}}


def _asked(server: Server, choice: Any = "required", **fields: Any) -> dict[str, Any]:
    return request(server, WEATHER, tools=_TOOLS, tool_choice=choice, max_tokens=150, **fields)


def _check(name: str, arguments: str) -> None:
    equal(name, "get_weather", "the function")
    value = parsed(arguments, "the arguments")
    expect(names_a_city(value), f"the arguments are not what the schema says: {arguments!r}")


def _whole(server: Server) -> None:
    choice = whole(server, _asked(server)).choices[0]
    expect(choice.message.tool_calls, "there is no call")
    for call in choice.message.tool_calls or ():
        expect(call.id, "a call has no id")
        _check(call.function.name, call.function.arguments)
    equal(choice.finish_reason, "tool_calls", "finish_reason")


def _streamed(server: Server) -> None:
    choice = stream(server, _asked(server)).only
    expect(choice.calls, "there is no call")
    for call in choice.calls:
        _check(call.name, call.arguments)
    equal(choice.finish_reason, "tool_calls", "finish_reason")


def _alike(server: Server) -> None:
    streamed = stream(server, _asked(server)).only
    answer = whole(server, _asked(server)).choices[0].message
    calls = [(call.function.name, call.function.arguments) for call in answer.tool_calls or ()]
    equal([(call.name, call.arguments) for call in streamed.calls], calls, "the streamed calls")


def _named(server: Server) -> None:
    calls = whole(server, _asked(server, _NAMED)).choices[0].message.tool_calls or []
    expect(calls, "there is no call")
    _check(calls[0].function.name, calls[0].function.arguments)
    _check(calls[0].function.name, calls[0].function.arguments)


def _none(server: Server) -> None:
    choice = whole(server, _asked(server, "none")).choices[0]
    expect(not choice.message.tool_calls, "a tool is called")


def _round_trip(server: Server) -> None:
    asked = whole(server, _asked(server)).choices[0].message
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in asked.tool_calls or ()
    ]
    expect(calls, "there is no call")
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": WEATHER},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]
    turns += [{"role": "tool", "tool_call_id": call["id"], "content": "21"} for call in calls]
    answer = whole(server, request(server, "", messages=turns, tools=_TOOLS))
    expect(answer.choices[0].message.content, "the answer is empty")


def _prompted(server: Server) -> None:
    plain = whole(server, request(server, GREETING)).usage.prompt_tokens
    offered = whole(server, request(server, GREETING, tools=_TOOLS)).usage.prompt_tokens
    expect(offered > plain, "the tools are not in the prompt")


def _unknown(server: Server) -> None:
    other = {"type": "function", "function": {"name": "nothing"}}
    refusal(server.post(PATH, _asked(server, other)), 400, 422)


CASES = cases(
    "chat",
    a_demanded_call_is_made=_whole,
    a_demanded_call_is_streamed=_streamed,
    streamed_calls_are_the_whole_ones=_alike,
    a_named_function_is_called=_named,
    tool_choice_none_calls_nothing=_none,
    a_tools_result_is_answered=_round_trip,
    tools_are_in_the_prompt=_prompted,
    a_choice_of_no_tool_is_refused=_unknown,
)
