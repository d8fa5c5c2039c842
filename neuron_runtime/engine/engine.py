"""The engine's loop: questions in, steps to the ranks, text out.

It owns the streams and ties the pure parts together: admission, scheduler, output text. It never
waits: a step's outcome arrives as an event, the next step leaves at once, and its text is read and
published while the ranks compute. Everything happens on the reactor's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import final

import msgspec

from neuron_runtime.engine.admission import Admission
from neuron_runtime.engine.choices import Choices
from neuron_runtime.engine.drain import LATE, Drain
from neuron_runtime.engine.epochs import Epochs
from neuron_runtime.engine.events import Drawn, Ended, Event, Events
from neuron_runtime.engine.expiry import Expiry
from neuron_runtime.engine.grammar_mask import GrammarMask
from neuron_runtime.engine.load_reporter import LoadReporter
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.other_thread import Start, start_thread
from neuron_runtime.engine.output_text import OutputText
from neuron_runtime.engine.prepared import Prepared
from neuron_runtime.engine.prompt_intake import Made, PromptIntake
from neuron_runtime.engine.prompt_queue import PromptQueue
from neuron_runtime.engine.publisher import Publisher
from neuron_runtime.engine.request_output import output_text_of
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import Ending, FinishReason, Sequence
from neuron_runtime.engine.steps import Steps
from neuron_runtime.engine.still_running import StillRunningNotes
from neuron_runtime.engine.stream import Stream
from neuron_runtime.engine.token_logprobs import TokenLogprobs
from neuron_runtime.engine.tokenizer import Tokenizer
from neuron_runtime.model_kind import ModelKind
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.loop import Loop
from transports.schemas.body import Body
from transports.schemas.daemon import EngineLoad
from transports.schemas.generate import CountTokens, Embed, Generate, TokensCounted
from transports.schemas.group import ShardLoaded
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.engine")

_UNLOADING = Failure(FailureCode.SHUTTING_DOWN, "the model is being unloaded; try again")


@final
class Engine:
    """One model's requests, from acceptance to their one answer.

    It is the ``LinkHandler`` of the data plane and the ``GroupUser`` of its epochs, which
    ``attach`` introduces.
    """

    def __init__(
        self,
        loop: Loop,
        scheduler: Scheduler,
        admission: Admission,
        tokenizer: Tokenizer,
        facts: ModelFacts,
        tell_daemon: Callable[[Body], None],
        start: Start = start_thread,
    ) -> None:
        self._loop = loop
        self._scheduler = scheduler
        self._admission = admission
        self._tokenizer = tokenizer
        self._facts = facts
        self._steps = Steps(loop.now, scheduler, self._stepped)
        self._streams: dict[int, Stream] = {}
        queue = PromptQueue(scheduler.limits.max_running + scheduler.limits.max_queued)
        self._prompts = admission.prompts
        self._intake = PromptIntake(
            loop, queue, admission.check, self._prompt_ready, self._advance, start
        )
        self._publisher = Publisher(loop, self._rest)
        self._logprobs = TokenLogprobs(tokenizer.token_bytes)
        self._load = LoadReporter(loop, self._read_load, tell_daemon)
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._expiry = Expiry(loop, scheduler.next_deadline, self._expire)
        self._notes = StillRunningNotes(loop, self._take_silent)
        self._unread: list[Event] = []
        self._drain = Drain(loop, self._end_all)
        self._configure(())

    def attach(self, epochs: Epochs) -> None:
        """Run steps on ``epochs`` from now on."""
        self._steps.attach(epochs)

    # -- the data plane (LinkHandler) -----------------------------------------------------------

    def on_up(self, link: Link) -> None:
        """A front end has connected."""
        _log.info("client up name=%s pid=%d", link.peer.name, link.peer.pid)

    def on_request(self, request: IncomingRequest) -> None:
        """A question; what is neither Generate nor CountTokens is refused."""
        question = request.body
        match question:
            case Generate():
                principal = question.principal
                expected = self._intake.expected(principal)
                refusal = self._scheduler.refusal(1 + expected, principal)
                if refusal is None:
                    self._intake.take(request, question, self._admission.make)
                else:
                    self._refuse(request, refusal)
            case CountTokens():
                # What it counts may go by an alias.
                asked = msgspec.structs.replace(
                    question.question, model=question.model, constraint=None
                )
                self._intake.take(request, asked, self._prompts.count)
            case Embed():
                request.fail(ModelKind.GENERATION.refusal(question.model))
            case _:
                message = f"an engine does not answer {type(question).__name__}"
                request.fail(Failure(FailureCode.INVALID_REQUEST, message))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """Front ends have nothing to tell an engine."""

    def on_suspect(self, link: Link) -> None:
        """A silent front end either comes back or goes down, which cancels its requests."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """A front end is gone; its requests have been cancelled one by one."""

    # -- the group (GroupUser) ------------------------------------------------------------------

    def group_ready(self, loaded: tuple[ShardLoaded, ...]) -> None:
        """Start, or go on with what the last epoch left unfinished."""
        self._apply(self._configure(loaded))
        self._scheduler.group_ready()
        self._advance()

    def group_lost(self) -> None:
        """Keep what ran for the next epoch."""
        self._apply(self._scheduler.group_lost())
        self._advance()

    # -- shutdown -------------------------------------------------------------------------------

    def drain(self, grace_s: float, on_drained: Callable[[], None]) -> None:
        """Refuse what is new, finish what runs within ``grace_s``, end the rest with an error."""
        self._scheduler.draining = True
        self._intake.end_all(_UNLOADING)
        self._drain.begin(grace_s, on_drained)
        self._advance()

    def resume(self) -> None:
        """Take requests again after a drain."""
        self._scheduler.draining = False
        self._drain.call_off()

    def _end_all(self) -> None:
        self._intake.end_all(LATE)
        self._apply(self._scheduler.end_all(LATE))
        self._advance()

    # -- requests -------------------------------------------------------------------------------

    def _prompt_ready(self, request: IncomingRequest, made: Made | Failure, arrived: float) -> None:
        question = request.body
        refusal = made if isinstance(made, Failure) else None
        if isinstance(made, int):
            request.complete(TokensCounted(made))
        elif isinstance(made, Prepared) and isinstance(question, Generate):
            # Asked again, because a long prompt takes time.
            refusal = self._scheduler.refusal(principal=question.principal)
            refusal = refusal or self._accept(request, question, made, arrived)
        if refusal is not None:
            self._refuse(request, refusal)

    def _refuse(self, request: IncomingRequest, refusal: Failure) -> None:
        question = request.body
        if isinstance(question, Generate | CountTokens):
            _log.info("refused request=%s code=%s", question.request_id, refusal.code)
        request.fail(refusal)

    def _accept(
        self, request: IncomingRequest, question: Generate, prepared: Prepared, arrived: float
    ) -> Failure | None:
        sequences = self._admission.admit(question, prepared, arrived, request.deadline)
        choices = Choices(
            [(each, self._text(question, each, place)) for place, each in enumerate(sequences)]
        )
        if question.resume:
            if not choices.replay():
                message = "resume: holds a token that the constraint forbids"
                return Failure(FailureCode.INVALID_REQUEST, message, param="resume")
            if self._scheduler.is_full(sequences[0]) or choices.is_stopped(sequences[0].id):
                self._answer_resumed(request, sequences[0].id, choices)
                return None
        self._apply(self._scheduler.make_way(*sequences))
        refusal = self._scheduler.submit(*sequences)
        if refusal is not None:
            return refusal
        stream = Stream(question.request_id, request, choices)
        self._streams |= dict.fromkeys((each.id for each in sequences), stream)
        _log.info(
            "accepted request=%s sequence=%d choices=%d prompt_tokens=%d waiting=%d",
            question.request_id,
            sequences[0].id,
            len(sequences),
            choices.prompt_tokens,
            self._scheduler.waiting,
        )
        request.on_cancel(partial(self._cancel, stream))
        # Not here: what fails in a step is not this request's failure, but the engine's.
        self._loop.call_soon(self._advance)
        return None

    def _answer_resumed(self, request: IncomingRequest, sequence: int, choices: Choices) -> None:
        """Only the end was lost with the former engine."""
        delta = choices.finish(sequence, FinishReason.LENGTH)
        if delta is not None:
            self._publisher.piece(request, delta)
        self._publisher.answer(request, choices.done(self._loop.now()))
        self._publisher.flush()

    def _text(self, question: Generate, sequence: Sequence, choice: int) -> OutputText:
        text = output_text_of(self._tokenizer, question, sequence.prompt, choice)
        if isinstance(sequence.mask, GrammarMask):
            sequence.mask.suspended = lambda: text.in_reasoning
        return text

    def _cancel(self, stream: Stream, reason: str) -> None:
        failure = Failure(FailureCode.CANCELLED, f"the request was cancelled ({reason or 'asked'})")
        self._fail(stream, failure)
        self._advance()

    # -- steps ----------------------------------------------------------------------------------

    def _advance(self) -> None:
        self._steps.begin()
        unread, self._unread = self._unread, []
        self._apply(unread)
        self._publisher.flush()
        self._expiry.arm()
        if self._streams:
            self._notes.arm()
        self._load.changed()
        self._rest()

    def _rest(self) -> None:
        if self._scheduler.idle and self._publisher.idle and not self._intake.waiting:
            self._drain.over()

    def _stepped(self, events: Events) -> None:
        self._read(events)
        self._advance()

    def _read(self, events: Events) -> None:
        """Read now what decides about the next step, and the rest once that is under way."""
        for event in events:
            stream = self._streams.get(event.sequence.id)
            if stream is not None and stream.choices.decides(event.sequence.id):
                self._apply((event,))
            else:
                self._unread.append(event)

    def _apply(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Drawn():
                    self._drew(event)
                case Ended(sequence, end):
                    self._ended(sequence, end)

    def _drew(self, drawn: Drawn) -> None:
        sequence = drawn.sequence.id
        stream = self._streams.get(sequence)
        if stream is None:
            return  # another choice of the request has failed in the same step
        self._count(stream)
        delta = stream.choices.push(sequence, drawn.token, self._logprobs.of(drawn))
        if delta is not None:
            self._publisher.piece(stream.request, delta)
        else:
            stream.held_back = True
        if stream.choices.is_stopped(sequence):
            self._apply(self._scheduler.end(sequence, FinishReason.STOP))

    def _ended(self, sequence: Sequence, end: Ending) -> None:
        stream = self._streams.pop(sequence.id, None)
        _log.info(
            "ended request=%s sequence=%d end=%s prompt_tokens=%d reused=%d completion_tokens=%d",
            sequence.request.id,
            sequence.id,
            end.code if isinstance(end, Failure) else end.value,
            len(sequence.prompt),
            sequence.reused or 0,
            len(sequence.output),
        )
        if stream is None:
            return
        if isinstance(end, Failure):
            self._fail(stream, end)
            return
        if end is FinishReason.STOP and not stream.choices.is_stopped(sequence.id):
            self._count(stream)  # the end token, which was never drawn for the text
        delta = stream.choices.finish(sequence.id, end)
        if delta is not None:
            self._publisher.piece(stream.request, delta)
        if stream.choices.finished:
            stream.answered = True
            self._publisher.answer(stream.request, stream.choices.done(self._loop.now()))

    def _fail(self, stream: Stream, failure: Failure) -> None:
        """Answer a request with a failure, which ends all its choices."""
        if stream.answered:
            return
        stream.answered = True
        told = msgspec.structs.replace(failure, figures=stream.choices.figures(self._loop.now()))
        self._publisher.answer(stream.request, told)
        for each in stream.choices.unfinished():
            self._streams.pop(each, None)
            self._apply(self._scheduler.end(each, failure))

    def _count(self, stream: Stream) -> None:
        self._completion_tokens += 1
        if not stream.begun:
            stream.begun = True
            self._prompt_tokens += stream.choices.prompt_tokens

    # -- time and reports -----------------------------------------------------------------------

    def _expire(self) -> None:
        self._apply(self._scheduler.expire(self._loop.now()))
        self._advance()

    def _take_silent(self) -> list[IncomingRequest]:
        streams = {id(stream): stream for stream in self._streams.values() if stream.begun}
        silent = [each for each in streams.values() if each.held_back or each.choices.waiting]
        for each in silent:
            each.held_back = False
        if self._streams:
            self._notes.arm()
        return [each.request for each in silent]

    def _configure(self, loaded: tuple[ShardLoaded, ...]) -> Events:
        known = [self._facts.context_length, *(each.context_length for each in loaded)]
        context_length = min((length for length in known if length), default=None)
        blocks = min((each.kv_blocks for each in loaded), default=0)
        eos = set(self._facts.eos_ids)
        if self._tokenizer.eos_id is not None:
            eos.add(self._tokenizer.eos_id)
        for each in loaded:
            eos.update(each.eos_token_ids)
        short = max((each.short_context for each in loaded), default=0)
        events = self._scheduler.configure(
            context_length, eos, blocks, alone=len(loaded) == 1, short_context=short
        )
        self._prompts.context_length = self._scheduler.context_length
        return events

    def _read_load(self) -> EngineLoad:
        return EngineLoad(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting + self._intake.waiting,
            capacity=self._scheduler.limits.max_running,
            context_length=self._scheduler.context_length or 0,
            prompt_tokens_total=self._prompt_tokens,
            completion_tokens_total=self._completion_tokens,
        )
