"""Where a request's time went. Pure."""

from __future__ import annotations

from transports.schemas.fleet import LeaseSettled


def request_phases(settled: LeaseSettled, load_s: float) -> dict[str, float]:
    """Return seconds by phase, in order; none is below zero, and together they are its time.

    ``load_s`` is how much of its lease was the load of its model. ``write`` is everything that is
    nothing else: links, encoding, the client.
    """
    # The router times the load and the front end the lease: neither may come out below zero.
    load_s = min(load_s, settled.lease_s)
    phases = {
        "lease": settled.lease_s - load_s,
        "load": load_s,
        "queue": settled.queue_s,
        "prefill": settled.prefill_s,
        "decode": settled.decode_s,
    }
    phases["write"] = max(settled.duration_s - sum(phases.values()), 0.0)
    return {name: round(seconds, 6) for name, seconds in phases.items()}
