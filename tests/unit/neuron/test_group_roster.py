"""Who belongs to which epoch of a group."""

from __future__ import annotations

from pathlib import Path

from cortex_actors.neuron.group_roster import GroupRoster
from tests.unit.serving.doubles import Recorder
from transports.schemas.daemon import Member


def test_an_epoch_begins_empty_with_addresses_of_its_own(tmp_path: Path) -> None:
    ref = Recorder.start()
    roster = GroupRoster(tmp_path, "g1", ("cpu:0", "cpu:1"))
    roster.open_epoch()
    first = roster.endpoint, roster.rendezvous
    member = Member(0, 3, 7, "cpu:0")
    roster.enrol(member, ref)
    assert list(roster.members) == [member]
    assert roster.refs == {7: ref}

    roster.open_epoch()

    assert roster.epoch == 2
    assert list(roster.members) == []
    assert roster.refs == {}
    assert not {roster.endpoint, roster.rendezvous} & set(first)
    ref.stop()


def test_what_an_epoch_left_behind_is_removed_with_it(tmp_path: Path) -> None:
    roster = GroupRoster(tmp_path, "g1", ("cpu:0",))
    roster.open_epoch()
    for address in (roster.endpoint, roster.rendezvous):
        Path(address.partition("://")[2]).touch()

    roster.open_epoch()

    assert list(tmp_path.iterdir()) == []
