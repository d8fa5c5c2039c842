"""The least loaded replica, unless another knows the prompt; held against a plain scan."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from cortex_actors.http.prompt_prefix import BLOCK_BYTES, MOST_BLOCKS, prefix_hashes
from cortex_actors.serving.prefix_affinity import PrefixAffinity
from cortex_actors.serving.replica_choice import Chosen, ReplicaChoice
from tests.unit.serving.doubles import model_state, neuron_state
from transports.schemas.fleet import NeuronState


class Scene:
    """Replicas of one model and what is leased on each."""

    def __init__(self, **capacities: int) -> None:
        self.loads: Counter[str] = Counter()
        self.choice = ReplicaChoice(lambda _model, neuron: self.loads[neuron])
        self.fleet = tuple(self.neuron(name, size) for name, size in capacities.items())
        self.choice.see(self.fleet)

    @staticmethod
    def neuron(name: str, capacity: int, state: str = "ready") -> NeuronState:
        replica = model_state("m", state, neuron=name, capacity=capacity)
        if replica.endpoint:
            replica = model_state("m", neuron=name, capacity=capacity)
        return neuron_state(name, replica)

    def lease(self, neuron: str, tokens: int) -> None:
        self.loads[neuron] += tokens
        self.choice.changed("m", neuron)

    def chosen(self, tokens: int = 1, prefix: tuple[int, ...] = ()) -> tuple[str, str]:
        found = self.choice.choose("m", tokens, prefix)
        assert isinstance(found, Chosen)
        return found.replica.neuron, found.why


def test_equal_replicas_are_told_apart_by_name() -> None:
    """J03."""
    assert Scene(b=4, a=4).chosen() == ("a", "least_loaded")
    assert Scene(a=4).chosen() == ("a", "only")


def test_the_choice_follows_the_load_relative_to_capacity() -> None:
    """J01."""
    scene = Scene(a=2, b=8)
    scene.lease("a", 10)
    scene.lease("b", 30)
    assert scene.chosen()[0] == "b"
    scene.lease("b", 20)
    assert scene.chosen()[0] == "a"


def test_nowhere_to_go_is_no_error() -> None:
    assert Scene().choice.choose("m") is None


def test_a_replica_that_knows_the_prompt_goes_first_until_it_is_much_busier() -> None:
    scene = Scene(a=4, b=4, c=4)
    assert scene.chosen(100, (1, 2)) == ("a", "least_loaded")
    scene.lease("a", 100)
    assert scene.chosen(100, (1, 2, 3)) == ("a", "prefix")
    assert scene.chosen(100, (9,)) == ("b", "least_loaded")
    scene.lease("a", 200)
    assert scene.chosen(100, (1, 2, 3)) == ("b", "least_loaded")
    assert scene.chosen(100, (1, 2, 3)) == ("b", "prefix"), "now it knows it as well"


def test_a_replica_to_be_avoided_is_passed_over_and_is_there_again_later() -> None:
    fleet = tuple(neuron_state(name, model_state("m", neuron=name)) for name in ("a", "b"))
    choice = ReplicaChoice(lambda _model, _neuron: 0.0)
    choice.see(fleet)
    assert choice.choose("m", avoid=("tcp://127.0.0.1:7",)) is None
    found = choice.choose("m")
    assert found is not None
    assert found.replica.neuron == "a"


def test_another_fleet_replaces_what_was_known() -> None:
    scene = Scene(a=4, b=4)
    scene.choice.see((scene.neuron("b", 4), scene.neuron("c", 4, "recovering")))
    assert scene.chosen() == ("b", "only")


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4), min_size=1),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-3, 5)), max_size=40),
)
def test_the_heap_agrees_with_a_scan(
    capacities: dict[str, int], changes: list[tuple[str, int]]
) -> None:
    scene = Scene(**capacities)
    for name, tokens in changes:
        scene.lease(name, max(tokens, -scene.loads[name]))
        least = min(capacities, key=lambda each: (scene.loads[each] / capacities[each], each))
        assert scene.chosen()[0] == least


def test_what_was_not_seen_for_long_is_forgotten() -> None:
    affinity = PrefixAffinity(most_blocks=3)
    affinity.saw("m", (1, 2), "a")
    affinity.saw("m", (3,), "b")
    affinity.saw("m", (1,), "b")
    affinity.saw("m", (4,), "c")
    assert affinity.longest("m", (1, 2)) == ("b", "a")
    assert affinity.longest("m", (2,)) == ()
    assert len(affinity) == 3


@given(st.binary(max_size=4 * BLOCK_BYTES), st.binary(max_size=2000), st.binary(max_size=2000))
def test_prompts_share_as_many_hashes_as_leading_blocks(
    shared: bytes, one: bytes, other: bytes
) -> None:
    first, second = prefix_hashes(shared + one), prefix_hashes(shared + other)
    same = [a == b for a, b in zip(first, second, strict=False)]
    blocks = len(shared) // BLOCK_BYTES
    assert all(same[:blocks])
    assert same == sorted(same, reverse=True)
    assert len(prefix_hashes(b"x" * BLOCK_BYTES * 100)) == MOST_BLOCKS
