"""An actor that is not there: whoever is told what no one here needs to hear."""

from __future__ import annotations

from typing import cast

from cortex_actors.kit.ref import ActorRef


class _Nobody:
    inc = 0
    name = "nobody"

    def notify(self, message: object) -> None:
        pass

    def tell(self, message: object) -> None:
        pass


NOBODY = cast(ActorRef, _Nobody())
