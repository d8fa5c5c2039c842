"""What every read-only resource starts with: the state that the daemon pushed last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import falcon
import msgspec

from cortex_actors.dialects.answer_object import AnswerObject
from cortex_actors.http.backend import Backend, BackendError
from transports.failures import FailureCode
from transports.schemas.fleet import NeuronState, ServiceState
from transports.schemas.link import Failure


def service_state(backend: Backend) -> ServiceState:
    """Return the daemon's latest state; never waits.

    Raises:
        BackendError: None has come yet.
    """
    state = backend.service
    if state is None:
        raise _starting()
    return state


def own_neuron(backend: Backend) -> NeuronState:
    """Return what a neuron's daemon says of itself; never waits.

    Raises:
        BackendError: It has not said anything yet.
    """
    neurons = service_state(backend).neurons
    if not neurons:
        raise _starting()
    return neurons[0]


def answer_json(resp: falcon.Response, payload: AnswerObject | Mapping[str, Any]) -> None:
    """Write a JSON body."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(payload)


def _starting() -> BackendError:
    return BackendError(
        Failure(FailureCode.MODEL_UNAVAILABLE, "the service is starting", retry_after_s=1.0)
    )
