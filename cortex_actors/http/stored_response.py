"""One finished response as it is kept, and its items as the API lists them."""

from __future__ import annotations

from typing import Any, final

from cortex_actors.dialects.responses.response_object import id_of
from transports.schemas.body import Body


@final
class StoredResponse(Body, frozen=True):
    """``response`` is the object that the client got, ``input`` what its request brought.

    ``owner`` is whose key asked for it, empty if nobody's.
    """

    id: str
    response: dict[str, Any]
    input: list[dict[str, Any]]
    previous: str | None = None
    owner: str = ""

    @property
    def items(self) -> list[dict[str, Any]]:
        """What it adds to a conversation."""
        return [*self.input, *self.response["output"]]


def listed(response_id: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return input items with an id each, and with their content in parts."""
    return [_listed(response_id, index, item) for index, item in enumerate(items)]


def _listed(response_id: str, index: int, item: dict[str, Any]) -> dict[str, Any]:
    kind = item.get("type") or "message"
    prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}.get(kind, "item")
    own = item.get("id") or id_of(prefix, response_id, index)
    full = {"status": "completed", **item, "id": own, "type": kind}
    if kind == "message":
        full["content"] = _parts(item["role"], item["content"])
    return full


def _parts(role: str, content: Any) -> list[dict[str, Any]]:
    assistant = role == "assistant"
    kind = "output_text" if assistant else "input_text"
    parts = [{"type": kind, "text": content}] if isinstance(content, str) else content or []
    return [{"annotations": [], **part} if assistant else part for part in parts]
