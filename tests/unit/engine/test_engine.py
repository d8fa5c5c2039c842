"""Requests on a whole engine, without processes: streams, ends, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.publisher import RETRY_S, Publisher
from neuron_runtime.outcome import Ok
from tests.unit.engine.engine_bench import GREEDY, EngineBench
from transports.failures import FailureCode
from transports.link import Lost
from transports.schemas.daemon import EngineLoad
from transports.schemas.generate import SamplingOptions
from transports.schemas.group import ClearCache, SampleParams, StepDone
from transports.schemas.link import Drain

ENDLESS = SamplingOptions(temperature=0.0)


def test_a_request_streams_its_text_and_ends_once(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client)

    assert answer.text == bench.right_text(8)
    assert [token for delta in answer.deltas for token in delta.tokens] == bench.right_tokens(8)
    assert [delta.index for delta in answer.deltas] == list(range(8))
    assert answer.done.finish_reason == "length"
    assert answer.done.completion_tokens == 8
    assert answer.done.prompt_tokens == len(
        bench.tokenizer.encode_chat([{"role": "user", "content": "hi"}])
    )


def test_streams_that_share_steps_do_not_mix(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    one, _ = bench.client()
    two, _ = bench.client()
    answers = [bench.ask(one, "a"), bench.ask(two, "b"), bench.ask(one, "c")]
    group.hold = False
    bench.step()

    assert [answer.text for answer in answers] == [bench.right_text(8, each) for each in "abc"]
    assert any(len(step.sequences) == 3 for step in group.steps)


def test_a_seed_decides_and_is_drawn_once_when_there_is_none(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()

    seeded = bench.ask(client, sampling=SamplingOptions(temperature=0.7, max_tokens=5, seed=42))
    unseeded = bench.ask(client, sampling=SamplingOptions(max_tokens=5))

    assert seeded.text == bench.right_text(5, sample=SampleParams(0.7, 1.0, 0, 42))
    assert unseeded.text == bench.right_text(5, sample=SampleParams(1.0, 1.0, 0, seed=1))


def test_an_end_token_ends_with_stop_and_is_never_shown(
    bench: EngineBench, model_dir: Path
) -> None:
    eos = frozenset({bench.right_tokens(4)[3]})
    bench = EngineBench(model_dir, facts=ModelFacts(4096, eos))
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client, sampling=ENDLESS)

    assert answer.text == bench.right_text(3)
    assert (answer.done.finish_reason, answer.done.completion_tokens) == ("stop", 4)


def test_a_stop_string_across_tokens_ends_the_text_before_it(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()
    whole = bench.right_text(8)
    stop = whole[9:15]

    answer = bench.ask(client, sampling=SamplingOptions(temperature=0.0, stop=(stop,)))

    assert answer.text == whole[: whole.index(stop)]
    assert answer.done.finish_reason == "stop"


def test_text_held_back_for_a_stop_string_appears_at_the_end(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()
    stop = bench.right_text(2)[-4:] + "!"

    answer = bench.ask(
        client, sampling=SamplingOptions(temperature=0.0, max_tokens=2, stop=(stop,))
    )

    assert answer.text == bench.right_text(2)
    assert answer.done.finish_reason == "length"


def test_the_context_ends_an_answer(bench: EngineBench, model_dir: Path) -> None:
    prompt = len(bench.tokenizer.encode_chat([{"role": "user", "content": "hi"}]))
    bench = EngineBench(model_dir, facts=ModelFacts(prompt + 3))
    bench.start_group()
    client, _ = bench.client()

    assert bench.ask(client, sampling=ENDLESS).done.completion_tokens == 3
    refused = bench.ask(client, "a much longer question").failure
    assert refused.code == FailureCode.CONTEXT_LENGTH_EXCEEDED
    assert f"maximum context length is {prompt + 3} tokens" in refused.message
    assert refused.detail["max"] == str(prompt + 3)
    assert f"the prompt has {refused.detail['prompt_tokens']} tokens" in refused.message


def test_a_cancelled_request_frees_its_slot_within_one_step(model_dir: Path) -> None:
    bench = EngineBench(model_dir, limits=Limits(max_running=1, max_queued=1))
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    first = bench.ask(client, "a", ENDLESS)
    second = bench.ask(client, "b")
    assert first.call is not None
    first.call.cancel("client_gone")
    bench.settle()

    assert first.failure.code == FailureCode.CANCELLED
    bench.step()
    assert [len(part.tokens) > 1 for part in group.steps[1].sequences] == [True]
    assert len(group.steps[1].forget) == 1
    group.hold = False
    bench.step()
    assert second.text == bench.right_text(8, "b")


def test_a_cancelled_request_ends_with_what_it_came_to(model_dir: Path) -> None:
    bench = EngineBench(model_dir)
    group = bench.start_group()
    client, _ = bench.client()
    group.hold = True
    answer = bench.ask(client, "a", ENDLESS)
    bench.network.advance(2.0)
    for _ in range(3):
        bench.step()
    bench.network.advance(4.0)
    assert answer.call is not None
    answer.call.cancel("client_gone")
    bench.settle()

    figures = answer.failure.figures
    assert figures is not None
    prompt = len(bench.tokenizer.encode_chat([{"role": "user", "content": "a"}]))
    assert (figures.prompt_tokens, figures.completion_tokens) == (prompt, 3)
    assert (figures.queue_s, figures.prefill_s, figures.decode_s) == (0.0, 2.0, 4.0)


def test_one_cancelled_before_its_first_token_had_a_prompt_and_waited(model_dir: Path) -> None:
    bench = EngineBench(model_dir)
    client, _ = bench.client()
    answer = bench.ask(client, "a", ENDLESS)
    bench.network.advance(2.0)
    assert answer.call is not None
    answer.call.cancel("client_gone")
    bench.settle()

    figures = answer.failure.figures
    assert figures is not None
    assert figures.prompt_tokens > 0
    assert (figures.queue_s, figures.prefill_s, figures.decode_s) == (2.0, 0.0, 0.0)


def test_a_queued_request_is_cancelled_at_once(model_dir: Path) -> None:
    bench = EngineBench(model_dir)
    client, _ = bench.client()
    answer = bench.ask(client)
    assert answer.call is not None
    answer.call.cancel()
    bench.settle()

    assert answer.failure.code == FailureCode.CANCELLED
    assert bench.scheduler.idle


def test_requests_of_a_lost_client_are_cancelled(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, me = bench.client()
    answers = [bench.ask(client, each, ENDLESS) for each in "abc"]
    bench.network.sever(me)
    bench.settle()
    bench.step()

    assert bench.scheduler.idle
    assert all(isinstance(answer.ends[0], Lost) for answer in answers)
    assert sorted(group.steps[-1].forget) == [1]


def test_without_a_group_a_request_waits_as_long_as_its_client(bench: EngineBench) -> None:
    client, _ = bench.client()
    patient = bench.ask(client, deadline_s=60.0)
    hasty = bench.ask(client, deadline_s=2.0)
    bench.network.advance(3.0)
    bench.settle()

    assert len(hasty.ends) == 1
    assert patient.ends == []
    bench.start_group()
    assert patient.text == bench.right_text(8)


def test_a_full_engine_refuses_and_says_when_to_come_back(model_dir: Path) -> None:
    bench = EngineBench(model_dir, limits=Limits(max_running=1, max_queued=1))
    client, _ = bench.client()
    bench.ask(client)
    bench.ask(client)

    refused = bench.ask(client).failure

    assert refused.code == FailureCode.OVERLOADED
    assert refused.retry_after_s


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "other"}, FailureCode.MODEL_NOT_FOUND),
        ({"messages": []}, FailureCode.INVALID_REQUEST),
        ({"messages": [{"content": "no role"}]}, FailureCode.INVALID_REQUEST),
        ({"sampling": SamplingOptions(max_tokens=0)}, FailureCode.INVALID_REQUEST),
    ],
)
def test_a_bad_request_is_refused_and_disturbs_nobody(
    model_dir: Path, change: dict[str, Any], code: str, tmp_path: Path
) -> None:
    strict = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}"
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((model_dir / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text(strict)
    bench = EngineBench(tmp_path)
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    good = bench.ask(client)

    assert bench.ask(client, **change).failure.code == code
    group.hold = False
    bench.step()
    assert good.text == bench.right_text(8)


def test_an_engine_answers_only_generate(bench: EngineBench) -> None:
    client, _ = bench.client()

    assert bench.ask_body(client, ClearCache()).failure.code == FailureCode.INVALID_REQUEST


def test_an_error_of_a_batch_ends_only_the_request_that_causes_it(bench: EngineBench) -> None:
    group = bench.start_group()
    group.refuse = lambda step: any(part.sequence == 2 for part in step.sequences)
    group.hold = True
    client, _ = bench.client()
    answers = {each: bench.ask(client, each) for each in "abc"}
    group.hold = False
    bench.step()

    assert answers["b"].failure.code == FailureCode.STEP_FAILED
    assert "refused on purpose" in answers["b"].failure.message
    for each in "ac":
        assert answers[each].text == bench.right_text(8, each)


def test_an_answer_that_is_none_ends_the_request(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    answer = bench.ask(client)
    group.answer_with(Ok((StepDone(999, 0),)))
    bench.settle()

    assert answer.failure.code == FailureCode.INTERNAL


def test_a_long_prompt_gets_the_longer_deadline(bench: EngineBench) -> None:
    group = bench.start_group()
    client, _ = bench.client()
    bench.ask(client)

    assert group.deadlines[0] > group.deadlines[1]


def test_drain_finishes_what_runs_and_refuses_what_is_new(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    running = bench.ask(client)
    drained = bench.ask_body(bench.daemon, Drain(5.0))
    refused = bench.ask(client)
    assert refused.failure.code == FailureCode.SHUTTING_DOWN
    assert drained.ends == []
    group.hold = False
    bench.step()

    assert running.text == bench.right_text(8)
    assert len(drained.ends) == 1


def test_a_drain_is_over_as_soon_as_a_reader_that_lags_has_read_the_last_answer(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start_group()
    client, _ = bench.client()
    with monkeypatch.context() as full:
        full.setattr(Publisher, "_send", lambda *_: False)
        answer = bench.ask(client)
        drained = bench.ask_body(bench.daemon, Drain(60.0))
        assert (answer.ends, drained.ends) == ([], [])
    bench.network.advance(RETRY_S)
    bench.settle()

    assert answer.text == bench.right_text(8)
    assert len(drained.ends) == 1


def test_drain_ends_what_is_not_finished_in_time_with_an_error(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    running = bench.ask(client, sampling=ENDLESS)
    drained = bench.ask_body(bench.daemon, Drain(2.0))
    bench.network.advance(2.1)
    bench.settle()

    assert running.failure.code == FailureCode.SHUTTING_DOWN
    assert len(drained.ends) == 1


def test_the_load_is_reported_on_change_but_not_at_every_step(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()
    bench.network.advance(1.0)
    before = len(bench.daemon.told(EngineLoad))
    bench.ask(client, sampling=SamplingOptions(temperature=0.0, max_tokens=100))
    bench.network.advance(1.0)

    reports = bench.daemon.told(EngineLoad)[before:]
    assert 1 <= len(reports) <= 3
    assert (reports[-1].running, reports[-1].waiting, reports[-1].capacity) == (0, 0, 4)
    assert reports[-1].completion_tokens_total == 100
    assert reports[-1].context_length == 4096
    bench.network.advance(1.0)
    assert bench.daemon.told(EngineLoad)[before:] == reports


def test_the_default_is_the_models_own(model_dir: Path) -> None:
    facts = ModelFacts(4096, defaults=SamplingOptions(temperature=0.0))
    bench = EngineBench(model_dir, facts=facts)
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client, sampling=SamplingOptions(max_tokens=8))

    assert answer.text == bench.right_text(8)
    assert GREEDY.max_tokens == 8


@pytest.mark.parametrize("had", [1, 5, 7])
def test_an_answer_goes_on_after_what_another_engine_has_told(bench: EngineBench, had: int) -> None:
    bench.start_group()
    client, _ = bench.client()
    tokens = bench.right_tokens(8)

    answer = bench.ask(client, resume=tuple(tokens[:had]))

    assert [token for delta in answer.deltas for token in delta.tokens] == tokens[had:]
    assert [delta.index for delta in answer.deltas] == list(range(had, 8))
    assert bench.right_text(8).endswith(answer.text)
    assert answer.done.completion_tokens == 8
    assert answer.done.finish_reason == "length"


def test_an_answer_of_which_only_the_end_was_lost_ends(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client, resume=tuple(bench.right_tokens(8)))

    assert answer.deltas == []
    assert (answer.done.finish_reason, answer.done.completion_tokens) == ("length", 8)


def test_only_a_single_choice_can_be_resumed(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()

    assert bench.ask(client, resume=(1,), n=2).failure.param == "resume"
    assert bench.ask(client, resume=(-1,)).failure.param == "resume"
