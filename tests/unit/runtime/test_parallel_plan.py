"""How a model is divided: every head and every feature is held, by the ranks that need it."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_runtime.torch_backend.parallel_plan import (
    Cut,
    Geometry,
    ParallelPlan,
    PlacementError,
    Style,
)

STYLES = {
    "model.layers.*.self_attn.q_proj": "colwise",
    "model.layers.*.self_attn.k_proj": "colwise",
    "model.layers.*.self_attn.v_proj": "colwise",
    "model.layers.*.self_attn.o_proj": "rowwise",
    "model.layers.*.self_attn.q_norm": "replicated_with_grad_allreduce",
    "model.layers.*.mlp.gate_up_proj": "packed_colwise",
    "model.layers.*.mlp.down_proj": "rowwise",
    "lm_head": "colwise_gather_output",
}
EIGHT_HEADS = Geometry(heads=8, key_value_heads=2, intermediate=96)


def plans(world_size: int, geometry: Geometry = EIGHT_HEADS) -> list[ParallelPlan]:
    return [ParallelPlan(STYLES, geometry, rank, world_size) for rank in range(world_size)]


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({"num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536}, (1, 3)),
        (
            {"num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 96},
            (1, 2, 4, 8),
        ),
        (
            {"num_attention_heads": 8, "num_key_value_heads": 8, "intermediate_size": 96},
            (1, 2, 4, 8),
        ),
        ({"num_attention_heads": 8, "intermediate_size": 4}, (1, 2, 4)),
        ({"text_config": {"num_attention_heads": 4, "num_key_value_heads": 1}}, (1, 2, 4)),
        ({"num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 96}, (1, 2, 6)),
        ({}, (1,)),
    ],
)
def test_only_sizes_that_divide_heads_and_features_fit(
    config: dict[str, Any], sizes: tuple[int, ...]
) -> None:
    assert Geometry.from_config(config).world_sizes() == sizes


def test_a_refusal_names_the_sizes_that_do_work() -> None:
    with pytest.raises(PlacementError, match=r"among 3 devices; possible are 1, 2, 4, 8"):
        plans(3)


def test_a_plan_that_we_cannot_follow_is_refused_for_more_than_one_rank() -> None:
    with pytest.raises(PlacementError, match="moe_tp_experts"):
        ParallelPlan({"model.layers.*.mlp.experts": "moe_tp_experts"}, EIGHT_HEADS, 0, 2)
    with pytest.raises(PlacementError, match="no tensor-parallel plan"):
        ParallelPlan({}, EIGHT_HEADS, 0, 2)
    assert ParallelPlan({}, EIGHT_HEADS, 0, 1).style("lm_head") is Style.REPLICATED


def test_outputs_and_inputs_are_divided_without_gap_or_overlap() -> None:
    q = [plan.outputs("model.layers.0.self_attn.q_proj", 64) for plan in plans(4)]
    assert [cut.parts[0] for cut in q] == [range(n, n + 16) for n in range(0, 64, 16)]
    down = [plan.inputs("model.layers.11.mlp.down_proj", 96) for plan in plans(4)]
    assert [cut.parts[0] for cut in down] == [range(n, n + 24) for n in range(0, 96, 24)]
    assert {cut.dim for cut in down} == {1}
    assert plans(4)[0].inputs("model.layers.0.self_attn.q_proj", 64).size == 64
    assert plans(4)[0].outputs("model.layers.0.self_attn.o_proj", 64).size == 64


def test_key_value_heads_are_shared_when_ranks_outnumber_them() -> None:
    cuts = [plan.outputs("model.layers.0.self_attn.k_proj", 16) for plan in plans(8)]
    assert [cut.parts[0].start for cut in cuts] == [0, 0, 0, 0, 8, 8, 8, 8]
    assert {cut.size for cut in cuts} == {8}
    assert [plans(size)[0].query_heads_per_kv_head for size in (1, 2, 4, 8)] == [4, 4, 2, 1]


def test_each_rank_has_the_key_value_head_of_its_query_heads() -> None:
    per_head = EIGHT_HEADS.heads // EIGHT_HEADS.key_value_heads
    for world_size in (2, 4, 8):
        for plan in plans(world_size):
            queries = plan.outputs("model.layers.0.self_attn.q_proj", EIGHT_HEADS.heads).parts[0]
            held = plan.outputs("model.layers.0.self_attn.v_proj", EIGHT_HEADS.key_value_heads)
            assert {query // per_head for query in queries} == set(held.parts[0])


def test_both_halves_of_a_packed_matrix_are_divided() -> None:
    cut = plans(2)[1].outputs("model.layers.0.mlp.gate_up_proj", 192)
    assert cut == Cut(0, (range(48, 96), range(144, 192)))


def test_the_vocabulary_need_not_divide() -> None:
    assert [len(plan.vocabulary(10)) for plan in plans(4)] == [3, 3, 3, 1]
    assert [len(plan.vocabulary(5)) for plan in plans(4)] == [2, 2, 1, 0]
    covered = [token for plan in plans(8) for token in plan.vocabulary(203)]
    assert covered == list(range(203))


def test_norms_and_unnamed_modules_are_replicated() -> None:
    plan = plans(2)[1]
    assert plan.style("model.layers.3.self_attn.q_norm") is Style.REPLICATED
    assert plan.style("model.norm") is Style.REPLICATED
    assert plan.outputs("model.norm", 64).size == 64


def test_features_that_do_not_divide_name_their_module() -> None:
    with pytest.raises(PlacementError, match=r"layers\.0\.mlp\.gate_up_proj"):
        plans(8)[0].outputs("model.layers.0.mlp.gate_up_proj", 20)
