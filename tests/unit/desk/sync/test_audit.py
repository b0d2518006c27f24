"""The audit is a file that nobody else has written, can write, or can exchange."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from desk.errors import DeskError
from desk.sync.audit import Audit


def write_before(path: Path) -> None:
    path.write_text("{}\n")
    path.chmod(0o666)


def write_of_another(path: Path) -> None:
    path.write_text("{}\n")
    os.chown(path, 65534, 65534)


def make_read_fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)
    # Somebody reads it: then even an open that does not wait succeeds.
    os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def add_name(path: Path) -> None:
    path.write_text("")
    path.chmod(0o600)
    os.link(path, path.with_name("other"))


def open_directory(path: Path) -> None:
    path.parent.chmod(0o777)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (write_before, "found mode 0666"),
        pytest.param(write_of_another, "found a file of user 65534",
                     marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")),
        (make_read_fifo, "found a FIFO"),
        (add_name, "found a file with 2 names"),
        (lambda path: path.symlink_to("/etc/passwd"), "found a symbolic link"),
        (open_directory, "found mode 0777"),
    ],
)  # fmt: skip
def test_an_audit_that_others_reach_is_refused(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "audit" / "sync.audit"
    path.parent.mkdir(mode=0o700)
    spoil(path)
    with pytest.raises(DeskError, match=rf"^sync\.audit: .*{said}"):
        Audit(path)


def test_an_audit_is_only_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sync.audit"
    for _ in range(2):
        audit = Audit(path)
        audit.write("engine", "asked", {"max": 1}, "test")
        audit.close()
    assert len(path.read_text().splitlines()) == 2 and path.stat().st_mode & 0o777 == 0o600
