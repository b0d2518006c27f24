"""Files that a lesser user may have made: each kind, owner and mode that is not the one wanted is refused at once."""

import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from hosttune import files
from hosttune.launch import run_directory
from tests.unit.hosttune.planted import plant_at_mkdir

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


# ---------------------------------------------------------------------------------- the way to a file


def strangers(path: Path) -> None:
    os.chown(path, 12345, 12345, follow_symlinks=False)


@pytest.fixture
def way(tmp_path: Path) -> Path:
    found = tmp_path / "a" / "b"
    found.mkdir(parents=True, mode=0o700)
    return found


def test_a_path_leads_where_its_links_lead(way: Path) -> None:
    (way / "file").write_bytes(b"")
    (way.parent / "there").symlink_to("b/../b/.//")
    (way.parent / "absolute").symlink_to(way.parent / "there")
    for given in (
        way / "file",
        way.parent / "there" / "file",
        way.parent / "absolute" / "file",
        Path(f"{way}/../b//file"),
    ):
        assert files.find_path(given) == str(way / "file")
    here = os.getcwd()
    os.chdir(way.parent)
    try:
        assert files.find_path("there/file") == str(way / "file") and files.find_path("there") == str(way)
    finally:
        os.chdir(here)
    assert files.find_path("/") == files.find_path("/..") == "/"
    for given, error in ((way / "none", FileNotFoundError), (way / "file" / "x", files.UntrustedFile)):
        with pytest.raises(error):
            files.find_path(given)
    (way / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        files.find_path(way / "loop")


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_way_that_others_can_change_is_refused(way: Path, mode: int) -> None:
    (way / "file").write_bytes(b"")
    for directory in (way, way.parent):
        directory.chmod(mode)
        with pytest.raises(files.UntrustedFile, match=rf"found mode {mode:04o}, allowed: no more than 07[05][05]"):
            files.find_path(way / "file")
        directory.chmod(0o1777)  # as /tmp is
        assert files.find_path(way / "file") == str(way / "file")


@pytest.mark.skipif(MINE != 0, reason="only root can give a file away")
def test_a_way_of_another_user_is_refused_unless_believed(way: Path) -> None:
    (way / "file").write_bytes(b"")
    (way / "link").symlink_to("file")
    strangers(way / "link")
    strangers(way / "file")  # whoever opens it looks at its owner
    assert files.find_path(way / "file") == str(way / "file")
    with pytest.raises(files.UntrustedFile, match=r"found a file of user 12345, allowed: one of user 0: .*/link"):
        files.find_path(way / "link")
    assert files.find_path(way / "link", owners={0, 12345}) == str(way / "file")
    strangers(way.parent)
    with pytest.raises(files.UntrustedFile, match="found a file of user 12345, allowed: one of user 0"):
        files.find_path(way / "file")
    assert files.find_path(way / "file", owners={0, 12345}) == str(way / "file")


def nest(tree: Path) -> None:
    (tree / "one" / "two").mkdir(parents=True)
    (tree / "one" / "two" / "code").write_bytes(b"")


@pytest.mark.parametrize("attack", [*(a for a in ATTACKS if a is not folder), *([strangers] if MINE == 0 else [])])
def test_a_tree_with_one_untrusted_file_is_refused(tmp_path: Path, attack: object) -> None:
    assert callable(attack)
    nest(tmp_path)
    tmp_path.chmod(0o755)
    files.require_tree(tmp_path, 10)
    place = tmp_path / "one" / "two" / "entry"
    if attack is strangers:
        place.write_bytes(b"")
    attack(place)
    with pytest.raises(files.UntrustedFile, match=rf"^\[Errno 1\] found .*, allowed: .*: '{place.parent}"):
        files.require_tree(tmp_path, 100)


def test_a_tree_is_read_to_a_limit_and_modes_count_where_others_can_enter(tmp_path: Path) -> None:
    nest(tmp_path)
    (tmp_path / "one").chmod(0o777)
    tmp_path.chmod(0o700)
    files.require_tree(tmp_path, 3)
    with pytest.raises(files.UntrustedFile, match="found more than 2 files, allowed: no more than that"):
        files.require_tree(tmp_path, 2)
    tmp_path.chmod(0o701)
    with pytest.raises(files.UntrustedFile, match="found mode 0777, allowed: no more than 0755"):
        files.require_tree(tmp_path, 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("make", [files.make_directory, lambda path: run_directory.prepare(str(path))])
@pytest.mark.parametrize("kind", ["link", "directory"])
def test_no_directory_is_made_behind_what_comes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], kind: Literal["link", "directory"]
) -> None:
    """A stranger makes the name in a sticky directory, between the look at what is missing and mkdir(2)."""
    base, victim = plant_at_mkdir(monkeypatch, tmp_path, kind)
    with pytest.raises(OSError) as caught:
        make(base / "sub" / "own")
    assert list(victim.iterdir()) == [] and list(base.iterdir()) == []
    assert caught.value.filename == str(base)


def test_make_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0)
    try:
        files.make_directory(tmp_path / "a" / "b", 0o700)
        monkeypatch.chdir(tmp_path)
        files.make_directory("c/d/../e/")
        files.make_directory("c")
    finally:
        os.umask(before)
    assert {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")} == {
        "a": 0o700, "a/b": 0o700, "c": 0o755, "c/d": 0o755, "c/e": 0o755,
    }  # fmt: skip
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(OSError, match=r"Not a directory|found a regular file"):
            files.make_directory(tmp_path / name / "below")
    assert not (tmp_path / "none").exists()
