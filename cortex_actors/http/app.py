"""The two WSGI applications: what cortexd and what neurond mount."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Sequence
from typing import Any, final

import falcon

from cortex_actors.dialects.anthropic.messages_request import MessagesRequest
from cortex_actors.dialects.openai.chat_request import ChatRequest
from cortex_actors.dialects.openai.completion_request import CompletionRequest
from cortex_actors.http import error_handlers
from cortex_actors.http.authentication import Authentication
from cortex_actors.http.backend import Backend
from cortex_actors.http.cross_origin import CrossOrigin
from cortex_actors.http.operations import GATEWAY_OPERATIONS, NEURON_OPERATIONS, Operation
from cortex_actors.http.request_body import DEFAULT_BODY_LIMIT
from cortex_actors.http.request_log import RequestLog, Trace, WsgiApp
from cortex_actors.http.request_record import RECORD, RequestRecord
from cortex_actors.http.resources.actors import Actors
from cortex_actors.http.resources.chaos import Chaos
from cortex_actors.http.resources.count_tokens import CountTokensOfMessages
from cortex_actors.http.resources.embeddings import Embeddings
from cortex_actors.http.resources.explain import Explain
from cortex_actors.http.resources.gateway_status import GatewayStatus
from cortex_actors.http.resources.generations import Generations
from cortex_actors.http.resources.health import Health, Ready
from cortex_actors.http.resources.index import Index
from cortex_actors.http.resources.metrics import Metrics
from cortex_actors.http.resources.model_admin import LoadModel, UnloadModel
from cortex_actors.http.resources.models import Model, ModelList
from cortex_actors.http.resources.neuron_status import Discovery, NeuronModels
from cortex_actors.http.resources.openapi import OpenApi
from cortex_actors.http.resources.placement_admin import PinModel, PlanLoad, ReloadCatalogue
from cortex_actors.http.resources.responses import (
    CancelResponse,
    InputItems,
    Responses,
    StoredResponses,
)
from cortex_actors.http.resources.version import Version
from cortex_actors.http.response_store import ResponseStore

FalconApp = falcon.App[falcon.Request, falcon.Response]


def create_gateway_app(
    backend: Backend,
    *,
    body_limit: int = DEFAULT_BODY_LIMIT,
    store: ResponseStore | None = None,
    cors_origins: Collection[str] = (),
    authentication: Authentication | None = None,
    trace: Trace | None = None,
) -> WsgiApp:
    """Return cortexd's public and admin API. Metrics are on a listener of their own."""
    routes = gateway_routes(backend, body_limit, store)
    return _create(backend, routes, cors_origins, authentication, trace)


def create_neuron_app(
    backend: Backend,
    *,
    body_limit: int = DEFAULT_BODY_LIMIT,
    store: ResponseStore | None = None,
    cors_origins: Collection[str] = (),
    authentication: Authentication | None = None,
    trace: Trace | None = None,
) -> WsgiApp:
    """Return neurond's API; with the inference routes, so that a neuron is useful alone."""
    routes = neuron_routes(backend, body_limit, store)
    return _create(backend, routes, cors_origins, authentication, trace)


def create_metrics_app(backend: Backend) -> WsgiApp:
    """Return what a metrics listener serves."""
    return _create(backend, {"/metrics": Metrics(backend), "/health": Health(backend)})


def gateway_routes(
    backend: Backend, body_limit: int, store: ResponseStore | None
) -> dict[str, object]:
    """Return what cortexd serves, by the template of the path."""
    return {
        **_common_routes(backend, body_limit, store, GATEWAY_OPERATIONS),
        "/admin/load": LoadModel(backend, body_limit),
        "/admin/unload": UnloadModel(backend, body_limit),
        "/admin/plan": PlanLoad(backend, body_limit),
        "/admin/pin": PinModel(backend, body_limit),
        "/admin/reload": ReloadCatalogue(backend),
        "/admin/status": GatewayStatus(backend),
        "/admin/requests/{request_id}": Explain(backend),
    }


def neuron_routes(
    backend: Backend, body_limit: int, store: ResponseStore | None
) -> dict[str, object]:
    """Return what neurond serves, by the template of the path."""
    return {
        **_common_routes(backend, body_limit, store, NEURON_OPERATIONS),
        "/discovery": Discovery(backend),
        "/models": NeuronModels(backend),
        "/models/load": LoadModel(backend, body_limit),
        "/models/unload": UnloadModel(backend, body_limit),
        "/chaos": Chaos(backend, body_limit),
        "/metrics": Metrics(backend),
    }


def _common_routes(
    backend: Backend,
    body_limit: int,
    store: ResponseStore | None,
    operations: Sequence[Operation],
) -> dict[str, object]:
    version = importlib.metadata.version("cortex")
    return {
        "/": Index(backend, version),
        "/v1/chat/completions": Generations(backend, ChatRequest.parse, body_limit),
        "/v1/completions": Generations(backend, CompletionRequest.parse, body_limit),
        "/v1/messages": Generations(backend, MessagesRequest.parse, body_limit),
        "/v1/messages/count_tokens": CountTokensOfMessages(backend, body_limit),
        "/v1/embeddings": Embeddings(backend, body_limit),
        "/v1/responses": Responses(backend, store, body_limit),
        "/v1/responses/{response_id}": StoredResponses(store),
        "/v1/responses/{response_id}/input_items": InputItems(store),
        "/v1/responses/{response_id}/cancel": CancelResponse(store),
        "/v1/models": ModelList(backend),
        "/v1/models/{model_id:path}": Model(backend),
        "/health": Health(backend),
        "/ready": Ready(backend),
        "/version": Version(backend, version),
        "/openapi.json": OpenApi(version, operations),
        "/debug/actors": Actors(backend),
    }


def _create(
    backend: Backend,
    routes: dict[str, Any],
    cors_origins: Collection[str] = (),
    authentication: Authentication | None = None,
    trace: Trace | None = None,
) -> WsgiApp:
    app: FalconApp = falcon.App(middleware=[_RouteNote(), CrossOrigin(cors_origins)])
    if authentication is not None:
        app.add_middleware(authentication)
    error_handlers.install(app)
    for path, resource in routes.items():
        app.add_route(path, resource)
    return RequestLog(app, backend.count_response, trace)


@final
class _RouteNote:
    """Falcon middleware: notes the template of the path, by which responses are counted."""

    def process_resource(
        self,
        req: falcon.Request,
        _resp: falcon.Response,
        _resource: object,
        _params: dict[str, Any],
    ) -> None:
        record: RequestRecord = req.env[RECORD]
        record.route = (req.uri_template or "").replace(":path}", "}")
