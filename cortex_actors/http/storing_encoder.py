"""An encoder that keeps the response it has made, before its client hears of the end."""

from __future__ import annotations

from typing import Any, Final, final

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.events import GenerationEvent
from cortex_actors.dialects.framing import Framing
from cortex_actors.http.response_store import ResponseStore
from cortex_actors.http.stored_response import StoredResponse, listed

_FINISHED: Final = frozenset({"response.completed", "response.incomplete"})


@final
class StoringEncoder:
    """``input`` is what the request of ``owner`` brought; failed responses are not kept."""

    def __init__(
        self,
        encoder: GenerationEncoder,
        store: ResponseStore,
        input_: list[dict[str, Any]],
        owner: str,
    ) -> None:
        self._encoder = encoder
        self._store = store
        self._input = input_
        self._owner = owner

    @property
    def framing(self) -> Framing:
        """The encoder's own."""
        return self._encoder.framing

    def chunks(self, event: GenerationEvent) -> list[dict[str, Any]]:
        """Return the encoder's; keep what the last one holds."""
        chunks = self._encoder.chunks(event)
        if chunks and chunks[-1]["type"] in _FINISHED:
            self._keep(chunks[-1]["response"])
        return chunks

    def failed(self, error: ApiError, request_id: str) -> list[dict[str, Any]]:
        """Return the encoder's."""
        return self._encoder.failed(error, request_id)

    def keep_alive(self) -> list[dict[str, Any]]:
        """Return the encoder's."""
        return self._encoder.keep_alive()

    def gather(self, event: GenerationEvent) -> dict[str, Any] | None:
        """Return the encoder's; keep it."""
        whole = self._encoder.gather(event)
        if whole is not None:
            self._keep(whole)
        return whole

    def _keep(self, response: dict[str, Any]) -> None:
        id_, previous = response["id"], response["previous_response_id"]
        items = listed(id_, self._input)
        self._store.put(StoredResponse(id_, response, items, previous, self._owner))
