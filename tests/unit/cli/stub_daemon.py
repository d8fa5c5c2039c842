"""A stand-in for a daemon: canned answers on the address its configuration names.

``STUB_FAULT`` in the environment is ``NAME dies`` (exits with code 3 at once), ``deaf`` (ignores
SIGTERM), ``model fails`` or ``stream breaks``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from cortex_actors.config.loader import load_gateway_config, load_neuron_config
from tests.unit.cli.fake_gateway import STATUS, FakeGateway


def main(name: str, config: Path) -> int:
    """Serve until SIGTERM."""
    fault = os.environ.get("STUB_FAULT", "")
    if fault == f"{name} dies":
        print("something is badly wrong", file=sys.stderr)
        return 3
    if name == "neurond":
        address = load_neuron_config(config, {}).neuron.listen
    else:
        address = load_gateway_config(config, {}).gateway.listen
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None if fault == "deaf" else stopped.set())
    with FakeGateway((address.host, address.port)) as gateway:
        if fault == "model fails":
            failed = {"id": "tiny", "status": "failed", "error": "no space"}
            status = {**STATUS, "models": [failed]}
            gateway.answers["GET /admin/status"] = (200, json.dumps(status).encode())
        elif fault == "stream breaks":
            failure = b'data: {"error": {"message": "worker died"}}\n\n'
            gateway.answers["POST /v1/chat/completions"] = (200, failure)
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
