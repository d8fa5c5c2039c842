"""Where a neuron keeps its model records from one run to the next."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

import msgspec

from cortex_actors.neuron.model_history import MOST_RECORDS
from transports.schemas.fleet import ModelRecord

_log = logging.getLogger("cortex.records")

_MOST_BYTES = 1 << 20


@final
class RecordFile:
    """A small JSON file, replaced as a whole. Losing it costs estimates, hence it never raises."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[ModelRecord, ...]:
        """Return the records of the last run; none, with one warning, if they make no sense."""
        try:
            found = _decode(self._path)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            _log.warning("model records are lost path=%s: %s", self._path, error)
            return ()
        # The warm tier does not outlive its neuron.
        return tuple(msgspec.structs.replace(each, warm=False) for each in found)

    def write(self, records: Sequence[ModelRecord]) -> None:
        """Replace the file."""
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(list(records)))
            new.replace(self._path)
        except OSError as error:
            _log.warning("model records are not kept path=%s: %s", self._path, error)
            with suppress(OSError):
                new.unlink()


def _decode(path: Path) -> list[ModelRecord]:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError("it is too large")
    found = msgspec.json.decode(path.read_bytes(), type=list[ModelRecord])[-MOST_RECORDS:]
    for record in found:
        _check(record)
    return found


def _check(record: ModelRecord) -> None:
    sizes = float(record.memory_mb), float(record.weights_mb)
    figures = (record.cold_load_s, record.warm_load_s, *sizes)
    if not all(math.isfinite(figure) and figure >= 0.0 for figure in figures):
        raise ValueError(f"the figures of '{record.model}' make no sense")
