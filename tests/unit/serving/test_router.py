"""The Router: leases, parked requests, and exactly one answer to each."""

from __future__ import annotations

import msgspec

from cortex_actors.serving.abilities import EMBED
from cortex_actors.serving.lease_table import holder_of
from cortex_actors.serving.messages import (
    DrainStarted,
    EnsureLoaded,
    HolderGone,
    LeaseAsked,
    LeasesReturned,
    LoadFinished,
    LoadUnwanted,
    NamesChanged,
    ReplicaInUse,
    Tick,
)
from cortex_actors.serving.router import AVOID_S, KEEP_S, LATE_S, RETURN_S
from tests.eventually import eventually
from tests.unit.serving.doubles import (
    FakeLink,
    FakeRequest,
    model_state,
    neuron_state,
    settle,
)
from tests.unit.serving.router_scene import Scene
from transports.failures import FailureCode
from transports.link import LinkState
from transports.schemas.fleet import (
    Lease,
    LeaseRequest,
    LeaseSettled,
)
from transports.schemas.link import Failure


def test_a_ready_model_is_leased_at_once(scene: Scene) -> None:
    scene.show(model_state("m"))

    lease = Lease(1, "m", "n1", "tcp://127.0.0.1:7", "key of n1", keep_s=KEEP_S)
    assert scene.ask("alias").answer() == lease
    assert scene.loader.heard(EnsureLoaded) == []
    assert scene.summary == "leases=1 parked=0"


def test_an_unknown_name_is_refused_with_the_known_ones(scene: Scene) -> None:
    failure = scene.ask("gpt-4").failure()

    assert failure.code == FailureCode.MODEL_NOT_FOUND
    assert failure.param == "model"
    assert "'gpt-4'" in failure.message
    assert "alias, chain, m, mixed, other, vectors" in failure.message


def test_waiters_are_told_of_a_load_once_until_something_about_it_changes(scene: Scene) -> None:
    early = scene.park()
    scene.show(model_state("m", "starting"))
    scene.show(model_state("m", "starting"), model_state("other", "starting"))
    late = scene.park()
    scene.show(model_state("m", "starting"))
    settle(scene.router)
    assert early.progressed == [model_state("m", "starting")]
    assert late.progressed == [model_state("m", "starting")]  # at once

    scene.show(model_state("m", "recovering"))
    settle(scene.router)
    assert early.progressed[1:] == late.progressed[1:] == [model_state("m", "recovering")]


def test_a_cold_model_is_loaded_and_its_waiters_served(scene: Scene) -> None:
    waiting = [scene.park(), scene.park()]
    scene.show(model_state("m", "starting"))
    settle(scene.router)
    assert [request.answers for request in waiting] == [[], []]
    assert [request.progressed for request in waiting] == [[model_state("m", "starting")]] * 2

    scene.show(model_state("m"))

    assert {type(request.answer()) for request in waiting} == {Lease}
    assert scene.summary == "leases=2 parked=0"


def test_a_task_that_the_model_is_known_not_to_do_loads_nothing(scene: Scene) -> None:
    failure = scene.ask("vectors").failure()
    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "model")
    assert scene.summary == "leases=0 parked=0"
    assert scene.loader.heard(EnsureLoaded) == []

    scene.ask("vectors", task=EMBED)
    assert scene.loader.next(EnsureLoaded).model == "vectors"


def test_of_a_chain_the_first_that_can_do_the_task_is_loaded(scene: Scene) -> None:
    scene.ask("mixed")
    assert scene.loader.next(EnsureLoaded).model == "m"
    scene.ask("mixed", task=EMBED)
    assert scene.loader.next(EnsureLoaded).model == "vectors"


def test_the_loaders_word_that_it_is_done_serves_too(scene: Scene) -> None:
    request = scene.park()
    scene.board.write((neuron_state("n1", model_state("m")),))
    scene.router.notify(LoadFinished("m", None))

    assert isinstance(request.answer(), Lease)


def test_a_load_that_fails_fails_all_who_wait_for_it_and_nobody_else(scene: Scene) -> None:
    waiting, other = [scene.park(), scene.park()], scene.park("other")
    failure = Failure(FailureCode.SOURCE_CORRUPT, "not a GGUF")
    scene.router.notify(LoadFinished("m", failure))

    assert [request.failure() for request in waiting] == [failure, failure]
    assert scene.summary == "leases=0 parked=1"
    assert other.answers == []


def test_a_waiter_is_told_that_the_model_still_loads_before_its_time_is_up(scene: Scene) -> None:
    late, patient = scene.park(deadline=110.0), scene.park(deadline=200.0)
    scene.clock.advance(10.0 - LATE_S)
    scene.router.notify(Tick())

    failure = late.failure()
    assert failure.code == FailureCode.MODEL_LOADING
    assert failure.retry_after_s
    assert scene.summary == "leases=0 parked=1"
    assert patient.answers == []


