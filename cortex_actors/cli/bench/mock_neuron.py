"""A neuron whose engine computes nothing: ``python -m cortex_actors.cli.bench.mock_neuron``.

It speaks the real protocol over real links, so that what is measured in front of it is all of the
gateway and nothing else. What it says is made before it is asked for, as by ``mock_http``.
"""

from __future__ import annotations

import argparse
import signal
from functools import cache, partial
from typing import Final, final

from cortex_actors.cli.bench.mock_script import FAST, GAP_S, MODELS, PROMPT_TOKENS, pieces_of
from transports.identity import process_boot, process_identity
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import ModelState, NeuronState
from transports.schemas.generate import Generate, GenerateDone, TextDelta
from transports.schemas.link import Failure
from transports.text_run import join_runs

_PUSH_S: Final = 1.0


@final
class _Gateways:
    """Where gateways connect; they are told that the models are ready."""

    def __init__(self, reactor: Reactor, engine_endpoint: str) -> None:
        self._reactor = reactor
        self._engine_endpoint = engine_endpoint
        self._links: list[Link] = []

    def push(self) -> None:
        """Tell all of them now and in a second."""
        for link in self._links:
            link.note(self._state())
        self._reactor.call_later(_PUSH_S, self.push)

    def on_up(self, link: Link) -> None:
        self._links.append(link)
        link.note(self._state())

    def on_request(self, request: IncomingRequest) -> None:
        request.fail(Failure("invalid_request", "a mock neuron loads nothing"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        pass

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        del reason, detail
        if link in self._links:
            self._links.remove(link)

    def _state(self) -> NeuronState:
        models = tuple(
            ModelState(name, "ready", endpoint=self._engine_endpoint, capacity=4096)
            for name in MODELS
        )
        return NeuronState("mock", process_boot(), "0", "mock", 1.0, (), models)


@final
class _Engine:
    """Where front ends connect; every request is answered by the script."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def on_up(self, link: Link) -> None:
        pass

    def on_request(self, request: IncomingRequest) -> None:
        asked = request.body
        if not isinstance(asked, Generate):
            request.fail(Failure("invalid_request", "a mock engine only generates"))
            return
        pieces = pieces_of(asked.model, asked.sampling.max_tokens)
        if asked.model == FAST:
            request.complete(_all_at_once(pieces))
        else:
            ended: list[str] = []
            request.on_cancel(ended.append)
            self._say(request, pieces, 0, ended)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        pass

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        pass

    def _say(
        self, request: IncomingRequest, pieces: tuple[str, ...], index: int, ended: list[str]
    ) -> None:
        if ended:
            request.fail(Failure("cancelled", ended[0]))
        elif index == len(pieces):
            request.complete(_done(len(pieces)))
        else:
            request.link.publish([(request, TextDelta(pieces[index], index, (1,)))])
            again = partial(self._say, request, pieces, index + 1, ended)
            self._reactor.call_later(GAP_S, again)


@cache
def _all_at_once(pieces: tuple[str, ...]) -> GenerateDone:
    # Joined ahead, as the link would join them for each request: the bare server builds ahead too.
    last = join_runs([TextDelta(text, index, (1,)) for index, text in enumerate(pieces)])
    return _done(len(pieces), tuple(last))


def _done(tokens: int, last: tuple[TextDelta, ...] = ()) -> GenerateDone:
    return GenerateDone("stop", prompt_tokens=PROMPT_TOKENS, completion_tokens=tokens, last=last)


def main() -> None:
    """Answer until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--link", required=True, metavar="ENDPOINT", help="for gateways")
    parser.add_argument("--engine", required=True, metavar="ENDPOINT", help="for front ends")
    arguments = parser.parse_args()
    reactor = Reactor("mock-neuron")
    gateways = _Gateways(reactor, arguments.engine)
    signal.signal(signal.SIGTERM, lambda *_: reactor.stop())
    reactor.start()
    reactor.listen(arguments.engine, process_identity("engine", FAST), _Engine(reactor))
    reactor.listen(arguments.link, process_identity("neuron", "mock"), gateways)
    reactor.call_soon(gateways.push)
    while not reactor.join(1.0):
        pass


if __name__ == "__main__":
    main()
