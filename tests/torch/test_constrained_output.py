"""A real model that is held to a form keeps to it, greedy or not, and ends where it may."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.engine.admitting import admit

pytest.importorskip("torch")
from neuron_runtime.engine.admission import Admission
from neuron_runtime.engine.events import Drawn, Ended
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import Sequence
from neuron_runtime.engine.tokenizer import Tokenizer
from neuron_runtime.torch_backend.backend import TorchBackend
from transports.schemas.generate import Constraint, Generate, SamplingOptions
from transports.schemas.group import LoadShard

pytestmark = pytest.mark.torch

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "colours": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2},
    },
    "required": ["name", "age", "colours"],
    "additionalProperties": False,
}
SCHEMA = Constraint("json_schema", json.dumps(PERSON))
CHOICES = ["Paris", "London", "Rome"]
CHOICE = Constraint("choice", json.dumps(CHOICES))
REGEX = Constraint("regex", r"\d{4}-\d{2}-\d{2}")
GREEDY = SamplingOptions(temperature=0.0, max_tokens=120)


class Model:
    """An engine's decisions and a rank's computing, without what is between them."""

    def __init__(self, model_dir: Path) -> None:
        self.tokenizer = Tokenizer.load(model_dir)
        self.admission = Admission("m", self.tokenizer, ModelFacts.load(model_dir), lambda: 7)
        self.scheduler = Scheduler(Limits(max_running=8, max_queued=8))
        self.backend = TorchBackend(on_collective=lambda: None)
        shard = LoadShard(str(model_dir), 0, 1, "cpu", "float32", "", 2, kv_bytes=64 << 20)
        loaded = self.backend.load(shard)
        self.scheduler.configure(loaded.context_length, loaded.eos_token_ids, loaded.kv_blocks)
        self.scheduler.group_ready()

    def answer(self, *questions: Generate) -> list[tuple[str, str]]:
        """Return each question's text and how it ended."""
        asked = [admit(self.admission, each)[0] for each in questions]
        for each in asked:
            assert self.scheduler.submit(each) is None
        texts: dict[int, list[int]] = {each.id: [] for each in asked}
        ends: dict[int, str] = {}
        while len(ends) < len(asked):
            self._step(texts, ends)
        return [(self.tokenizer.decode(texts[each.id]), ends[each.id]) for each in asked]

    def _step(self, texts: dict[int, list[int]], ends: dict[int, str]) -> None:
        step = self.scheduler.next_step(0.0)
        assert step is not None
        done = self.backend.step(step, self.scheduler.open_masks)
        for event in self.scheduler.step_done(done.tokens, 0.0):
            match event:
                case Drawn(Sequence(id=number), _, token):
                    texts[number].append(token)
                case Ended(Sequence(id=number), end):
                    ends[number] = str(end)


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[Model]:
    model = Model(smollm2)
    yield model
    model.backend.close()


def ask(text: str, constraint: Constraint | None, sampling: SamplingOptions = GREEDY) -> Generate:
    return Generate("r", "m", [{"role": "user", "content": text}], sampling, constraint=constraint)


def is_person(text: str) -> bool:
    value = json.loads(text)
    return bool(
        list(value) == ["name", "age", "colours"]
        and len(value["name"]) <= 12
        and 0 <= value["age"] <= 120
        and set(value["colours"]) <= {"red", "blue"}
        and len(value["colours"]) <= 2
    )


def test_forms_are_kept_by_all_in_one_batch_as_alone(model: Model) -> None:
    wild = SamplingOptions(temperature=1.5, max_tokens=120, seed=3)
    questions = [
        ask("Describe a person as JSON.", SCHEMA),
        ask("Describe a person as JSON.", SCHEMA, wild),
        ask("What is the capital of France?", CHOICE),
        ask("When did the first man walk on the moon?", REGEX),
        ask("When did the first man walk on the moon?", REGEX, wild),
        ask("Give me any JSON object.", Constraint("json_object"), GREEDY),
        ask("Name a river.", None, SamplingOptions(temperature=0.0, max_tokens=12)),
    ]

    together = model.answer(*questions)

    greedy, drawn, city, date, other_date, anything, free = together
    assert is_person(greedy[0])
    assert is_person(drawn[0])
    assert city[0] in CHOICES
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date[0])
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", other_date[0])
    assert {end for _, end in (greedy, drawn, city, date, other_date)} == {"stop"}
    assert anything[1] == "length" or isinstance(json.loads(anything[0]), dict)
    assert free[0]
    assert [model.answer(question)[0] for question in questions] == together


def test_an_output_that_is_cut_is_the_beginning_of_a_valid_one(model: Model) -> None:
    three = SamplingOptions(temperature=0.0, max_tokens=3)
    ((cut, how),) = model.answer(ask("Describe a person as JSON.", SCHEMA, three))
    ((whole, _),) = model.answer(ask("Describe a person as JSON.", SCHEMA))
    assert how == "length"
    assert cut
    assert whole.startswith(cut)


def test_a_seed_gives_the_same_form_again(model: Model) -> None:
    seeded = SamplingOptions(temperature=1.2, top_p=0.95, max_tokens=120, seed=11)
    first, second = (model.answer(ask("Who is it?", SCHEMA, seeded)) for _ in range(2))
    assert first == second
    assert is_person(first[0][0])
