"""Server-sent events of chat completions, as servers send them."""

from __future__ import annotations

import json
from typing import Any

USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 4,
    "prompt_tokens_details": {"cached_tokens": 16},
}


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
TAIL = FINISH + event({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"
