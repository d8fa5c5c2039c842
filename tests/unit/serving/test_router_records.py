"""What the Router writes down of each request: its trail and its figures."""

from __future__ import annotations

import pytest

from cortex_actors.serving.lease_table import holder_of
from cortex_actors.serving.messages import (
    ExplainAsked,
    LeasesReturned,
    Tick,
)
from tests.unit.serving.doubles import (
    FakeLink,
    FakeRequest,
    model_state,
    settle,
)
from tests.unit.serving.router_scene import Scene
from transports.schemas.fleet import (
    Explanation,
    Lease,
    LeaseSettled,
    QueryExplain,
    TrailStep,
)
from transports.schemas.text_gaps import TextGaps


def test_what_became_of_a_request_can_be_asked(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    lease = scene.ask(link=link).answer()
    assert isinstance(lease, Lease)
    scene.clock.advance(2.0)
    settled = LeaseSettled(lease.lease, "completed", completion_tokens=5)
    scene.router.tell(LeasesReturned(holder_of(link), (settled,)))
    question = FakeRequest(QueryExplain("id"))
    scene.router.tell(ExplainAsked(question, "id"))

    answer = question.answer()
    assert isinstance(answer, Explanation)
    assert answer.steps == (
        TrailStep(0.0, "leased", "n1", "only"),
        TrailStep(2.0, "completed", "n1"),
    )
    assert answer.settled == settled
    unknown = FakeRequest(QueryExplain("other"))
    scene.router.tell(ExplainAsked(unknown, "other"))
    assert unknown.failure().param == "request_id"


def test_what_is_leased_and_what_waits_is_told_every_second_and_what_is_over_is_gone(
    scene: Scene,
) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    leases = [scene.ask(link=link).answer() for _ in range(2)]
    waiting = scene.park("other")

    def told(name: str) -> dict[tuple[str, ...], float]:
        scene.router.notify(Tick())
        settle(scene.router)
        (family,) = (each for each in scene.metrics.collect() if each.name == name)
        return {tuple(sample.labels.values()): sample.value for sample in family.samples}

    assert told("cortex_leases") == {("m", "n1"): 2}
    assert told("cortex_requests_parked") == {("other",): 1}

    for lease in leases:
        assert isinstance(lease, Lease)
        settled = LeaseSettled(lease.lease, "completed")
        scene.router.tell(LeasesReturned(holder_of(link), (settled,)))
    waiting.cancel()
    settle(scene.router)
    assert told("cortex_leases") == told("cortex_requests_parked") == {}


def test_figures_of_a_request_are_told_by_phase(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    lease = scene.ask(link=link).answer()
    assert isinstance(lease, Lease)
    settled = LeaseSettled(
        lease.lease,
        "cancelled",
        completion_tokens=5,
        decode_s=0.4,
        queue_s=0.2,
        cancel_s=0.01,
        cached_tokens=3,
        gaps=TextGaps((*[0] * 5, 3, 1, *[0] * 7), 0.2),
    )
    scene.router.tell(LeasesReturned(holder_of(link), (settled,)))
    settle(scene.router)
    labels = {"gen_ai_request_model": "m", "neuron": "n1"}

    def value(name: str, **more: str) -> float | None:
        return scene.metrics.get_sample_value(name, {**labels, **more})

    assert value("gen_ai_server_time_per_output_token_seconds_sum") == pytest.approx(0.1)
    assert value("cortex_request_phase_seconds_sum", phase="queue") == pytest.approx(0.2)
    assert value("cortex_request_phase_seconds_count", phase="prefill") is None
    assert value("cortex_disconnect_to_kv_free_seconds_sum") == pytest.approx(0.01)
    assert value("cortex_tokens_total", direction="cached") == 3
    gaps = "cortex_inter_token_latency_seconds"
    assert value(f"{gaps}_bucket", le="0.05") == 3
    assert value(f"{gaps}_count") == value(f"{gaps}_bucket", le="+Inf") == 4
    assert value(f"{gaps}_sum") == pytest.approx(0.2)


def test_a_request_that_goes_on_elsewhere_is_counted_once(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    for last in (False, True):
        lease = scene.ask(link=link).answer()
        assert isinstance(lease, Lease)
        outcome = "completed" if last else "link_lost"
        settled = LeaseSettled(
            lease.lease, outcome, completion_tokens=2, first_token_s=0.5, last=last
        )
        scene.router.tell(LeasesReturned(holder_of(link), (settled,)))
    settle(scene.router)

    assert (scene.counted("completed"), scene.counted("link_lost")) == (1, None)
    labels = {"gen_ai_request_model": "m", "neuron": "n1"}
    first = "gen_ai_server_time_to_first_token_seconds_count"
    assert scene.metrics.get_sample_value(first, labels) == 1
    moved = {**labels, "outcome": "link_lost"}
    assert scene.metrics.get_sample_value("cortex_requests_moved_total", moved) == 1
    output = {**labels, "direction": "output"}
    assert scene.metrics.get_sample_value("cortex_tokens_total", output) == 4
