"""Rings: against a deque, between processes, and with an end that is killed or a header that lies."""

import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import _ring, shm
from agent.ring import Ring, RingError, RingHeld


@given(
    st.sampled_from((64, 256, 1024)),
    st.sampled_from((0, 0, 8, 24)),
    st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=200),
)
@settings(max_examples=200, deadline=None)
def test_it_does_what_a_deque_does(
    tmp_path_factory: pytest.TempPathFactory, capacity: int, record: int, steps: list[tuple[bool, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "ring"
    path.unlink(missing_ok=True)
    model: deque[bytes] = deque()
    number = 0
    with Ring.create(path, capacity, record) as writer, Ring.attach(path, "reader") as reader:
        for push, size in steps:
            if not push:
                assert reader.pop() == (model.popleft() if model else None)
                continue
            number += 1
            data = number.to_bytes(8, "little") * 30
            data = data[: record or size]
            if -(-(len(data) + 8) // 8) * 8 > capacity // 2:
                with pytest.raises(ValueError, match="allowed"):
                    writer.push(data)
            elif writer.push(data):
                model.append(data)
            else:
                # Full: the record, and a gap before it at most as long as the longest record.
                assert writer.used + 2 * (len(data) + 16) > capacity // 2
            assert (reader.used == 0) == (not model)
        assert reader.peek_many(10_000) == list(model)
        reader.commit(len(model))
        assert reader.pop() is None


WRITER = """
import sys
from pathlib import Path
from agent.ring import Ring
ring = Ring.attach(Path(sys.argv[1]), "writer") if sys.argv[2] == "attach" else Ring.create(Path(sys.argv[1]), 1 << 14)
print("ready", flush=True)
number = int(sys.argv[3])
while number < int(sys.argv[4]):
    if ring.push(number.to_bytes(8, "little") * (1 + number % 9)):
        number += 1
"""


def start(path: Path, how: str, first: int, last: int) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-P", "-c", WRITER, str(path), how, str(first), str(last)],
                             stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert child.stdout and child.stdout.readline() == "ready\n"
    return child


def check(record: bytes, number: int) -> None:
    assert record == number.to_bytes(8, "little") * (1 + number % 9)


def test_nothing_is_lost_between_two_processes(tmp_path: Path) -> None:
    child = start(tmp_path / "r", "create", 0, 200_000)
    try:
        with Ring.attach(tmp_path / "r", "reader") as reader:
            number, limit = 0, time.monotonic() + 30
            while number < 200_000:
                found = reader.peek_many(100)
                for record in found:
                    check(record, number)
                    number += 1
                reader.commit(len(found))
                assert time.monotonic() < limit
            assert reader.pop() is None
    finally:
        child.kill()
        child.communicate()


def test_a_writer_that_is_killed_has_published_whole_records_only(tmp_path: Path) -> None:
    rng, number = random.Random(4), 0
    path = tmp_path / "r"
    with Ring.create(path, 1 << 14):
        pass
    with Ring.attach(path, "reader") as reader:
        for kill in range(10):
            child = start(path, "attach", number, 1 << 40)
            with pytest.raises(RingHeld, match=f"its writer is process {child.pid}, which is alive"):
                Ring.attach(path, "writer")
            assert reader.peer_alive()
            until = time.monotonic() + rng.random() * 0.03
            while time.monotonic() < until:
                for record in reader.peek_many(1000):
                    check(record, number)
                    number += 1
                    reader.commit(1)
            child.send_signal(signal.SIGKILL)
            child.communicate()
            assert not reader.peer_alive()
            while (record := reader.pop()) is not None:
                check(record, number)
                number += 1
            assert reader.takeovers >= kill
    assert number > 1000


def test_a_reader_that_dies_before_commit_has_taken_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with Ring.create(path, 1 << 12) as writer:
        for i in range(10):
            writer.push(bytes([i]))
        code = (
            "import os, sys; from pathlib import Path; from agent.ring import Ring\n"
            "r = Ring.attach(Path(sys.argv[1]), 'reader'); r.pop(); r.peek_many(5); os.kill(os.getpid(), 9)"
        )
        assert subprocess.run([sys.executable, "-P", "-c", code, str(path)]).returncode == -9
        with Ring.attach(path, "reader") as reader:
            assert reader.peek_many(100) == [bytes([i]) for i in range(1, 10)]
            assert reader.takeovers == 1


def test_who_may_have_an_end(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with Ring.create(path, 64) as ring:
        with pytest.raises(RingError, match="File exists"):
            Ring.create(path, 64)
        # The same pid, but of a process that began at another time, is another process: it is dead.
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            _ring.Handle(memory, True).own(1, 12345, False)
        assert not Ring.attach(path, "reader").peer_alive()
        assert Ring.attach(path, "writer").takeovers == 1
        ring.close()
    Ring.attach(path, "writer")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda b: b[:100], "not a ring"),
        (lambda b: b"X" + b[1:], "not a ring"),
        (lambda b: b[:8] + b"\x07" + b[9:], "ring of version 7"),
        (lambda b: b[:-64], "its header describes another ring"),
        (lambda b: b[:16] + (96).to_bytes(8, "little") + b[24:], "its header describes another ring"),
        (lambda b: b[:24] + bytes(8) + b[32:], "its header describes another ring"),
        (lambda b: b.replace(shm.boot_id().encode(), b"f" * 36), "of an earlier boot"),
        (lambda b: b"", "cannot mmap an empty file"),
    ],
)
def test_what_is_no_ring_is_refused(tmp_path: Path, change: object, text: str) -> None:
    with Ring.create(tmp_path / "r", 1024):
        pass
    (tmp_path / "bad").write_bytes(change((tmp_path / "r").read_bytes()))  # type: ignore[operator]
    with pytest.raises(RingError, match=text):
        Ring.attach(tmp_path / "bad", "reader")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_is_in_it_is_never_read_past(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Random indices and bytes: a reader finds records inside the ring, or says that it is damaged."""
    path = tmp_path_factory.getbasetemp() / "hostile"
    path.unlink(missing_ok=True)
    record = data.draw(st.sampled_from((0, 16)))
    with Ring.create(path, 256, record):
        pass
    raw = bytearray(path.read_bytes())
    head = len(raw) - 256
    words = st.integers(0, 64) | st.integers(0, 2**64 - 1) | st.just(2**64 - 1)
    for place in (128, 256):
        raw[place : place + 8] = data.draw(words).to_bytes(8, "little")
    for place in range(head, len(raw), 8):
        raw[place : place + 8] = data.draw(words).to_bytes(8, "little")
    path.write_bytes(raw)
    reader = Ring.attach(path, "reader")
    try:
        total = sum(len(r) + 8 for r in reader.peek_many(1000))
        assert total <= 256
    except RingError as error:
        assert "damaged" in str(error)


def test_no_room_for_it_on_the_disk_is_an_error(tmp_path: Path) -> None:
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no /dev/shm")
    with pytest.raises(RingError):
        Ring.create(Path("/dev/shm/hosttune-test-none/x"), 64)
    with pytest.raises(RingError, match="No such file"):
        Ring.attach(tmp_path / "none", "reader")
