"""neurond with the scripted backend: ``python -m tests.clients.neuron_process CONFIG``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cortex_actors.config.loader import load_neuron_config
from cortex_actors.neuron import daemon

if __name__ == "__main__":
    sys.exit(daemon.run(load_neuron_config(Path(sys.argv[1]), os.environ), backend="script"))
