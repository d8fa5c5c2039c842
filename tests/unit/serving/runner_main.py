"""A daemon whose tree is one actor: ``python -m … DIRECTORY serve|hang|stuck|fail``."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.daemon_runner import DaemonRunner
from cortex_actors.serving.runtime_dir import RuntimeDir


def say(word: str) -> None:
    print(word, flush=True)


class Root(SupervisedActor):
    """Serves, hangs when it is stopped, or fails to start."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def on_start(self) -> None:
        if self._mode == "fail":
            raise RuntimeError("no")
        say("started")

    def on_stop(self, reason: ExitReason) -> None:
        if self._mode == "hang":
            say("hanging")
            threading.Event().wait()
        say("stopped")


class Tree:
    """What a daemon runs."""

    def __init__(self, mode: str) -> None:
        self._mode = mode

    def start(self) -> ActorRef:
        return Root.start(self._mode, name="root")

    def begin_drain(self) -> None:
        say("draining")
        if self._mode == "stuck":
            threading.Event().wait()

    def reload(self) -> None:
        say("reloading")


def main() -> int:
    directory, mode = sys.argv[1:]

    runner = DaemonRunner("test", RuntimeDir(Path(directory), "daemon"), "error")
    return runner.run(lambda _ground: Tree(mode))


if __name__ == "__main__":
    sys.exit(main())
