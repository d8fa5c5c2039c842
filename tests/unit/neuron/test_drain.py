"""Drains of one model, one after another."""

from __future__ import annotations

from cortex_actors.neuron.drain import Drain


def test_a_drain_is_begun_once_and_ended_once() -> None:
    drain = Drain()
    assert (drain.under_way, drain.done) == (False, False)
    assert not drain.end(0)
    assert drain.begin()
    assert not drain.begin()
    assert (drain.under_way, drain.done) == (True, False)
    assert drain.end(1)
    assert not drain.end(1)

    assert (drain.under_way, drain.done) == (False, True)
    assert not drain.begin()


def test_a_late_end_of_an_earlier_drain_ends_no_other() -> None:
    drain = Drain()
    drain.begin()
    drain.end(1)
    drain.forget()
    assert drain.begin()
    assert not drain.end(1)

    assert drain.under_way
    assert drain.end(2)
