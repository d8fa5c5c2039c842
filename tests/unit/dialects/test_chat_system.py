"""System messages of a chat: whatever there are, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from cortex_actors.dialects.openai.chat_request import ChatRequest

USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": " Be brief.\n"}
DEVELOPER = {"role": "developer", "content": "Be kind."}


def shown(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chat = ChatRequest.parse({"model": "tiny", "messages": messages})
    return chat.to_generate("r").messages


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([SYSTEM, USER], id="T01: verbatim and first"),
        pytest.param([SYSTEM, SYSTEM, DEVELOPER, USER], id="T05: several, unmerged"),
        pytest.param([USER, SYSTEM, USER, DEVELOPER, USER], id="T05: in their order"),
        pytest.param([{"role": "system", "content": ""}, USER], id="an empty one"),
        pytest.param([USER], id="T06: none"),
    ],
)
def test_system_messages_stay_what_and_where_they_are(messages: list[dict[str, Any]]) -> None:
    assert shown(messages) == messages


def test_a_system_message_in_parts_is_one_text() -> None:
    system = {
        "role": "system",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "\nb "}],
    }
    assert shown([system, USER]) == [{"role": "system", "content": "a\nb "}, USER]
