"""Where an agent's files in shared memory are: by the service manager's word, the user's session, or by default."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import agent
from agent.engine.errors import RunError
from agent.engine.run import find_segment
from agent.shm import place
from agent.shm import segment as shm
from tests.unit.hosttune.planted import plant_at_mkdir

from ..conftest import Hand
from . import hostile


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$XDG_RUNTIME_DIR; the service's directory is beside it."""
    found = tmp_path / "user"
    found.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(found))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr(place, "SYSTEM", tmp_path / "run" / "trading_agent")
    return found


def make_segment(directory: Path, name: str) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / f"{name}.segment").write_bytes(Hand().segment)
    return directory / f"{name}.segment"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"RUNTIME_DIRECTORY": "/run/trading_agent", "XDG_RUNTIME_DIR": "/run/user/7"}, "/run/trading_agent"),
        ({"RUNTIME_DIRECTORY": "/run/hosttune:/run/trading_agent"}, "/run/trading_agent"),
        ({"RUNTIME_DIRECTORY": "/run/desk:/run/other"}, "/run/desk"),
        ({"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/trading_agent"),
        ({"XDG_RUNTIME_DIR": ""}, "/run/trading_agent"),
        ({}, "/run/trading_agent"),
    ],
)
def test_the_directory(given: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert place.own_directory() == Path(expected)
    assert shm.path_of("main") == Path(expected) / "main.segment"


def test_the_names_beside_a_segment() -> None:
    for segment, ring, series, name in (
        ("/x/main.segment", "/x/main.journal-ring", "/x/main.series", "main"),
        ("/x/main.0.segment", "/x/main.0.journal-ring", "/x/main.0.series", "main.0"),
        ("/x/other", "/x/other.journal-ring", "/x/other.series", "other"),
    ):
        assert place.ring_of(Path(segment)) == Path(ring) and place.series_of(Path(segment)) == Path(series)
        assert place.name_of(Path(segment)) == name


def test_it_is_made_for_its_user_alone_whatever_the_umask(base: Path) -> None:
    before = os.umask(0)
    try:
        assert find_segment("", "main") == base / "trading_agent" / "main.segment"
    finally:
        os.umask(before)
    assert (base / "trading_agent").stat().st_mode & 0o7777 == 0o700
    assert find_segment("", "main.1") == base / "trading_agent" / "main.1.segment"
    assert find_segment("/elsewhere/segment", "main") == Path("/elsewhere/segment")


def strangers_link(path: Path) -> None:
    path.symlink_to("/etc")
    os.chown(path, hostile.STRANGER, hostile.STRANGER, follow_symlinks=False)


ATTACKS = [hostile.fifo, hostile.listener, hostile.writable, hostile.dangling, hostile.open_directory]
ATTACKS += [hostile.group_directory, hostile.open_way]
ATTACKS += [hostile.strangers_directory, hostile.strangers_way, strangers_link] if os.geteuid() == 0 else []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_one_that_another_user_may_have_made_is_refused(base: Path, attack: Callable[[Path], None]) -> None:
    attack(base / "trading_agent")
    with pytest.raises(RunError) as caught:
        find_segment("", "main")
    assert re.search(hostile.REFUSED + "|File exists|Not a directory", str(caught.value))
    assert "\n" not in str(caught.value) and "engine.shm" in str(caught.value)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o755])
def test_one_that_others_can_write_to_is_refused(base: Path, mode: int) -> None:
    own = base / "trading_agent"
    own.mkdir()
    own.chmod(mode)
    if mode == 0o755:
        assert find_segment("", "main") == own / "main.segment"
    else:
        with pytest.raises(RunError, match=rf"^{own}: found mode {mode:04o}, allowed: no more than"):
            find_segment("", "main")


