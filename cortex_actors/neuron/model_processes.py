"""The processes of one model as a supervision tree: the engine, then its tensor-parallel group.

model/<id>/processes   rest_for_one
├─ engine              EngineProcess
└─ group               one_for_all: rank0 .. rankN-1 (TpWorker), epoch (TpEpoch)
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from cortex_actors.config.neuron_config import NeuronConfig
from cortex_actors.config.restart_settings import EngineRestart, GroupRestart
from cortex_actors.kit.children import ChildSpec
from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.process_actor import KILL_WAIT_S, ProcessSource
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.registry import Registry
from cortex_actors.kit.restart_rules import Backoff, RestartRules, Strategy
from cortex_actors.kit.supervisor import Supervisor
from cortex_actors.neuron.child_links import ChildLinks
from cortex_actors.neuron.engine_process import EngineProcess, EngineSettings
from cortex_actors.neuron.group_roster import GroupRoster
from cortex_actors.neuron.preparation import Preparation, PreparationSettings
from cortex_actors.neuron.tp_epoch import TpEpoch
from cortex_actors.neuron.tp_worker import RankSettings, TpWorker, rank_name
from cortex_actors.serving.load_deadline import load_deadline_s
from neuron_runtime.geometry import Geometry
from neuron_runtime.model_cache import ModelCache
from neuron_runtime.model_errors import SourceNotFound
from neuron_runtime.model_files import CONFIG, read_json
from neuron_runtime.model_source import ModelSource, Scheme
from transports.endpoints import parse
from transports.schemas.fleet import ModelSpec

_log = logging.getLogger("cortex.model_processes")

# The control plane must answer while every core computes (G7), so the computing yields to it.
WORKER_NICE = 5
RANK_SHUTDOWN_S = KILL_WAIT_S + 1.0
GROUP_SHUTDOWN_S = 20.0


@dataclass(frozen=True, slots=True)
class Workplace:
    """What all models of a neuron share."""

    config: NeuronConfig
    runtime_dir: Path
    children_endpoint: str
    source: ProcessSource
    links: ChildLinks
    registry: Registry
    backend: str


@final
class ModelProcesses:
    """Builds the actors that own one model's processes; used by its Model actor alone."""

    def __init__(self, workplace: Workplace, spec: ModelSpec, devices: tuple[str, ...]) -> None:
        self._workplace = workplace
        self._spec = spec
        self._devices = devices
        self._tree: ActorRef | None = None
        self._preparation: ActorRef | None = None
        self._roster: GroupRoster | None = None

    @property
    def engine(self) -> ActorRef | None:
        """The engine's actor while there is one."""
        try:
            return self._workplace.registry.find(self._name("engine"))
        except ActorDead:
            return None

    def cached(self) -> Path | None:
        """The model's complete directory, or None if it must be fetched or converted first.

        Raises:
            ModelFilesError: The source is not there, or not one.
        """
        source = ModelSource.parse(self._spec.source)
        try:
            files = source.locate()
        except SourceNotFound:
            if source.scheme is Scheme.HUB:
                return None
            raise
        return ModelCache(self._workplace.config.neuron.cache_dir).find(files)

    def check(self, model_dir: Path) -> None:
        """Refuse a number of ranks that the model cannot be divided among.

        A configuration that leaves its sizes to the model's class passes; the ranks judge it.

        Raises:
            ModelFilesError: The configuration cannot be read.
            PlacementError: The model does not divide; names the numbers that do.
        """
        if len(self._devices) == 1:
            return
        geometry = Geometry.from_config(read_json(model_dir / CONFIG))
        if geometry.known:
            geometry.check(len(self._devices))

    def start_preparation(self, model: ActorRef) -> ActorRef:
        """Have the files converted; ``model`` is told how that goes."""
        workplace = self._workplace
        settings = PreparationSettings(
            model=self._spec.id,
            source=self._spec.source,
            cache_dir=workplace.config.neuron.cache_dir,
            parent=workplace.children_endpoint,
            nice=WORKER_NICE,
        )
        self._preparation = Preparation.start(
            settings, model, workplace.links, workplace.source, name=self._name("preparation")
        )
        workplace.registry.register(self._preparation)
        return self._preparation

    def start(self, model_dir: Path, model: ActorRef) -> ActorRef:
        """Start engine and group; returns their supervisor, whose end means that they gave up.

        The preparation's process, if it has not ended yet, ends first.
        """
        self.stop()
        mint = self._workplace.source.mint
        # An incarnation of its own: what an earlier start left behind is not met again.
        tag = f"g{mint.mint(mint.slot(self._name('group')))}"
        roster = self._roster = GroupRoster(self._workplace.runtime_dir, tag, self._devices)
        restart = self._workplace.config.restart
        children = (
            ChildSpec(
                self._name("engine"), partial(self._start_engine, model_dir, model), shutdown_s=10.0
            ),
            ChildSpec(
                self._name("group"),
                partial(self._start_group, roster, model),
                shutdown_s=GROUP_SHUTDOWN_S,
            ),
        )
        rules = RestartRules(
            strategy=Strategy.REST_FOR_ONE,
            intensity=restart.engine.intensity,
            period_s=restart.engine.period_s,
            backoff=_backoff(restart.engine),
        )
        self._tree = self._supervisor("processes", children, rules)
        self._workplace.registry.register(self._tree)
        return self._tree

    def stop(self) -> None:
        """End every process of the model and wait until they are reaped."""
        for ref in (self._preparation, self._tree):
            if ref is not None:
                ref.stop()
                if not ref.exit.wait(GROUP_SHUTDOWN_S):
                    _log.error("not ended within %s s name=%s", GROUP_SHUTDOWN_S, ref.name)
                self._workplace.registry.forget(ref)
        if self._roster is not None:
            self._roster.remove_files()
        self._tree = self._preparation = self._roster = None

    def _start_engine(self, model_dir: Path, model: ActorRef) -> ActorRef:
        workplace = self._workplace
        neuron = workplace.config.neuron
        settings = EngineSettings(
            model=self._spec.id,
            model_dir=model_dir,
            listen=_data_plane(neuron.link),
            parent=workplace.children_endpoint,
            dtype=self._spec.dtype,
            quant=self._spec.quant,
            threads=max(1, len(os.sched_getaffinity(0)) // len(self._devices)),
            max_running=neuron.max_running,
            max_queued=neuron.max_queued,
            kv_mb=self._spec.kv_mb or neuron.kv_mb or 0,
            start_s=neuron.load_deadline_s,
            key_file=neuron.key_file,
            allowed_keys=neuron.gateway_keys,
        )
        return EngineProcess.start(
            settings, model, workplace.links, workplace.source, name=self._name("engine")
        )

    def _start_group(self, roster: GroupRoster, model: ActorRef) -> ActorRef:
        restart = self._workplace.config.restart.group
        engine = self._workplace.registry.find(self._name("engine"))
        ranks = tuple(
            ChildSpec(
                rank_name(self._spec.id, rank),
                partial(self._start_rank, rank, roster, engine),
                shutdown_s=RANK_SHUTDOWN_S,
            )
            for rank in range(len(self._devices))
        )
        epoch = ChildSpec(self._name("epoch"), partial(self._start_epoch, roster, engine, model))
        rules = RestartRules(
            strategy=Strategy.ONE_FOR_ALL,
            intensity=restart.intensity,
            period_s=restart.period_s,
            backoff=_backoff(restart),
        )
        return self._supervisor("group", (*ranks, epoch), rules)

    def _start_rank(self, rank: int, roster: GroupRoster, engine: ActorRef) -> ActorRef:
        if rank == 0:
            roster.open_epoch()
        settings = RankSettings(self._spec.id, rank, self._workplace.backend, WORKER_NICE)
        return TpWorker.start(
            settings, roster, engine, self._workplace.source, name=rank_name(self._spec.id, rank)
        )

    def _start_epoch(self, roster: GroupRoster, engine: ActorRef, model: ActorRef) -> ActorRef:
        name = self._name("epoch")
        configured_s = self._workplace.config.neuron.load_deadline_s
        start_s = load_deadline_s(configured_s, self._spec.vram_mb)
        return TpEpoch.start(roster, engine, model, start_s, name=name)

    def _supervisor(
        self, what: str, children: tuple[ChildSpec, ...], rules: RestartRules
    ) -> ActorRef:
        return Supervisor.start(
            children, rules, registry=self._workplace.registry, name=self._name(what)
        )

    def _name(self, what: str) -> str:
        return f"model/{self._spec.id}/{what}"


def _backoff(restart: EngineRestart | GroupRestart) -> Backoff:
    return Backoff(restart.backoff_s, restart.max_backoff_s, restart.healthy_s)


def _data_plane(link: str) -> str:
    """The engine listens on the neuron's own interface, at any free port."""
    host = parse(link).host
    return f"tcp://{f'[{host}]' if ':' in host else host or '127.0.0.1'}:*"
