"""Come back when the load should be done."""

from __future__ import annotations

import pytest

from cortex_actors.serving.load_eta import RETRY_AFTER_S, still_loading
from transports.failures import FailureCode
from transports.schemas.fleet import ModelState


def test_who_waited_is_told_how_long_it_should_still_take() -> None:
    failure = still_loading("m", ModelState("m", "starting", progress=0.4, eta_s=41.2))
    assert (failure.code, failure.param) == (FailureCode.MODEL_LOADING, "model")
    assert failure.retry_after_s == 42.0
    assert failure.message == "model 'm' is still loading (40%), about 42 s to go"


def test_of_a_load_that_has_not_begun_nobody_knows() -> None:
    failure = still_loading("m", None)
    assert failure.retry_after_s == RETRY_AFTER_S
    assert failure.message == "model 'm' is still loading"


def test_a_model_that_recovers_is_there_again_soon() -> None:
    """P07."""
    failure = still_loading("m", ModelState("m", "recovering", progress=0.5, eta_s=90.0))
    assert (failure.message, failure.retry_after_s) == ("model 'm' is recovering", 2.0)


@pytest.mark.parametrize("eta_s", [0.0, -3.0, 1e9, float("inf"), float("nan")])
def test_an_estimate_that_makes_no_sense_is_none(eta_s: float) -> None:
    failure = still_loading("m", ModelState("m", "starting", progress=0.99, eta_s=eta_s))
    assert failure.retry_after_s == RETRY_AFTER_S
    assert "to go" not in failure.message
