"""Requests with several choices, log probabilities and reused prefixes, on a whole engine."""

from __future__ import annotations

from neuron_runtime.backends.fake import fake_token
from neuron_runtime.engine.sequence import Sampling
from tests.unit.engine.engine_bench import GREEDY, Answer, EngineBench
from transports.failures import FailureCode
from transports.schemas.daemon import EngineLoad
from transports.schemas.generate import SamplingOptions
from transports.schemas.group import SampleParams, Step

SEEDED = SamplingOptions(temperature=0.9, max_tokens=5, seed=11)
LONG = "a question that is longer than just a few blocks of tokens " * 2


def text_of(answer: Answer, choice: int) -> str:
    return "".join(delta.text for delta in answer.deltas if delta.choice == choice)


def test_choices_have_seeds_of_their_own_and_the_first_is_as_if_it_were_alone(
    bench: EngineBench,
) -> None:
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client, sampling=SEEDED, n=3)

    seeds = [Sampling(seed=11).of_choice(choice).seed for choice in range(3)]
    assert seeds[0] == 11
    assert [text_of(answer, choice) for choice in range(3)] == [
        bench.right_text(5, sample=SampleParams(0.9, 1.0, 0, seed)) for seed in seeds
    ]
    assert len({text_of(answer, choice) for choice in range(3)}) == 3
    for choice in range(3):
        indexes = [delta.index for delta in answer.deltas if delta.choice == choice]
        assert indexes == list(range(5))
    assert answer.done.finish_reasons == ("length",) * 3
    assert answer.done.finish_reason == "length"
    assert answer.done.completion_tokens == 15


def test_choices_share_the_blocks_of_their_prompt(bench: EngineBench) -> None:
    group = bench.start_group()
    client, _ = bench.client()
    prompt = bench.tokenizer.encode_chat([{"role": "user", "content": LONG}])
    whole = len(prompt) // 16

    answer = bench.ask(client, LONG, SEEDED, n=3)

    begun = [part for step in group.steps for part in step.sequences if part.begin]
    assert [part.position for part in begun] == [0, 16 * whole, 16 * whole]
    assert begun[1].blocks[:whole] == begun[2].blocks[:whole] == begun[0].blocks[:whole]
    assert len({part.blocks[whole] for part in begun}) == 3
    assert answer.done.prompt_tokens == len(prompt)
    assert answer.done.cached_tokens == 0
    assert [delta.prompt_tokens for delta in answer.deltas if delta.prompt_tokens] == [len(prompt)]
    assert bench.ask(client, LONG).done.cached_tokens == 16 * whole


def test_a_failure_of_one_choice_is_the_one_answer_to_the_request(bench: EngineBench) -> None:
    group = bench.start_group()
    group.refuse = lambda step: any(part.sequence == 2 for part in step.sequences)
    client, _ = bench.client()

    answer = bench.ask(client, n=3)

    assert answer.failure.code == FailureCode.STEP_FAILED
    assert answer.call is not None
    answer.call.cancel("late")
    bench.settle()
    assert len(answer.ends) == 1
    assert bench.scheduler.idle
    assert bench.ask(client).text == bench.right_text(8)


def test_to_cancel_a_request_cancels_all_its_choices(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    answer = bench.ask(client, n=4)
    bench.step()
    assert answer.call is not None
    answer.call.cancel("client_gone")
    bench.settle()

    assert answer.failure.code == FailureCode.CANCELLED
    assert bench.scheduler.idle
    bench.step()
    assert len(answer.ends) == 1


def test_a_request_whose_choices_do_not_all_fit_is_refused_whole(bench: EngineBench) -> None:
    client, _ = bench.client()
    bench.ask(client, n=5)

    assert bench.ask(client, n=4).failure.code == FailureCode.OVERLOADED
    assert bench.scheduler.waiting == 5


def test_a_prompt_is_counted_once_for_all_choices(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()
    answer = bench.ask(client, n=2)
    bench.network.advance(1.0)

    load = bench.daemon.told(EngineLoad)[-1]
    assert load.prompt_tokens_total == answer.done.prompt_tokens
    assert load.completion_tokens_total == 16


def test_log_probabilities_come_with_the_text_that_they_belong_to(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()
    asked = SamplingOptions(temperature=0.0, max_tokens=3, logprobs=2)

    answer = bench.ask(client, sampling=asked)

    rows = [row for delta in answer.deltas for row in delta.logprobs]
    tokens = bench.right_tokens(3)
    assert [row.text for row in rows] == [f" w{token}" for token in tokens]
    assert [row.token_bytes for row in rows] == [f" w{token}".encode() for token in tokens]
    assert [[(top.text, top.logprob) for top in row.top] for row in rows] == [
        [(f" w{token}", -0.5), (f" w{token + 1}", -1.0)] for token in tokens
    ]
    assert not any(delta.logprobs for delta in bench.ask(client).deltas)


def test_an_end_token_is_just_a_token_if_that_is_asked_for(bench: EngineBench) -> None:
    group = bench.start_group()
    client, _ = bench.client()
    bench.scheduler.configure(4096, [bench.right_tokens(4)[3]], 4096)
    asked = SamplingOptions(temperature=0.0, max_tokens=8, ignore_eos=True)

    assert bench.ask(client).done.finish_reason == "stop"
    assert bench.ask(client, sampling=asked).text == bench.right_text(8)
    assert group.steps


def test_without_memory_a_prompt_is_fed_in_smaller_pieces(bench: EngineBench) -> None:
    group = bench.start_group()
    group.refusal = FailureCode.OUT_OF_MEMORY
    group.refuse = lambda step: _fed(step) > 40
    client, _ = bench.client()

    answer = bench.ask(client, LONG)

    assert answer.text == bench.right_text(8, LONG)
    assert max(_fed(step) for step in group.steps[2:]) <= 40


def test_what_there_is_no_memory_for_fails_alone(bench: EngineBench) -> None:
    group = bench.start_group()
    group.refusal = FailureCode.OUT_OF_MEMORY
    group.refuse = lambda step: any(part.sequence == 1 for part in step.sequences)
    group.hold = True
    client, _ = bench.client()
    answers = [bench.ask(client, LONG), bench.ask(client)]
    group.hold = False
    bench.step()

    assert answers[0].failure.code == FailureCode.OUT_OF_MEMORY
    assert answers[1].text == bench.right_text(8)


def test_a_bare_prompt_is_gone_on_with(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client, sampling=GREEDY, prompt=(7, 8, 9))

    assert answer.deltas[0].tokens == (fake_token((7, 8, 9)),)
    assert answer.done.prompt_tokens == 3


def _fed(step: Step) -> int:
    return max((len(part.tokens) for part in step.sequences), default=0)
