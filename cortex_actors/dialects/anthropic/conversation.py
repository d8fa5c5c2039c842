"""Anthropic's turns as the messages that chat templates take.

Nothing is added, left out or moved: a turn with tool results becomes one message for each of them
and for each run of text between them, in the order in which they were sent. Thinking becomes the
reasoning of its message; what was redacted has no text that a template could show.
"""

from __future__ import annotations

from typing import Any

from cortex_actors.dialects.anthropic.blocks import joined_text, kind_of, string, text_in
from cortex_actors.dialects.checked_request import bad

Message = dict[str, Any]

# Not a set: a client may send a list or an object for its role, which no set can be asked for.
_ROLES = ("user", "assistant", "system")


def system_message(system: Any) -> list[Message]:
    """Return the system prompt as a message; none if there is none.

    Raises:
        PydanticCustomError: It is neither a string nor blocks of text.
    """
    text = joined_text(system, "")
    return [{"role": "system", "content": text}] if text else []


def messages_of(turn: Any, at: str) -> list[Message]:
    """Return the messages of one turn.

    Raises:
        PydanticCustomError: Naming what cannot be understood.
    """
    role = turn.get("role") if isinstance(turn, dict) else None
    if role not in _ROLES:
        raise bad("must be user or assistant", f"{at}.role")
    content, where = turn.get("content"), f"{at}.content"
    if content is None:
        raise bad("is required", where)
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list):
        raise bad("must be a string or a list of blocks", where)
    blocks = [(block, f"{where}[{index}]") for index, block in enumerate(content)]
    if role == "assistant":
        return [_assistant(blocks)]
    return _user(blocks) if role == "user" else [_system(content, where)]


def _system(content: Any, at: str) -> Message:
    return {"role": "system", "content": joined_text(content, at)}


def _user(blocks: list[tuple[Any, str]]) -> list[Message]:
    messages: list[Message] = []
    for block, at in blocks:
        if kind_of(block, at) == "tool_result":
            messages.append(_tool_result(block, at))
        elif messages and messages[-1]["role"] == "user":
            messages[-1]["content"] += text_in(block, at)
        else:
            messages.append({"role": "user", "content": text_in(block, at)})
    return messages or [{"role": "user", "content": ""}]


def _tool_result(block: dict[str, Any], at: str) -> Message:
    message: Message = {
        "role": "tool",
        "tool_call_id": string(block, "tool_use_id", at),
        "content": joined_text(block.get("content"), f"{at}.content"),
    }
    if block.get("is_error"):
        message["is_error"] = True
    return message


def _assistant(blocks: list[tuple[Any, str]]) -> Message:
    text, thinking, calls = "", "", list[dict[str, Any]]()
    for block, at in blocks:
        match kind_of(block, at):
            case "thinking":
                thinking += string(block, "thinking", at)
            case "redacted_thinking":
                pass
            case "tool_use":
                calls.append(_call(block, at))
            case _:
                text += text_in(block, at)
    message: Message = {"role": "assistant", "content": text}
    if thinking:
        message["reasoning_content"] = thinking
    if calls:
        message["tool_calls"] = calls
    return message


def _call(block: dict[str, Any], at: str) -> dict[str, Any]:
    arguments = block.get("input", {})
    if not isinstance(arguments, dict):
        raise bad("must be an object", f"{at}.input")
    function = {"name": string(block, "name", at), "arguments": arguments}
    return {"id": string(block, "id", at), "type": "function", "function": function}
