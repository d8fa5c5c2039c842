"""GET /v1/models and /v1/models/{id}, as OpenAI or as Anthropic has them."""

from __future__ import annotations

from typing import final

import falcon
import msgspec

from cortex_actors.dialects.anthropic.model_list import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    PageRequest,
    model_info,
)
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.http import answers as own
from cortex_actors.http import service_view
from cortex_actors.http.asked_dialect import asks_anthropic
from cortex_actors.http.backend import Backend
from cortex_actors.http.page_limit import page_limit
from cortex_actors.http.resources.snapshot import answer_json, service_state
from transports.failures import FailureCode
from transports.schemas.link import Failure


@final
class ModelList:
    """Every model of the catalogue with its status, loaded or not."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer from the pushed state."""
        models = service_view.models(service_state(self._backend))
        if asks_anthropic(req):
            answer_json(resp, _page_request(req).page(msgspec.to_builtins(models)))
        else:
            answer_json(resp, own.ModelPage("list", models))


@final
class Model:
    """One model or alias."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        """Answer from the pushed state, or 404."""
        for model in service_view.models(service_state(self._backend)):
            if model.id == model_id:
                anthropic = asks_anthropic(req)
                answer_json(resp, model_info(msgspec.to_builtins(model)) if anthropic else model)
                return
        message = f"model {model_id[:200]!r} does not exist"
        raise ApiError.from_failure(Failure(FailureCode.MODEL_NOT_FOUND, message, param="model"))


def _page_request(req: falcon.Request) -> PageRequest:
    return PageRequest(
        page_limit(req, DEFAULT_LIMIT, MAX_LIMIT),
        req.get_param("after_id"),
        req.get_param("before_id"),
    )
