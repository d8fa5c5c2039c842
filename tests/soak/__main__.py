"""``python -m tests.soak``: ten minutes under faults; exits 1 on any violation."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults come")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run's plan")
    parser.add_argument("--keep", action="store_true", help="keep the logs in any case")
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    directory = Path(tempfile.mkdtemp(prefix="soak-", dir="/tmp"))
    print(f"soak of {arguments.seconds:g} s, seed {seed}, logs in {directory}", flush=True)
    verdict = Soak(directory, arguments.seconds, seed).run()
    print(verdict.text)
    if not verdict.violations and not arguments.keep:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
