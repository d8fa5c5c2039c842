"""Imports point one way, and only worker processes import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("transports", "neuron_runtime", "cortex_actors")
"""Each may import itself and what stands before it."""

HEAVY = {"torch", "transformers", "accelerate", "safetensors"}
HEAVY_HOMES = ("neuron_runtime/torch_backend/", "neuron_runtime/converter_main.py")
SUPPLIERS = {
    "zmq": "transports",
    "pykka": "cortex_actors/kit",
    "falcon": "cortex_actors/http",
    "gunicorn": "cortex_actors/http",
}
"""Libraries that stay behind one package's own interface."""


def _modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("." * node.level + (node.module or ""), node.lineno)


@cache
def _imported(path: Path) -> list[tuple[str, str]]:
    """Return each import's top-level name and where it stands."""
    relative = path.relative_to(ROOT)
    return [
        (name.partition(".")[0], f"{relative}:{line} imports {name}")
        for name, line in _imports(ast.parse(path.read_text()))
    ]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_downwards(layer: str) -> None:
    forbidden = {*LAYERS[LAYERS.index(layer) + 1 :], "tests", ""}
    wrong = [
        where for path in _modules(layer) for top, where in _imported(path) if top in forbidden
    ]
    assert wrong == []


def test_dialects_know_nothing_of_the_server_around_them() -> None:
    allowed = ("cortex_actors.dialects", "transports.")
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in _modules("cortex_actors/dialects")
        for name, line in _imports(ast.parse(path.read_text()))
        if name.startswith(("cortex_actors", "transports", "neuron_runtime"))
        and not name.startswith(allowed)
    ]
    assert wrong == []


def test_only_worker_modules_import_torch() -> None:
    wrong = [
        where
        for path in _modules(*LAYERS)
        if not str(path.relative_to(ROOT)).startswith(HEAVY_HOMES)
        for top, where in _imported(path)
        if top in HEAVY
    ]
    assert wrong == []


@pytest.mark.parametrize(("library", "home"), sorted(SUPPLIERS.items()))
def test_library_stays_behind_its_package(library: str, home: str) -> None:
    wrong = [
        where
        for path in _modules(*LAYERS)
        if not str(path.relative_to(ROOT)).startswith(f"{home}/")
        for top, where in _imported(path)
        if top == library
    ]
    assert wrong == []


@pytest.mark.process
def test_importing_every_actor_and_transport_module_leaves_torch_alone() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in _modules("transports", "cortex_actors")
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    try: importlib.import_module(name)\n"
        "    except ModuleNotFoundError as ex:\n"
        "        if not ex.name.startswith('opentelemetry'): raise  # an extra\n"
        f"print(sorted({HEAVY!r}.intersection(sys.modules)))"
    )
    assert _run(code) == "[]"


@pytest.mark.process
def test_importing_the_package_is_cheap() -> None:
    code = "import sys, cortex_actors; print(sorted({'pykka', 'zmq', 'falcon'} & set(sys.modules)))"
    assert _run(code) == "[]"


def _run(code: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.stderr == ""
    return answer.stdout.strip()
