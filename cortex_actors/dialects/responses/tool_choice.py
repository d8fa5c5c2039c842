"""Which of the offered tools may or must be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from cortex_actors.dialects.checked_request import bad, unsupported
from cortex_actors.dialects.openai.tool_fields import CHOICES
from cortex_actors.dialects.responses.offered_tools import OfferedTools, ToolIdentity


@final
@dataclass(frozen=True, slots=True)
class ToolChoice:
    """``word`` is auto, none, required or a flat name; ``allowed`` are flat names, None for all."""

    word: str = "auto"
    allowed: frozenset[str] | None = None


def chosen(choice: Any, tools: OfferedTools) -> ToolChoice:
    """Read ``tool_choice``.

    Raises:
        PydanticCustomError: It is none of the API's forms, or names a tool that is not offered.
    """
    match choice:
        case None:
            return ToolChoice()
        case "required" if not tools.functions:
            raise bad("'required' needs a tool in tools to call")
        case str() if choice in CHOICES:
            return ToolChoice(choice)
        case {"type": "function" | "custom"}:
            return ToolChoice(_named(choice, tools, ""))
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(allowed)}:
            names = [_named(each, tools, f".tools[{at}]") for at, each in enumerate(allowed)]
            if not names and mode == "required":
                raise bad("must not be empty", ".tools")
            return ToolChoice(mode, frozenset(names))
        case {"type": "allowed_tools"}:
            raise bad("needs a mode, auto or required, and a list of tools")
        case {"type": str(kind)}:
            raise unsupported(f"a choice of type {kind!r}", ".type")
    raise bad(f"must be one of {', '.join(CHOICES)}, or name a tool")


def _named(choice: Any, tools: OfferedTools, at: str) -> str:
    name = choice.get("name") if isinstance(choice, dict) else None
    if not isinstance(name, str):
        raise bad("must name one of the tools", f"{at}.name")
    flat = ToolIdentity(name, choice.get("namespace")).flat
    identity = tools.identities.get(flat)
    if identity is None or identity.custom is not (choice.get("type") == "custom"):
        raise bad(f"there is no {choice.get('type')} tool {name!r} in tools", f"{at}.name")
    return flat
