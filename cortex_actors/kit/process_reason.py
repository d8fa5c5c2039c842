"""How a process's end is called as the end of the actor that owned it."""

from __future__ import annotations

from cortex_actors.kit import reasons
from neuron_runtime import exit_codes

_KINDS: dict[exit_codes.ExitKind, reasons.ExitKind] = {
    exit_codes.ExitKind.CRASHED: reasons.ExitKind.CRASH,
} | {
    kind: reasons.ExitKind(kind.value)
    for kind in exit_codes.ExitKind
    if kind is not exit_codes.ExitKind.CRASHED
}


def process_reason(exit_reason: exit_codes.ExitReason) -> reasons.ExitReason:
    """Return the actor's exit reason for the process's."""
    return reasons.ExitReason(_KINDS[exit_reason.kind], exit_codes.describe(exit_reason.returncode))
