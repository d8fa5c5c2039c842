from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq.utils.z85

from transports import zap
from transports.curve import generate_keypair, load_allow_list, load_keys, load_public_key
from transports.errors import KeyFileError

MANUAL_PUBLIC = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
MANUAL_SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"


def write(path: Path, public: str, secret: str | None = None) -> Path:
    text = f'metadata\ncurve\n    public-key = "{public}"\n'
    if secret is not None:
        text += f'    secret-key = "{secret}"\n'
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_generated_keys_are_private_and_load_again(tmp_path: Path) -> None:
    keys = generate_keypair(tmp_path, "neuron-a")
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_keys(tmp_path / "neuron-a.key_secret") == keys
    assert load_public_key(tmp_path / "neuron-a.key") == keys.public
    assert keys.secret.decode() not in repr(keys)


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    keys = generate_keypair(tmp_path, "a")
    with pytest.raises(KeyFileError, match=r"a\.key_secret"):
        generate_keypair(tmp_path, "a")
    assert load_keys(tmp_path / "a.key_secret") == keys


def test_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    generate_keypair(tmp_path, "a")
    (tmp_path / "a.key_secret").chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_keys(tmp_path / "a.key_secret")


def test_keys_of_the_manual_are_refused(tmp_path: Path) -> None:
    secret = write(tmp_path / "a.key_secret", MANUAL_PUBLIC, MANUAL_SECRET)
    with pytest.raises(KeyFileError, match="everybody knows"):
        load_keys(secret)
    write(tmp_path / "b.key", MANUAL_PUBLIC)
    with pytest.raises(KeyFileError, match="everybody knows"):
        load_allow_list(tmp_path)


def test_manual_secret_is_refused_whatever_stands_beside_it() -> None:
    assert zmq.curve_public(MANUAL_SECRET.encode()) == MANUAL_PUBLIC.encode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot read a key"),
        ('curve\n    public-key = "short"\n', "40 characters"),
    ],
)
def test_broken_key_file_is_named(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "x.key"
    path.write_text(text)
    with pytest.raises(KeyFileError, match=why) as caught:
        load_public_key(path)
    assert "x.key" in str(caught.value)


def test_missing_or_mismatched_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot read"):
        load_keys(tmp_path / "none.key_secret")
    a, b = generate_keypair(tmp_path, "a"), generate_keypair(tmp_path, "b")
    with pytest.raises(KeyFileError, match="no secret key"):
        load_keys(tmp_path / "a.key")
    mixed = write(tmp_path / "c.key_secret", a.public.decode(), b.secret.decode())
    with pytest.raises(KeyFileError, match="does not belong"):
        load_keys(mixed)


def test_allow_list_is_the_directorys_public_keys_by_name(tmp_path: Path) -> None:
    a, b = generate_keypair(tmp_path, "a"), generate_keypair(tmp_path, "b")
    assert load_allow_list(tmp_path) == {a.public: "a", b.public: "b"}
    write(tmp_path / "copy.key", a.public.decode())
    with pytest.raises(KeyFileError, match=r"same key as a\.key"):
        load_allow_list(tmp_path)
    with pytest.raises(KeyFileError, match="no directory"):
        load_allow_list(tmp_path / "none")


def test_a_list_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", forbid)
    monkeypatch.setattr(os, "listdir", forbid)
    with pytest.raises(KeyFileError, match=r"cannot list .*: Permission denied"):
        load_allow_list(tmp_path)


def request(domain: bytes, mechanism: bytes, *credentials: bytes) -> list[bytes]:
    return [b"1.0", b"id", domain, b"127.0.0.1", b"", mechanism, *credentials]


def test_zap_lets_in_whom_the_listener_knows_and_nobody_else(tmp_path: Path) -> None:
    key = generate_keypair(tmp_path, "a").public
    raw = zmq.utils.z85.decode(key)
    allowed = {b"one": {key: "a"}}
    assert zap.answer(request(b"one", b"CURVE", raw), allowed)[2:5] == [b"200", b"OK", b"a"]
    for refused in (
        request(b"two", b"CURVE", raw),
        request(b"one", b"CURVE", bytes(32)),
        request(b"one", b"CURVE"),
        request(b"one", b"NULL"),
        request(b"one", b"PLAIN", b"a", b"b"),
    ):
        assert zap.answer(refused, allowed)[1:3] == [b"id", b"400"]
