"""What the conformance suite takes for a response."""

from __future__ import annotations

import msgspec
import pytest

from cortex_actors.cli.conformance.responses_shapes import Response


def response(status: str) -> Response:
    return msgspec.convert({"id": "r", "object": "response", "status": status}, type=Response)


@pytest.mark.parametrize(
    "status", ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
)
def test_each_status_of_the_api_is_one(status: str) -> None:
    assert response(status).status == status


def test_another_is_none() -> None:
    with pytest.raises(msgspec.ValidationError, match="status"):
        response("done")
