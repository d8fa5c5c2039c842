"""The converter's process tells its daemon how it went, and dies with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.model_files import ModelFiles
from tests.eventually import eventually
from tests.torch.copies import Copies, Copy
from transports.failures import FailureCode
from transports.identity import process_identity
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.daemon import Prepared, PrepareProgress
from transports.schemas.link import Failure

pytestmark = [pytest.mark.torch, pytest.mark.process]


class Daemon:
    """Hears what converters have to say."""

    def __init__(self) -> None:
        self.notes: dict[str, list[Body]] = {}
        self.gone: set[str] = set()
        self.reading = threading.Event()

    def on_up(self, link: Link) -> None:
        self.notes[link.peer.name] = []

    def on_request(self, request: IncomingRequest) -> None:
        pytest.fail("a converter asks nothing")

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        self.notes[link.peer.name].append(body)
        if isinstance(body, PrepareProgress) and body.phase.startswith("reading"):
            self.reading.set()

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        self.gone.add(link.peer.name)


class Converters:
    """Starts converters as a daemon does and waits for them."""

    def __init__(self, copies: Copies, tmp_path: Path) -> None:
        self.daemon = Daemon()
        self.cache_dir = tmp_path / "cache"
        self.reactor = Reactor("test")
        self.reactor.start()
        self._endpoint = f"ipc://{tmp_path}/daemon"
        self.reactor.listen(self._endpoint, process_identity("daemon", "test"), self.daemon)
        self._copies = copies
        self.running: list[Copy] = []

    def start(self, source: str) -> Copy:
        number = len(self.running) + 1
        arguments = {
            "boot": 1,
            "parent": self._endpoint,
            "source": source,
            "cache-dir": self.cache_dir,
        }
        args = [f"--{key}={value}" for key, value in arguments.items()]
        name, module = f"converter-{number}", "neuron_runtime.converter_main"
        self.running.append(self._copies.start(module, name, *args, number=number))
        return self.running[-1]

    def close(self) -> None:
        for process in self.running:
            process.handle.kill()
            assert process.handle.exited.wait(5.0)
        self.reactor.stop()
        assert self.reactor.join(5.0)


@pytest.fixture
def converters(copies: Copies, tmp_path: Path) -> Iterator[Converters]:
    converters = Converters(copies, tmp_path)
    yield converters
    converters.close()


def test_two_converters_of_one_file_agree_and_convert_once(
    converters: Converters, smollm2: Path, smollm2_gguf: ModelFiles
) -> None:
    source = f"file://{smollm2_gguf.path}"
    for process in [converters.start(source), converters.start(source)]:
        assert process.wait(100.0) == ExitCode.OK
    eventually(lambda: len(converters.daemon.gone) == 2)
    heard = [converters.daemon.notes[f"converter-{number}"] for number in (1, 2)]
    (place,) = {notes[-1] for notes in heard}
    assert isinstance(place, Prepared)
    weights = "model.safetensors"
    assert (Path(place.model_dir) / weights).read_bytes() == (smollm2 / weights).read_bytes()
    phases = [[note.phase for note in notes[:-1]] for notes in heard]  # type: ignore[attr-defined]
    assert sorted("writing" in row for row in phases) == [False, True]
    fractions = [note.fraction for note in heard[0][:-1] if isinstance(note, PrepareProgress)]
    assert fractions == sorted(fractions)


def test_bad_sources_are_reported_with_their_code(
    converters: Converters, tmp_path: Path, smollm2_gguf: ModelFiles
) -> None:
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(smollm2_gguf.path.read_bytes()[:50_000_000])
    expected = {
        f"file://{truncated}": FailureCode.SOURCE_CORRUPT,
        f"file://{tmp_path}/absent.gguf": FailureCode.SOURCE_NOT_FOUND,
        "nonsense": FailureCode.INVALID_REQUEST,
    }
    processes = [converters.start(source) for source in expected]
    assert [process.wait(30.0) for process in processes] == [ExitCode.OK] * 3
    eventually(lambda: len(converters.daemon.gone) == 3)
    for number, code in enumerate(expected.values(), start=1):
        (failure,) = converters.daemon.notes[f"converter-{number}"]
        assert isinstance(failure, Failure)
        assert failure.code == code


def test_a_converter_dies_with_its_parent_and_its_half_is_never_used(
    converters: Converters, smollm2_gguf: ModelFiles
) -> None:
    process = converters.start(f"file://{smollm2_gguf.path}")
    assert converters.daemon.reading.wait(30.0)
    process.handle.stop(grace_s=10.0)
    assert process.wait(10.0) == ExitCode.PARENT_LOST
    models = converters.cache_dir / "models"
    assert not models.exists() or not list(models.glob("[!.]*"))
