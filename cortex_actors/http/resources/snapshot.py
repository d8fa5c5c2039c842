"""What every read-only resource starts with: the state that the daemon pushed last."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec

from cortex_actors.http.backend import Backend, BackendError
from transports.failures import FailureCode
from transports.schemas.fleet import ServiceState
from transports.schemas.link import Failure


def service_state(backend: Backend) -> ServiceState:
    """Return the daemon's latest state; never waits.

    Raises:
        BackendError: None has come yet.
    """
    state = backend.service
    if state is None:
        raise BackendError(
            Failure(FailureCode.MODEL_UNAVAILABLE, "the service is starting", retry_after_s=1.0)
        )
    return state


def answer_json(resp: falcon.Response, payload: Any) -> None:
    """Write a JSON body."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(payload)
