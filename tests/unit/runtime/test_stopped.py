"""Telling stopped ranks from busy ones."""

from __future__ import annotations

import os

from neuron_runtime.stopped import StoppedWatch, process_state


def test_a_process_is_reported_when_every_look_for_5_s_found_it_stopped() -> None:
    watch = StoppedWatch()

    assert [watch.look({7: "T", 8: "R"}, float(now)) for now in range(5)] == [()] * 5
    assert watch.look({7: "T", 8: "R"}, 5.0) == (7,)


def test_a_process_that_ran_in_between_starts_again() -> None:
    watch = StoppedWatch()
    for now in range(5):
        watch.look({7: "T"}, float(now))
    watch.look({7: "S"}, 5.0)

    assert watch.look({7: "T"}, 6.0) == ()


def test_a_late_look_suspects_the_looker() -> None:
    watch = StoppedWatch()
    for now in range(5):
        watch.look({7: "T"}, float(now))

    assert watch.look({7: "T"}, 15.0) == ()
    assert watch.look({7: "T"}, 16.0) == ()


def test_a_process_that_is_gone_has_no_state_and_we_run() -> None:
    assert process_state(2**22 + 1) == ""
    assert process_state(os.getpid()) in "RS"
