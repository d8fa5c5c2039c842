"""What Open WebUI 0.12 was seen to send, replayed: its bytes but for the prose in them.

It is too heavy to be a dependency; docs/clients.md tells what was seen in a browser.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.questions import PIXEL, TIME_TOOL, WEATHER_TOOL
from tests.clients.scripts import PERSON, REPORT, WEATHER_CALL

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

HEADERS = (
    "Authorization: Bearer none\r\n"
    "Accept: */*\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "User-Agent: Python/3.11 aiohttp/3.14.5\r\n"
)
CHECKLIST_TOOL = {
    "name": "create_tasks",
    "description": "Make a list of tasks.",
    "parameters": {
        "properties": {
            "tasks": {
                "items": {
                    "properties": {
                        "content": {"description": "What to do.", "type": "string"},
                        "status": {
                            "default": "pending",
                            "enum": ["pending", "completed"],
                            "type": "string",
                        },
                    },
                    "required": ["content"],
                    "type": "object",
                },
                "type": "array",
            },
            "more": {"additionalProperties": True, "type": "object"},
            "encoding": {"const": "base64", "type": "string"},
            "timeout_ms": {"default": 120000, "type": "integer"},
        },
        "required": ["tasks"],
        "type": "object",
    },
}
TOOLS = [
    {"type": "function", "function": tool} for tool in (WEATHER_TOOL, TIME_TOOL, CHECKLIST_TOOL)
]
#: All that its Chat Controls can set, Ollama's own among them, as it passes them on to any server.
CONTROLS: dict[str, Any] = {
    "seed": 1,
    "stop": ["x", "y"],
    "temperature": 0.3,
    "reasoning_effort": "low",
    "logit_bias": {"5": 1},
    "max_tokens": 50,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.1,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "mirostat": 1,
    "mirostat_eta": 0.1,
    "mirostat_tau": 5,
    "repeat_last_n": 64,
    "tfs_z": 1,
    "repeat_penalty": 1.1,
    "use_mmap": True,
    "use_mlock": False,
    "think": True,
    "format": "json",
    "num_keep": 24,
    "num_ctx": 2048,
    "num_batch": 512,
    "num_thread": 2,
    "num_gpu": 1,
    "keep_alive": "5m",
}


class Wire:
    """One of its connections, which serves several requests in turn."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        name, port = self._host.split(":")
        self._socket = socket.create_connection((name, int(port)), 30.0)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def get_models(self) -> Any:
        """Ask as it does when a page is opened."""
        answer = self._ask(f"GET /v1/models HTTP/1.1\r\nHost: {self._host}\r\n{HEADERS}\r\n", b"")
        assert answer.status == 200
        return json.loads(answer.read())

    def ask(self, **body: Any) -> HTTPResponse:
        """Send a chat completion; its head has been read."""
        written = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: application/json\r\n{HEADERS}Content-Length: {len(written)}\r\n\r\n"
        )
        return self._ask(head, written)

    def _ask(self, head: str, body: bytes) -> HTTPResponse:
        self._socket.sendall(head.encode() + body)
        answer = HTTPResponse(self._socket)
        answer.begin()
        return answer


@pytest.fixture
def wire(stack: ScriptedStack) -> Iterator[Wire]:
    with Wire(stack.url) as wire:
        yield wire


def test_a_page_lists_the_models_and_marks_those_that_are_loaded(wire: Wire) -> None:
    listed = {model["id"]: model["loaded"] for model in wire.get_models()["data"]}

    assert listed[MODEL] is True
    assert listed["absent"] is False


def test_a_chat_with_its_tools_and_what_it_asks_beside_it_take_one_connection(wire: Wire) -> None:
    title = wire.ask(model=MODEL, messages=_user("Answer as JSON"), stream=False, max_tokens=1000)
    assert _whole(title) == json.dumps(PERSON)

    question = _user("What is the weather in Paris?")
    first = _deltas(wire.ask(stream=True, model=MODEL, messages=question, tools=TOOLS))
    made = next(delta["tool_calls"][0] for delta in first if "tool_calls" in delta)
    assert made["function"]["name"] == WEATHER_CALL["name"]
    written = "".join(
        call["function"].get("arguments", "")
        for delta in first
        for call in delta.get("tool_calls", ())
    )
    assert json.loads(written) == WEATHER_CALL["arguments"]

    made["function"]["arguments"] = written
    del made["index"]
    called = {"role": "assistant", "content": "", "tool_calls": [made]}
    result = {"role": "tool", "tool_call_id": made["id"], "content": '{"degrees":21}'}
    then = wire.ask(stream=True, model=MODEL, messages=[*question, called, result], tools=TOOLS)
    assert _text(_deltas(then)) == REPORT

    follow_ups = wire.ask(model=MODEL, messages=_user("More as JSON"), stream=False)
    assert _whole(follow_ups) == json.dumps(PERSON)


def test_every_control_may_be_set(wire: Wire) -> None:
    answer = wire.ask(
        model=MODEL,
        stream=True,
        stream_options={"include_usage": True},
        messages=_user("Hi"),
        **CONTROLS,
    )

    assert _deltas(answer)


def test_its_stop_button_reaches_the_engine(stack: ScriptedStack) -> None:
    with stack.one_cancelled(), Wire(stack.url) as wire:
        answer = wire.ask(stream=True, model=MODEL, messages=_user("Count"))
        assert answer.readline().startswith(b"data: ")
        answer.close()


def test_an_image_is_refused_in_words_for_its_page(wire: Wire) -> None:
    parts = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]

    answer = wire.ask(stream=True, model=MODEL, messages=[{"role": "user", "content": parts}])

    assert answer.status == 400
    assert "image_url" in json.loads(answer.read())["error"]["message"]


def _user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _whole(answer: HTTPResponse) -> str:
    assert answer.status == 200
    message: dict[str, Any] = json.loads(answer.read())["choices"][0]["message"]
    return str(message["content"])


def _deltas(answer: HTTPResponse) -> list[dict[str, Any]]:
    assert answer.status == 200
    lines = answer.read().decode().splitlines()
    said = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert said.pop() == "[DONE]"
    return [choice["delta"] for each in said for choice in json.loads(each)["choices"]]


def _text(deltas: list[dict[str, Any]]) -> str:
    return "".join(delta.get("content") or "" for delta in deltas)
