"""The neuron's actor tree: who is started after whom (Root, rest_for_one; DESIGN section 3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import final

import msgspec

from cortex_actors.config.devices import find_devices, measure_devices
from cortex_actors.config.link_keys import public_key, server_keys
from cortex_actors.config.neuron_config import NeuronConfig
from cortex_actors.kit.asking import Future
from cortex_actors.kit.children import ChildSpec, StartChild
from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.restart_rules import GiveUp, Restart, RestartRules
from cortex_actors.kit.supervisor import Supervisor
from cortex_actors.neuron.activation import Activation
from cortex_actors.neuron.child_links import ChildLinks
from cortex_actors.neuron.device_monitor import DeviceMonitor
from cortex_actors.neuron.device_table import DeviceTable, Placed
from cortex_actors.neuron.fork_server import ForkServer, fork_server_spec
from cortex_actors.neuron.gateway_links import GatewayLinks
from cortex_actors.neuron.harnesses import harnesses
from cortex_actors.neuron.memory_cap import capped, less_set_aside
from cortex_actors.neuron.messages import DevicesMeasured, LoadAsked, ModelsChanged, UnloadAsked
from cortex_actors.neuron.model import DRAIN_SLACK_S, Model, Placement
from cortex_actors.neuron.model_history import Timeline
from cortex_actors.neuron.model_processes import GROUP_SHUTDOWN_S, ModelProcesses, Workplace
from cortex_actors.neuron.models import Models
from cortex_actors.neuron.record_file import RecordFile
from cortex_actors.neuron.reporter import Reporter, first_state
from cortex_actors.serving.abilities import unfit
from cortex_actors.serving.daemon_tree import DaemonTree, Ground
from cortex_actors.serving.listener import ListenerActor
from cortex_actors.serving.model_cards import cards
from cortex_actors.serving.operations import Commands, Operations
from cortex_actors.serving.publisher import Publisher
from cortex_actors.serving.router import Router, unknown_model
from cortex_actors.serving.routing import DRAINING
from cortex_actors.serving.service_state import chains, first_targets, merged_models, names
from cortex_actors.serving.state_board import StateBoard
from transports.clock import MonotonicClock
from transports.failures import FailureCode
from transports.identity import process_identity
from transports.link import IncomingRequest
from transports.schemas.body import Body
from transports.schemas.fleet import DeviceState, ModelSpec, NeuronState, ServiceState
from transports.schemas.group import FaultArmed, InjectFault
from transports.schemas.link import Failure


@final
class NeuronTree(DaemonTree):
    """Builds every actor of the neuron. Ranks compute with ``backend``: torch, fake or script."""

    service = "neuron"
    metrics_prefix = "neuron"
    front_publisher = "publisher/front_ends"
    publishers = ("publisher/front_ends", "publisher/gateways")
    drained = ("router", "models")

    def __init__(self, config: NeuronConfig, ground: Ground, backend: str) -> None:
        super().__init__(ground, config.neuron.name, config.neuron)
        self._config = config
        self._settings = config.neuron
        self._backend = backend
        boot = ground.source.mint.boot
        self._links = ChildLinks(boot, self.drops)
        self._board = StateBoard(
            first_state(self._settings.name, boot, self._settings.warm_mb, harnesses(backend))
        )
        self._timeline = StateBoard(Timeline())
        self._clock = MonotonicClock()

    def start(self) -> ActorRef:
        """Start Root; its ``ready`` tells when all is up."""
        return self._start_root(
            {
                "publisher/front_ends": partial(self._publisher, self.service_state),
                "publisher/gateways": partial(self._publisher, self.neuron_state),
                "reporter": self._reporter,
                "devices": self._device_monitor,
                "children": self._children_listener,
                "fork_server": self._fork_server,
                "models": self._models,
                "models/loaded": self._loaded_models,
                "router": self._router,
                "operations": self._operations,
                "front_desk": self._front_desk,
                "gateway_links": self._gateway_links,
                "front_end": self._front_end,
                "activation": self._activation,
            },
            {"models/loaded": self._model_shutdown_s + 1.0},
        )

    @property
    def _model_shutdown_s(self) -> float:
        return self._settings.drain_s + DRAIN_SLACK_S + GROUP_SHUTDOWN_S

    def neuron_state(self) -> NeuronState:
        """The snapshot that gateways are pushed."""
        state, timeline, now = self._board.read(), self._timeline.read(), self._clock.now()
        return msgspec.structs.replace(
            state,
            state=DRAINING if self._draining else state.state,
            uptime_s=self._uptime_s(),
            models=timeline.at(state.models, now),
            devices=timeline.devices_at(state.devices, now),
        )

    def service_state(self) -> ServiceState:
        """The snapshot that front ends are pushed."""
        state, config = self.neuron_state(), self._config
        reason = self._unready(state)
        return ServiceState(
            service="neurond",
            version=state.version,
            ready=not reason,
            reason=reason,
            uptime_s=state.uptime_s,
            neurons=(state,),
            models=merged_models(config.catalogue, (state,)),
            aliases=first_targets(config.catalogue),
            cards=cards(config.catalogue, (state,)),
            chains=chains(config.catalogue),
        )

    def _unready(self, state: NeuronState) -> str:
        if self._draining:
            return "shutting down"
        phases = {model.id: model.state for model in state.models}
        late = [
            f"{model} is {phases.get(model, 'waiting')}"
            for model in self._config.default_models
            if phases.get(model) != "ready"
        ]
        return ", ".join(late)

    def _publisher(self, snapshot: Callable[[], Body], name: str) -> ActorRef:
        return Publisher.start(snapshot, name=name)

    def _reporter(self, name: str) -> ActorRef:
        publishers = [
            self.registry.find("publisher/front_ends"),
            self.registry.find("publisher/gateways"),
        ]
        return Reporter.start(
            self._board,
            publishers,
            self._find,
            self._settings.memory_mb,
            warm_mb=self._settings.warm_mb,
            timeline=self._timeline,
            record_file=RecordFile(self._settings.cache_dir / "records.json"),
            name=name,
        )

    def _device_monitor(self, name: str) -> ActorRef:
        reporter = self.registry.find("reporter")

        def on_measured(measured: DevicesMeasured) -> None:
            for listener in (reporter, self._find("models")):
                if listener is not None:
                    listener.notify(measured)

        def measure() -> tuple[DeviceState, ...]:
            return measure_devices(self._devices)

        return DeviceMonitor.start(self._devices, measure, on_measured, name=name)

    @cached_property
    def _devices(self) -> tuple[DeviceState, ...]:
        """What this host has of it; found once, so that a loss cannot change the numbering."""
        return find_devices(self._settings.devices)

    def _children_listener(self, name: str) -> ActorRef:
        me = process_identity("neuron", self._settings.name)
        return ListenerActor.start(
            self._ground.reactor,
            self._children_endpoint,
            me,
            self._links,
            self._links.admit,
            name=name,
        )

    @property
    def _children_endpoint(self) -> str:
        return f"ipc://{self._ground.runtime_dir}/children.ipc"

    def _fork_server(self, name: str) -> ActorRef:
        make_spec = partial(fork_server_spec, self._backend, self._settings.preload)
        return ForkServer.start(
            make_spec,
            self._ground.source.launcher,
            self.registry.find("reporter"),
            self._find,
            name=name,
        )

    def _models(self, name: str) -> ActorRef:
        listeners = [self.registry.find(each) for each in ("reporter", "fork_server", "devices")]
        settings = self._settings
        offered = capped(less_set_aside(self._devices, settings.warm_mb), settings.memory_mb)
        table = DeviceTable({device.id: device.memory_total_mb for device in offered})

        def on_states(changed: ModelsChanged) -> None:
            for listener in listeners:
                listener.notify(changed)

        return Models.start(
            self._config.catalogue,
            table,
            self._start_model,
            on_states,
            warm_mb=settings.warm_mb,
            name=name,
        )

    def _loaded_models(self, name: str) -> ActorRef:
        rules = RestartRules(intensity=5, period_s=600.0, give_up=GiveUp.FAIL_CHILD)
        return Supervisor.start((), rules, registry=self.registry, name=name)

    def _start_model(self, spec: ModelSpec, placed: Placed, models: ActorRef) -> Future[ActorRef]:
        workplace = Workplace(
            config=self._config,
            runtime_dir=self._ground.runtime_dir,
            children_endpoint=self._children_endpoint,
            source=self._ground.source,
            links=self._links,
            registry=self.registry,
            backend=self._backend,
        )
        settings, restart = self._settings, self._config.restart
        most = max(restart.group.intensity, restart.engine.intensity)
        placement = Placement(spec, placed.devices, settings.name, settings.drain_s, most)
        name = f"model/{spec.id}"

        def start() -> ActorRef:
            processes = ModelProcesses(workplace, spec, placed.devices)
            return Model.start(placement, models, processes, name=name)

        child = ChildSpec(name, start, restart=Restart.TEMPORARY, shutdown_s=self._model_shutdown_s)
        supervisor = self._find("models/loaded")
        if supervisor is None:
            failed: Future[ActorRef] = Future()
            failed.fail(ActorDead("models/loaded"))
            return failed
        # Longer than its start may take: it is the supervisor who decides that it failed.
        return supervisor.ask_async(StartChild(child), deadline_s=child.start_s + 5.0)

    def _router(self, name: str) -> ActorRef:
        catalogue = names(self._config.catalogue)
        models = self.registry.find("models")
        own_key = public_key(self._settings)
        return Router.start(
            catalogue,
            models,
            self._request_metrics,
            self.neuron_states,
            {self._settings.name: own_key} if own_key else {},
            unfit=self._unfit,
            name=name,
        )

    def _unfit(self, model: str, task: str) -> Failure | None:
        return unfit(model, task, self._config.catalogue, self.neuron_states())

    def neuron_states(self) -> tuple[NeuronState, ...]:
        """All neurons that requests may be routed to: this one."""
        return (self._board.read(),)

    def _operations(self, name: str) -> ActorRef:
        models, catalogue = self.registry.find("models"), self._config.catalogue

        def load(model: str, request: IncomingRequest) -> None:
            entry = catalogue.find(model)
            if entry is None:
                request.fail(unknown_model(model, names(catalogue)))
            else:
                models.notify(LoadAsked(entry.spec(), request))

        def unload(model: str, request: IncomingRequest) -> None:
            models.notify(UnloadAsked(catalogue.resolve(model), request))

        return Operations.start(
            self._metrics,
            self.registry.table,
            self.service_state,
            Commands(load, unload, self._inject_fault),
            name=name,
        )

    def _inject_fault(self, fault: InjectFault, request: IncomingRequest) -> None:
        model = self._config.catalogue.resolve(fault.model)
        engine = self._find(f"model/{model}/engine")
        if not self._settings.chaos:
            text = "faults are off here; set neuron.chaos: true"
            request.fail(Failure(FailureCode.INVALID_REQUEST, text))
        elif engine is None:
            text = f"model '{fault.model}' is not loaded here"
            request.fail(Failure(FailureCode.MODEL_NOT_FOUND, text, param="model"))
        elif self._find(f"model/{model}/rank{fault.rank}") is None:
            text = f"model '{model}' has no rank {fault.rank} now"
            request.fail(Failure(FailureCode.INVALID_REQUEST, text, param="rank"))
        else:
            engine.notify(fault)
            request.complete(FaultArmed(model, fault.rank))

    def _gateway_links(self, name: str) -> ActorRef:
        handler = GatewayLinks(
            self.registry.find("publisher/gateways"),
            self.registry.find("models"),
            self.registry.find("fork_server"),
            self.registry.table,
        )
        me = process_identity("neuron", self._settings.name)
        return ListenerActor.start(
            self._ground.reactor,
            str(self._settings.link),
            me,
            handler,
            curve=server_keys(self._settings),
            name=name,
        )

    def _front_end(self, name: str) -> ActorRef:
        return self._start_front_end(name, None)

    def _activation(self, name: str) -> ActorRef:
        models = self.registry.find("models")
        reporter = self.registry.find("reporter")
        return Activation.start(self._config.default_models, models, reporter, name=name)
