"""Telling a client which fields of its request had no effect."""

from __future__ import annotations

import logging
import urllib.parse

import falcon

from cortex_actors.dialects.checked_request import CheckedRequest
from cortex_actors.dialects.request import GenerationRequest

IGNORED_FIELDS = "x-cortex-ignored-fields"
MAX_NAMED = 32
"""So many names fit into what clients take for a header."""

_LOG = logging.getLogger("cortex.http")


def tell_ignored(resp: falcon.Response, asked: GenerationRequest | CheckedRequest) -> None:
    """Name the fields in a header of the response, where the log level is ``debug``.

    Names are percent-encoded: a client may send any text as one.
    """
    if not _LOG.isEnabledFor(logging.DEBUG):
        return
    named = [urllib.parse.quote(name)[:64] for name in asked.ignored_fields[:MAX_NAMED]]
    if named:
        resp.set_header(IGNORED_FIELDS, ", ".join(named))
