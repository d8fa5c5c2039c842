"""A real engine process and real ranks; the test plays daemon and front end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_runtime.backends.fake import fake_token
from neuron_runtime.engine.tokenizer import Tokenizer
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.stopped import process_state
from tests.eventually import eventually
from tests.process.engine_process import MODEL, EngineDaemon, Stream
from tests.process.neuron import WAIT_S, Neuron
from tests.unit.engine.tiny_model import FAKE_WORDS, make_model_dir
from transports.failures import FailureCode
from transports.link import Call, Completed, Failed, Link
from transports.schemas.generate import Generate, GenerateDone, SamplingOptions
from transports.schemas.link import Drain, Drained

pytestmark = pytest.mark.process

TOKENS = 60
SLOW_S = 0.005


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_dir(tmp_path_factory.mktemp("model"), words=FAKE_WORDS)


@pytest.fixture
def daemon(
    neuron: Neuron, model_dir: Path, request: pytest.FixtureRequest
) -> Iterator[EngineDaemon]:
    daemon = EngineDaemon(neuron, model_dir, getattr(request, "param", 2), slow_s=SLOW_S)
    daemon.start_group()
    yield daemon
    daemon.close()


WORLDS = pytest.mark.parametrize("daemon", [1, 2], indirect=True, ids=["tp1", "tp2"])


def ask(link: Link, content: str = "hi", tokens: int = TOKENS) -> tuple[Stream, Call]:
    messages = [{"role": "user", "content": content}]
    options = SamplingOptions(temperature=0.0, max_tokens=tokens)
    stream = Stream()
    call = link.request(Generate("r", MODEL, messages, options), stream, deadline_s=WAIT_S)
    return stream, call


def right_text(model_dir: Path, content: str = "hi", tokens: int = TOKENS) -> str:
    tokenizer = Tokenizer.load(model_dir)
    fed = list(tokenizer.encode_chat([{"role": "user", "content": content}]))
    prompt = len(fed)
    for _ in range(tokens):
        fed.append(fake_token(fed))
    return tokenizer.decode(fed[prompt:])


def done(stream: Stream) -> GenerateDone:
    end = stream.ends.get(timeout=WAIT_S)
    assert isinstance(end, Completed), end
    assert isinstance(end.body, GenerateDone)
    assert stream.ends.empty()
    return end.body


def assert_undisturbed(stream: Stream, model_dir: Path) -> None:
    """The stream is what it would have been, token for token, and has ended once."""
    assert done(stream).completion_tokens == TOKENS
    assert stream.text == right_text(model_dir)
    covered = [delta.index for delta in stream.deltas]
    assert covered == list(range(TOKENS))


@WORLDS
def test_a_client_streams_an_answer(daemon: EngineDaemon, model_dir: Path) -> None:
    stream, _ = ask(daemon.client())

    assert_undisturbed(stream, model_dir)


@pytest.mark.parametrize(("daemon", "rank"), [(1, 0), (2, 0), (2, 1)], indirect=["daemon"])
def test_a_stream_survives_kill_9_of_a_rank(
    daemon: EngineDaemon, rank: int, model_dir: Path
) -> None:
    link = daemon.client()
    stream, _ = ask(link)
    eventually(lambda: len(stream.deltas) >= 5, WAIT_S)
    os.kill(daemon.handle(rank).pid, signal.SIGKILL)

    assert_undisturbed(stream, model_dir)
    assert [broken.code for broken in daemon.broken] == [FailureCode.WORKER_DIED]
    assert f"rank {rank}" in daemon.broken[0].message


def test_a_stream_survives_a_rank_that_is_stopped(daemon: EngineDaemon, model_dir: Path) -> None:
    stream, _ = ask(daemon.client())
    eventually(lambda: len(stream.deltas) >= 5, WAIT_S)
    os.kill(daemon.handle(1).pid, signal.SIGSTOP)

    assert_undisturbed(stream, model_dir)
    assert len(daemon.broken) == 1


def test_a_request_that_ran_in_two_deaths_is_refused_and_the_next_is_right(
    daemon: EngineDaemon, model_dir: Path
) -> None:
    link = daemon.client()
    stream, _ = ask(link, tokens=3000)
    for shown in (5, 10):
        eventually(lambda: len(stream.deltas) >= shown, WAIT_S)  # noqa: B023 - called at once
        os.kill(daemon.handle(0).pid, signal.SIGKILL)
        daemon.epochs.get(timeout=WAIT_S)

    end = stream.ends.get(timeout=WAIT_S)
    assert isinstance(end, Failed)
    assert end.failure.code == FailureCode.POISONED_REQUEST
    follower, _ = ask(link)
    assert_undisturbed(follower, model_dir)


def test_a_cancelled_request_makes_room_and_disturbs_nobody(
    daemon: EngineDaemon, model_dir: Path
) -> None:
    link = daemon.client()
    gone, call = ask(link, "another", tokens=3000)
    stream, _ = ask(link)
    eventually(lambda: len(gone.deltas) >= 5, WAIT_S)
    call.cancel("client_gone")

    end = gone.ends.get(timeout=WAIT_S)
    assert isinstance(end, Failed)
    assert end.failure.code == FailureCode.CANCELLED
    assert_undisturbed(stream, model_dir)


def test_a_drained_engine_finishes_what_runs_and_ends_in_peace(
    daemon: EngineDaemon, model_dir: Path
) -> None:
    stream, _ = ask(daemon.client())
    eventually(lambda: len(stream.deltas) >= 1, WAIT_S)
    drained = Stream()
    assert daemon.link is not None
    daemon.link.request(Drain(WAIT_S), drained, deadline_s=WAIT_S)

    assert_undisturbed(stream, model_dir)
    assert drained.ends.get(timeout=WAIT_S) == Completed(Drained())


def test_ranks_do_not_outlive_an_engine_that_is_killed(daemon: EngineDaemon) -> None:
    ranks = [handle for _, handle in daemon.members.values()]
    daemon.engine.kill()

    assert all(handle.exited.wait(WAIT_S) for handle in ranks)
    assert not any(process_state(handle.pid) for handle in ranks)


def test_an_engine_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, neuron_runtime.engine_main;"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert said.stdout.strip() == "[]"


def test_an_engine_without_its_models_files_says_so_and_ends(
    lone_neuron: Neuron, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    daemon = EngineDaemon(lone_neuron, tmp_path, 1)

    refusal = daemon.refusals.get(timeout=WAIT_S)
    assert refusal.code == FailureCode.SOURCE_CORRUPT
    assert "tokenizer.json" in refusal.message
    end = daemon.ended.get(timeout=WAIT_S)
    assert end.exit_reason.returncode == ExitCode.CONFIG
    said = capfd.readouterr().err
    assert "tokenizer.json" in said
    assert "Traceback" not in said
