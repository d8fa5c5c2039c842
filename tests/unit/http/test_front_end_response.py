"""What goes over the wire is what gunicorn's own response writes, in fewer pieces."""

from __future__ import annotations

from typing import Any, NamedTuple

from gunicorn.config import Config
from gunicorn.http.wsgi import Response
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.http.front_end_response import FrontEndResponse

CONFIG = Config()
STATUSES = st.sampled_from(
    ["200 OK", "204 No Content", "304 Not Modified", "429 Too Many Requests"]
)
METHODS = st.sampled_from(["GET", "POST", "HEAD"])
VERSIONS = st.sampled_from([(1, 0), (1, 1)])


class Writes:
    """A socket that keeps what is written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.pieces.append(data)


class Asked(NamedTuple):
    method: str
    version: tuple[int, int]

    def should_close(self) -> bool:
        return self.version == (1, 0)


def written(
    kind: type[Any],
    asked: Asked,
    status: str,
    pieces: list[bytes],
    sized: bool,
    hold_at: int | None = None,
) -> Writes:
    sock = Writes()
    response = kind(asked, sock, CONFIG)
    headers = [("x-request-id", "a"), ("cache-control", "no-cache")]
    if sized:
        headers.append(("content-length", str(sum(map(len, pieces)))))
    response.start_response(status, headers)
    for number, piece in enumerate(pieces):
        if number == hold_at:
            response.hold()
        response.write(piece)
    response.close()
    return sock


def without_date(written: list[bytes]) -> list[bytes]:
    return [line for line in b"".join(written).split(b"\r\n") if not line.startswith(b"Date:")]


@given(
    METHODS,
    VERSIONS,
    STATUSES,
    st.lists(st.binary(max_size=40), max_size=4),
    st.booleans(),
    st.none() | st.integers(0, 3),
)
def test_the_bytes_are_gunicorns_own(
    method: str,
    version: tuple[int, int],
    status: str,
    pieces: list[bytes],
    sized: bool,
    hold_at: int | None,
) -> None:
    asked = Asked(method, version)
    ours = written(FrontEndResponse, asked, status, pieces, sized, hold_at)
    theirs = written(Response, asked, status, pieces, sized)
    assert without_date(ours.pieces) == without_date(theirs.pieces)
    assert b"" not in ours.pieces


def test_a_whole_answer_is_one_write() -> None:
    ours = written(FrontEndResponse, Asked("POST", (1, 1)), "200 OK", [b"{}"], sized=True)
    assert len(ours.pieces) == 1
    assert ours.pieces[0].endswith(b"\r\n\r\n{}")


def test_the_first_event_of_a_stream_goes_out_with_the_head() -> None:
    events = [b"data: 1\n\n", b"data: 2\n\n"]
    ours = written(FrontEndResponse, Asked("POST", (1, 1)), "200 OK", events, sized=False)
    assert len(ours.pieces) == 3
    assert ours.pieces[0].endswith(b"\r\n\r\n9\r\ndata: 1\n\n\r\n")


def test_the_last_event_of_a_stream_goes_out_with_the_end() -> None:
    events = [b"data: 1\n\n", b"data: 2\n\n"]
    asked = Asked("POST", (1, 1))
    ours = written(FrontEndResponse, asked, "200 OK", events, sized=False, hold_at=1)
    assert len(ours.pieces) == 2
    assert ours.pieces[1] == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
