"""What the official packages make of refusals: the front end is real, the fleet is scripted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from tests.http.conftest import fleet, server
from tests.http.scripted_fleet import MODEL, ScriptedFleet
from tests.http.server_process import ServerProcess
from transports.failures import FailureCode
from transports.link import IncomingRequest
from transports.schemas.link import Failure

__all__ = ["fleet", "server"]

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


class Refusals:
    """Refuses leases with ``code`` so many times, then grants them; notes the HTTP answers."""

    def __init__(self, fleet: ScriptedFleet, code: FailureCode, times: int) -> None:
        self._grant = fleet.daemon.grant
        self._code = code
        self._left = times
        self.seen: list[tuple[int, str | None]] = []
        fleet.daemon.on_lease = self.answer

    def answer(self, request: IncomingRequest) -> None:
        if self._left:
            self._left -= 1
            request.fail(Failure(self._code, "not now", retry_after_s=0.2))
        else:
            self._grant(request)

    def note(self, response: httpx.Response) -> None:
        self.seen.append((response.status_code, response.headers.get("retry-after")))


def ask_openai(url: str, note: Callable[[httpx.Response], None]) -> str:
    http: Any = httpx.Client(trust_env=False, event_hooks={"response": [note]})
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=http) as client:
        answer: Any = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hi"}]
        )
    return str(answer.choices[0].message.content)


@pytest.mark.parametrize(
    ("code", "status"), [(FailureCode.OVERLOADED, 429), (FailureCode.MODEL_UNAVAILABLE, 503)]
)
def test_a_refusal_that_passes_is_retried_when_it_says_so(
    fleet: ScriptedFleet, server: ServerProcess, code: FailureCode, status: int
) -> None:
    refusals = Refusals(fleet, code, times=1)

    assert ask_openai(server.url, refusals.note) == "Hello"
    assert refusals.seen == [(status, "1"), (200, None)]


def test_a_failure_that_does_not_pass_is_not_retried(
    fleet: ScriptedFleet, server: ServerProcess
) -> None:
    refusals = Refusals(fleet, FailureCode.LOAD_FAILED, times=9)

    with pytest.raises(openai.InternalServerError, match="not now"):
        ask_openai(server.url, refusals.note)
    assert refusals.seen == [(503, None)]


def test_a_limit_that_does_not_pass_becomes_the_packages_rate_limit_error(
    fleet: ScriptedFleet, server: ServerProcess
) -> None:
    refusals = Refusals(fleet, FailureCode.OVERLOADED, times=9)

    with pytest.raises(openai.RateLimitError) as raised:
        ask_openai(server.url, refusals.note)
    assert raised.value.type == "rate_limit_error"
    assert [status for status, _ in refusals.seen] == [429] * 3
