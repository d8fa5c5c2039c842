"""When compiled modules are used, and that they never stand in for another source."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transports import compiled


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one source, compiled; its shared extension is one that Python has."""
    for name in ("a.py", "deep/b.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("one = 1\n")
    directory = tmp_path / "_compiled"
    directory.mkdir()
    monkeypatch.delenv("CORTEX_NO_EXTENSIONS", raising=False)
    monkeypatch.setattr(compiled, "_SOURCES", tmp_path)
    monkeypatch.setattr(compiled, "DIRECTORY", directory)
    monkeypatch.setattr(compiled, "_load", lambda: None)
    (directory / "stamp").write_text(compiled.stamp())
    return tmp_path


def test_compiled_modules_come_first_while_the_source_is_the_same(package: Path) -> None:
    path = [str(package)]
    assert compiled.prefer(path)
    assert path == [str(package / "_compiled"), str(package)]


@pytest.mark.parametrize("change", ["edited", "added", "removed", "renamed"])
def test_any_change_of_the_source_brings_plain_python_back(package: Path, change: str) -> None:
    match change:
        case "edited":
            (package / "deep" / "b.py").write_text("one = 2\n")
        case "added":
            (package / "c.py").write_text("")
        case "removed":
            (package / "a.py").unlink()
        case _:
            (package / "a.py").rename(package / "z.py")
    path = [str(package)]
    assert not compiled.prefer(path)
    assert path == [str(package)]


def test_other_interpreter_brings_plain_python_back(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "SUFFIX", ".cpython-399-x86_64-linux-gnu.so")
    assert not compiled.prefer([])


def test_plain_python_can_be_asked_for(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEX_NO_EXTENSIONS", "1")
    assert not compiled.prefer([])


def test_nothing_compiled_is_plain_python(package: Path) -> None:
    shutil.rmtree(package / "_compiled")
    assert not compiled.prefer([])


def test_modules_that_are_compiled_exist_and_define_no_struct() -> None:
    # mypyc would compile a msgspec struct to a class that is none.
    for name in compiled.MODULES:
        text = Path(compiled.__file__).with_name(f"{name}.py").read_text()
        assert "msgspec.Struct" not in text, name


def test_loop_that_hears_of_signals_is_interpreted() -> None:
    assert {"reactor", "compiled"}.isdisjoint(compiled.MODULES)
    code = "import transports.reactor as r; print(r.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip().endswith("reactor.py")
