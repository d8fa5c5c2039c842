"""A body that is wrong in a million places is refused for the first; nobody counts the others."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cortex_actors.dialects.anthropic.messages_request import MessagesRequest
from cortex_actors.dialects.checked_request import CheckedRequest
from cortex_actors.dialects.openai.chat_request import ChatRequest
from cortex_actors.dialects.responses.responses_request import ResponsesRequest

HELLO = [{"role": "user", "content": "Hello"}]
CHAT = {"model": "m", "messages": HELLO}
MESSAGES = {**CHAT, "max_tokens": 9}
RESPONSE = {"model": "m", "input": "Hello"}
CALLING = {"role": "assistant", "content": "", "tool_calls": [1, 2, 3]}


@pytest.mark.parametrize(
    ("request_type", "body", "param"),
    [
        (ChatRequest, {**CHAT, "messages": [1, 2, 3]}, "messages[0]"),
        (ChatRequest, {**CHAT, "messages": [CALLING]}, "messages[0].tool_calls[0]"),
        (ChatRequest, {**CHAT, "tools": [1, 2, 3]}, "tools[0]"),
        (ChatRequest, {**CHAT, "logit_bias": dict.fromkeys(map(str, range(1025)))}, "logit_bias"),
        (MessagesRequest, {**MESSAGES, "tools": [1, 2, 3]}, "tools[0]"),
        (ResponsesRequest, {**RESPONSE, "include": [1, 2, 3]}, "include[0]"),
        (
            ResponsesRequest,
            {**RESPONSE, "metadata": dict.fromkeys(map(str, range(17)))},
            "metadata",
        ),
    ],
)
def test_checking_ends_with_the_first_fault(
    request_type: type[CheckedRequest], body: dict[str, Any], param: str
) -> None:
    with pytest.raises(ValidationError) as found:
        request_type.model_validate(body)
    (fault,) = found.value.errors()
    named = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in fault["loc"])
    assert named.removeprefix(".") == param
