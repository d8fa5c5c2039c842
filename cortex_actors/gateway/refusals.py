"""The failures that placement gives for an answer, in words that help. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cortex_actors.gateway.placement_policy import Assessment, Verdict
from transports.failures import FailureCode
from transports.schemas.link import Failure

RETRY_AFTER_S = 5.0
RETRY_DOWN_AFTER_S = 3.0


def unknown(model: str, why: str = "is not in the catalogue") -> Failure:
    """Nobody can do anything about this model."""
    return Failure(FailureCode.MODEL_NOT_FOUND, f"model '{model}' {why}", param="model")


def lost(neuron: str, model: str, doing: str) -> Failure:
    """The connection ended before the answer."""
    text = f"neuron '{neuron}' was lost while {doing} '{model}': its connection ended"
    return Failure(FailureCode.LINK_LOST, text, retry_after_s=RETRY_AFTER_S)


def withheld(neuron: str, model: str, waited_s: float) -> Failure:
    """Victims have left and their memory has not come back."""
    text = (
        f"neuron '{neuron}' has not given back the memory that '{model}' needs within"
        f" {waited_s:g} s of the unload"
    )
    return Failure(FailureCode.MODEL_UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)


def held(model: str, assessments: Sequence[Assessment]) -> Failure:
    """Every neuron that could hold it is held by models that must not leave for it."""
    why = _by_neuron(each for each in assessments if each.verdict is Verdict.HELD)
    text = f"there is no room for model '{model}': {why}"
    return Failure(FailureCode.MODEL_UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)


def nowhere(model: str, assessments: Sequence[Assessment]) -> Failure:
    """No neuron could hold it, or those that could are not connected, or none at all is."""
    down = [each for each in assessments if each.verdict is Verdict.DOWN]
    if len(down) == len(assessments):
        text = f"no neuron is connected{': ' * bool(down)}{_by_neuron(down)}"
        return Failure(FailureCode.MODEL_UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)
    if down:
        text = f"model '{model}' has to wait for a neuron: {_by_neuron(down)}"
        return Failure(FailureCode.MODEL_UNAVAILABLE, text, retry_after_s=RETRY_DOWN_AFTER_S)
    text = f"no neuron can hold model '{model}': {_by_neuron(assessments)}"
    return Failure(FailureCode.INSUFFICIENT_DEVICES, text)


def _by_neuron(assessments: Iterable[Assessment]) -> str:
    return "; ".join(f"{each.neuron}: {each.why}" for each in assessments)
