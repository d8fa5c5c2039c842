"""The file of API keys: what is written is read again, and nothing of the keys themselves."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import yaml

from cortex_actors.config.api_keys import (
    MOST,
    ApiKeyError,
    add_api_key,
    digest,
    read_api_keys,
    remove_api_key,
)
from cortex_actors.config.errors import ConfigError
from cortex_actors.config.preflight import check_gateway_host, check_neuron_host
from tests.unit.config.files import ConfigFolder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys.yaml"


def test_only_digests_are_kept_where_nobody_else_can_read_them(file: Path) -> None:
    secret = add_api_key(file, "ann")
    operators = add_api_key(file, "op", operator=True)

    assert secret != operators
    assert all(each.startswith("sk-cortex-") and len(each) >= 50 for each in (secret, operators))
    text = file.read_text()
    assert secret not in text
    assert secret.removeprefix("sk-cortex-") not in text
    assert file.stat().st_mode & 0o777 == 0o600
    ann, op = read_api_keys(file)
    assert (ann.name, ann.operator, ann.sha256) == ("ann", False, digest(secret))
    assert (op.name, op.operator, op.sha256) == ("op", True, digest(operators))


def test_a_key_that_was_taken_away_is_gone_and_the_others_are_not(file: Path) -> None:
    add_api_key(file, "ann")
    kept = add_api_key(file, "bob")
    remove_api_key(file, "ann")
    assert [(key.name, key.sha256) for key in read_api_keys(file)] == [("bob", digest(kept))]
    add_api_key(file, "ann")
    assert [key.name for key in read_api_keys(file)] == ["bob", "ann"]


def test_what_cannot_be_done_changes_nothing(file: Path) -> None:
    add_api_key(file, "ann")
    before = file.read_bytes()
    with pytest.raises(ApiKeyError, match="'ann' has a key already"):
        add_api_key(file, "ann")
    with pytest.raises(ApiKeyError, match="'bob' has no key"):
        remove_api_key(file, "bob")
    with pytest.raises(ApiKeyError, match=r"deep/keys\.yaml: File exists"):
        add_api_key(file / "keys.yaml", "ann")
    assert file.read_bytes() == before


def test_a_file_keeps_its_owner_and_its_mode(file: Path) -> None:
    add_api_key(file, "ann")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12, 34)
    before = file.stat()
    add_api_key(file, "bob")
    after = file.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
    )


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    add_api_key(file, "ann")
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    add_api_key(link, "bob")
    assert link.is_symlink()
    assert [key.name for key in read_api_keys(file)] == ["ann", "bob"]


def test_there_are_no_more_than_can_be_read_soon(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_actors.config.api_keys.MOST", 2)
    add_api_key(file, "ann")
    add_api_key(file, "bob")
    with pytest.raises(ApiKeyError, match="has 2 keys, which is the limit"):
        add_api_key(file, "eve")


def test_the_limit_itself_can_be_read(file: Path) -> None:
    entries = [{"name": f"n{n}", "sha256": digest(str(n))} for n in range(MOST)]
    file.parent.mkdir()
    file.write_text(yaml.safe_dump({"keys": entries}))
    assert len(read_api_keys(file)) == MOST


def test_a_key_in_place_of_its_digest_is_not_shown(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("keys:\n  - {name: ann, sha256: sk-cortex-secret}\n")
    with pytest.raises(ConfigError, match="should be the SHA-256 of a key") as caught:
        read_api_keys(file)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "two words", "-x", "a\nb", "x" * 64])
def test_a_name_that_could_not_be_read_again_is_refused(file: Path, name: str) -> None:
    with pytest.raises(ApiKeyError, match="is not a name"):
        add_api_key(file, name)
    assert not file.exists()


def test_many_may_change_it_at_once(file: Path) -> None:
    names = [f"n{number}" for number in range(12)]
    threads = [threading.Thread(target=add_api_key, args=(file, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert {key.name for key in read_api_keys(file)} == set(names)
    assert [path.name for path in file.parent.iterdir()] == ["keys.yaml"]


BROKEN = """
keys:
  - {name: ann, sha256: tooshort}
  - {name: bob, sha256: DIGEST, operators: true}
  - {name: two words, sha256: DIGEST}
"""


def test_all_mistakes_are_told_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(BROKEN.replace("DIGEST", digest("x")))
    with pytest.raises(ConfigError) as caught:
        read_api_keys(file)
    told = [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]
    assert [line.split(": ")[0] for line in told] == [f"keys.yaml:{line}" for line in (3, 4, 5)]
    assert "keys[1].operators: unknown key; did you mean 'operator'?" in told[1]


@pytest.mark.parametrize(
    ("name", "secret", "message"),
    [("bob", "x", "is the same key as that of 'ann'"), ("ann", "y", "'ann' has a key already")],
)
def test_a_key_has_one_owner_and_an_owner_one_key(
    tmp_path: Path, name: str, secret: str, message: str
) -> None:
    file = tmp_path / "keys.yaml"
    entries = [("ann", digest("x")), (name, digest(secret))]
    file.write_text(yaml.safe_dump({"keys": [{"name": n, "sha256": d} for n, d in entries]}))
    with pytest.raises(ConfigError, match=message):
        read_api_keys(file)


def test_required_needs_a_file(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path)
    (problem,) = folder.gateway_problems("gateway: {api_keys: {required: true}}")
    assert problem == "cortex.yaml:1: gateway.api_keys: required needs a file of keys"
    (problem,) = folder.neuron_problems("neuron: {api_keys: {required: true}}")
    assert problem == "neuron.yaml:1: neuron.api_keys: required needs a file of keys"


def test_a_daemon_does_not_start_with_a_file_that_it_cannot_read(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path)
    for problems in (
        check_gateway_host(folder.gateway("gateway: {api_keys: {file: keys.yaml}}")),
        check_neuron_host(folder.neuron("neuron: {api_keys: {file: keys.yaml}}")),
    ):
        told = [problem.message for problem in problems if problem.key.endswith("api_keys.file")]
        assert told == [f"{tmp_path}/keys.yaml: no such file"]
