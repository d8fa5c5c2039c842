"""Reading YAML with the lines of its keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from cortex_actors.config.document import read_document
from cortex_actors.config.errors import ConfigError


def _read(tmp_path: Path, text: str | bytes) -> str:
    """Return the one complaint about a file with this content."""
    path = tmp_path / "some.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    (problem,) = caught.value.problems
    return str(problem).replace(f"{tmp_path}/", "")


def test_every_key_and_list_item_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("a: 1\nb:\n  - {c: 2}\n  -\n    c: 3\n")
    document = read_document(path)
    assert document.data == {"a": 1, "b": [{"c": 2}, {"c": 3}]}
    assert document.lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 0, "c"): 3,
        ("b", 1): 5,
        ("b", 1, "c"): 5,
    }


def test_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("# nothing\n")
    assert read_document(path).data == {}


def test_duplicate_keys_are_problems_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("a:\n  b: 1\n  c: 2\n  b: 3\na: 4\n")
    shown = [str(problem) for problem in read_document(path).problems]
    assert shown == [
        f"{path}:4: a.b: the key is here twice (first in line 2)",
        f"{path}:5: a: the key is here twice (first in line 1)",
    ]


def test_merge_keys_work(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("base: &base {a: 1}\nmore:\n  <<: *base\n  b: 2\n")
    assert read_document(path).data["more"] == {"a": 1, "b": 2}


def test_problem_at_a_key_that_is_not_there_points_to_its_nearest_parent(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("\nlist:\n  - {name: x}\n")
    problem = read_document(path).problem(("list", 0, "endpoint"), "is missing")
    assert str(problem) == f"{path}:3: list[0].endpoint: is missing"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1\nb: 2\n", "some.yaml:2: invalid YAML: "),
        ("a:\n\t- 1\n", "some.yaml:2: invalid YAML: "),
        ("- 1\n", "some.yaml:1: must be a mapping of keys to values"),
        ("a: 1\n---\nb: 2\n", "some.yaml:2: invalid YAML: "),
        ("a: !!python/object:os.system {}\n", "some.yaml:1: invalid YAML: "),
        ("{[a]: 1}\n", "some.yaml:1: invalid YAML: found unhashable key"),
        ("a: 2026-13-45\n", "some.yaml: invalid YAML: "),
        (b"a: \xff\n", "some.yaml: is not UTF-8 at byte 3"),
        ("a: \x00\n", "some.yaml: invalid YAML: "),
        ("a: " + "[" * 5000 + "]" * 5000, "some.yaml: invalid YAML: nested too deep"),
        ("#" * (1 << 20) + "#", "some.yaml: is larger than 1 MiB"),
    ],
)
def test_what_is_not_configuration_is_refused(
    tmp_path: Path, text: str | bytes, complaint: str
) -> None:
    assert _read(tmp_path, text).startswith(complaint)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file"):
        read_document(tmp_path / "absent.yaml")


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_document(tmp_path)


def test_aliases_that_expand_without_end_are_refused(tmp_path: Path) -> None:
    levels = ["a: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"b{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases expand without end" in _read(tmp_path, "\n".join(levels))


def test_alias_to_itself_is_refused(tmp_path: Path) -> None:
    assert "aliases expand without end" in _read(tmp_path, "a: &loop [*loop]\n")
