"""How a rank's process begins and ends, told by its exit code."""

from __future__ import annotations

import queue

import pytest

from neuron_runtime.exit_codes import ExitCode, ExitKind
from neuron_runtime.launcher import ProcessExit, ProcessSpec
from neuron_runtime.outcome import Ok
from tests.process.neuron import WAIT_S, Epoch, Neuron
from tests.process.steps import answer_to, one_token_step
from transports.fence import DropReason
from transports.schemas.group import InjectFault

pytestmark = pytest.mark.process


@pytest.fixture
def neuron(lone_neuron: Neuron) -> Neuron:
    return lone_neuron


def run_rank(
    neuron: Neuron, endpoint: str, *args: str, slot: int = 1, inc: int = 1, fault: str = ""
) -> ProcessExit:
    """Start a rank by hand and wait for its end."""
    exits: queue.SimpleQueue[ProcessExit] = queue.SimpleQueue()
    common = ("--boot", f"{neuron.mint.boot}", "--parent", endpoint, "--backend", "fake")
    env = {"CORTEX_LOG_LEVEL": "ERROR", "CORTEX_FAULT": fault}
    spec = ProcessSpec(
        "stray", "neuron_runtime.worker_main", (*common, *args), slot, inc, exits.put, env
    )
    neuron.launcher.spawn(spec)
    return exits.get(timeout=WAIT_S)


def code(end: ProcessExit) -> int:
    return end.exit_reason.returncode


def test_an_engine_that_never_binds_is_given_up_on(neuron: Neuron) -> None:
    end = run_rank(neuron, f"ipc://{neuron.directory}/nobody.ipc", "--connect-s", "0.2")

    assert code(end) == ExitCode.PARENT_UNREACHABLE


def test_a_rank_waits_for_an_engine_that_binds_late(neuron: Neuron) -> None:
    epoch = Epoch(neuron, 1, {}, late=True)
    epoch.open()

    assert isinstance(epoch.load(), Ok)
    epoch.end()


def test_an_unknown_fault_at_spawn_is_a_configuration_error(neuron: Neuron) -> None:
    end = run_rank(neuron, "ipc:///nobody", fault="explode@inside")

    assert code(end) == ExitCode.CONFIG
    assert end.exit_reason.kind is ExitKind.INIT_FAILED


def test_a_rank_of_another_life_or_boot_is_refused_and_the_group_goes_on(neuron: Neuron) -> None:
    epoch = neuron.ready_group()
    endpoint, member = epoch.start.endpoint, epoch.members[1]

    assert code(run_rank(neuron, endpoint, slot=member.slot, inc=99)) == ExitCode.REFUSED
    assert code(run_rank(neuron, endpoint, slot=77, inc=1)) == ExitCode.REFUSED
    foreign = ("--boot", "12345")
    end = run_rank(neuron, endpoint, *foreign, slot=member.slot, inc=member.inc)
    assert code(end) == ExitCode.REFUSED
    assert epoch.execute(one_token_step(1)) == answer_to(1)
    epoch.end()


def test_a_rank_leaves_by_itself_when_its_engine_does(neuron: Neuron) -> None:
    epoch = neuron.ready_group(1)
    neuron.on_reactor(epoch.driver.close)

    # The GOODBYE is a courtesy that a busy machine may lose; the end of the link is not.
    assert code(epoch.exits.get(timeout=WAIT_S)) in (ExitCode.OK, ExitCode.LINK_LOST)


def test_a_fault_for_a_rank_that_does_not_exist_or_with_an_unknown_name_changes_nothing(
    neuron: Neuron,
) -> None:
    epoch = neuron.ready_group(1)
    epoch.inject(InjectFault(fault="kill-rank", phase="idle", rank=5))
    epoch.inject(InjectFault(fault="explode", phase="idle", rank=0))

    assert epoch.execute(one_token_step(1)) == answer_to(1, 1)
    assert epoch.driver.drops[DropReason.STALE_CORR] == 0
    epoch.end()
