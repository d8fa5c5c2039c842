"""What every file of this project keeps to, beyond what ruff and mypy check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("transports", "neuron_runtime", "cortex_actors")
MAX_LINES = 400
BANNED_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_STEMS = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
WALL_CLOCK = {("time", "time"), ("time", "time_ns")}
WALL_CLOCK_HOMES = {"cortex_actors/neuron/model.py"}
"""Files that may ask for the time of day, because they show it to people."""
KEEPS_LOGS = {"tests/soak/__main__.py"}
"""What may make a directory that outlives it: logs that somebody wants to read."""


def _sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _breaches(path: Path, text: str) -> Iterator[str]:
    """Yield everything in one source that these rules forbid."""
    where = path.name if not path.is_absolute() else _shown(path)
    if text.count("\n") > MAX_LINES:
        yield f"{where} has {text.count(chr(10))} lines; the limit is {MAX_LINES}"
    if path.stem in BANNED_STEMS:
        yield f"{where}: the name says nothing about what is in it"
    tree = ast.parse(text)
    if text.strip() and not ast.get_docstring(tree):
        yield f"{where} has no docstring"
    for node in ast.walk(tree):
        for complaint in _node_breaches(node):
            yield f"{where}:{getattr(node, 'lineno', 0)} {complaint}"


def _node_breaches(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            for alias in names:
                if alias.name.partition(".")[0] in BANNED_MODULES:
                    yield f"imports {alias.name}"
        case ast.ImportFrom(module=str(module)):
            if module.partition(".")[0] in BANNED_MODULES:
                yield f"imports {module}"
        case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
            yield f"calls {name}"
        case ast.Attribute(value=ast.Name(id=base), attr=name) if (base, name) in WALL_CLOCK:
            yield f"reads the wall clock ({base}.{name})"
        case ast.ExceptHandler(type=None):
            yield "has a bare except"
        case _:
            return


def test_sources_keep_the_house_rules() -> None:
    found = [
        breach
        for path in _sources(*PACKAGES)
        for breach in _breaches(path, path.read_text())
        if not ("wall clock" in breach and _shown(path) in WALL_CLOCK_HOMES)
    ]
    assert found == []


def test_tests_are_short_enough_to_read() -> None:
    long = [_shown(path) for path in _sources("tests") if path.read_text().count("\n") > MAX_LINES]
    assert long == []


def test_tests_leave_no_directory_behind() -> None:
    call = re.compile(r"\bmkdtemp\(")
    making = {_shown(path) for path in _sources("tests") if call.search(path.read_text())}
    assert making <= KEEPS_LOGS


def test_test_folders_are_packages() -> None:
    folders = {path.parent for path in _sources("tests")}
    assert [_shown(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\n", "has no docstring"),
        ('"""Doc."""\nimport pickle\n', "imports pickle"),
        ('"""Doc."""\nfrom pickle import loads\n', "imports pickle"),
        ('"""Doc."""\neval("1")\n', "calls eval"),
        ('"""Doc."""\nimport time\ntime.time()\n', "reads the wall clock"),
        ('"""Doc."""\ntry:\n    pass\nexcept:\n    pass\n', "has a bare except"),
        ('"""Doc."""\n' + "x = 1\n" * MAX_LINES, "lines; the limit is"),
    ],
)
def test_the_rules_notice_each_breach(text: str, complaint: str) -> None:
    (found,) = _breaches(Path("sample.py"), text)
    assert complaint in found


def test_the_rules_notice_an_empty_name() -> None:
    (found,) = _breaches(Path("utils.py"), '"""Doc."""\n')
    assert "says nothing" in found


def test_the_rules_let_clean_code_pass() -> None:
    clean = '"""Doc."""\nimport time\n\n\ndef now() -> float:\n    return time.monotonic()\n'
    assert list(_breaches(Path("clock.py"), clean)) == []
