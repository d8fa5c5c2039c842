"""One event of the log as ``key=value`` pairs. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

_PLAIN: Final = re.compile(r"[!#-&(-<>-\[\]-~]+")


def log_line(event: str, fields: Mapping[str, object]) -> str:
    """Return ``event`` with its fields in logfmt; those that are None or empty text are left out.

    What a client sent cannot look like another field or another line: text with blanks, quotes,
    controls or anything but ASCII is quoted as JSON does it.
    """
    told = ((key, value) for key, value in fields.items() if value is not None and value != "")
    return " ".join((event, *(f"{key}={_text(value)}" for key, value in told)))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