def test_a_name_is_looked_for_in_the_users_directory_then_in_the_services(base: Path) -> None:
    own, service = base / "trading_agent", place.SYSTEM
    for wanted in (None, "main"):
        with pytest.raises(
            shm.SegmentError, match=rf"^no agent.* has run here: there is no {own}; there is no {service}$"
        ):
            shm.find(wanted)
    theirs = make_segment(service, "main")
    (service / "main.journal-ring").touch()
    (service / "main.series").touch()
    assert shm.find(None) == shm.find("main") == theirs
    mine = make_segment(own, "main")
    assert shm.find("main") == mine
    with pytest.raises(shm.SegmentError, match=rf"^there are 2 agents here, name one: {mine}, {theirs}$"):
        shm.find(None)
    assert shm.find(str(theirs)) == theirs and shm.find("./x") == Path("./x")
    with pytest.raises(
        shm.SegmentError, match=rf"^no agent called other has run here: none in {own}; none in {service}$"
    ):
        shm.find("other")


def test_names_that_no_engine_gives_are_passed_over_and_few_are_named(base: Path) -> None:
    service = place.SYSTEM
    names = ["main", "main.255", "a" * 32, "A_b.c-d", "x1", "x2", "a" * 32 + ".7"]
    for name in names:
        make_segment(service, name)
    for name in ("-x", "", ".hidden", "a" * 33, "x\n", "\x1b[2J", "x y", "\udcff", "a" * 32 + ".7777", "x" * 240):
        make_segment(service, name)
    assert place.list_segments(service) == sorted(f"{name}.segment" for name in names)
    with pytest.raises(shm.SegmentError) as caught:
        shm.find(None)
    shown = ", ".join(str(service / name) for name in place.list_segments(service)[:5])
    assert str(caught.value) == f"there are 7 agents here, name one: {shown} and 2 more"


def test_a_directory_of_too_many_names_is_not_read_to_its_end(base: Path) -> None:
    theirs = make_segment(place.SYSTEM, "main")
    for number in range(place.MOST_NAMES):
        (place.SYSTEM / str(number)).touch()
    with pytest.raises(shm.SegmentError, match=rf"{place.SYSTEM}: found more than 4,096 names, allowed: no more; name"):
        shm.find(None)
    assert shm.find("main") == theirs
    (place.SYSTEM / "0").unlink()
    assert shm.find(None) == theirs


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_a_stranger_offers_is_passed_over(base: Path) -> None:
    """Root keeps the stranger's $XDG_RUNTIME_DIR after su(1)."""
    fake = make_segment(base / "trading_agent", "main")
    for path in (base, fake.parent, fake):
        os.chown(path, hostile.STRANGER, hostile.STRANGER)
    with pytest.raises(
        shm.SegmentError, match=rf"^no agent has run here: {base}: found a file of user 12345, allowed: "
    ):
        shm.find(None)
    theirs = make_segment(place.SYSTEM, "main")
    for path in (theirs.parent, theirs):
        os.chown(path, 999, 999)
    assert shm.find(None) == shm.find("main") == theirs
    assert shm.read(theirs).counters
    place.SYSTEM.chmod(0o777)
    with pytest.raises(shm.SegmentError, match=rf"{place.SYSTEM}: found mode 0777, allowed: no more than 0755$"):
        shm.find("main")


def test_the_example_and_the_page_name_the_same_places() -> None:
    example = (Path(agent.__file__).parent / "example.toml").read_text()
    page = (Path(__file__).parents[4] / "docs" / "agent.md").read_text()
    for text in (example, page):
        assert "/run/trading_agent" in text and "$XDG_RUNTIME_DIR/trading_agent" in text
        assert "NAME" + place.SEGMENT_SUFFIX in text and "NAME" + place.SERIES_SUFFIX in text
        assert "/dev/shm" not in text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_no_directory_is_made_behind_a_link_that_comes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger makes it in a sticky directory, between the look at what is missing and mkdir(2)."""
    base, victim = plant_at_mkdir(monkeypatch, tmp_path)
    with pytest.raises(OSError, match="Not a directory"):
        place.make_directory(base / "sub" / "own")
    assert list(victim.iterdir()) == []
