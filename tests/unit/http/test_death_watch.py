"""A front-end worker ends with its arbiter; run in a process of its own, for it ends that."""

from __future__ import annotations

import subprocess
import sys

import pytest

from neuron_runtime.exit_codes import ExitCode

pytestmark = pytest.mark.process

_WORKER = """
import fcntl, os, resource, sys, threading
from cortex_actors.http.death_watch import DeathWatch
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
death_fd, _ = os.pipe()
# Closing its copy of the arbiter's end, it has closed the last.
DeathWatch(fcntl.fcntl(death_fd, fcntl.F_DUPFD, int(sys.argv[1])), 0.1).watch_arbiter()
threading.Event().wait(10.0)
"""


@pytest.mark.parametrize("at_least", [3, 1024])
def test_a_worker_ends_with_its_arbiter_however_large_its_descriptors(at_least: int) -> None:
    command = [sys.executable, "-c", _WORKER, str(at_least)]
    worker = subprocess.run(command, timeout=30.0, check=False)

    assert worker.returncode == ExitCode.PARENT_LOST
