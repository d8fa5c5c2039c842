"""Each refused message is reported once, whatever the link does meanwhile."""

from __future__ import annotations

from neuron_runtime.drop_news import DropNews
from tests.unit.serving.doubles import FakeLink
from transports.fence import DropReason
from transports.inproc import InprocNetwork
from transports.link import LinkState
from transports.news_reporter import INTERVAL_S, NewsReporter
from transports.schemas.link import LinkDrops


class Scene:
    """A reporter on a loop whose time the test turns."""

    def __init__(self) -> None:
        self.loop = InprocNetwork()
        self.drops = dict.fromkeys(DropReason, 0)
        self.link: FakeLink | None = FakeLink()
        refused = DropNews("engine", lambda: self.drops)
        NewsReporter(self.loop, refused, lambda: self.link).start()

    def second(self, link: FakeLink | None, stale: int = 0, late: int = 0) -> list[dict[str, int]]:
        """Drop these, let a second pass with this link, and return what was reported."""
        self.link = link
        self.drops[DropReason.STALE_CORR] += stale
        self.drops[DropReason.AFTER_CLOSE] += late
        self.loop.advance(INTERVAL_S)
        notes = [] if link is None else link.notes
        reports = [note for note in notes if isinstance(note, LinkDrops)]
        assert all(report.role == "engine" for report in reports)
        return [report.drops for report in reports]


def test_only_what_is_new_is_told_and_nothing_when_nothing_is() -> None:
    scene = Scene()
    assert scene.second(FakeLink()) == []
    assert scene.second(FakeLink(), stale=2, late=1) == [{"stale_corr": 2, "after_close": 1}]
    assert scene.second(FakeLink()) == []
    assert scene.second(FakeLink(), late=3) == [{"after_close": 3}]


def test_what_could_not_be_told_is_told_over_the_next_link() -> None:
    scene = Scene()
    assert scene.second(None, stale=1) == []
    down = FakeLink()
    down.state = LinkState.DOWN
    assert scene.second(down, stale=1) == []

    assert scene.second(FakeLink(), late=1) == [{"stale_corr": 2, "after_close": 1}]
    assert scene.second(FakeLink()) == []
