"""POST …/load and …/unload: an operator's commands, for either daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

import falcon

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.http.backend import Backend
from cortex_actors.http.command_answers import LoadedModel, UnloadedModel
from cortex_actors.http.request_body import read_json
from cortex_actors.http.resources.daemon_question import ask
from cortex_actors.http.resources.snapshot import answer_json
from transports.schemas import fleet

LOAD_DEADLINE_S: Final = 1800.0
UNLOAD_DEADLINE_S: Final = 120.0


@final
class LoadModel:
    """Answers when the model is ready; one that already is, is ready at once."""

    def __init__(self, backend: Backend, body_limit: int) -> None:
        self._backend = backend
        self._body_limit = body_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Load ``{"model": id}``."""
        question = fleet.LoadModelById(model_id(read_json(req, self._body_limit)))
        loaded = ask(self._backend, question, fleet.ModelLoaded, LOAD_DEADLINE_S)
        answer_json(resp, LoadedModel("loaded", loaded.model, round(loaded.load_s, 3)))


@final
class UnloadModel:
    """Answers when the model's processes are gone."""

    def __init__(self, backend: Backend, body_limit: int) -> None:
        self._backend = backend
        self._body_limit = body_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Unload ``{"model": id}``."""
        question = fleet.UnloadModel(model_id(read_json(req, self._body_limit)))
        unloaded = ask(self._backend, question, fleet.ModelUnloaded, UNLOAD_DEADLINE_S)
        answer_json(resp, UnloadedModel("unloaded", unloaded.model))


def model_id(body: Mapping[str, object]) -> str:
    """Return the ``model`` that a command names.

    Raises:
        ApiError: 400 when there is none.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError.invalid("model is required: the id of a catalogue entry", "model")
    return model
