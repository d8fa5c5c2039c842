from __future__ import annotations

from typing import get_args, get_type_hints

from cortex_actors.gateway.placement_policy import Verdict
from cortex_actors.http.command_answers import PlannedNeuron


def test_operators_can_be_told_every_verdict_of_the_policy() -> None:
    told = get_args(get_type_hints(PlannedNeuron)["verdict"])
    assert set(told) == {verdict.value for verdict in Verdict}
