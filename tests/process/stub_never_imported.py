"""A module whose import does not end before the process does."""

from __future__ import annotations

import threading

threading.Event().wait()
