from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import pytest

from tests.soak.soak import Soak

SECONDS = 60.0


@pytest.mark.process
@pytest.mark.timeout(400)
def test_a_short_soak_under_faults_keeps_every_promise(capsys: pytest.CaptureFixture[str]) -> None:
    seed = secrets.randbits(32)
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        verdict = Soak(Path(directory), SECONDS, seed).run()

    with capsys.disabled():
        print(f"\n{verdict.text}")
    repeat = f"python -m tests.soak --seconds {SECONDS:.0f} --seed {seed}"
    assert not verdict.violations, f"repeat it: {repeat}"
