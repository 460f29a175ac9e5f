"""The file of keys, and the command that makes one."""

import hashlib
import logging
import sys
from pathlib import Path

import pytest

from service import keys
from service.__main__ import main
from service.keys import KeyFile, KeyFileError, read_keys

KEY = "0123456789abcdef" * 4


def line(name: str, rights: str, key: str = KEY) -> str:
    """Return the line of a key."""
    return f"{name} {rights} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a file with two keys, which is looked at with every request."""
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0)
    path = tmp_path / "keys"
    path.write_text(f"# our clients\n\n  {line('mobile', 'predict')}{line('ops', 'read,control', 'b')} # end")
    return path


def test_a_key_is_found_by_its_hash(path: Path) -> None:
    """Comments and empty lines are ignored."""
    file = KeyFile(path)
    found = file.find(KEY.encode())
    assert found is not None
    assert (found.id, sorted(found.rights)) == ("mobile", ["predict"])
    found = file.find(b"b")
    assert found is not None
    assert (found.id, sorted(found.rights)) == ("ops", ["control", "read"])
    for wrong in (b"", KEY[:-1].encode(), KEY.upper().encode(), found.digest, found.digest.hex().encode()):
        assert file.find(wrong) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected at least one key, got none"),
        (b"# nothing\n", "expected at least one key, got none"),
        (line("a", "read").encode() + b"a read", "line 2: expected ID RIGHTS sha256:HEX"),
        (line("a", "read,write").encode(), "line 1: expected ID"),
        (line("a", "read,read").encode(), "line 1: expected ID"),
        (line("a", "").encode(), "line 1: expected ID"),
        (line("a/b", "read").encode(), "line 1: expected ID"),
        (line("a" * 65, "read").encode(), "line 1: expected ID"),
        (f"a read {KEY}".encode(), "line 1: expected ID"),
        (b"a read sha256:" + b"0" * 63, "line 1: expected ID"),
        ((line("a", "read") + line("b", "predict")).encode(), "line 2: expected each key once, got the one of a again"),
        (b"\xff", "cannot be read: it is not UTF-8"),
    ],
)
def test_a_broken_file_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    """The message names the place, and nothing that may be a key."""
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=f"keys: {path}.*{message}") as caught:
        read_keys(path)
    assert KEY not in str(caught.value)


def test_the_file_is_read_again_when_it_changes(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is broken or gone leaves the keys as they are, and is logged once."""
    file = KeyFile(path)
    path.write_text(line("mobile", "predict") + line("new", "read", "c"))
    assert file.find(b"b") is None
    assert file.find(b"c") is not None
    for breaks in (lambda: path.write_text("nonsense"), path.unlink):
        caplog.clear()
        breaks()
        assert file.find(b"c") is not None
        assert file.find(b"d") is None
        [record] = caplog.records
        assert (record.levelno, "the keys from before stay valid" in record.message) == (logging.ERROR, True)
    path.write_text(line("other", "read", "d"))
    assert file.find(b"c") is None
    assert file.find(b"d") is not None


def test_a_file_is_read_once_its_owner_lets_the_service(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted key does not stay valid because the new file could not be read at first."""
    file = KeyFile(path)

    def unreadable(_: Path) -> list[keys.Key]:
        raise keys.KeyFileError("cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "read_keys", unreadable)
        path.write_text(line("other", "read", "d"))
        assert file.find(b"b") is not None
    path.chmod(0o400)
    assert file.find(b"b") is None
    assert file.find(b"d") is not None


def test_the_file_is_not_looked_at_with_every_request(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes longer than the comparison of keys."""
    monkeypatch.setattr(keys, "LOOK_SECONDS", 3600)
    file = KeyFile(path)
    path.unlink()
    assert file.find(b"b") is not None


def test_a_missing_file_is_an_error_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service does not start without its keys, and says why in one line."""
    monkeypatch.setattr(sys, "argv", ["service", "--keys", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match=f"error: keys: {tmp_path / 'none'} cannot be read: No such file") as caught:
        main()
    assert "\n" not in str(caught.value)


def made(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the lines that the command prints."""
    monkeypatch.setattr(sys, "argv", ["service", "key", *arguments])
    main()
    return capsys.readouterr().out.splitlines()


def test_the_command_makes_a_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has 256 random bits. The line for the file has no part of it."""
    key, printed = made(monkeypatch, capsys, "mobile", "--rights", "predict,read")
    assert printed + "\n" == line("mobile", "read,predict", key)
    assert len(bytes.fromhex(key)) == 32
    assert made(monkeypatch, capsys, "mobile", "--rights", "predict,read")[0] != key


def test_the_command_appends_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the owner may read a new file. A last line without an end is kept."""
    path = tmp_path / "keys"
    arguments = ("a", "--rights", "control", "--file", str(path))
    [first] = made(monkeypatch, capsys, *arguments)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text().rstrip())
    [second] = made(monkeypatch, capsys, *arguments)
    assert path.read_text() == line("a", "control", first) + line("a", "control", second)
    with pytest.raises(SystemExit, match="cannot be written: Is a directory"):
        made(monkeypatch, capsys, "a", "--rights", "read", "--file", str(tmp_path))


@pytest.mark.parametrize("arguments", [["a b", "--rights", "read"], ["a", "--rights", "write"], ["a"], []])
def test_wrong_arguments_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """No key is made."""
    with pytest.raises(SystemExit):
        made(monkeypatch, capsys, *arguments)
    assert capsys.readouterr().out == ""
