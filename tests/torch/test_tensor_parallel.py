"""Several ranks in processes of their own compute what one rank does."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.backend import TorchBackend
from tests.torch.conftest import MakeModel
from tests.torch.copies import Copies
from tests.torch.rank_process import Job, Report, run_group, teacher_steps, watch_logits
from tests.torch.test_backend import PROMPT, SMALL_PROMPT, reference, shard
from transports.failures import FailureCode

pytestmark = [pytest.mark.torch, pytest.mark.process]

ANSWER_TOKENS = 10


class Comparison:
    """A job for a group, and the same steps on a single rank in this process."""

    def __init__(self, model_dir: Path, prompt: tuple[int, ...], place: Path, **job: Any) -> None:
        self.answer = reference(model_dir, prompt, ANSWER_TOKENS)
        self._model_dir = model_dir
        self.job = Job(
            str(model_dir),
            teacher_steps(prompt, self.answer),
            job.pop("rendezvous", (place / "meeting").as_uri()),
            logits_file=str(place / "logits"),
            **job,
        )

    def check(self, reports: tuple[Report, ...]) -> None:
        """Compare logits after every token, tokens, and what each rank holds."""
        import torch
        from safetensors.torch import load_file

        assert [report.message for report in reports] == [""] * len(reports)
        together, (alone, weight_bytes) = load_file(self.job.logits_file)["logits"], self._alone()
        if self.job.dtype == "float32":
            assert list(reports[0].tokens) == self.answer
            torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)
        else:
            # bfloat16 has 8 bits of precision; errors are judged against the spread of the logits.
            assert (together - alone).abs().mean() / alone.std() < 0.03
        assert all(not report.tokens for report in reports[1:])
        assert max(report.weight_bytes for report in reports) < weight_bytes

    def _alone(self) -> tuple[Any, int]:
        import torch

        rows: list[Any] = []
        backend = TorchBackend(on_collective=lambda: None)
        loaded = backend.load(shard(self._model_dir, dtype=self.job.dtype))
        watch_logits(backend, rows)
        for step in self.job.steps:
            backend.step(step)
        backend.close()
        return torch.stack(rows), loaded.weight_bytes


def test_smollm2_on_three_ranks_is_smollm2_on_one(
    copies: Copies, smollm2: Path, tmp_path: Path
) -> None:
    comparisons = []
    for dtype in ("float32", "bfloat16"):
        place = tmp_path / dtype
        place.mkdir()
        comparisons.append(Comparison(smollm2, PROMPT, place, dtype=dtype))
    reports = run_group(copies, 3, [comparison.job for comparison in comparisons], tmp_path)
    for comparison, report in zip(comparisons, reports, strict=True):
        comparison.check(report)


def test_qwen3_is_divided_among_two_ranks_that_meet_over_tcp(
    copies: Copies, make_model: MakeModel, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        meeting = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    model_dir = make_model("qwen3", attention_bias=True, vocab_size=201)
    comparison = Comparison(model_dir, SMALL_PROMPT, tmp_path, rendezvous=meeting)
    comparison.check(run_group(copies, 2, [comparison.job], tmp_path)[0])


def test_ranks_that_have_slept_are_still_one_group(
    copies: Copies, make_model: MakeModel, tmp_path: Path
) -> None:
    model_dir = make_model("qwen3")
    answer = reference(model_dir, SMALL_PROMPT, ANSWER_TOKENS)
    steps = teacher_steps(SMALL_PROMPT, answer)
    job = Job(str(model_dir), steps, (tmp_path / "meeting").as_uri(), sleeps=True)
    reports = run_group(copies, 2, [job], tmp_path)[0]

    assert [report.message for report in reports] == ["", ""]
    assert list(reports[0].tokens) == [*answer, *answer]


def test_four_ranks_share_two_key_value_heads_and_refuse_what_does_not_divide(
    copies: Copies, make_model: MakeModel, tmp_path: Path
) -> None:
    model_dir = make_model("qwen3", tie_word_embeddings=True)
    comparison = Comparison(model_dir, SMALL_PROMPT, tmp_path)
    odd = make_model(hidden_size=72, num_attention_heads=6, num_key_value_heads=3)
    refused = Job(str(odd), (), (tmp_path / "second-meeting").as_uri())
    reports, refusals = run_group(copies, 4, [comparison.job, refused], tmp_path)
    comparison.check(reports)
    assert {refusal.code for refusal in refusals} == {FailureCode.LOAD_FAILED}
    assert len({refusal.message for refusal in refusals}) == 1
    assert "possible are 1, 3, 6" in refusals[0].message


def test_a_rank_whose_peer_never_comes_gives_up(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuron_runtime.torch_backend.collectives.JOIN_S", 0.3)
    backend = TorchBackend(on_collective=lambda: None)
    lonely = shard(make_model(), world_size=2, rendezvous=(tmp_path / "meeting").as_uri())
    with pytest.raises(BackendError, match="could not meet") as refusal:
        backend.load(lonely)
    assert refusal.value.code == FailureCode.LOAD_FAILED
