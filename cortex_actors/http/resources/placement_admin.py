"""POST /admin/plan, /admin/pin and /admin/reload: what operators ask of a gateway's placement."""

from __future__ import annotations

from typing import Final, final

import falcon

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.http.backend import Backend
from cortex_actors.http.body_view import body_view
from cortex_actors.http.command_answers import CatalogueChanges, PinnedModel, PlannedLoad
from cortex_actors.http.request_body import read_json
from cortex_actors.http.resources.daemon_question import ask
from cortex_actors.http.resources.model_admin import model_id
from cortex_actors.http.resources.snapshot import answer_json
from transports.schemas import operations

ANSWER_DEADLINE_S: Final = 10.0


@final
class PlanLoad:
    """Where a model would go now, and what that would take; changes nothing."""

    def __init__(self, backend: Backend, body_limit: int) -> None:
        self._backend = backend
        self._body_limit = body_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Plan the load of ``{"model": id}``."""
        question = operations.PlanLoad(model_id(read_json(req, self._body_limit)))
        plan = ask(self._backend, question, operations.LoadPlan, ANSWER_DEADLINE_S)
        answer_json(resp, body_view(plan, PlannedLoad))


@final
class PinModel:
    """Pinned models are never unloaded to make room or for idleness."""

    def __init__(self, backend: Backend, body_limit: int) -> None:
        self._backend = backend
        self._body_limit = body_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Pin ``{"model": id}``, or with ``"pinned": false`` no longer."""
        body = read_json(req, self._body_limit)
        pinned = body.get("pinned", True)
        if not isinstance(pinned, bool):
            raise ApiError.invalid("pinned should be true or false", "pinned")
        question = operations.PinModel(model_id(body), pinned)
        done = ask(self._backend, question, operations.ModelPinned, ANSWER_DEADLINE_S)
        answer_json(resp, body_view(done, PinnedModel))


@final
class ReloadCatalogue:
    """Reads the catalogue again; answers 200 with what changed, or 400 with all that is wrong."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Reload; no body is needed."""
        question = operations.ReloadCatalogue()
        answer = ask(self._backend, question, operations.CatalogueReloaded, ANSWER_DEADLINE_S)
        if answer.problems:
            text = "\n".join(answer.problems)
            raise ApiError.invalid(
                f"the catalogue stays as it was:\n{text}", None, "invalid_catalogue"
            )
        answer_json(resp, body_view(answer, CatalogueChanges))
