"""Files that a lesser user may have made: each kind, owner and mode that is not the one wanted is refused at once."""

import os
import resource
import socket
from pathlib import Path

import pytest

from hosttune import files

MINE = os.geteuid()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"root's")
    path.symlink_to(victim)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.mkdir()


def listener(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


def hard_link(path: Path) -> None:
    path.write_bytes(b"")
    os.link(path, path.with_name("other"))


def writable(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o666)


ATTACKS = [fifo, link, dangling, folder, listener, hard_link, writable]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREAT])
def test_what_is_no_regular_file_of_ours_is_refused(tmp_path: Path, attack: object, flags: int) -> None:
    path = tmp_path / "name"
    attack(path)  # type: ignore[operator]
    with pytest.raises(OSError) as caught:
        os.close(files.open_file(path, flags))
    assert isinstance(caught.value, files.UntrustedFile) or caught.value.errno == 21  # EISDIR
    assert caught.value.filename == str(path)
    victim = tmp_path / "victim"
    assert not victim.exists() or victim.read_bytes() == b"root's"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(MINE != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused_unless_believed(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"x")
    os.chown(path, 12345, 12345)
    with pytest.raises(files.UntrustedFile, match="a file of user 12345, allowed: one of user 0"):
        files.open_file(path)
    assert files.read_file(path, 10, owners={12345}) == b"x"


def test_hidden_files_are_nobody_elses_to_read(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"secret")
    for mode, allowed in ((0o600, True), (0o400, True), (0o640, False), (0o604, False)):
        path.chmod(mode)
        if allowed:
            assert files.read_file(path, 6, hidden=True) == b"secret"
        else:
            with pytest.raises(files.UntrustedFile, match=f"found mode {mode:04o}, allowed: no more than 0600"):
                files.read_file(path, 6, hidden=True)


def test_directories_that_others_can_write_to_are_refused(tmp_path: Path) -> None:
    os.close(files.open_directory(tmp_path))
    tmp_path.chmod(0o777)
    with pytest.raises(files.UntrustedFile):
        files.open_directory(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError):
        files.open_directory(tmp_path / "link")


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"123456")
    assert files.read_file(path, 6) == b"123456"
    with pytest.raises(files.UntrustedFile, match="more than 5 bytes"):
        files.read_file(path, 5)
    with path.open("r+b") as huge:
        huge.truncate(1 << 40)
    with pytest.raises(files.UntrustedFile):
        files.read_file(path, 1 << 20)


@pytest.mark.parametrize("attack", [link, dangling, fifo, hard_link, writable, listener])
def test_replacing_touches_nothing_that_was_there(tmp_path: Path, attack: object) -> None:
    path = tmp_path / "name"
    attack(path)  # type: ignore[operator]
    previous = os.umask(0)
    try:
        files.replace_file(path, b"new", 0o640)
    finally:
        os.umask(previous)
    assert path.read_bytes() == b"new" and not path.is_symlink() and path.stat().st_mode & 0o777 == 0o640
    for other, held in (("victim", b"root's"), ("other", b"")):
        assert not (tmp_path / other).exists() or (tmp_path / other).read_bytes() == held


def test_a_replacement_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.replace_file(path, bytes(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert [p.name for p in tmp_path.iterdir()] == ["name"] and path.read_bytes() == b"old"
