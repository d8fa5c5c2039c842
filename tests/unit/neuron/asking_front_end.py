"""A front-end process reduced to its link to the daemon."""

from __future__ import annotations

import queue
from pathlib import Path

from transports.identity import process_identity
from transports.link import CallEvent, IncomingRequest, Link, Progress
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import ServiceState

WAIT_S = 15.0


class FrontEnd:
    """Connects to ``front.ipc`` of a daemon; asks, and keeps what is pushed."""

    def __init__(self, reactor: Reactor, runtime_dir: Path) -> None:
        self.links: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self.states: queue.SimpleQueue[ServiceState] = queue.SimpleQueue()
        self.downs: queue.SimpleQueue[str] = queue.SimpleQueue()
        me = process_identity("front_end", "front")
        reactor.connect(f"ipc://{runtime_dir}/front.ipc", me, self)
        self.link = self.links.get(timeout=WAIT_S)

    def ask_later(self, body: Body) -> queue.SimpleQueue[CallEvent]:
        """Ask; the terminal event comes through the queue."""
        events: queue.SimpleQueue[CallEvent] = queue.SimpleQueue()

        def on_event(event: CallEvent) -> None:
            if not isinstance(event, Progress):
                events.put(event)

        self.link.request(body, on_event, deadline_s=WAIT_S)
        return events

    def ask(self, body: Body) -> CallEvent:
        """Ask and wait for the terminal event."""
        return self.ask_later(body).get(timeout=WAIT_S)

    def await_state(self, reason: str) -> ServiceState:
        """Wait until the daemon pushes a state with this reason."""
        while True:
            state = self.states.get(timeout=WAIT_S)
            if reason in state.reason:
                return state

    def on_up(self, link: Link) -> None:
        self.links.put(link)

    def on_request(self, request: IncomingRequest) -> None:
        raise AssertionError("daemons ask front ends nothing")

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        assert isinstance(body, ServiceState)
        self.states.put(body)

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        self.downs.put(reason)
