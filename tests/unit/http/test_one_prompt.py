"""One conversation in three dialects is one prompt, by a template as models have it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.http.served_engine import Served, user

CONVERSATION = """<|im_start|>system
Be brief.

# Tools

You may call these functions:
<tools>
{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
</tools>

Call one with a JSON object in <tool_call></tool_call> tags:
<tool_call>
{"name": <name>, "arguments": <object>}
</tool_call><|im_end|>
<|im_start|>user
Will it rain?<|im_end|>
<|im_start|>assistant
<think>
I must look.
</think>

Let me see.
<tool_call>
{"name": "weather", "arguments": {"city": "Paris"}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
Sunny
</tool_response><|im_end|>
<|im_start|>assistant
"""
PLAIN = {"type": "object"}
FUNCTION = {"name": "weather", "parameters": PLAIN}
ARGUMENTS = '{"city": "Paris"}'
THE_SAME: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "max_tokens": 4,
        "tools": [{"type": "function", "function": FUNCTION}],
        "messages": [
            {"role": "system", "content": "Be brief."},
            user("Will it rain?"),
            {
                "role": "assistant",
                "content": "Let me see.",
                "reasoning_content": "I must look.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": ARGUMENTS},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
        ],
    },
    "/v1/responses": {
        "max_output_tokens": 4,
        "instructions": "Be brief.",
        "tools": [{"type": "function", **FUNCTION}],
        "input": [
            user("Will it rain?"),
            {
                "type": "reasoning",
                "content": [{"type": "reasoning_text", "text": "I must look."}],
            },
            {"type": "message", "role": "assistant", "content": "Let me see."},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS},
            {"type": "function_call_output", "call_id": "c1", "output": "Sunny"},
        ],
    },
    "/v1/messages": {
        "max_tokens": 4,
        "system": "Be brief.",
        "thinking": {"type": "adaptive"},
        "tools": [{"name": "weather", "input_schema": PLAIN}],
        "messages": [
            user("Will it rain?"),
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I must look.", "signature": "s"},
                    {"type": "text", "text": "Let me see."},
                    {
                        "type": "tool_use",
                        "id": "c1",
                        "name": "weather",
                        "input": {"city": "Paris"},
                    },
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "Sunny"}],
            },
        ],
    },
}


@pytest.mark.parametrize("path", THE_SAME)
@pytest.mark.parametrize("streamed", [False, True])
def test_one_conversation_is_one_prompt_in_every_dialect(
    qwen: Served, path: str, streamed: bool
) -> None:
    assert qwen.prompt(path, stream=streamed, **THE_SAME[path]) == CONVERSATION
