"""One request of each API with something in every place that is looked into."""

from __future__ import annotations

from typing import Any

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TEXT = {"type": "text", "text": "a"}
INPUT_TEXT = {"type": "input_text", "text": "a"}

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [TEXT], "name": "n"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "logit_bias": {"5": 1.0},
    "stop": ["a"],
    "seed": 3,
    "logprobs": True,
    "top_logprobs": 2,
    "chat_template_kwargs": {"a": 1},
    "max_completion_tokens": 5,
}
FORMATTED_CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "a"}],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
    },
}
GUIDED_CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "a"}],
    "structured_outputs": {"json": SCHEMA},
}
COMPLETION: dict[str, Any] = {
    "model": "m",
    "prompt": [1, 2],
    "logprobs": 2,
    "stop": "a",
    "stream": True,
    "stream_options": {"include_usage": True},
    "best_of": 1,
    "logit_bias": {"5": 1},
}
EMBEDDING: dict[str, Any] = {
    "model": "m",
    "input": [[1, 2], [3]],
    "dimensions": 3,
    "encoding_format": "base64",
}
RESPONSE: dict[str, Any] = {
    "model": "m",
    "instructions": "i",
    "input": [
        {"type": "message", "role": "user", "content": [INPUT_TEXT]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "namespace": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [INPUT_TEXT]},
        {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": "x"},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": SCHEMA},
        {
            "type": "custom",
            "name": "g",
            "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
        },
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]},
        {"type": "web_search"},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}],
    },
    "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "metadata": {"a": "b"},
    "include": ["message.output_text.logprobs"],
    "max_output_tokens": 20,
}
PROMPT: dict[str, Any] = {
    "model": "m",
    "system": [TEXT],
    "messages": [
        {
            "role": "user",
            "content": [TEXT, {"type": "document", "source": {"type": "text", "data": "d"}}],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "i", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "i", "content": [TEXT], "is_error": True}
            ],
        },
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "type": "custom"}],
    "tool_choice": {"type": "tool", "name": "f"},
    "thinking": {"type": "enabled", "budget_tokens": 3},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
}
MESSAGES: dict[str, Any] = {**PROMPT, "max_tokens": 9, "stop_sequences": ["a"], "top_k": 3}
