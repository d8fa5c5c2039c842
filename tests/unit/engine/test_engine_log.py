"""What an engine logs of a request is found by the request's id."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.unit.engine.embedding_bench import MODEL, EmbeddingBench, make_embedding_dir
from tests.unit.engine.engine_bench import GREEDY, EngineBench, Peer
from tests.unit.engine.engine_bench import Answer as TextAnswer
from transports.schemas.daemon import EngineLoad
from transports.schemas.generate import Embed, Generate

OF_NO_REQUEST = ("client up", "group ")


@pytest.fixture(autouse=True)
def _all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cortex.engine")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return the first words and the request of each line that is of a request."""
    found = []
    for record in caplog.records:
        text = record.getMessage()
        if record.name == "cortex.engine" and not text.startswith(OF_NO_REQUEST):
            fields = dict(
                word.split("=", 1) for word in text.replace(": ", " ").split() if "=" in word
            )
            verb = " ".join(word for word in text.split(":")[0].split() if "=" not in word)
            found.append((verb, fields.get("request") or fields.get("requests", "?")))
    return found


def ask(bench: EngineBench, peer: Peer, request: str, n: int = 1) -> TextAnswer:
    return bench.ask_body(
        peer, Generate(request, "m", [{"role": "user", "content": "a"}], GREEDY, n=n)
    )


def test_each_choice_of_a_request_that_ends(
    bench: EngineBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start_group()
    peer, _ = bench.client()
    ask(bench, peer, "one", n=2)
    assert told(caplog) == [("accepted", "one"), ("ended", "one"), ("ended", "one")]


def test_a_request_that_is_refused(bench: EngineBench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start_group()
    peer, _ = bench.client()
    ask(bench, peer, "one", n=99)
    assert told(caplog) == [("refused", "one")]


def test_all_choices_of_a_request_that_is_cancelled(
    bench: EngineBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start_group().hold = True
    peer, _ = bench.client()
    answer = ask(bench, peer, "one", n=2)
    assert answer.call is not None
    answer.call.cancel("client_gone")
    bench.settle()
    assert told(caplog) == [("accepted", "one"), ("ended", "one"), ("ended", "one")]


def test_all_requests_of_a_step_that_fails(
    bench: EngineBench, caplog: pytest.LogCaptureFixture
) -> None:
    group = bench.start_group()
    group.hold = True
    peer, _ = bench.client()
    for request in ("first", "one", "two"):
        ask(bench, peer, request)
    group.refuse = lambda step: any(part.sequence > 1 for part in step.sequences)
    group.hold = False
    bench.step()
    failed = [requests for verb, requests in told(caplog) if verb == "step failed"]
    assert failed == ["first,one,two", "one", "two"]
    assert ("ended", "one") in told(caplog)


@pytest.fixture
def embedding(tmp_path: Path) -> EmbeddingBench:
    return EmbeddingBench(make_embedding_dir(tmp_path))


def test_the_jobs_of_a_step_that_fails(
    embedding: EmbeddingBench, caplog: pytest.LogCaptureFixture
) -> None:
    embedding.start_group()
    embedding.ranks.hold = True
    embedding.ranks.refuse = lambda step: (13,) in step.sequences
    link = embedding.client()
    for request, token in (("first", 5), ("one", 6), ("two", 13)):
        embedding.ask_body(link, Embed(request, MODEL, ((token,),)))
    embedding.ranks.hold = False
    embedding.ranks.answer()
    embedding.settle()
    lines = told(caplog)
    assert [ids for verb, ids in lines if verb == "step failed"] == ["one,two", "two"]
    assert sorted(ids for verb, ids in lines if verb == "ended") == ["first", "one", "two"]


def test_an_embedding_that_is_refused(
    embedding: EmbeddingBench, caplog: pytest.LogCaptureFixture
) -> None:
    embedding.start_group()
    link = embedding.client()
    embedding.ask_body(link, Embed("one", MODEL, ((1,),), dimensions=9999))
    embedding.ask_body(link, Generate("two", MODEL, []))
    embedding.ask_body(link, EngineLoad(0, 0, 0, 0, 0))
    assert [ids for verb, ids in told(caplog) if verb == "refused"] == ["one", "two", "-"]
