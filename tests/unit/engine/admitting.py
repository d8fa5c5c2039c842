"""A question's whole way through admission, in one call."""

from __future__ import annotations

from neuron_runtime.engine.admission import Admission
from neuron_runtime.engine.sequence import Sequence
from transports.schemas.generate import Generate


def admit(
    admission: Admission, question: Generate, now: float = 0.0, deadline: float | None = None
) -> tuple[Sequence, ...]:
    """Check, make the prompt, and admit.

    Raises:
        Refused: By any of them.
    """
    admission.check(question)
    return admission.admit(question, admission.make(question), now, deadline)
