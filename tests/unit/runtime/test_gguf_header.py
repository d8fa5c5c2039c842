"""A GGUF file that is not whole is refused before anything reads its tensors."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.gguf_header import BLOCKS, GgufHeader
from neuron_runtime.model_errors import SourceCorrupt, SourceNotFound
from tests.unit.runtime.gguf_bytes import array_pair, gguf, string

TENSORS = {"a": ((8, 4), 0, 0), "b": ((64,), 3, 128)}


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return path


def test_a_whole_file_is_described(tmp_path: Path) -> None:
    header = GgufHeader.read(written(tmp_path, gguf(TENSORS, data=168)))
    assert (header.version, header.architecture) == (3, "llama")
    assert [(tensor.name, tensor.elements, tensor.nbytes) for tensor in header.tensors] == [
        ("a", 32, 128),
        ("b", 64, 40),
    ]


def test_a_missing_last_byte_is_noticed_and_the_tensor_named(tmp_path: Path) -> None:
    with pytest.raises(SourceCorrupt, match="truncated: tensor b ends"):
        GgufHeader.read(written(tmp_path, gguf(TENSORS, data=167)))


def test_values_of_every_kind_are_skipped(tmp_path: Path) -> None:
    pairs = [
        array_pair("tokenizer.tokens", 8, 2, string("one") + string("two")),
        array_pair("tokenizer.scores", 6, 3, b"\0" * 12),
        string("general.alignment") + struct.pack("<II", 4, 64),
        string("flag") + struct.pack("<IB", 7, 1),
        string("big") + struct.pack("<Iq", 11, -1),
    ]
    header = GgufHeader.read(written(tmp_path, gguf(TENSORS, pairs=pairs)))
    assert header.data_start % 64 == 0


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "only 0 bytes"),
        (b"GG", "only 2 bytes"),
        (b"PK\x03\x04 and more", "no GGUF file"),
        (b"GGUF", "truncated"),
        (gguf(TENSORS, version=1), "version 1"),
        (gguf({}), "no tensors"),
        (gguf({"a": ((32,), 77, 0)}), "unknown type 77"),
        (gguf({"a": ((33,), 3, 0)}), "does not fill its blocks"),
        (gguf({"a": ((1,) * 9, 0, 0)}), "9 dimensions"),
        (gguf(TENSORS, pairs=[string("k") + struct.pack("<I", 99)]), "unknown value type 99"),
        (gguf(TENSORS, pairs=[array_pair("k", 9, 1, b"")]), "nested arrays"),
        (gguf(TENSORS, pairs=[array_pair("k", 8, 1 << 60, b"")]), "truncated|unknown"),
        (gguf(TENSORS, pairs=[string("general.alignment") + struct.pack("<II", 4, 0)]), "aligned"),
    ],
)
def test_a_malformed_file_is_refused_with_its_path(
    tmp_path: Path, data: bytes, complaint: str
) -> None:
    with pytest.raises(SourceCorrupt, match=complaint) as refusal:
        GgufHeader.read(written(tmp_path, data))
    assert "model.gguf" in str(refusal.value)


def test_a_missing_file_and_a_directory_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="there is no file"):
        GgufHeader.read(tmp_path / "absent.gguf")
    with pytest.raises(SourceNotFound, match="cannot be read"):
        GgufHeader.read(tmp_path)


@given(cut=st.integers(0, 400), flip=st.integers(0, 255), at=st.integers(0, 300))
def test_damage_is_refused_or_harmless_but_never_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, at: int
) -> None:
    data = bytearray(gguf(TENSORS, data=168))
    data[at % len(data)] ^= flip
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(bytes(data[:cut]) if cut < len(data) else bytes(data))
    with contextlib.suppress(SourceCorrupt):
        GgufHeader.read(path)


def test_block_sizes_are_those_of_the_gguf_package() -> None:
    constants = pytest.importorskip("gguf.constants")
    theirs = {int(kind): size for kind, size in constants.GGML_QUANT_SIZES.items()}
    assert {kind: theirs[kind] for kind in BLOCKS} == BLOCKS
