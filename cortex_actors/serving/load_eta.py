"""What somebody is told whose model has not been loaded in their time. Pure."""

from __future__ import annotations

import math
from typing import Final

from transports.failures import FailureCode
from transports.schemas.fleet import ModelState
from transports.schemas.link import Failure

RETRY_AFTER_S: Final = 5.0
"""Where nobody knows how long a load will take."""

RETRY_RECOVERING_AFTER_S: Final = 2.0
"""Its processes are being started again: that is done in a moment or not at all."""

_LONGEST_S: Final = 3600.0


def still_loading(model: str, state: ModelState | None) -> Failure:
    """Say how far the load is, and to come back when it should be done; ``state`` as far as known.

    A load that takes longer than expected says nothing of its end any more.
    """
    text, wait_s = f"model '{model}' is still loading", RETRY_AFTER_S
    if state is not None and state.state == "recovering":
        text, wait_s = f"model '{model}' is recovering", RETRY_RECOVERING_AFTER_S
    elif state is not None:
        text += f" ({state.progress:.0%})"
        if 0.0 < state.eta_s <= _LONGEST_S:
            wait_s = float(math.ceil(state.eta_s))
            text += f", about {wait_s:.0f} s to go"
    return Failure(FailureCode.MODEL_LOADING, text, param="model", retry_after_s=wait_s)
