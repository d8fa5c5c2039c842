"""The ``limit`` of lists that come in pages."""

from __future__ import annotations

import falcon

from cortex_actors.dialects.api_error import ApiError


def page_limit(req: falcon.Request, default: int, most: int) -> int:
    """Return how many entries a page may have.

    Raises:
        ApiError: It is no number, or not from 1 to ``most``.
    """
    text = req.get_param("limit") or str(default)
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= most:
        raise ApiError.invalid(f"limit: must be 1 to {most}", "limit", "invalid_value")
    return int(text)
