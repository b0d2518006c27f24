"""Whatever another user, or a mistake, has put at the name of a segment, a ring or a series: it is refused in one line,
at once, and neither read nor written."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.engine.errors import RunError
from agent.engine.shared_memory import create_segment
from agent.errors import AgentError
from agent.shm import _segment, request, series
from agent.shm import segment as shm
from agent.shm.ring import Ring

from ..conftest import Hand
from . import hostile

SECONDS = 1.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of the agent's own in another one."""
    found = tmp_path / "way" / "own"
    found.mkdir(parents=True, mode=0o700)
    return found


def make_segment(path: Path) -> None:
    path.write_bytes(Hand().segment)


def put_segment(path: Path) -> None:
    with create_segment(path, _segment.size(1)) as new, new.memory:
        new.put_in_place()


def make_ring(path: Path) -> None:
    Ring.create(path, 4096, record=64).close()


def make_series(path: Path) -> None:
    series.create(path, ["A"], 512)


def list_bytes(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}


USES: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "read a segment": (make_segment, shm.read),
    "find a counter": (make_segment, lambda path: shm.counter_offset(path, "lost")),
    "set limits": (make_segment, lambda path: request.set_limits(path, {"kill": 1})),
    "make a segment": (make_segment, put_segment),
    "attach a reader": (make_ring, lambda path: Ring.attach(path, "reader")),
    "attach a writer": (make_ring, lambda path: Ring.attach(path, "writer")),
    "make a ring": (make_ring, lambda path: Ring.create(path, 4096)),
    "read a series": (make_series, series.Series),
    "make a series": (make_series, lambda path: series.create(path, ["A"], 512)),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("there", ["nothing there before", "behind the real one"])
@pytest.mark.parametrize("attack", hostile.attacks(), ids=lambda attack: attack.__name__)
def test_it_is_refused_in_one_line(place: Path, use: str, there: str, attack: hostile.Attack) -> None:
    make, call = USES[use]
    path = place / "main.segment"
    if there == "behind the real one":
        make(path)
    hostile.do(attack, path)
    before, begun = list_bytes(place), time.monotonic()
    with pytest.raises(AgentError) as caught:
        call(path)
    assert time.monotonic() - begun < SECONDS
    assert re.search(hostile.REFUSED, str(caught.value)) and str(place.parent) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list_bytes(place) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_reads_what_belongs_to_the_directorys_owner_and_nothing_else(place: Path) -> None:
    path = place / "main.segment"
    make_segment(path)
    for owner in (place, path):
        os.chown(owner, hostile.STRANGER, hostile.STRANGER)
    request.set_limits(path, {"kill": 1})
    assert shm.read(path).limits["kill"] == 1
    os.chown(path, 0, 0)  # root's file, that the directory's owner has moved there
    for call in (shm.read, lambda path: request.set_limits(path, {"kill": 0})):
        with pytest.raises(shm.SegmentError, match=r"found a file of user 0, allowed: one of user 12345$"):
            call(path)
    # A mapping is at the mercy of who may cut the file short.
    os.chown(path, hostile.STRANGER, hostile.STRANGER)
    for use in ("attach a reader", "read a series", "make a segment", "make a ring", "make a series"):
        with pytest.raises(AgentError, match=r"found a file of user 12345, allowed: one of user 0$"):
            USES[use][1](path)


def test_a_segment_that_is_cut_short_while_limits_are_written_does_not_kill(tmp_path: Path) -> None:
    path = tmp_path / "s"
    make_segment(path)
    data = path.read_bytes()
    descriptor = os.open(path, os.O_RDWR)
    try:
        _segment.store(descriptor, len(data), [(len(data) - 8, 7), (len(data) - 16, 2**64 - 1)])
        assert path.read_bytes()[-16:] == b"\xff" * 8 + (7).to_bytes(8, "little")
        os.ftruncate(descriptor, 0)
        with pytest.raises(OSError, match="Input/output error"):
            _segment.store(descriptor, len(data), [(len(data) - 8, 7)])
        for wrong in (-8, 4, len(data), len(data) - 4, 2**63):
            with pytest.raises(ValueError, match="allowed: a multiple of 8 inside"):
                _segment.store(descriptor, len(data), [(0, 1), (wrong, 1)])
        assert path.stat().st_size == 0
        os.ftruncate(descriptor, len(data))
        with pytest.raises(OverflowError):
            _segment.store(descriptor, len(data), [(0, 2**64)])
    finally:
        os.close(descriptor)
    with open(path, "rb") as file, pytest.raises(OSError, match="Permission denied"):
        _segment.store(file.fileno(), len(data), [(0, 1)])
    assert not any(path.read_bytes())


def test_a_lock_that_is_not_given_back_is_waited_for_a_second(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "ring"
    make_ring(path)
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        begun = time.monotonic()
        with pytest.raises(AgentError, match=rf"^{path}: another process holds its lock: found longer than 1 s, "):
            Ring.attach(path, "reader")
        assert 0.9 < time.monotonic() - begun < 1.5
    with Ring.attach(path, "reader"):
        pass


@pytest.mark.parametrize("size", [0, 384, 385, (2 << 30) + 385, 1 << 40])
def test_a_file_of_an_impossible_size_is_no_ring(tmp_path: Path, size: int) -> None:
    """Sparse: its pages would all be made at once."""
    path = tmp_path / "ring"
    make_ring(path)
    os.truncate(path, size)
    with pytest.raises(AgentError, match=rf"^{path}: {size} bytes"):
        Ring.attach(path, "reader")


def test_a_ring_of_more_than_2_gib_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"capacity: found 4294967296, allowed: a power of two from 64 to 2147483648$"):
        Ring.create(tmp_path / "ring", (2 << 30) + 1)
    assert not list(tmp_path.iterdir())


def test_what_is_no_segment_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "main.segment"
    path.write_bytes(b"by mistake")
    for _ in range(2):  # the second replaces a segment that was never begun
        put_segment(path)
        assert path.stat().st_size == _segment.size(1) and path.stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "main.segment.damaged").read_bytes() == b"by mistake"
    make_segment(path)
    data = bytearray(path.read_bytes())
    data[8:12] = b"\xff" * 4  # of another version
    path.write_bytes(data)
    put_segment(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["main.segment", "main.segment.damaged"]


def test_a_full_disk_leaves_no_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    for make in (put_segment, make_ring, make_series):
        with pytest.raises(AgentError, match="No space left on device"):
            make(tmp_path / "s")
        assert not list(tmp_path.iterdir())


def test_a_running_agents_segment_is_not_replaced(tmp_path: Path) -> None:
    path, hand = tmp_path / "s", Hand()
    from agent.shm import identity

    hand.engine.identify(*identity.own(), 0, identity.read_boot_id().encode(), 0)
    path.write_bytes(hand.segment)
    with pytest.raises(RunError, match=rf"^engine\.name: {path} belongs to a running agent, pid {os.getpid()}$"):
        put_segment(path)
    assert path.read_bytes() == bytes(hand.segment)