def test_a_waiter_whose_time_is_up_comes_back_when_the_load_should_be_done(scene: Scene) -> None:
    late = scene.park(deadline=110.0)
    failed = neuron_state("n0", model_state("m", "failed", error="no room", neuron="n0"))
    loading = neuron_state("n1", model_state("m", "starting", eta_s=61.5, progress=0.5))
    scene.board.write((failed, loading))
    scene.clock.advance(10.0 - LATE_S)
    scene.router.notify(Tick())

    assert late.failure().retry_after_s == 62.0
    assert "about 62 s to go" in late.failure().message


def test_while_somebody_waits_the_loader_is_reminded(scene: Scene) -> None:
    scene.park()
    scene.router.notify(Tick())

    assert scene.loader.next(EnsureLoaded).model == "m"


def test_a_client_that_leaves_is_unparked_and_its_question_closed(scene: Scene) -> None:
    request = scene.park()
    request.cancel()

    assert request.failure().code == FailureCode.CANCELLED
    assert scene.summary == "leases=0 parked=0"
    scene.show(model_state("m"))
    assert scene.summary == "leases=0 parked=0"


def test_a_client_that_left_before_it_was_parked_does_not_wait(scene: Scene) -> None:
    wanted = LeaseRequest("id", "m")
    request = FakeRequest(wanted)
    request.cancel()
    scene.router.tell(LeaseAsked(request, wanted))

    assert request.failure().code == FailureCode.CANCELLED


