"""What every client makes of a full server and of one whose fleet is away: the real stack."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients.askers import ASKERS, Refused
from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.scripts import GREETING

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]


@pytest.fixture(params=ASKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_full_server_is_asked_again(stack: ScriptedStack, name: str) -> None:
    with stack.full(until_refused=True):
        before = stack.logged("status=429")
        assert ASKERS[name](stack.url, MODEL, "Hi", 2) == GREETING
        assert stack.logged("status=429") > before


def test_a_server_that_stays_full_is_the_clients_rate_limit_error(stack: ScriptedStack) -> None:
    # Not llm, which would try again: how it tells an error is seen below.
    names = [each for each in ASKERS if each != "llm"]
    refused = {}
    for each in names:
        # Filled anew for each: what fills it ends after some seconds.
        with stack.full(), pytest.raises(Refused) as found:
            ASKERS[each](stack.url, MODEL, "Hi", 0)
        refused[each] = found.value.status, found.value.name
    assert refused == dict.fromkeys(names, (429, "RateLimitError"))


def test_a_model_that_cannot_be_loaded_is_the_clients_server_error_and_not_asked_again(
    stack: ScriptedStack, name: str
) -> None:
    before = stack.logged("status=503")
    with pytest.raises(Refused, match="absent") as refused:
        ASKERS[name](stack.url, "absent", "Hi", 3)
    assert refused.value.status == 503
    assert refused.value.name in {"InternalServerError", "ServiceUnavailableError", ""}
    # The line is written once the answer is gone.
    stack.await_logged("status=503", before + 1)
    assert stack.logged("status=503") == before + 1


def test_a_fleet_that_is_away_is_asked_again_until_it_is_back(stack: ScriptedStack) -> None:
    # Not llm: its two retries may be over before the neuron is there.
    names = [each for each in ASKERS if each != "llm"]
    with ThreadPoolExecutor(len(names)) as pool, stack.without_neuron():
        before = stack.logged("status=503")
        asked = [pool.submit(ASKERS[each], stack.url, MODEL, "Hi", 12) for each in names]
        stack.await_logged("status=503", before + len(names))
    # The neuron is back.
    assert [each.result(60.0) for each in asked] == [GREETING] * len(names)
