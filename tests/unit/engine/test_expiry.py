from __future__ import annotations

from neuron_runtime.engine.expiry import Expiry
from transports.inproc import InprocNetwork


def test_the_earliest_deadline_is_kept_to_the_moment() -> None:
    network = InprocNetwork()
    start = network.now()
    deadlines: list[float] = []
    expired: list[float] = []

    def expire() -> None:
        expired.append(network.now() - start)
        deadlines.clear()

    expiry = Expiry(network, lambda: min(deadlines, default=None), expire)
    expiry.arm()
    for deadline_s in (8.0, 0.5, 4.0):
        deadlines.append(start + deadline_s)
        expiry.arm()
    network.advance(9.0)
    assert expired == [0.5]

    deadlines.append(start)
    expiry.arm()
    network.advance(0.0)
    assert expired == [0.5, 9.0]
