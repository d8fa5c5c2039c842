"""A converted model is complete or not there, whoever dies when."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neuron_runtime.model_cache import MANIFEST, CacheBusy, ModelCache
from neuron_runtime.model_errors import NoDiskSpace, SourceNotFound
from neuron_runtime.model_files import Layout, ModelFiles
from tests.unit.runtime.gguf_bytes import gguf


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    path = tmp_path / "my model.gguf"
    path.write_bytes(gguf({"a": ((4,), 0, 0)}))
    return ModelFiles(path, Layout.GGUF)


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


def write_model(target: Path) -> None:
    (target / "model.safetensors").write_bytes(b"weights")
    (target / "config.json").write_bytes(b"{}")


def leftovers(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache/models").iterdir() if "partial" in path.name]


def test_a_model_is_converted_once_and_found_afterwards(
    cache: ModelCache, files: ModelFiles, tmp_path: Path
) -> None:
    assert cache.find(files) is None
    place = cache.prepare(files, write_model)
    assert (place / "model.safetensors").read_bytes() == b"weights"
    assert cache.find(files) == place
    assert cache.prepare(files, lambda _: pytest.fail("converted twice")) == place
    assert leftovers(tmp_path) == []


def test_a_directory_source_is_its_own_place(cache: ModelCache, tmp_path: Path) -> None:
    assert cache.find(ModelFiles(tmp_path, Layout.DIRECTORY)) == tmp_path


def test_another_file_at_the_same_path_is_converted_anew(
    cache: ModelCache, files: ModelFiles
) -> None:
    first = cache.prepare(files, write_model)
    os.utime(files.path, ns=(1, 1))
    assert cache.find(files) is None
    assert cache.prepare(files, write_model) != first


def test_a_source_that_is_gone_is_not_found(cache: ModelCache, files: ModelFiles) -> None:
    files.path.unlink()
    with pytest.raises(SourceNotFound):
        cache.find(files)


@pytest.mark.parametrize("damage", ["no manifest", "no file", "short file", "bad manifest"])
def test_an_incomplete_directory_is_never_used_and_is_replaced(
    cache: ModelCache, files: ModelFiles, damage: str
) -> None:
    place = cache.prepare(files, write_model)
    if damage == "no manifest":
        (place / MANIFEST).unlink()
    elif damage == "no file":
        (place / "config.json").unlink()
    elif damage == "short file":
        (place / "model.safetensors").write_bytes(b"weigh")
    else:
        (place / MANIFEST).write_bytes(b'{"files": 3')
    assert cache.find(files) is None
    assert cache.prepare(files, write_model) == place
    assert cache.find(files) == place


def test_what_a_dead_converter_left_is_not_used_and_is_removed(
    cache: ModelCache, files: ModelFiles, tmp_path: Path
) -> None:
    place = cache.prepare(files, write_model)
    half = place.parent / f".{place.name}.partial-dead"
    place.rename(half)
    assert cache.find(files) is None
    cache.prepare(files, write_model)
    assert leftovers(tmp_path) == []


def test_a_failed_conversion_leaves_nothing(
    cache: ModelCache, files: ModelFiles, tmp_path: Path
) -> None:
    def fail(target: Path) -> None:
        write_model(target)
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(NoDiskSpace, match="is full"):
        cache.prepare(files, fail)
    assert cache.find(files) is None
    assert leftovers(tmp_path) == []


def test_a_disk_that_is_too_full_is_noticed_before_the_work(
    cache: ModelCache, files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelFiles, "converted_bytes", lambda _: 1 << 60)
    with pytest.raises(NoDiskSpace, match=r"MB free, the model needs"):
        cache.prepare(files, lambda _: pytest.fail("started to convert"))


def test_a_cache_that_cannot_be_written_is_named(files: ModelFiles, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_bytes(b"")
    with pytest.raises(NoDiskSpace, match="blocked"):
        ModelCache(tmp_path / "blocked").prepare(files, write_model)


def test_two_at_once_convert_once(cache: ModelCache, files: ModelFiles) -> None:
    runs: list[Path] = []
    started, go_on = threading.Event(), threading.Event()

    def slow(target: Path) -> None:
        runs.append(target)
        started.set()
        assert go_on.wait(5.0)
        write_model(target)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.prepare, files, slow)
        assert started.wait(5.0)
        second = pool.submit(cache.prepare, files, slow)
        go_on.set()
        assert first.result(5.0) == second.result(5.0)
    assert len(runs) == 1


def test_a_lock_that_is_held_for_too_long_is_a_typed_refusal(
    cache: ModelCache, files: ModelFiles, tmp_path: Path
) -> None:
    place = cache.prepare(files, write_model)
    (place / MANIFEST).unlink()
    with (tmp_path / f"cache/models/.{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CacheBusy, match="another process"):
            cache.prepare(files, write_model, wait_s=0.1)
