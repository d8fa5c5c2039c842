"""A message body as a JSON object with all of its fields, those with defaults too; pure."""

from __future__ import annotations

from typing import Any

from transports.schemas.body import Body


def body_view(body: Body) -> dict[str, Any]:
    """Return the fields by name; bodies and tuples in them become objects and lists."""
    return {name: _view(getattr(body, name)) for name in body.__struct_fields__}


def _view(value: Any) -> Any:
    match value:
        case Body():
            return body_view(value)
        case tuple():
            return [_view(item) for item in value]
        case _:
            return value
