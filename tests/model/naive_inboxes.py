"""Inboxes and cells with one mistake each; the suite has to notice every one."""

from __future__ import annotations

from cortex_actors.kit.cell import Cell
from cortex_actors.kit.inbox import Inbox, Letter
from cortex_actors.kit.reasons import ExitReason


class Unbounded(Inbox):
    def put_user(self, letter: Letter) -> None:
        self._append(self._user, letter)


class StopsBehindTheBacklog(Inbox):
    def put_control(self, letter: Letter) -> None:
        self._append(self._user, letter)


class UsersFirst(Inbox):
    def get(self) -> Letter:
        self._control, self._user = self._user, self._control
        try:
            return super().get()
        finally:
            self._control, self._user = self._user, self._control


class LastInFirstOut(Inbox):
    def get(self) -> Letter:
        self._user.reverse()
        try:
            return super().get()
        finally:
            self._user.reverse()


class LosesTheBacklog(Inbox):
    def close(self) -> list[Letter]:
        super().close()
        return []


class AcceptsWhenDead(Inbox):
    def close(self) -> list[Letter]:
        left = super().close()
        self._closed = False
        return left


class RefusesTooEarly(Inbox):
    def put_user(self, letter: Letter) -> None:
        self.limit -= 1
        try:
            super().put_user(letter)
        finally:
            self.limit += 1


NAIVE_INBOXES = tuple(Inbox.__subclasses__())


def forgets_what_it_owes(cell: Cell) -> None:
    refuse_all = cell.refuse_all

    def refuse(reason: ExitReason) -> None:
        cell.owed.clear()
        refuse_all(reason)

    cell.refuse_all = refuse  # type: ignore[method-assign]


def fences_only_the_future(cell: Cell) -> None:
    cell.fence = lambda: cell.publish(ExitReason.crash("fenced"))  # type: ignore[method-assign]


NAIVE_CELLS = (forgets_what_it_owes, fences_only_the_future)
