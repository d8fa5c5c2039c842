"""How a real server process starts and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest

from neuron_runtime.exit_codes import ExitCode
from tests.eventually import eventually
from tests.http.scripted_fleet import MODEL, ScriptedFleet, say
from tests.http.server_process import ServerProcess, command, free_port, server_process
from tests.living import alive

pytestmark = pytest.mark.process

BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}

PARENT = """
import os, subprocess, sys
read_fd, write_fd = os.pipe()
argv = [word.replace("DEATH_FD", str(read_fd)) for word in sys.argv[1:]]
child = subprocess.Popen(argv, pass_fds=[read_fd])
os.close(read_fd)
print(child.pid, flush=True)
child.wait()
"""


def can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_a_port_in_use_is_one_polite_line(fleet: ScriptedFleet) -> None:
    with socket.socket() as other, open(os.devnull, "rb") as death:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = subprocess.run(
            command(fleet.endpoint, port, death.fileno()),
            capture_output=True,
            text=True,
            timeout=20.0,
            check=False,
        )
    assert ended.returncode == ExitCode.CONFIG
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sigterm_ends_a_running_stream_with_an_error_and_leaves_nothing(
    server: ServerProcess, fleet: ScriptedFleet
) -> None:
    fleet.engine.on_generate = lambda request: say(request, 0, "Hel")
    processes = server.processes()
    with (
        httpx.Client(trust_env=False) as client,
        client.stream("POST", f"{server.url}/v1/chat/completions", json=BODY) as answer,
    ):
        lines = answer.iter_lines()
        while "Hel" not in next(lines):
            pass
        server.popen.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line.startswith("data:")]
    assert json.loads(rest[-1].removeprefix("data:"))["error"]["code"] == "shutting_down"
    assert server.popen.wait(8.0) == 0
    eventually(lambda: not alive(processes))
    assert "Traceback" not in server.log()


def test_an_idle_server_ends_soon_after_its_death_pipe_closes(server: ServerProcess) -> None:
    processes = server.processes()
    server.close_death_pipe()
    assert server.popen.wait(8.0) == 0
    eventually(lambda: not alive(processes))


def test_ctrl_c_is_left_to_the_daemon(server: ServerProcess) -> None:
    for process in server.processes():
        process.send_signal(signal.SIGINT)
    assert server.status("/health") == 200
    assert server.popen.poll() is None


def test_a_killed_arbiter_takes_its_workers_along(server: ServerProcess) -> None:
    arbiter, *workers = server.processes()
    assert workers
    arbiter.kill()
    server.popen.wait(5.0)
    eventually(lambda: not alive(workers))


def test_a_killed_worker_is_replaced(server: ServerProcess) -> None:
    _, worker = server.processes()
    worker.kill()
    eventually(lambda: not alive([worker]))
    server.await_ready()


def test_a_killed_daemon_takes_the_whole_server_along(fleet: ScriptedFleet) -> None:
    port = free_port()
    argv = command(fleet.endpoint, port, -1)
    argv = [word.replace("--death-fd=-1", "--death-fd=DEATH_FD") for word in argv]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *argv], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout as out:
        arbiter = psutil.Process(int(out.readline()))
    eventually(lambda: bool(arbiter.children()), 20.0)
    processes = [arbiter, *arbiter.children()]
    parent.kill()
    parent.wait(5.0)
    eventually(lambda: not alive(processes))
    # A process counts as a zombie a moment before the last of its threads has let the socket go.
    eventually(lambda: can_listen(port))


def test_metrics_have_a_listener_of_their_own(fleet: ScriptedFleet) -> None:
    port = free_port()
    with server_process(
        fleet.endpoint, "--service=gateway", f"--metrics-listen=127.0.0.1:{port}"
    ) as server:
        server.await_ready()
        assert httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text == "up 1\n"
        assert server.status("/metrics") == 404


def test_the_daemon_is_told_of_every_response(server: ServerProcess, fleet: ScriptedFleet) -> None:
    assert server.status("/v1/nothing") == 404
    counts = Counter[str]()

    def told() -> bool:
        counts.update(fleet.daemon.responses.get(timeout=5.0).counts.get("other", {}))
        return bool(counts)

    eventually(told)
    assert counts == {"404": 1}


def test_the_front_end_imports_no_torch() -> None:
    probe = "import sys, cortex_actors.http.server; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", probe], cwd=root, check=False).returncode == 0


def test_each_process_has_a_core_of_its_own_where_there_are_enough(fleet: ScriptedFleet) -> None:
    cores = os.sched_getaffinity(0)
    workers = f"--workers={len(cores)}"
    with server_process(fleet.endpoint, workers) as server:
        server.await_ready()
        eventually(lambda: len(server.processes()) == 1 + len(cores))
        arbiter, *others = server.processes()
        assert set(arbiter.cpu_affinity()) == cores
        assert [len(worker.cpu_affinity()) for worker in others] == [1] * len(cores)
        assert {core for worker in others for core in worker.cpu_affinity()} == cores
