"""Entry of a model's engine process: ``python -m neuron_runtime.engine_main``. Without torch."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import final

from neuron_runtime.child import ChildProcess
from neuron_runtime.drop_news import DropNews
from neuron_runtime.engine.admission import Admission
from neuron_runtime.engine.daemon_link import DaemonLink, Reports
from neuron_runtime.engine.embedding_admission import EmbeddingAdmission
from neuron_runtime.engine.embedding_engine import EmbeddingEngine
from neuron_runtime.engine.embedding_queue import EmbeddingLimits, EmbeddingQueue
from neuron_runtime.engine.engine import Engine
from neuron_runtime.engine.epochs import Epochs
from neuron_runtime.engine.limits import BLOCK_TOKENS, Limits
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.model_facts import ModelFilesError as FactsError
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.tokenizer import Tokenizer, TokenizerError
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.group_driver import GroupDriver, OnBroken, RequestKill
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.model_kind import ModelKind
from neuron_runtime.parent_link import ParentLink
from transports.curve import CurveServer, load_allow_list, load_keys
from transports.errors import EndpointError, KeyFileError
from transports.failures import FailureCode
from transports.fence import DropReason
from transports.link import Identity
from transports.liveness import LivenessPolicy
from transports.news_reporter import NewsReporter
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.daemon import GroupStart, Member
from transports.schemas.group import LoadShard
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.engine")

CONNECT_S = 30.0
# A daemon that is stopped for a while is no reason to leave: its end closes the death pipe.
_DAEMON_LIVENESS = LivenessPolicy(ping_s=5.0, suspect_s=30.0, down_s=120.0, busy_exempt=True)


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Serve the model until the daemon's link ends; return how that went. Main thread."""
    arguments = _parser().parse_args(argv)
    child = ChildProcess.begin(arguments)
    try:
        new_engine, capabilities = _read_model(arguments)
    except ModelFilesError as error:
        return _refuse(child, arguments.model_id, error.failure())
    except (TokenizerError, FactsError) as error:
        failure = Failure(FailureCode.SOURCE_CORRUPT, str(error))
        return _refuse(child, arguments.model_id, failure)
    return _Process(arguments, child, new_engine, capabilities).run()


def _parser() -> argparse.ArgumentParser:
    parser = ChildProcess.parser("The engine of one model.")
    parser.add_argument("--model-id", required=True)
    parser.add_argument("--model-dir", required=True)
    parser.add_argument("--listen", default="tcp://127.0.0.1:*", metavar="ENDPOINT")
    parser.add_argument("--key-file", type=Path, help="CURVE keys of this neuron")
    parser.add_argument("--allowed-keys", type=Path, help="who may connect: a folder of .key files")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quant", default="none")
    parser.add_argument("--threads", type=int, default=0, help="per rank; 0: any number")
    parser.add_argument("--max-running", type=int, default=16)
    parser.add_argument("--max-queued", type=int, default=64)
    parser.add_argument("--kv-mb", type=int, default=0, help="per rank; 0: by free memory")
    return parser


_TOKENS_KEPT = 8192

TellDaemon = Callable[[Body], None]
NewEngine = Callable[[Reactor, TellDaemon], Engine | EmbeddingEngine]


def _read_model(arguments: argparse.Namespace) -> tuple[NewEngine, tuple[str, ...]]:
    """Read what an engine needs of the model's files; return what makes it, and what it can do."""
    model_dir = Path(arguments.model_dir)
    if ModelKind.of(model_dir) is ModelKind.EMBEDDING:
        admission = EmbeddingAdmission.load(arguments.model_id, model_dir)
        return partial(_embedding_engine, arguments, admission), ("embeddings",)
    tokenizer, facts = Tokenizer.load(model_dir), ModelFacts.load(model_dir)
    return partial(_engine, arguments, tokenizer, facts), tokenizer.capabilities


def _refuse(child: ChildProcess, model: str, failure: Failure) -> ExitCode:
    """Tell the daemon why the model cannot be served: starting again would not help."""
    _log.error("cannot serve model=%s: %s", model, failure.message)
    with ParentLink.open(child, "engine") as daemon:
        if daemon is not None:
            daemon.tell(failure)
    return ExitCode.CONFIG


