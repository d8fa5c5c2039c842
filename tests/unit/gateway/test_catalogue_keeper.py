"""A catalogue is read again while everything runs; a bad one changes nothing."""

from __future__ import annotations

import pytest

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.config.errors import ConfigError, Problem
from cortex_actors.gateway.catalogue_keeper import CatalogueInForce, CatalogueKeeper
from cortex_actors.gateway.messages import CatalogueChanged, ReloadAsked
from cortex_actors.serving.messages import NamesChanged
from cortex_actors.serving.state_board import StateBoard
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import Audience, FakeRequest, Recorder, settle
from transports.schemas.operations import CatalogueReloaded, ReloadCatalogue

OLD = Catalogue(models=(CatalogueEntry(id="kept", source="file:///kept"),))
NEW = Catalogue(
    models=(*OLD.models, CatalogueEntry(id="new", source="file:///new")),
    aliases={"both": ("new", "kept")},
)


class Scene:
    """A keeper whose file says ``NEW``, or is wrong once there are ``problems``."""

    def __init__(self, start: Start) -> None:
        self.problems: list[Problem] = []
        self.board = StateBoard(CatalogueInForce(OLD, {"kept": 7}))
        self.placement = Audience(start(Recorder, name="placement"))
        self.router = Audience(start(Recorder, name="router"))
        actors = {"placement": self.placement.ref, "router": self.router.ref}
        self.keeper = start(CatalogueKeeper, self.board, self._read, lambda: 9, actors.get)

    def _read(self) -> Catalogue:
        if self.problems:
            raise ConfigError(self.problems)
        return NEW

    def reload(self) -> CatalogueReloaded:
        request = FakeRequest(ReloadCatalogue())
        self.keeper.notify(ReloadAsked(request))
        settle(self.keeper)
        answer = request.answer()
        assert isinstance(answer, CatalogueReloaded)
        return answer


@pytest.fixture
def scene(start: Start) -> Scene:
    return Scene(start)


def test_a_sound_catalogue_is_in_force_for_everyone_who_decides_by_it(scene: Scene) -> None:
    answer = scene.reload()

    assert (answer.added, answer.removed, answer.problems) == (("new",), (), ())
    assert scene.board.read() == CatalogueInForce(NEW, {"kept": 7, "new": 9})
    assert scene.placement.heard(CatalogueChanged) == [CatalogueChanged(NEW)]
    (news,) = scene.router.heard(NamesChanged)
    assert news.names == {"kept": ("kept",), "new": ("new",), "both": ("new", "kept")}


def test_a_bad_catalogue_leaves_the_old_one_in_force_and_names_every_mistake(scene: Scene) -> None:
    scene.problems = [
        Problem("models.yaml", "is wrong", line=3),
        Problem("models.yaml", "so is it"),
    ]

    assert scene.reload().problems == ("models.yaml:3: is wrong", "models.yaml: so is it")
    assert scene.board.read().catalogue == OLD
    assert scene.placement.heard(CatalogueChanged) == []
    assert scene.router.heard(NamesChanged) == []


def test_a_signal_asks_without_waiting_for_an_answer(scene: Scene) -> None:
    scene.keeper.notify(ReloadAsked())
    settle(scene.keeper)

    assert scene.board.read().catalogue == NEW
