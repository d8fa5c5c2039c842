"""The items of ``input``: checked, and turned into the turns that chat templates take."""

from __future__ import annotations

from typing import Any, final

from cortex_actors.dialects.checked_request import bad, unsupported
from cortex_actors.dialects.responses.custom_input import arguments_of
from cortex_actors.dialects.responses.offered_tools import ToolIdentity

_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


def as_items(given: Any) -> list[dict[str, Any]]:
    """Return ``input`` as a list; text is what the user says.

    Raises:
        PydanticCustomError: It is neither text nor a list of objects.
    """
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list):
        raise bad("must be a string or a list of items")
    for index, item in enumerate(given):
        if not isinstance(item, dict):
            raise bad("must be an object", f"[{index}]")
    return given


@final
class Turns:
    """Messages made of items, each of which goes where it stands.

    What the model gave in one go (reasoning, then text, then calls) is one turn of it again.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None

    def add(self, item: dict[str, Any], at: str) -> None:
        """Add the next item; ``at`` says where it is.

        Raises:
            PydanticCustomError: It is no item that this server understands.
        """
        match item.get("type"):
            case None | "message":
                self._message(item, at)
            case "reasoning":
                self._reasoning(item, at)
            case "function_call":
                self._call(item, _text(item, "arguments", at), at)
            case "custom_tool_call":
                self._call(item, arguments_of(_text(item, "input", at)), at)
            case "function_call_output" | "custom_tool_call_output":
                self._output(item, at)
            case "item_reference":
                raise unsupported("a reference to an item; send the item itself", f"{at}.type")
            case str(kind):
                raise unsupported(f"an item of type {kind!r}", f"{at}.type")
            case _:
                raise bad("must be a string", f"{at}.type")

    def _message(self, item: dict[str, Any], at: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            raise bad(f"must be one of {', '.join(_ROLES)}", f"{at}.role")
        if "content" not in item:
            raise bad("is required", f"{at}.content")
        content = joined(item["content"], f"{at}.content")
        if role != "assistant":
            self._open = None
            self.messages.append({"role": role, "content": content})
            return
        self._turn(fresh_after=("content", "tool_calls"))["content"] = content

    def _reasoning(self, item: dict[str, Any], at: str) -> None:
        texts = item.get("content") or item.get("summary") or []
        if not isinstance(texts, list):
            raise bad("must be a list", f"{at}.content")
        reasoning = "".join(
            _text(text, "text", f"{at}.content[{n}]") for n, text in enumerate(texts)
        )
        if reasoning:
            fresh_after = ("reasoning_content", "content", "tool_calls")
            self._turn(fresh_after)["reasoning_content"] = reasoning

    def _call(self, item: dict[str, Any], arguments: str, at: str) -> None:
        name = ToolIdentity(_text(item, "name", at), item.get("namespace")).flat
        function = {"name": name, "arguments": arguments}
        call = {"id": _text(item, "call_id", at), "type": "function", "function": function}
        self._turn(fresh_after=()).setdefault("tool_calls", []).append(call)

    def _output(self, item: dict[str, Any], at: str) -> None:
        if "output" not in item:
            raise bad("is required", f"{at}.output")
        content = joined(item["output"], f"{at}.output")
        self._open = None
        call_id = _text(item, "call_id", at)
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})

    def _turn(self, fresh_after: tuple[str, ...]) -> dict[str, Any]:
        if self._open is None or any(self._open.get(each) for each in fresh_after):
            self._open = {"role": "assistant", "content": ""}
            self.messages.append(self._open)
        return self._open


def joined(content: Any, at: str) -> str:
    """Return the text of a message or of a tool's output.

    Raises:
        PydanticCustomError: Some of it is not text.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise bad("must be a string or a list of parts", at)
    return "".join(_part(part, f"{at}[{index}]") for index, part in enumerate(content))


def _part(part: Any, at: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise bad("the part has no type", at)
    if kind not in _TEXTS:
        raise unsupported(f"a content part of type {kind!r}", f"{at}.type")
    return _text(part, _TEXTS[kind], at)


def _text(item: Any, key: str, at: str) -> str:
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, str):
        raise bad("must be a string", f"{at}.{key}")
    return value
