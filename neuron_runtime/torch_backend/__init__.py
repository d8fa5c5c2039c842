"""What computes with torch. Only modules in here, and tests, import torch."""

import os

# PERF: with OpenMP's default of spinning, a core that anything else needs makes all threads of a
# rank spin for it: 0.2 tokens/s instead of 14 beside three busy processes (docs/performance.md).
# libgomp reads this when torch is loaded, which is after this package.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
