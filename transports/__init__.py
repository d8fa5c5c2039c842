"""Messages on links: envelope, fence, liveness, ZeroMQ sockets. No actors, no model knowledge.

Start with ``transports.link`` (what a link is), ``transports.reactor`` (real sockets) or
``transports.inproc`` (simulations); ``docs/protocol.md`` specifies what is on the wire.
"""
