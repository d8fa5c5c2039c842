"""What a hostile or broken peer can do to a listener: nothing but be turned away."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.networks import CALM
from tests.conformance.recorder import Events, Recorder, step
from tests.eventually import eventually
from tests.security.intruder import BOOT, INC, ROUTE, SLOT, Intruder
from transports import zmq_link
from transports.curve import CurveClient, CurveKeys, CurveServer, generate_keypair
from transports.endpoints import parse
from transports.envelope import Kind
from transports.errors import EndpointError
from transports.fence import DropReason
from transports.identity import process_identity
from transports.link import Completed, LinkState
from transports.reactor import Reactor
from transports.schemas.group import CacheCleared, ClearCache, StepDone
from transports.schemas.link import Goodbye, Ping


@dataclass
class Target:
    """A listener with one honest peer, which must not notice anything."""

    reactor: Reactor
    endpoint: str
    server: Recorder
    honest: Recorder

    def drops(self, reason: DropReason) -> int:
        return self.reactor.counters.drops[reason]

    def assert_unharmed(self) -> None:
        events = Events()
        self.honest.link.request(step(1), events, deadline_s=5.0)
        eventually(lambda: events.is_over)
        assert events.seen == [Completed(StepDone(1, 0))]
        assert not self.honest.downs
        assert self.honest.link.state is LinkState.UP


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor("target")
    reactor.start()
    yield reactor
    reactor.stop()
    assert reactor.join(5.0)


@pytest.fixture
def target(reactor: Reactor) -> Target:
    server, honest = Recorder(), Recorder()
    me = process_identity("listener", "server")
    listener = reactor.listen("tcp://127.0.0.1:*", me, server, liveness=CALM)
    reactor.connect(listener.endpoint, process_identity("w", "honest"), honest, liveness=CALM)
    eventually(lambda: honest.is_up and server.is_up)
    return Target(reactor, listener.endpoint, server, honest)


@pytest.mark.parametrize(
    ("routing_id", "fields", "reason"),
    [
        (b"whoever", {}, DropReason.UNKNOWN_SOURCE),
        (ROUTE, {"boot": BOOT + 1}, DropReason.FOREIGN_BOOT),
        (ROUTE, {"slot": SLOT + 1}, DropReason.UNKNOWN_SOURCE),
        (ROUTE, {"inc": INC - 1}, DropReason.STALE_INCARNATION),
    ],
)
def test_hello_of_somebody_else_is_refused(
    target: Target, routing_id: bytes, fields: dict[str, int], reason: DropReason
) -> None:
    with Intruder(target.endpoint, routing_id) as intruder:
        intruder.say_hello(**fields)
        kind, body = intruder.hear()
    assert kind is Kind.GOODBYE
    assert isinstance(body, Goodbye)
    assert body.reason == reason
    assert target.drops(reason) == 1
    assert len(target.server.links) == 1
    target.assert_unharmed()


def test_hello_of_another_protocol_is_refused(target: Target) -> None:
    with Intruder(target.endpoint) as intruder:
        intruder.say_hello(protocol_min=2, protocol_max=3)
        assert intruder.hear() == (Kind.GOODBYE, Goodbye("version", "we speak 1"))


def test_message_without_a_hello_is_turned_away(target: Target) -> None:
    with Intruder(target.endpoint) as intruder:
        intruder.say(Kind.REQUEST, ClearCache())
        kind, body = intruder.hear()
    assert kind is Kind.GOODBYE
    assert isinstance(body, Goodbye)
    assert body.reason == "unknown"
    assert target.drops(DropReason.UNKNOWN_SOURCE) == 1
    assert not target.server.requests


def test_other_version_is_turned_away(target: Target) -> None:
    with Intruder(target.endpoint) as intruder:
        intruder.say(Kind.PING, Ping(1), version=9)
        kind, body = intruder.hear()
    assert (kind, target.drops(DropReason.VERSION)) == (Kind.GOODBYE, 1)
    assert isinstance(body, Goodbye)
    assert body.reason == "version"


@pytest.mark.parametrize(
    "fields", [{"src": SLOT + 1}, {"corr": 1000}], ids=["another source", "an unasked question"]
)
def test_impossible_message_of_a_bound_peer_ends_its_link(
    target: Target, fields: dict[str, int]
) -> None:
    with Intruder(target.endpoint) as intruder:
        intruder.join()
        intruder.say(Kind.RESULT, CacheCleared(0), (), **fields)
        kind, _ = intruder.hear()
        assert kind is Kind.GOODBYE
        eventually(lambda: bool(target.server.downs))
        assert target.server.downs[0][0] == "protocol"
    target.assert_unharmed()


def test_message_of_another_incarnation_reaches_nobody(target: Target) -> None:
    with Intruder(target.endpoint) as intruder:
        intruder.join()
        intruder.say(Kind.REQUEST, ClearCache(), inc=INC - 1)
        eventually(lambda: target.drops(DropReason.STALE_INCARNATION) == 1)
    assert not target.server.requests
    assert len(target.server.links) == 2
    target.assert_unharmed()


def test_routing_id_in_use_cannot_be_taken_over(target: Target) -> None:
    with Intruder(target.endpoint) as owner:
        owner.join()
        eventually(lambda: len(target.server.links) == 2)
        with Intruder(target.endpoint) as thief:
            thief.say_hello()
            with pytest.raises(TimeoutError):
                thief.hear(within_ms=200)
        owner.say(Kind.PING, Ping(5))
        # The thief's leaving may have made the listener ask whether its peers are still there.
        while (heard := owner.hear()[0]) is Kind.PING:
            pass
        assert heard is Kind.PONG
    assert len(target.server.links) == 2


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"cos\nsystem\n(S'echo owned'\ntR.", id="pickle 0"),
        pytest.param(b"\x80\x05\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.", id="pickle 5"),
        pytest.param(b"\x82\xa1t\xa9os.system\xa3cmd\xa4echo", id="unknown type"),
        pytest.param(b"\x91" * 100_000, id="deep nesting"),
        pytest.param(b"\x82\xa1t\xa6Chunks\xa5items\xdd\xff\xff\xff\xff", id="huge array"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_body_that_is_no_message_is_dropped(target: Target, payload: bytes) -> None:
    with Intruder(target.endpoint) as intruder:
        intruder.join()
        intruder.say(Kind.REQUEST, payload)
        eventually(lambda: target.drops(DropReason.MALFORMED) == 1)
        intruder.say(Kind.PING, Ping(1))
        assert intruder.hear()[0] is Kind.PONG
    assert not target.server.requests
    target.assert_unharmed()


def test_too_many_raw_frames_are_dropped(target: Target) -> None:
    with Intruder(target.endpoint) as intruder:
        intruder.join()
        intruder.say(Kind.REQUEST, ClearCache(), raw=[b""] * 65)
        eventually(lambda: target.drops(DropReason.MALFORMED) == 1)
    target.assert_unharmed()


def test_oversized_frame_costs_its_sender_the_connection(
    monkeypatch: pytest.MonkeyPatch, reactor: Reactor
) -> None:
    monkeypatch.setattr(zmq_link, "MAX_FRAME_BYTES", 100_000)
    server, honest = Recorder(), Recorder()
    me = process_identity("listener", "server")
    listener = reactor.listen("tcp://127.0.0.1:*", me, server, liveness=CALM)
    reactor.connect(listener.endpoint, process_identity("w", "honest"), honest, liveness=CALM)
    eventually(lambda: honest.is_up and server.is_up)
    with Intruder(listener.endpoint) as intruder:
        intruder.join()
        eventually(lambda: len(server.links) == 2)
        intruder.say(Kind.REQUEST, ClearCache(), raw=[bytes(200_000)])
        eventually(lambda: bool(server.downs))
        assert server.downs[0][0] == "unreachable"
    assert not server.requests
    Target(reactor, listener.endpoint, server, honest).assert_unharmed()


def test_noise_on_the_port_is_ignored(target: Target) -> None:
    address = parse(target.endpoint)
    for _ in range(20):
        with socket.create_connection((address.host, address.port), timeout=2.0) as noise:
            noise.sendall(secrets.token_bytes(512))
    target.assert_unharmed()


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:*", "tcp://*:*", "tcp://[::]:*"])
def test_listening_beyond_this_host_without_keys_is_refused(
    reactor: Reactor, endpoint: str
) -> None:
    with pytest.raises(EndpointError, match="without CURVE keys"):
        reactor.listen(endpoint, process_identity("a", "a"), Recorder())


class TestCurve:
    """A listener with keys and one key on its allow-list."""

    @pytest.fixture(autouse=True)
    def _listen(self, reactor: Reactor, tmp_path: Path) -> None:
        self.reactor = reactor
        self.known = generate_keypair(tmp_path, "known")
        self.other = generate_keypair(tmp_path, "other")
        self.keys = generate_keypair(tmp_path, "server")
        self.server = Recorder()
        curve = CurveServer(self.keys, {self.known.public: "known"})
        me = process_identity("listener", "server")
        listener = reactor.listen("tcp://127.0.0.1:*", me, self.server, curve=curve, liveness=CALM)
        self.endpoint = listener.endpoint

    def try_connect(self, curve: CurveClient | None, name: str = "known") -> Recorder:
        client = Recorder()
        me = process_identity("worker", name)
        self.reactor.connect(self.endpoint, me, client, curve=curve, deadline_s=1.0, liveness=CALM)
        eventually(lambda: client.is_up or client.is_down)
        return client

    def test_key_on_the_list_is_let_in(self) -> None:
        client = self.try_connect(CurveClient(self.known, self.keys.public))
        assert client.is_up
        eventually(lambda: self.server.is_up)
        assert self.server.link.peer.name == "known"

    def test_key_that_is_not_on_the_list_is_refused(self, caplog: pytest.LogCaptureFixture) -> None:
        client = self.try_connect(CurveClient(self.other, self.keys.public))
        assert client.downs[0][0] == "handshake_refused"
        assert not self.server.links
        (told,) = [each for each in caplog.messages if each.startswith("key_refused")]
        assert told == f"key_refused peer=127.0.0.1 key={self.other.public.decode()}"

    def test_one_connection_after_another_is_judged_without_a_failure(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(3):
            assert self.try_connect(CurveClient(self.known, self.keys.public)).is_up
            assert not self.try_connect(CurveClient(self.other, self.keys.public)).links
        assert not [each for each in caplog.records if each.levelname == "ERROR"]

    def test_key_opens_no_other_name(self) -> None:
        client = self.try_connect(CurveClient(self.known, self.keys.public), name="other")
        assert client.downs == [("wrong_name", "this key belongs to known")]
        assert not self.server.links

    def test_stolen_public_key_is_worth_nothing(self) -> None:
        forged = CurveKeys(self.known.public, self.other.secret)
        client = self.try_connect(CurveClient(forged, self.keys.public))
        assert not client.links
        assert not self.server.links

    def test_server_with_another_key_is_not_trusted(self) -> None:
        client = self.try_connect(CurveClient(self.known, self.other.public))
        assert not client.links
        assert not self.server.links

    def test_peer_without_keys_is_refused(self) -> None:
        assert not self.try_connect(None).links
        assert not self.server.links

    def test_server_without_keys_is_not_trusted(self) -> None:
        me = process_identity("listener", "plain")
        plain = self.reactor.listen("tcp://127.0.0.1:*", me, Recorder(), liveness=CALM)
        self.endpoint = plain.endpoint
        assert not self.try_connect(CurveClient(self.known, self.keys.public)).links

    def test_key_of_one_listener_does_not_open_another(self) -> None:
        me = process_identity("listener", "second")
        second = self.reactor.listen(
            "tcp://127.0.0.1:*",
            me,
            Recorder(),
            curve=CurveServer(self.keys, {self.other.public: "other"}),
            liveness=CALM,
        )
        self.endpoint = second.endpoint
        refused = self.try_connect(CurveClient(self.known, self.keys.public))
        assert refused.downs[0][0] == "handshake_refused"
        accepted = self.try_connect(CurveClient(self.other, self.keys.public), name="other")
        assert accepted.is_up
