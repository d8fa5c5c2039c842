"""Models as Anthropic's ``/v1/models`` shows them, in its pages; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, final

from cortex_actors.dialects.api_error import ApiError

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 1000

Model = Mapping[str, Any]


def model_info(model: Model) -> dict[str, Any]:
    """Return one of OpenAI's model objects as one of Anthropic's.

    A model whose age nobody knows is from 1970, as Anthropic has it.
    """
    created = datetime.fromtimestamp(model["created"], tz=UTC)
    return {
        "type": "model",
        "id": model["id"],
        "display_name": model["id"],
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": model.get("max_input_tokens") or model["context_length"] or None,
        "max_tokens": model.get("max_output_tokens"),
    }


@final
@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which models are asked for: up to ``limit`` next to the one that a cursor names."""

    limit: int = DEFAULT_LIMIT
    after_id: str | None = None
    before_id: str | None = None

    def page(self, models: Sequence[Model]) -> dict[str, Any]:
        """Return the page; ``has_more`` is told of the direction that is asked for.

        Raises:
            ApiError: Two cursors, or one that names no model.
        """
        if self.after_id is not None and self.before_id is not None:
            raise ApiError.invalid("after_id, before_id: only one of them", "before_id")
        ids = [model["id"] for model in models]
        if self.before_id is not None:
            end = _place(ids, self.before_id, "before_id")
            begin = max(0, end - self.limit)
            has_more = begin > 0
        else:
            begin = 0 if self.after_id is None else _place(ids, self.after_id, "after_id") + 1
            end = begin + self.limit
            has_more = end < len(ids)
        shown = ids[begin:end]
        return {
            "data": [model_info(model) for model in models[begin:end]],
            "has_more": has_more,
            "first_id": shown[0] if shown else None,
            "last_id": shown[-1] if shown else None,
        }


def _place(ids: Sequence[str], cursor: str, name: str) -> int:
    try:
        return ids.index(cursor)
    except ValueError:
        raise ApiError.invalid(f"{name}: there is no model {cursor[:200]!r}", name) from None
