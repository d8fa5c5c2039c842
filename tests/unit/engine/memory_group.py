"""A group of one rank in memory, in place of processes."""

from __future__ import annotations

from collections.abc import Callable

from neuron_runtime.backends.base import BackendError
from neuron_runtime.backends.fake import FakeBackend
from neuron_runtime.following_step import following
from neuron_runtime.group import GroupState
from neuron_runtime.group_driver import OnBroken, OnClosed, OnProgress, RequestKill
from neuron_runtime.outcome import GroupFailure, Ok, Outcome, RankFailure, RequestFailure
from neuron_runtime.outcome import Member as OutcomeMember
from transports.inproc import InprocNetwork
from transports.schemas.body import Body
from transports.schemas.daemon import GroupStart, Member, MemberDown
from transports.schemas.group import (
    EndRounds,
    InjectFault,
    LoadShard,
    SleepShard,
    Step,
    StepDone,
    WakeShard,
)


class MemoryGroup:
    """Answers at once, or, while ``hold`` is set, when told to."""

    def __init__(
        self,
        network: InprocNetwork,
        start: GroupStart,
        *,
        request_kill: RequestKill,
        on_broken: OnBroken,
    ) -> None:
        self.epoch = start.epoch
        self.state = GroupState.STARTING
        self.request_kill = request_kill
        self.hold = False
        self.closed = False
        self.refuse: Callable[[Step], bool] = lambda _: False
        self.refusal: str = "step_failed"
        self.steps: list[Step] = []
        self.raws: list[tuple[bytes, ...]] = []
        self.shards: list[LoadShard] = []
        self.deadlines: list[float] = []
        self.downs: list[MemberDown] = []
        self.faults: list[InjectFault] = []
        self._network = network
        self._start = start
        self._on_broken = on_broken
        self._backend = FakeBackend(on_collective=lambda: None)
        self._open: tuple[Body, OnClosed] | None = None
        self.on_progress: OnProgress | None = None
        self.rests: list[Body] = []
        self.told: list[Body] = []

    def load(self, shard_of: Callable[[Member], LoadShard], on_closed: OnClosed) -> None:
        self.shards = [shard_of(member) for member in self._start.members]

        def loaded() -> None:
            self.state = GroupState.READY
            on_closed(Ok(tuple(self._backend.load(shard) for shard in self.shards)))

        self.tell_loaded = loaded
        self._network.call_soon(loaded)

    def execute(
        self,
        operation: Body,
        deadline_s: float,
        on_closed: OnClosed,
        raw: tuple[bytes, ...] = (),
        on_progress: OnProgress | None = None,
    ) -> None:
        assert self.state is GroupState.READY
        assert self._open is None, "two operations are open"
        if isinstance(operation, Step):
            self.steps.append(operation)
            self.raws.append(raw)
            self.deadlines.append(deadline_s)
        else:
            self.rests.append(operation)
        self._open = (operation, on_closed)
        self.on_progress = on_progress
        if not self.hold:
            self._network.call_soon(self.answer)

    def tell(self, body: Body) -> None:
        assert self._open is not None, "told of an operation that is over"
        self.told.append(body)

    def answer(self) -> None:
        """Close the open operation as the ranks would, or its round."""
        if self._open is None:
            return
        operation, on_closed = self._open
        outcome = self._outcome(operation)
        if isinstance(operation, Step) and self._goes_on(operation) and isinstance(outcome, Ok):
            self._go_on(operation, outcome)
            return
        self._open = None
        on_closed(outcome)

    def _goes_on(self, step: Step) -> bool:
        return step.rounds > 1 and EndRounds(step.step) not in self.told

    def _go_on(self, step: Step, outcome: Ok) -> None:
        assert self._open is not None
        assert self.on_progress is not None
        (done,) = outcome.results
        assert isinstance(done, StepDone)
        self._open = (following(step, done.tokens), self._open[1])
        self.on_progress(done)
        if not self.hold:
            self._network.call_soon(self.answer)

    def answer_with(self, outcome: Outcome) -> None:
        """Close the open step with ``outcome``."""
        assert self._open is not None
        _, on_closed = self._open
        self._open = None
        on_closed(outcome)

    def die(self) -> None:
        """Lose rank 0: the open step closes, then the epoch is broken."""
        self.state = GroupState.BROKEN
        failure = RankFailure(OutcomeMember(0, 1, 1), "worker_died", "died (SIGKILL)", died=True)
        if self._open is not None:
            self.answer_with(GroupFailure((failure,)))
        self._on_broken("worker_died", "rank 0 died (SIGKILL)")

    def member_down(self, notice: MemberDown) -> None:
        self.downs.append(notice)

    def inject(self, fault: InjectFault) -> None:
        self.faults.append(fault)

    def close(self) -> None:
        self.closed = True
        self._open = None

    def _outcome(self, operation: Body) -> Outcome:
        match operation:
            case Step():
                return self._step_outcome(operation)
            case SleepShard():
                return Ok((self._backend.sleep(),))
            case WakeShard():
                return Ok((self._backend.wake(),))
            case _:
                raise AssertionError(operation)

    def _step_outcome(self, step: Step) -> Outcome:
        if self.refuse(step):
            return RequestFailure(self.refusal, "refused on purpose")
        try:
            return Ok((self._backend.step(step, *self.raws[-1]),))
        except BackendError as error:
            return RequestFailure(error.code, error.message)
