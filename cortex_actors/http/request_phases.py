"""Where a request's time went. Pure."""

from __future__ import annotations

from cortex_actors.http.inspection_answers import RequestPhases
from transports.schemas.fleet import LeaseSettled


def request_phases(settled: LeaseSettled, load_s: float) -> RequestPhases:
    """Return seconds by phase, in order; none is below zero, and together they are its time.

    ``load_s`` is how much of its lease was the load of its model. ``write`` is everything that is
    nothing else: links, encoding, the client.
    """
    # The router times the load and the front end the lease: neither may come out below zero.
    load_s = min(load_s, settled.lease_s)
    known = settled.lease_s + settled.queue_s + settled.prefill_s + settled.decode_s
    return RequestPhases(
        lease=round(settled.lease_s - load_s, 6),
        load=round(load_s, 6),
        queue=round(settled.queue_s, 6),
        prefill=round(settled.prefill_s, 6),
        decode=round(settled.decode_s, 6),
        write=round(max(settled.duration_s - known, 0.0), 6),
    )
