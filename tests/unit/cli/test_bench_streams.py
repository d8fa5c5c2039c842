"""The load generator's arithmetic and its reading of streams."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest

from cortex_actors.cli.bench.arrivals import poisson_arrivals
from cortex_actors.cli.bench.completion_tally import CompletionTally
from cortex_actors.cli.bench.http_reply import BadReply, HttpReply
from cortex_actors.cli.bench.prompts import Prompts
from cortex_actors.cli.bench.serve_figures import ServeFigures, Spread
from cortex_actors.cli.bench.stream_record import CUT, StreamRecord
from cortex_actors.cli.bench.target import Target
from tests.unit.cli.completion_events import FINISH, TAIL, delta, event


def tally_of(*reads: tuple[float, bytes]) -> tuple[StreamRecord, CompletionTally]:
    record = StreamRecord(due_at=10.0)
    tally = CompletionTally(record)
    for now, data in reads:
        tally.feed(data, now)
    return record, tally


def test_a_role_and_empty_text_are_not_the_first_token() -> None:
    record, tally = tally_of(
        (10.1, delta(role="assistant", content="")),
        (10.3, delta(content="Hi")),
        (10.4, delta(content=" you")),
        (10.6, TAIL),
    )
    assert record.first_text_s == pytest.approx(0.3)
    assert record.gaps_s == pytest.approx([0.1])
    assert (record.deltas, record.tokens) == (2, 4)
    assert (record.prompt_tokens, record.cached_tokens) == (30, 16)
    assert (tally.done, record.error) == (True, "")


def test_reasoning_and_tool_calls_are_output_too() -> None:
    record, _ = tally_of(
        (10.1, delta(reasoning_content="Hm")),
        (10.2, delta(tool_calls=[{"index": 0}])),
        (10.3, delta(reasoning="so")),
    )
    assert record.text_at == [10.1, 10.2, 10.3]


def test_deltas_that_arrive_together_are_one_read_but_all_count() -> None:
    record, _ = tally_of(
        (10.5, delta(content="a") + delta(content="b")), (10.7, delta(content="c"))
    )
    assert record.text_at == [10.5, 10.7]
    assert record.tokens == 3
    assert record.token_s == pytest.approx(0.1)


def test_events_may_be_cut_anywhere() -> None:
    whole = b": ping\n\n" + delta(content="a") + delta(content="b") + TAIL
    for size in (1, 7, 64):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        record, tally = tally_of(*((11.0, piece) for piece in pieces))
        assert (record.deltas, record.tokens, tally.done, record.error) == (2, 4, True, "")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ({"error": {"message": "too long", "code": 400}}, "too long"),
        ({"error": {"code": "overloaded"}}, "overloaded"),
        ({"error": "worker died"}, "worker died"),
    ],
)
def test_an_error_event_ends_the_stream(error: dict[str, Any], text: str) -> None:
    record, tally = tally_of((10.1, delta(content="a")), (10.2, event(error) + TAIL))
    assert tally.done
    assert record.error == text


def test_an_unreadable_event_is_an_error() -> None:
    record, _ = tally_of((10.1, b"data: {nonsense\n\n"))
    assert record.error.startswith("an event cannot be read")


@pytest.mark.parametrize(("tail", "error"), [(FINISH, ""), (b"", "the stream ended early")])
def test_a_stream_without_done_must_have_a_finish_reason(tail: bytes, error: str) -> None:
    record, tally = tally_of((10.1, delta(content="a") + tail))
    assert not tally.done
    tally.end()
    assert (tally.done, record.error) == (True, error)


def test_a_chunked_reply_may_be_cut_anywhere() -> None:
    wire = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\nA;x=y\r\n, all ther\r\n1\r\ne\r\n0\r\n\r\n"
    )
    for size in (1, 3, len(wire)):
        reply = HttpReply()
        body = b"".join(reply.feed(wire[at : at + size]) for at in range(0, len(wire), size))
        assert (reply.status, body, reply.complete) == (200, b"hello, all there", True)


def test_a_reply_with_a_length_ends_with_it() -> None:
    reply = HttpReply()
    assert reply.feed(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nno") == b"no"
    assert not reply.complete
    assert reply.feed(b", more") == b", "
    assert (reply.status, reply.complete) == (503, True)


def test_a_reply_without_a_length_ends_with_the_connection() -> None:
    reply = HttpReply()
    assert reply.feed(b"HTTP/1.0 200 OK\r\n\r\nall") == b"all"
    assert not reply.complete
    reply.end()
    assert reply.complete


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_what_is_no_reply_is_refused(wire: bytes) -> None:
    with pytest.raises(BadReply):
        HttpReply().feed(wire)


def test_prompts_are_distinct_and_repeatable() -> None:
    prompts = [Prompts(7, 80).prompt(number) for number in range(50)]
    assert len({" ".join(prompt.split()[:4]) for prompt in prompts}) == 50
    assert {len(prompt.split()) for prompt in prompts} == {80}
    assert prompts[3] == Prompts(7, 80).prompt(3)
    assert prompts[3] != Prompts(8, 80).prompt(3)


def test_prompts_share_exactly_the_prefix() -> None:
    one, two = (Prompts(7, 30, 20).prompt(number).split() for number in (0, 1))
    assert one[:20] == two[:20]
    assert one[20:] != two[20:]
    assert Prompts(8, 30, 20).prompt(0).split()[:20] != one[:20]


@pytest.mark.parametrize(("tokens", "prefix"), [(10, 10), (10, -1), (0, 0)])
def test_a_prefix_must_leave_room(tokens: int, prefix: int) -> None:
    with pytest.raises(ValueError, match="a prefix of"):
        Prompts(0, tokens, prefix)


def test_arrivals_are_seeded_and_keep_the_rate() -> None:
    times = poisson_arrivals(4.0, 2000, seed=1)
    assert times == poisson_arrivals(4.0, 2000, seed=1)
    assert list(times) == sorted(times)
    assert times[-1] == pytest.approx(500, rel=0.1)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # Of an exponential distribution, 1/e is longer than the mean.
    assert sum(gap > 0.25 for gap in gaps) / len(gaps) == pytest.approx(1 / math.e, abs=0.05)
    with pytest.raises(ValueError, match="a rate of 0"):
        poisson_arrivals(0, 1, seed=1)


def test_figures_are_over_all_streams() -> None:
    figures = ServeFigures.of(
        [
            StreamRecord(0.0, [1.0, 1.5, 2.5], 3, 10, 5, 6, 3.0),
            StreamRecord(0.5, [2.0, 2.1], 2, 20, 0, 0, 4.0),
            StreamRecord(1.0, [3.0], 1, 0, 0, 0, 5.0, CUT),
            StreamRecord(1.0, [], 0, 0, 0, 0, 1.1, "HTTP 503"),
        ]
    )
    assert (figures.requests, figures.completed, figures.cut) == (4, 2, 1)
    assert figures.errors == {"HTTP 503": 1}
    assert (figures.prompt_tokens, figures.cached_tokens, figures.output_tokens) == (30, 5, 9)
    assert figures.seconds == 5.0
    assert figures.tokens_per_s == pytest.approx(9 / 5)
    assert figures.first_text == Spread(1.5, 2.0, 2.0)
    assert figures.gap == Spread(0.5, 1.0, 1.0)
    assert figures.token is not None
    assert (figures.token.p50, figures.token.max) == pytest.approx((0.1, 0.3))
    assert figures.total == Spread(3.0, 3.5, 3.5)


def test_figures_of_nothing_are_none_and_still_json() -> None:
    figures = ServeFigures.of([StreamRecord(0.0, ended_at=0.0, error="cannot connect")])
    assert (figures.first_text, figures.gap, figures.token, figures.total) == (None,) * 4
    assert figures.tokens_per_s == 0.0
    assert json.loads(json.dumps(figures.as_json()))["errors"] == {"cannot connect": 1}


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000, False, "/v1/chat/completions")),
        ("http://host:8000/v1/", ("host", 8000, False, "/v1/chat/completions")),
        ("https://host/llm/v1", ("host", 443, True, "/llm/v1/chat/completions")),
    ],
)
def test_a_base_address_may_end_with_v1(url: str, where: tuple[str, int, bool, str]) -> None:
    target = Target.parse(url, "m")
    assert (target.host, target.port, target.tls, target.path) == where


def test_the_request_is_greedy_and_fields_can_be_replaced() -> None:
    body = {"ignore_eos": None, "top_k": 1}
    target = Target.parse("http://h:1", "m", api_key="secret", body=body)
    head, _, content = target.request("hello", 5).partition(b"\r\n\r\n")
    assert b"\r\nAuthorization: Bearer secret" in head
    assert f"\r\nContent-Length: {len(content)}\r\n".encode() in head
    assert json.loads(content) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 5,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "top_k": 1,
    }
