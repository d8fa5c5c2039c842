"""Entry of the converter's process: ``python -m neuron_runtime.converter_main``.

Makes a source's files loadable and tells the daemon where they are: notes of PrepareProgress while
it works, then one note, Prepared or Failure. Converts on the main thread; the reactor has its own.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import final

from neuron_runtime.child import ChildProcess
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.model_cache import ModelCache
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.model_source import ModelSource
from neuron_runtime.parent_link import ParentLink
from transports.clock import MonotonicClock
from transports.failures import FailureCode
from transports.schemas.daemon import Prepared, PrepareProgress
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.converter")

PROGRESS_EVERY_S = 0.2


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Prepare one source; return how that went. Main thread."""
    parser = ChildProcess.parser("Makes a model's files ready to load.")
    parser.add_argument("--source", required=True)
    parser.add_argument("--cache-dir", type=Path, required=True)
    arguments = parser.parse_args(argv)
    child = ChildProcess.begin(arguments)
    with ParentLink.open(child, "converter") as daemon:
        if daemon is None:
            return ExitCode.PARENT_UNREACHABLE
        daemon.tell(_prepare(arguments.source, arguments.cache_dir, daemon))
    return ExitCode.OK


def _prepare(source: str, cache_dir: Path, daemon: ParentLink) -> Prepared | Failure:
    report = _Progress(daemon)
    try:
        files = ModelSource.parse(source).locate(download=True)
        files.verify()
        report(0.01, "checked")

        def convert(target: Path) -> None:
            from neuron_runtime.torch_backend.gguf_conversion import (  # noqa: PLC0415 - imports torch
                convert_gguf,
            )

            convert_gguf(files.path, target, report)

        return Prepared(str(ModelCache(cache_dir).prepare(files, convert)))
    except ModelFilesError as error:
        _log.warning("refused source=%s code=%s: %s", source, error.code, error)
        return error.failure()
    except Exception as error:  # noqa: BLE001 - whatever fails, the daemon gets an answer
        _log.exception("failed source=%s", source)
        return Failure(FailureCode.LOAD_FAILED, f"converting {source} failed: {error}")


@final
class _Progress:
    """Tells the daemon how far we are, but not more often than it can use."""

    def __init__(self, daemon: ParentLink) -> None:
        self._daemon, self._clock = daemon, MonotonicClock()
        self._phase, self._next_at = "", 0.0

    def __call__(self, fraction: float, phase: str) -> None:
        now = self._clock.now()
        if phase != self._phase or now >= self._next_at:
            self._phase, self._next_at = phase, now + PROGRESS_EVERY_S
            self._daemon.tell(PrepareProgress(fraction, phase))


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # A native library's threads or exit handlers must not be able to hold the end up.
    os._exit(code)
