"""cortexd that does not know which replica has seen a prompt: it routes by load alone.

``python -m tests.benchmarks.least_load_gateway serve -c FILE``, and all else that cortexd can do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cortex_actors.cli import cortexd
from cortex_actors.serving.prefix_affinity import PrefixAffinity


def _nobody(affinity: PrefixAffinity, model: str, prefix: Sequence[int]) -> tuple[str, ...]:
    del affinity, model, prefix
    return ()


if __name__ == "__main__":
    PrefixAffinity.longest = _nobody  # type: ignore[assignment, method-assign]
    sys.exit(cortexd.main())
