"""What ``serve`` does around a daemon's own run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cortex_actors.cli.serving import Daemon, check, serve
from cortex_actors.config.errors import ConfigError, Problem
from transports.errors import EndpointError

PATH = Path("some.yaml")


def _daemon(
    run: Callable[[str], int] = lambda _: 0, problems: tuple[Problem, ...] = ()
) -> Daemon[str]:
    return Daemon(
        name="testd",
        load=lambda path, _: path.name,
        check_host=lambda _: problems,
        run=run,
    )


def test_exit_code_of_the_daemon_is_passed_on() -> None:
    assert serve(_daemon(run=lambda config: len(config)), PATH) == len("some.yaml")


def test_host_problems_are_all_printed_and_nothing_is_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    started: list[str] = []
    problems = (Problem("a.yaml", "in use", "x.listen"), Problem("a.yaml", "full", "x.cache", 3))

    def run(config: str) -> int:
        started.append(config)
        return 0

    daemon = _daemon(run=run, problems=problems)
    assert serve(daemon, PATH) == 78
    assert check(daemon, PATH, config_only=False) == 78
    assert started == []
    assert capsys.readouterr().err.splitlines()[:3] == [
        "testd: 2 problems:",
        "  a.yaml: x.listen: in use",
        "  a.yaml:3: x.cache: full",
    ]


def test_config_problems_come_before_the_host_is_looked_at(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: Path, environ: object) -> str:
        raise ConfigError([Problem(str(path), "bad")])

    def forbidden(config: str) -> tuple[Problem, ...]:
        raise AssertionError(config)

    daemon = Daemon("testd", refuse, forbidden, lambda _: 0)
    assert serve(daemon, PATH) == 78
    assert capsys.readouterr().err == "testd: 1 problem:\n  some.yaml: bad\n"


@pytest.mark.parametrize("error", [EndpointError("in use"), OSError(28, "No space left")])
def test_start_that_fails_after_all_is_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: str) -> int:
        raise error

    assert serve(_daemon(run=run), PATH) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("testd: cannot run: ")


def test_bugs_are_not_hidden() -> None:
    def run(_: str) -> int:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        serve(_daemon(run=run), PATH)
