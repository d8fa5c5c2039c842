"""A real engine process of a model for embeddings, and real ranks that die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.engine_process import MODEL, EngineDaemon, Stream
from tests.process.neuron import WAIT_S, Neuron
from tests.unit.engine.embedding_bench import make_embedding_dir, right_rows, text_tokens
from transports.failures import FailureCode
from transports.link import Call, Completed, Failed, Link
from transports.schemas.generate import Embed, EmbedDone, Generate
from transports.schemas.group import InjectFault

pytestmark = pytest.mark.process

SLOW_S = 0.05
MANY = tuple((number, 7) for number in range(300))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedding_dir(tmp_path_factory.mktemp("model"))


@pytest.fixture
def daemon(
    neuron: Neuron, model_dir: Path, request: pytest.FixtureRequest
) -> Iterator[EngineDaemon]:
    daemon = EngineDaemon(neuron, model_dir, getattr(request, "param", 2), slow_s=SLOW_S)
    daemon.start_group()
    yield daemon
    daemon.close()


def ask(link: Link, *inputs: str | tuple[int, ...]) -> tuple[Stream, Call]:
    stream = Stream()
    return stream, link.request(Embed("r", MODEL, inputs), stream, deadline_s=WAIT_S)


def rows(stream: Stream) -> bytes:
    end = stream.ends.get(timeout=WAIT_S)
    assert isinstance(end, Completed), end
    assert isinstance(end.body, EmbedDone)
    assert stream.ends.empty()
    return b"".join(end.raw)


@pytest.mark.parametrize("daemon", [1, 2], indirect=True, ids=["tp1", "tp2"])
def test_a_client_gets_its_vectors(daemon: EngineDaemon) -> None:
    stream, _ = ask(daemon.client(), "a text", (1, 2))
    assert rows(stream) == right_rows(text_tokens("a text"), (1, 2))


@pytest.mark.parametrize("phase", ["before", "inside", "replied"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_request_survives_a_rank_that_dies_at_any_phase(
    daemon: EngineDaemon, rank: int, phase: str
) -> None:
    link = daemon.client()
    daemon.tell(InjectFault("kill-rank", phase, rank=rank, after=1))
    stream, _ = ask(link, *MANY)

    assert rows(stream) == right_rows(*MANY)
    assert [broken.code for broken in daemon.broken] == [FailureCode.WORKER_DIED]


def test_a_request_survives_a_rank_that_is_stopped(daemon: EngineDaemon) -> None:
    stream, _ = ask(daemon.client(), *MANY)
    os.kill(daemon.handle(1).pid, signal.SIGSTOP)

    assert rows(stream) == right_rows(*MANY)
    assert len(daemon.broken) == 1


def test_a_request_that_ran_in_two_deaths_is_refused_and_the_next_is_right(
    daemon: EngineDaemon,
) -> None:
    link = daemon.client()
    stream, _ = ask(link, *[(number % 300, 7) for number in range(2000)])
    daemon.tell(InjectFault("kill-rank", "inside", rank=0))
    daemon.epochs.get(timeout=WAIT_S)
    os.kill(daemon.handle(0).pid, signal.SIGKILL)

    end = stream.ends.get(timeout=WAIT_S)
    assert isinstance(end, Failed)
    assert end.failure.code == FailureCode.POISONED_REQUEST
    follower, _ = ask(link, (1,))
    assert rows(follower) == right_rows((1,))


def test_a_cancelled_request_disturbs_nobody(daemon: EngineDaemon) -> None:
    link = daemon.client()
    gone, call = ask(link, *MANY)
    other, _ = ask(link, (1,))
    call.cancel("client_gone")

    end = gone.ends.get(timeout=WAIT_S)
    assert isinstance(end, Failed)
    assert end.failure.code == FailureCode.CANCELLED
    assert rows(other) == right_rows((1,))


def test_a_question_for_text_is_told_what_the_model_does(daemon: EngineDaemon) -> None:
    stream = Stream()
    question = Generate("r", MODEL, [{"role": "user", "content": "hi"}])
    daemon.client().request(question, stream, deadline_s=WAIT_S)

    end = stream.ends.get(timeout=WAIT_S)
    assert isinstance(end, Failed)
    assert (end.failure.code, end.failure.param) == (FailureCode.INVALID_REQUEST, "model")
    assert "makes embeddings" in end.failure.message
