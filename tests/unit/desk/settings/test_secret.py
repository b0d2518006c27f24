"""A secret comes from a file that only its owner can read, or a systemd credential, and is in no message."""

from pathlib import Path

import pytest

from desk.errors import DeskError
from desk.settings.secret import read_secret


def test_the_file_and_the_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    assert read_secret("redis.password_file", str(file), "redis") == "s3cret"
    assert read_secret("redis.password_file", "", "redis") is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret("redis.password_file", "", "redis") is None
    (tmp_path / "redis").write_text("other")
    assert read_secret("redis.password_file", "", "redis") == "other"


@pytest.mark.parametrize(
    ("content", "mode", "wanted"),
    [
        (b"s3cret", 0o644, "secret"),
        (b"", 0o600, "found 0 bytes"),
        (b"s3cret\nmore", 0o600, "allowed: one line"),
        (b"s3cret\xff", 0o600, "allowed: one line"),
        (b"s" * 5000, 0o600, "secret"),
    ],
)
def test_what_is_refused_is_not_shown(tmp_path: Path, content: bytes, mode: int, wanted: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(DeskError, match=wanted) as caught:
        read_secret("redis.password_file", str(file), "")
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match=r"redis\.password_file: .*/none: No such file"):
        read_secret("redis.password_file", str(tmp_path / "none"), "")
