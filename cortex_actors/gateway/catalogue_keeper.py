"""The CatalogueKeeper actor: reads the catalogue again when told to, and puts a sound one in force.

A file with any mistake changes nothing: the catalogue that was in force stays so, and whoever asked
is told everything that is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.config.catalogue_diff import compare
from cortex_actors.config.errors import ConfigError
from cortex_actors.gateway.messages import CatalogueChanged, ReloadAsked
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.messages import NamesChanged, Tick
from cortex_actors.serving.service_state import names
from cortex_actors.serving.state_board import StateBoard
from transports.schemas.operations import CatalogueReloaded

_log = logging.getLogger("cortex.catalogue")

Find = Callable[[str], ActorRef | None]


@final
@dataclass(frozen=True, slots=True)
class CatalogueInForce:
    """A catalogue, and when each of its models first came (Unix seconds, by id)."""

    catalogue: Catalogue
    created: Mapping[str, int] = field(default_factory=dict)

    def followed_by(self, catalogue: Catalogue, now: int) -> CatalogueInForce:
        """Return the next one; models that were there keep their time."""
        return CatalogueInForce(
            catalogue, {id_: self.created.get(id_, now) for id_ in catalogue.ids()}
        )


@final
class CatalogueKeeper(SupervisedActor):
    """The only writer of ``board``; ``read`` reads the file, ``find`` an actor by its name.

    ``written_at`` is the time of the file's last change, in Unix seconds.
    """

    def __init__(
        self,
        board: StateBoard[CatalogueInForce],
        read: Callable[[], Catalogue],
        written_at: Callable[[], int],
        find: Find,
    ) -> None:
        super().__init__()
        self._board = board
        self._read = read
        self._written_at = written_at
        self._find = find

    def summary(self) -> str:
        """How many models there are."""
        return f"models={len(self._board.read().catalogue.models)}"

    @handles(ReloadAsked)
    def _reload(self, message: ReloadAsked) -> None:
        try:
            answer = self._put_in_force(self._read())
        except ConfigError as error:
            answer = CatalogueReloaded(problems=tuple(map(str, error.problems)))
            for problem in answer.problems:
                _log.error("the catalogue stays as it is: %s", problem)
        if message.request is not None:
            message.request.complete(answer)

    def _put_in_force(self, catalogue: Catalogue) -> CatalogueReloaded:
        before = self._board.read()
        self._board.write(before.followed_by(catalogue, self._written_at()))
        answer = compare(before.catalogue, catalogue)
        _log.info(
            "catalogue reloaded added=%s removed=%s changed=%s aliases=%s",
            ",".join(answer.added) or "none",
            ",".join(answer.removed) or "none",
            ",".join(dict.fromkeys(change.name for change in answer.changed)) or "none",
            ",".join(change.name for change in answer.aliases) or "none",
        )
        for name, news in (
            ("placement", CatalogueChanged(catalogue)),
            ("router", NamesChanged(names(catalogue))),
            ("publisher", Tick()),
        ):
            actor = self._find(name)
            if actor is not None:
                actor.notify(news)
        return answer
