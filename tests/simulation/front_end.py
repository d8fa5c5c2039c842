"""A front-end process and its clients: the real generations, with the clients as events."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from cortex_actors.dialects.events import GenerationEvent
from cortex_actors.http.daemon_link import DaemonLink
from cortex_actors.http.engine_links import EngineLinks
from cortex_actors.http.generation import RoutedGeneration, Routes
from cortex_actors.http.leases import Leases
from cortex_actors.http.progress_watch import Deadlines
from cortex_actors.http.response_counts import ResponseCounts
from tests.simulation.engine import text, token
from tests.simulation.gateway import ENDPOINT, MACHINE
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.stage import WakingQueue
from tests.simulation.world import Host, World
from transports.failures import FailureCode
from transports.reactor import Reactor
from transports.schemas.fleet import ModelState
from transports.schemas.generate import Generate, GenerateDone, SamplingOptions, TextDelta
from transports.schemas.link import Failure

REQUEST_S = 90.0
LATE_S = 10.0
"""So long after a deadline a request may end: its reader stops waiting after 5 s."""
LOOK_S = 1.0
"""How often a reader looks, whether it was woken or not."""


class FrontEnd:
    """One process of the gateway's front end."""

    def __init__(self, world: World, network: Network, name: str) -> None:
        self.host = Host(world, name, MACHINE)
        with world.inside(self.host):
            loop = VirtualLoop(world, network, self.host)
            reactor = cast(Reactor, loop)
            daemon = DaemonLink(reactor, ENDPOINT, name, ResponseCounts())
            leases = Leases(reactor, daemon)
            engines = EngineLinks(reactor, name, on_lost=leases.engine_lost)
            self.routes = Routes(reactor, daemon, leases, engines, world)
            loop.call_soon(daemon.open)


class Client:
    """One request and what its client hears of it: at most one end, and exactly the right text."""

    def __init__(
        self,
        world: World,
        front_end: FrontEnd,
        request_id: str,
        model: str,
        tokens: int,
        on_end: Callable[[Client], None],
        wait_s: float,
    ) -> None:
        self.request_id = request_id
        self.model = model
        self.host = front_end.host
        self.began = world.now()
        self.end: GenerateDone | Failure | None = None
        self.left = False
        self._world = world
        self._total = tokens
        self._heard = 0
        self._on_end = on_end
        self._reading = False
        question = Generate(
            request_id,
            model,
            [{"role": "user", "content": request_id}],
            SamplingOptions(max_tokens=tokens, seed=1),
        )
        deadlines = Deadlines(min(wait_s, REQUEST_S), REQUEST_S, REQUEST_S)
        with world.inside(self.host):
            world.tell(f"{request_id} asks for {tokens} tokens of {model}")
            self._generation = RoutedGeneration(question, front_end.routes, deadlines, lambda: None)
            queue = cast(WakingQueue, self._generation._queue)
            queue.on_wake = self._wake
            front_end.routes.reactor.call_soon(self._generation.begin)
            self._news_at = world.now()
            world.later(LOOK_S, self._look, self.host)

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self.end is not None or self.left or not self.host.alive

    def leave(self) -> None:
        """Go without waiting for the end."""
        if not self.over:
            self._world.tell(f"{self.request_id} leaves")
            self.left = True
            self._generation.close()

    def _wake(self) -> None:
        if not self._reading:
            self._reading = True
            self._world.later(self._world.a_while(self.host), self._read, self.host)

    def _read(self) -> None:
        self._reading = False
        if self.left:
            return
        for event in self._generation.take():
            self._news_at = self._world.now()
            self._hear(event)
        if self.end is not None:
            self._generation.close()
            self._on_end(self)

    def _hear(self, event: GenerationEvent) -> None:
        if self.end is not None:
            self._world.violate(f"{self.request_id} hears more after its end: {event}")
        match event:
            case TextDelta():
                self._check_text(event)
            case GenerateDone():
                self._world.tell(f"{self.request_id} is done")
                self.end = event
                if self._heard != self._total:
                    self._world.violate(f"{self.request_id} ends after {self._heard} tokens")
            case Failure():
                self._world.tell(f"{self.request_id} ends with {event.code}: {event.message}")
                self.end = event
                if event.code == FailureCode.INTERNAL:
                    self._world.violate(f"{self.request_id} meets a fault of ours")
            case ModelState():
                pass
            case _:
                self._world.tell(f"{self.request_id}: {event}")

    def _check_text(self, piece: TextDelta) -> None:
        """All before it was right: it goes on with what is due next."""
        begin = self._heard
        self._heard += len(piece.tokens)
        due = tuple(token(self.request_id, index) for index in range(begin, self._heard))
        if piece.tokens != due or piece.text != text(due):
            self._world.violate(f"{self.request_id} is told the wrong text: {piece.text}")

    def _look(self) -> None:
        if self.over:
            return
        self._read()
        if self._world.now() - self._news_at > REQUEST_S + LATE_S:
            self._world.violate(f"{self.request_id} is lost: nothing was heard of it for too long")
        self._world.later(LOOK_S, self._look, self.host)
