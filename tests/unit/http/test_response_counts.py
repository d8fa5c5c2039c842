"""Each response is reported once, whatever the link does meanwhile."""

from __future__ import annotations

from cortex_actors.http.response_counts import ResponseCounts
from tests.unit.serving.doubles import FakeLink
from transports.inproc import InprocNetwork
from transports.link import LinkState
from transports.news_reporter import INTERVAL_S, NewsReporter
from transports.schemas.fleet import HttpResponses


def test_what_could_not_be_told_is_told_over_the_next_link() -> None:
    loop, counts = InprocNetwork(), ResponseCounts()
    links: list[FakeLink | None] = [None]
    NewsReporter(loop, counts, lambda: links[0]).start()

    def second(link: FakeLink | None, *responses: tuple[str, str]) -> list[object]:
        links[0] = link
        for route, status in responses:
            counts.add(route, status)
        loop.advance(INTERVAL_S)
        return [] if link is None else list(link.notes)

    down = FakeLink()
    down.state = LinkState.DOWN
    assert second(FakeLink()) == []
    assert second(None, ("/a", "200")) == []
    assert second(down, ("/a", "200"), ("/a", "404")) == []
    told = HttpResponses({"/a": {"200": 2, "404": 1}, "/b": {"200": 1}})
    assert second(FakeLink(), ("/b", "200")) == [told]
    assert second(FakeLink()) == []