def test_a_lease_is_settled_once_and_counted(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    lease = scene.ask(link=link).answer()
    assert isinstance(lease, Lease)
    settled = LeaseSettled(lease.lease, "completed", 3, 4, 0.1, 0.2)
    for holder in ((7, 7), holder_of(link), holder_of(link)):
        scene.router.notify(LeasesReturned(holder, (settled,)))

    assert scene.summary == "leases=0 parked=0"
    assert scene.counted("completed") == 1.0


def test_a_holder_that_dies_releases_its_leases_and_no_others(scene: Scene) -> None:
    scene.show(model_state("m"))
    dying, living = FakeLink(inc=1), FakeLink(inc=2)
    for link in (dying, dying, living):
        scene.ask(link=link).answer()
    scene.router.notify(HolderGone(holder_of(dying)))

    assert scene.summary == "leases=1 parked=0"
    assert scene.counted("front_end_died") == 2.0


def test_a_question_that_its_askers_death_has_overtaken_gets_no_lease(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    link.state = LinkState.DOWN
    scene.router.notify(HolderGone(holder_of(link)))
    request = scene.ask(link=link)

    assert request.failure().code == FailureCode.LINK_LOST
    assert scene.summary == "leases=0 parked=0"


def test_draining_refuses_those_who_wait_and_those_who_come(scene: Scene) -> None:
    waiting = scene.park()
    scene.router.notify(DrainStarted())
    assert waiting.failure().code == FailureCode.SHUTTING_DOWN
    scene.show(model_state("m"))

    assert scene.ask().failure().code == FailureCode.SHUTTING_DOWN


def test_a_router_that_ends_leaves_nobody_waiting(scene: Scene) -> None:
    waiting = scene.park()
    scene.router.stop()

    assert waiting.failure().code == FailureCode.MODEL_UNAVAILABLE


def test_a_dead_loader_does_not_take_the_router_along(scene: Scene) -> None:
    scene.loader.ref.stop()
    eventually(lambda: not scene.loader.ref.alive)
    request = scene.ask()

    assert scene.summary == "leases=0 parked=1"
    assert request.answers == []


def test_an_engine_that_failed_a_request_is_passed_over_until_it_has_had_time(scene: Scene) -> None:
    scene.show(model_state("m"))
    wanted = LeaseRequest("id", "m", avoid=("tcp://127.0.0.1:7",))
    request = FakeRequest(wanted)
    scene.router.tell(LeaseAsked(request, wanted))
    assert scene.summary == "leases=0 parked=1"

    scene.clock.advance(AVOID_S)
    scene.show(model_state("m"))
    assert isinstance(request.answer(), Lease)


def test_a_restarted_engine_is_another(scene: Scene) -> None:
    scene.show(model_state("m"))
    wanted = LeaseRequest("id", "m", avoid=("tcp://127.0.0.1:6",))
    request = FakeRequest(wanted)
    scene.router.tell(LeaseAsked(request, wanted))
    assert isinstance(request.answer(), Lease)


def test_a_replica_that_was_full_for_one_is_passed_over_for_all_until_it_may_be_asked_again(
    scene: Scene,
) -> None:
    other = model_state("m", neuron="n2", capacity=1)
    other = msgspec.structs.replace(other, endpoint="tcp://127.0.0.1:8")
    scene.board.write((neuron_state("n1", model_state("m")), neuron_state("n2", other)))
    link = FakeLink()

    def leased(*, wait: bool = True) -> tuple[str, int]:
        wanted = LeaseRequest("id", "m", wait=wait)
        request = FakeRequest(wanted, link)
        scene.router.tell(LeaseAsked(request, wanted))
        answer = request.answer()
        assert isinstance(answer, Lease), answer
        return answer.neuron, answer.lease

    def full(lease: int, retry_after_s: float) -> None:
        settled = LeaseSettled(lease, "overloaded", last=False, retry_after_s=retry_after_s)
        scene.router.tell(LeasesReturned(holder_of(link), (settled,)))
        settle(scene.router)

    neuron, lease = leased()
    assert neuron == "n1"
    full(lease, 4.0)
    assert [leased()[0] for _ in range(3)] == ["n2"] * 3
    _, lease = leased()
    full(lease, 1.0)
    # All are full: who can go nowhere else asks the least loaded, who was refused already does not.
    assert leased()[0] == "n1"
    wanted = LeaseRequest("id", "m", avoid=("tcp://127.0.0.1:8",), wait=False)
    request = FakeRequest(wanted, link)
    scene.router.tell(LeaseAsked(request, wanted))
    assert request.failure().code == FailureCode.MODEL_UNAVAILABLE

    scene.clock.advance(1.0)
    assert leased()[0] == "n2"
    scene.clock.advance(3.0)
    assert leased()[0] == "n1"


def test_who_does_not_wait_is_refused_when_no_other_replica_is_there(scene: Scene) -> None:
    scene.show(model_state("m"))
    wanted = LeaseRequest("id", "m", avoid=("tcp://127.0.0.1:7",), wait=False)
    request = FakeRequest(wanted)
    scene.router.tell(LeaseAsked(request, wanted))
    assert request.failure().code == FailureCode.MODEL_UNAVAILABLE
    assert scene.summary == "leases=0 parked=0"


def test_the_loader_hears_when_a_replica_is_in_use_and_when_no_more(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    leases = [scene.ask(link=link).answer() for _ in range(2)]
    for lease in leases:
        assert isinstance(lease, Lease)
        scene.router.tell(
            LeasesReturned(holder_of(link), (LeaseSettled(lease.lease, "completed"),))
        )
    settle(scene.router)
    heard = scene.loader.heard(ReplicaInUse)
    assert heard == [ReplicaInUse("m", "n1", 1), ReplicaInUse("m", "n1", 0)]


def test_the_loader_hears_when_nobody_waits_any_more(scene: Scene) -> None:
    request = scene.park()
    request.cancel("client_gone")
    assert scene.loader.next(LoadUnwanted).model == "m"


def test_a_load_goes_on_for_those_who_were_told_to_come_back_and_no_longer(scene: Scene) -> None:
    scene.park(deadline=110.0)
    leaving = scene.park(deadline=200.0)
    scene.show(model_state("m", "starting", eta_s=30.0))
    scene.clock.advance(10.0 - LATE_S)
    scene.router.notify(Tick())
    settle(scene.router)
    leaving.cancel("client_gone")
    settle(scene.router)
    assert scene.summary == "leases=0 parked=0"

    scene.clock.advance(30.0 + RETURN_S - 0.1)
    scene.router.notify(Tick())
    assert scene.loader.heard(LoadUnwanted) == []
    scene.clock.advance(0.1)
    scene.router.notify(Tick())
    assert scene.loader.next(LoadUnwanted).model == "m"
    scene.router.notify(Tick())
    assert scene.loader.heard(LoadUnwanted) == []


def test_who_comes_back_in_time_waits_for_the_same_load(scene: Scene) -> None:
    scene.park(deadline=110.0)
    scene.clock.advance(10.0 - LATE_S)
    scene.router.notify(Tick())
    settle(scene.router)
    again = scene.park()
    scene.clock.advance(60.0)
    scene.router.notify(Tick())
    settle(scene.router)
    assert scene.loader.heard(LoadUnwanted) == []
    again.cancel("client_gone")
    assert scene.loader.next(LoadUnwanted).model == "m"


def test_an_alias_takes_the_first_of_its_chain_that_is_ready(scene: Scene) -> None:
    scene.show(model_state("other"))
    lease = scene.ask("chain").answer()

    assert isinstance(lease, Lease)
    assert lease.model == "other"


def test_when_the_first_of_a_chain_cannot_be_loaded_the_next_is(scene: Scene) -> None:
    request = scene.ask("chain")
    assert scene.loader.next(EnsureLoaded).model == "m"

    failure = Failure(FailureCode.LOAD_FAILED, "no")
    scene.router.notify(LoadFinished("m", failure))
    assert scene.loader.next(EnsureLoaded).model == "other"
    assert request.answers == []

    scene.router.notify(LoadFinished("other", failure))
    settle(scene.router)
    assert request.failure() == failure


def test_names_of_another_catalogue_hold_from_then_on(scene: Scene) -> None:
    scene.show(model_state("m"))
    scene.router.notify(NamesChanged({"new": ("m",)}))

    assert isinstance(scene.ask("new").answer(), Lease)
    assert scene.ask("alias").failure().code == FailureCode.MODEL_NOT_FOUND
