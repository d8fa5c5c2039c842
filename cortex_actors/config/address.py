"""Where a daemon's HTTP listens: ``HOST:PORT``, with IPv6 hosts in brackets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from transports import endpoints
from transports.errors import EndpointError

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@final
@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address; ``host`` is a name or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def takes(self, other: Address) -> bool:
        """Whether a listener here leaves no room for one at ``other``."""
        everywhere = not {*_WILDCARDS, "*"}.isdisjoint({self.host, other.host})
        return self.port == other.port and (self.host == other.host or everywhere)

    @property
    def url(self) -> str:
        """The ``http://`` URL at which a client on this host finds it."""
        return f"http://{Address(_WILDCARDS.get(self.host, self.host), self.port)}"


def parse_address(text: str) -> Address:
    """Parse ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises:
        ValueError: The text is not an address.
    """
    try:
        endpoint = endpoints.parse(f"tcp://{text}")
        endpoints.check_connect(endpoint)
    except EndpointError:
        raise ValueError(f"should be HOST:PORT, such as 127.0.0.1:8080, not '{text}'") from None
    return Address(endpoint.host, endpoint.port)
