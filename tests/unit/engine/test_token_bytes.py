from __future__ import annotations

from neuron_runtime.engine.events import Drawn
from neuron_runtime.engine.sequence import Sequence
from neuron_runtime.engine.token_bytes import missing_bytes, token_bytes
from neuron_runtime.engine.token_logprobs import TokenLogprobs
from neuron_runtime.engine.tokenizer import Tokenizer
from tests.unit.engine.tiny_model import END, FIRST_WORD, make_tokenizer
from transports.schemas.generate import TokenLogprob, TopLogprob


def test_a_byte_level_token_stands_for_its_bytes() -> None:
    tokenizer = Tokenizer(make_tokenizer(), {}, None)
    (first, *_, last) = tokenizer.encode("é €")

    assert tokenizer.token_bytes(first) == "é".encode()[:1]
    assert tokenizer.token_bytes(last) == "€".encode()[-1:]
    assert tokenizer.token_bytes(FIRST_WORD) == f" w{FIRST_WORD}".encode()
    assert tokenizer.token_bytes(END) == b"<|im_end|>"
    assert tokenizer.token_bytes(10**9) == b""


def test_a_sentencepiece_token_stands_for_its_text_or_its_one_byte() -> None:
    assert token_bytes("\u2581the", byte_level=False) == b" the"
    assert token_bytes("<0xE2>", byte_level=False) == b"\xe2"
    assert token_bytes("é", byte_level=False) == "é".encode()


def test_every_byte_has_a_character_of_its_own() -> None:
    tokenizer = Tokenizer(make_tokenizer(), {}, None)

    assert {tokenizer.token_bytes(token) for token in range(256)} == {
        bytes([b]) for b in range(256)
    }


def test_log_probabilities_are_named_once_per_token() -> None:
    asked: list[int] = []

    def bytes_of(token: int) -> bytes:
        asked.append(token)
        return bytes([token])

    logprobs = TokenLogprobs(bytes_of)
    sequence = Sequence(1, (1,))
    drawn = Drawn(sequence, 0, 97, -0.5, ((97, -0.5), (0xE2, -1.5)))

    wanted = TokenLogprob(
        "a", -0.5, b"a", (TopLogprob("a", -0.5, b"a"), TopLogprob("\ufffd", -1.5, b"\xe2"))
    )
    assert [logprobs.of(drawn), logprobs.of(drawn)] == [wanted, wanted]
    assert sorted(asked) == [97, 0xE2]
    assert logprobs.of(Drawn(sequence, 0, 97)) is None


def test_a_text_ends_within_a_character_until_its_last_byte() -> None:
    for character in ("a", "é", "€", "😀"):
        text = f"x{character}".encode()
        assert missing_bytes(text[:1]) == 0
        for end in range(2, len(text)):
            assert missing_bytes(text[:end]) == len(text) - end, text[:end]
        assert missing_bytes(text) == missing_bytes(text[-4:]) == 0


def test_bytes_that_are_no_text_lack_nothing() -> None:
    for text in (b"", b"\xff", b"\x80", b"\x80" * 9, b"\xe2\x82\xac\x80"):
        assert missing_bytes(text) == 0
