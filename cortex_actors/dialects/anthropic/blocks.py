"""The blocks that a message's content is made of, as chat templates know them."""

from __future__ import annotations

from typing import Any

from cortex_actors.dialects.checked_request import bad, unsupported


def kind_of(block: Any, at: str) -> str:
    """Return the block's type.

    Raises:
        PydanticCustomError: It has none.
    """
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise bad("the block has no type", at)
    return kind


def text_in(block: dict[str, Any], at: str) -> str:
    """Return the text of a text block, or of a document that is text.

    Raises:
        PydanticCustomError: It is something else, such as an image, which a model for text
            cannot see and must not be shown as letters.
    """
    kind = kind_of(block, at)
    if kind == "text":
        return string(block, "text", at)
    source = block.get("source")
    if kind == "document" and isinstance(source, dict) and source.get("type") == "text":
        return string(source, "data", f"{at}.source")
    raise unsupported(f"a block of type {kind!r}", at)


def joined_text(content: Any, at: str) -> str:
    """Return the text of ``content``: a string, or blocks of text, which are joined as they are.

    Raises:
        PydanticCustomError: It holds anything else.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise bad("must be a string or a list of blocks", at)
    return "".join(text_in(block, f"{at}[{index}]") for index, block in enumerate(content))


def string(holder: dict[str, Any], name: str, at: str) -> str:
    """Return a field that must be text.

    Raises:
        PydanticCustomError: It is missing or something else.
    """
    value = holder.get(name)
    if not isinstance(value, str):
        raise bad("must be a string", f"{at}.{name}")
    return value
