"""The tools of a request, as the client names them and as the engine knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, final

from pydantic import BaseModel, ConfigDict, ValidationError

from cortex_actors.dialects.checked_request import bad, unsupported
from cortex_actors.dialects.openai.tool_fields import OfferedFunction
from cortex_actors.dialects.responses.custom_input import INPUT

IGNORED: Final = frozenset(
    {
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "image_generation",
        "tool_search",
    }
)
"""What Codex offers to every server, whether or not it can serve it.

A model that does not hear of such a tool does not call it, and the response does not list it.
"""

_Model = TypeVar("_Model", bound=BaseModel)

_KEYS = ("name", "description", "parameters", "strict")


class _Grammar(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: str = "text"
    syntax: str | None = None
    definition: str | None = None


class _Custom(OfferedFunction):
    format: _Grammar | None = None


@final
@dataclass(frozen=True, slots=True)
class ToolIdentity:
    """What the client calls a tool that the engine knows under one flat name."""

    name: str
    namespace: str | None = None
    custom: bool = False

    @property
    def flat(self) -> str:
        """The name for the engine: a chat template has no place for a namespace."""
        return self.name if self.namespace is None else f"{self.namespace}__{self.name}"


@final
@dataclass(frozen=True, slots=True)
class OfferedTools:
    """``functions`` are OpenAI's chat objects; ``identities`` are by flat name.

    ``listed`` are the client's own objects of those that are offered.
    """

    functions: tuple[dict[str, Any], ...] = ()
    identities: Mapping[str, ToolIdentity] = field(default_factory=dict)
    listed: tuple[dict[str, Any], ...] = ()

    def identity(self, flat: str) -> ToolIdentity:
        """Return whose call it is; a name that nobody offered is that of a function."""
        return self.identities.get(flat) or ToolIdentity(flat)

    def only(self, names: set[str]) -> tuple[dict[str, Any], ...]:
        """Return the functions with these flat names."""
        return tuple(each for each in self.functions if each["function"]["name"] in names)


def offered(tools: list[Any]) -> OfferedTools:
    """Read ``tools`` as they were sent.

    Raises:
        PydanticCustomError: One of them is wrong, or would have to run on this server.
    """
    functions: list[dict[str, Any]] = []
    identities: dict[str, ToolIdentity] = {}
    listed = []
    for index, tool in enumerate(tools):
        for identity, function in _read(tool, f"[{index}]", None):
            if identity.flat in identities:
                raise bad("another tool has this name", f"[{index}].name")
            identities[identity.flat] = identity
            functions.append({"type": "function", "function": function})
        if tool["type"] not in IGNORED:
            listed.append(tool)
    return OfferedTools(tuple(functions), identities, tuple(listed))


def _read(tool: Any, at: str, namespace: str | None) -> list[tuple[ToolIdentity, dict[str, Any]]]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    match kind:
        case "function":
            _checked(OfferedFunction, tool, at)
            identity = ToolIdentity(tool["name"], namespace)
            return [(identity, {**_declared(tool), "name": identity.flat})]
        case "custom":
            custom = _checked(_Custom, tool, at)
            identity = ToolIdentity(custom.name, namespace, custom=True)
            return [(identity, _shim(identity, custom, at))]
        case "namespace" if namespace is None:
            inner = tool.get("tools")
            if not isinstance(inner, list):
                raise bad("must be a list", f"{at}.tools")
            name = _checked(OfferedFunction, {"name": tool.get("name")}, at).name
            return [
                each
                for index, member in enumerate(inner)
                for each in _read(member, f"{at}.tools[{index}]", name)
            ]
        case str() if kind in IGNORED:
            return []
        case str():
            raise unsupported(f"a tool of type {kind!r}", f"{at}.type")
    raise bad("the tool has no type", at)


def _declared(tool: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tool.items() if key in _KEYS and value is not None}


def _shim(identity: ToolIdentity, custom: _Custom, at: str) -> dict[str, Any]:
    """Return the function of one text that stands for a custom tool.

    A grammar is shown to the model, in the client's words; it is not enforced.
    """
    text: dict[str, Any] = {"type": "string"}
    if custom.format is not None and custom.format.type == "grammar":
        if custom.format.definition is None:
            raise bad("is required", f"{at}.format.definition")
        text["description"] = custom.format.definition
    elif custom.format is not None and custom.format.type != "text":
        raise unsupported(f"a format of type {custom.format.type!r}", f"{at}.format.type")
    described = {} if custom.description is None else {"description": custom.description}
    parameters = {
        "type": "object",
        "properties": {INPUT: text},
        "required": [INPUT],
        "additionalProperties": False,
    }
    return {"name": identity.flat, **described, "parameters": parameters}


def _checked(model: type[_Model], tool: dict[str, Any], at: str) -> _Model:
    try:
        return model.model_validate(tool)
    except ValidationError as ex:
        error = ex.errors(include_url=False)[0]
        where = at + "".join(f".{part}" for part in error["loc"])
        where += str(error.get("ctx", {}).get("at", ""))
        raise bad(error["msg"], where) from ex
