"""One HTTP request that is over: what was asked, how it was answered, how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from cortex_actors.http.request_record import RequestRecord


@final
@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """``traceparent`` and ``tracestate`` are the caller's, as W3C has them, or empty."""

    method: str
    path: str
    client: str
    status: str
    duration_s: float
    record: RequestRecord
    traceparent: str = ""
    tracestate: str = ""
