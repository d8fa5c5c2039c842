"""One request in the engine's hands, until it has been answered."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_runtime.engine.choices import Choices
from transports.link import IncomingRequest


@dataclass(slots=True)
class Stream:
    """A request and what has come of it so far.

    ``begun`` is whether it has drawn a token, ``held_back`` whether tokens came whose text could
    not be shown yet, since somebody asked.
    """

    request_id: str
    request: IncomingRequest
    choices: Choices
    begun: bool = False
    answered: bool = False
    held_back: bool = False