def _engine(
    arguments: argparse.Namespace,
    tokenizer: Tokenizer,
    facts: ModelFacts,
    reactor: Reactor,
    tell: TellDaemon,
) -> Engine:
    limits = Limits(arguments.max_running, arguments.max_queued)
    # Whoever can guess what identifies a block's content could make it collide.
    salt = secrets.token_bytes(16)
    scheduler = Scheduler(limits, salt, lru_cache(_TOKENS_KEPT)(tokenizer.shown_bytes))
    admission = Admission(arguments.model_id, tokenizer, facts, lambda: secrets.randbits(63))
    # The ranks take longer to load than this does.
    reactor.call_later(0.0, admission.prepare)
    return Engine(reactor, scheduler, admission, tokenizer, facts, tell)


def _embedding_engine(
    arguments: argparse.Namespace,
    admission: EmbeddingAdmission,
    reactor: Reactor,
    tell: TellDaemon,
) -> EmbeddingEngine:
    limits = EmbeddingLimits(arguments.max_running, arguments.max_queued)
    return EmbeddingEngine(reactor, EmbeddingQueue(limits), admission, tell)


def _keys(arguments: argparse.Namespace) -> CurveServer | None:
    """The neuron's own front end is a client too, so its key is let in like a gateway's."""
    if arguments.key_file is None or arguments.allowed_keys is None:
        return None
    keys = load_keys(arguments.key_file)
    own = {keys.public: arguments.key_file.stem}
    return CurveServer(keys, load_allow_list(arguments.allowed_keys) | own)


def _crash() -> None:
    """End this process at once.

    An event may be applied by half, so that a step stays open for ever, or a text goes on wrongly:
    nothing that follows from that may be said. The daemon starts another engine.
    """
    _log.critical("ending, since what the failed callback has left undone is not known")
    logging.shutdown()
    os._exit(ExitCode.INTERNAL)


@final
class _Process:
    """The engine's parts, joined on one reactor."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        child: ChildProcess,
        new_engine: NewEngine,
        capabilities: tuple[str, ...],
    ) -> None:
        self._arguments = arguments
        self._capabilities = capabilities
        self._child = child
        self._me: Identity = child.identity("engine")
        self._reactor = Reactor(child.name, on_failure=_crash)
        self._exit_code = ExitCode.OK
        self._reports = Reports()
        self._group: GroupDriver | None = None
        self._former_drops: Counter[DropReason] = Counter()
        self._engine = new_engine(self._reactor, self._reports.tell)
        self._epochs = Epochs(
            self._reactor, self._new_group, self._shard, self._reports.tell, self._engine
        )
        self._engine.attach(self._epochs)

    def run(self) -> ExitCode:
        """Listen, tell the daemon, serve."""
        try:
            listener = self._reactor.listen(
                self._arguments.listen, self._me, self._engine, curve=_keys(self._arguments)
            )
        except (EndpointError, KeyFileError) as error:
            _log.error("cannot listen model=%s: %s", self._arguments.model_id, error)
            return ExitCode.CONFIG
        daemon = DaemonLink(
            self._engine,
            self._epochs,
            self._reports,
            listener.endpoint,
            self._leave,
            self._capabilities,
        )
        self._reactor.connect(
            self._child.parent,
            self._me,
            daemon,
            deadline_s=CONNECT_S,
            liveness=_DAEMON_LIVENESS,
        )
        refused = DropNews("engine", self._drops)
        NewsReporter(self._reactor, refused, lambda: self._reports.link).start()
        self._reactor.run()
        return self._exit_code

    def _leave(self, code: ExitCode) -> None:
        self._exit_code = code
        self._epochs.close()
        self._reactor.stop()

    def _new_group(
        self, start: GroupStart, *, request_kill: RequestKill, on_broken: OnBroken
    ) -> GroupDriver:
        if self._group is not None:
            self._former_drops.update(self._group.drops)
        self._group = GroupDriver(
            self._reactor,
            self._me,
            start,
            request_kill=request_kill,
            on_broken=on_broken,
            on_drops=self._reports.tell,
        )
        return self._group

    def _drops(self) -> Counter[DropReason]:
        """Refused by links, and by this group and its predecessors."""
        group = Counter(self._group.drops) if self._group is not None else Counter()
        return Counter(self._reactor.counters.drops) + self._former_drops + group

    def _shard(self, start: GroupStart, member: Member) -> LoadShard:
        arguments = self._arguments
        return LoadShard(
            model_dir=arguments.model_dir,
            rank=member.rank,
            world_size=len(start.members),
            device=member.device,
            dtype=arguments.dtype,
            rendezvous=start.rendezvous,
            threads=arguments.threads,
            quant=arguments.quant,
            block_tokens=BLOCK_TOKENS,
            kv_bytes=arguments.kv_mb << 20,
        )


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
