"""GET /openapi.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import falcon
import msgspec

from cortex_actors.http.openapi import document
from cortex_actors.http.operations import Operation


@final
class OpenApi:
    """The document is made once."""

    def __init__(self, version: str, operations: Sequence[Operation]) -> None:
        self._document = msgspec.json.encode(document(version, operations))

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the document."""
        resp.content_type = falcon.MEDIA_JSON
        resp.data = self._document
