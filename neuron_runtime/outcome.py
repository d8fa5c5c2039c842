"""How an operation on a group ended. Pure values and the rule that derives them (semantics I5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transports.failures import FailureCode
from transports.schemas.body import Body


@dataclass(frozen=True, slots=True)
class Member:
    """One rank of a group and the life that fills it."""

    rank: int
    slot: int
    inc: int


@dataclass(frozen=True, slots=True)
class RankFailure:
    """What became of one member that did not answer with a result.

    ``fenced`` members failed only because another had: they name nothing as a cause.
    """

    member: Member
    code: str
    message: str
    died: bool = False
    fenced: bool = False


@dataclass(frozen=True, slots=True)
class Ok:
    """Every rank's result, in rank order, and the raw frames of rank 0's."""

    results: tuple[Body, ...]
    raw: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestFailure:
    """All ranks failed alike: the request is at fault and the group can go on."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class GroupFailure:
    """The group's state may have diverged: it must be replaced. Failures are in rank order."""

    failures: tuple[RankFailure, ...]

    @property
    def code(self) -> str:
        """The code of the lowest rank that failed by itself."""
        own = [failure.code for failure in self.failures if not failure.fenced]
        return own[0] if own else FailureCode.WORKER_DIED

    @property
    def message(self) -> str:
        """One sentence that names every rank that failed, and how."""
        return "; ".join(f"rank {f.member.rank} {f.message}" for f in self.failures)


Outcome = Ok | RequestFailure | GroupFailure


def conclude(ends: Sequence[Body | RankFailure], raw: tuple[bytes, ...] = ()) -> Outcome:
    """Derive the outcome from how each rank ended, in rank order, and rank 0's raw frames."""
    results = tuple([end for end in ends if isinstance(end, Body)])
    if len(results) == len(ends):
        return Ok(results, raw)
    failures = tuple(end for end in ends if isinstance(end, RankFailure))
    alike = len(failures) == len(ends) and len({failure.code for failure in failures}) == 1
    if alike and not any(failure.died for failure in failures):
        return RequestFailure(failures[0].code, failures[0].message)
    return GroupFailure(failures)
