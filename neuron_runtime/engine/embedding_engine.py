"""The engine of a model for embeddings: questions in, steps to the ranks, vectors out.

It never waits: a step's outcome arrives as an event, and the next step leaves at once. Everything
happens on the reactor's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol, final

from neuron_runtime.engine.drain import LATE, Drain
from neuron_runtime.engine.embedding_admission import EmbeddingAdmission
from neuron_runtime.engine.embedding_intake import EmbeddingIntake
from neuron_runtime.engine.embedding_job import EmbeddingJob
from neuron_runtime.engine.embedding_queue import (
    EmbeddingQueue,
    JobDone,
    JobEnds,
)
from neuron_runtime.engine.expiry import Expiry
from neuron_runtime.engine.load_reporter import LoadReporter
from neuron_runtime.engine.longest_line_drop import GIVES_WAY
from neuron_runtime.engine.other_thread import Start, start_thread
from neuron_runtime.group_driver import OnClosed
from neuron_runtime.model_kind import ModelKind
from neuron_runtime.outcome import GroupFailure, Ok, Outcome, RequestFailure
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.loop import Loop
from transports.schemas.body import Body
from transports.schemas.daemon import EngineLoad
from transports.schemas.generate import CountTokens, Embed, EmbedDone, Generate
from transports.schemas.group import EmbedStep, EmbedStepDone, ShardLoaded
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.engine")

STEP_S = 30.0
TOKEN_S = 0.05


class Executor(Protocol):
    """The part of ``Epochs`` that runs steps."""

    @property
    def ready(self) -> bool:
        """Whether ``execute`` may be called."""
        ...

    def execute(self, operation: Body, deadline_s: float, on_closed: OnClosed) -> None:
        """Run one operation on all ranks."""
        ...


@final
class EmbeddingEngine:
    """One model's requests, from acceptance to their one answer.

    It is the ``LinkHandler`` of the data plane and the ``GroupUser`` of its epochs, which
    ``attach`` introduces.
    """

    def __init__(
        self,
        loop: Loop,
        queue: EmbeddingQueue,
        admission: EmbeddingAdmission,
        tell_daemon: Callable[[Body], None],
        start: Start = start_thread,
    ) -> None:
        self._loop = loop
        self._queue = queue
        self._admission = admission
        self._intake = EmbeddingIntake(loop, admission, self._ready, start)
        self._epochs: Executor | None = None
        self._requests: dict[int, IncomingRequest] = {}
        self._load = LoadReporter(loop, self._read_load, tell_daemon)
        self._files_limit = admission.context_length
        self._prompt_tokens = 0
        self._expiry = Expiry(loop, queue.next_deadline, self._expire)
        self._drain = Drain(loop, self._end_all)

    def attach(self, epochs: Executor) -> None:
        """Run steps on ``epochs`` from now on."""
        self._epochs = epochs

    # -- the data plane (LinkHandler) -----------------------------------------------------------

    def on_up(self, link: Link) -> None:
        """A front end has connected."""
        _log.info("client up name=%s pid=%d", link.peer.name, link.peer.pid)

    def on_request(self, request: IncomingRequest) -> None:
        """A question; anything but Embed is refused."""
        question = request.body
        if isinstance(question, Embed):
            refusal = self._queue.refusal(expected=self._intake.waiting)
            if refusal is None or self._makes_way(question.principal):
                self._intake.take(request, question)
                return
        elif isinstance(question, Generate | CountTokens):
            refusal = ModelKind.EMBEDDING.refusal(question.model)
        else:
            message = f"an engine does not answer {type(question).__name__}"
            refusal = Failure(FailureCode.INVALID_REQUEST, message)
        self._refuse(request, refusal)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """Front ends have nothing to tell an engine."""

    def on_suspect(self, link: Link) -> None:
        """A silent front end either comes back or goes down, which cancels its requests."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """A front end is gone; its requests have been cancelled one by one."""

    # -- the group (GroupUser) ------------------------------------------------------------------

    def group_ready(self, loaded: tuple[ShardLoaded, ...]) -> None:
        """Start, or go on with what the last epoch left unfinished."""
        known = (self._files_limit, *(each.context_length for each in loaded))
        self._admission.context_length = min((n for n in known if n), default=None)
        self._queue.group_ready()
        self._advance()

    def group_lost(self) -> None:
        """Repeat on the next epoch what was in the step."""
        self._apply(self._queue.group_lost())
        self._advance()

    # -- shutdown -------------------------------------------------------------------------------

    def drain(self, grace_s: float, on_drained: Callable[[], None]) -> None:
        """Refuse what is new, finish what runs within ``grace_s``, end the rest with an error."""
        self._queue.draining = True
        self._drain.begin(grace_s, on_drained)
        self._advance()

    def resume(self) -> None:
        """Take requests again after a drain."""
        self._queue.draining = False
        self._drain.call_off()

    def _end_all(self) -> None:
        self._intake.end_all(LATE)
        self._apply(self._queue.end_all(LATE))
        self._advance()

    # -- requests -------------------------------------------------------------------------------

    def _ready(
        self, request: IncomingRequest, question: Embed, end: EmbeddingJob | Failure
    ) -> None:
        failure = end if isinstance(end, Failure) else self._submit(request, question, end)
        if failure is not None:
            self._refuse(request, failure)
        self._advance()

    def _makes_way(self, principal: str) -> bool:
        """End those whose places a newcomer is entitled to; return whether there are any."""
        if self._queue.draining:
            return False
        gone = self._queue.giving_way(principal, self._intake.entries)
        failure = self._queue.overloaded(self._intake.waiting, GIVES_WAY)
        for each in gone:
            if isinstance(each, EmbeddingJob):
                self._apply(self._queue.end(each.id, failure))
            else:
                self._intake.end(each, failure)
        return bool(gone)

    def _refuse(self, request: IncomingRequest, refusal: Failure) -> None:
        _log.info("refused request=%s code=%s", _request_id(request), refusal.code)
        request.fail(refusal)

    def _submit(
        self, request: IncomingRequest, question: Embed, job: EmbeddingJob
    ) -> Failure | None:
        refusal = self._queue.submit(job)
        if refusal is not None:
            return refusal
        self._requests[job.id] = request
        _log.info(
            "accepted request=%s job=%d inputs=%d prompt_tokens=%d waiting=%d",
            question.request_id,
            job.id,
            len(job.inputs),
            job.tokens,
            self._queue.waiting,
        )
        request.on_cancel(partial(self._cancel, job.id))
        return None

    def _cancel(self, job: int, reason: str) -> None:
        failure = Failure(FailureCode.CANCELLED, f"the request was cancelled ({reason or 'asked'})")
        self._apply(self._queue.end(job, failure))
        self._advance()

    # -- steps ----------------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._epochs is not None and self._epochs.ready:
            step = self._queue.next_step()
            if step is not None:
                deadline_s = STEP_S + TOKEN_S * sum(map(len, step.sequences))
                self._epochs.execute(step, deadline_s, partial(self._step_closed, step))
        self._expiry.arm()
        self._load.changed()
        if self._queue.idle and not self._intake.waiting:
            self._drain.over()

    def _step_closed(self, step: EmbedStep, outcome: Outcome) -> None:
        match outcome:
            case Ok((EmbedStepDone(step=step.step, dimensions=dimensions), *_), raw):
                self._prompt_tokens += sum(map(len, step.sequences))
                self._apply(self._queue.step_done(dimensions, raw[0] if raw else b""))
            case Ok():
                self._fail_step(step, FailureCode.INTERNAL, "rank 0 answered something else")
            case RequestFailure(code, message):
                self._fail_step(step, code, message)
            case GroupFailure():
                return  # the group is broken, and ``group_lost`` follows
        self._advance()

    def _fail_step(self, step: EmbedStep, code: str, message: str) -> None:
        ids = ",".join(_request_id(self._requests[job]) for job in self._queue.in_step)
        _log.warning("step failed step=%d requests=%s: %s", step.step, ids, message)
        self._apply(self._queue.step_failed(code, message))

    def _apply(self, ends: JobEnds) -> None:
        for end in ends:
            request = self._requests.pop(end.job.id)
            if isinstance(end, JobDone):
                answer = EmbedDone(end.dimensions, end.job.tokens)
                request.complete(answer, (_rows(end.job),))
            else:
                request.fail(end.failure)
            code = "done" if isinstance(end, JobDone) else end.failure.code
            _log.info(
                "ended request=%s job=%d end=%s prompt_tokens=%d",
                _request_id(request),
                end.job.id,
                code,
                end.job.tokens,
            )

    # -- time and reports -----------------------------------------------------------------------

    def _expire(self) -> None:
        self._apply(self._queue.expire(self._loop.now()))
        self._advance()

    def _read_load(self) -> EngineLoad:
        return EngineLoad(
            running=self._queue.running,
            waiting=self._queue.waiting + self._intake.waiting,
            capacity=self._queue.limits.max_running,
            context_length=self._admission.context_length or 0,
            prompt_tokens_total=self._prompt_tokens,
        )


def _rows(job: EmbeddingJob) -> bytes:
    return b"".join(job.rows[index] for index in range(len(job.inputs)))


def _request_id(request: IncomingRequest) -> str:
    body = request.body
    return body.request_id if isinstance(body, Embed | Generate) else "-"
