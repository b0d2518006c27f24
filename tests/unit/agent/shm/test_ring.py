"""Rings: against a deque, between processes, and with ends that are killed."""

import itertools
import multiprocessing
import os
import random
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.shm import _ring, identity
from agent.shm.ring import Ring, RingError

from .ring_memory import BOOT_ID, HEAD, TAIL, handle, memory, patch

fork = multiprocessing.get_context("fork")
LIMIT = 30.0  # seconds that nothing here may take


@pytest.fixture
def child() -> Iterator[Callable[..., Any]]:
    """Runs a function in a process of its own; killed at the end."""
    running = []

    def start(function: Callable[..., None], *arguments: Any) -> Any:
        process = fork.Process(target=function, args=arguments, daemon=True)
        process.start()
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.join(LIMIT)


# ---------------------------------------------------------------------------------- against a deque


class Model:
    """Records with the index behind each; a record that would wrap begins at a multiple of the capacity."""

    def __init__(self, capacity: int, record: int) -> None:
        self.capacity = capacity
        self.word = 0 if record else 8
        self.tail = self.head = 0
        self.records: deque[tuple[bytes, int]] = deque()

    def push(self, record: bytes) -> bool:
        need = self.word + (len(record) + 7) // 8 * 8
        start = self.tail
        if start % self.capacity + need > self.capacity:
            start = (start // self.capacity + 1) * self.capacity
        if start + need - self.head > self.capacity:
            return False
        self.tail = start + need
        self.records.append((record, self.tail))
        return True

    def push_many(self, records: list[bytes]) -> int:
        return sum(1 for _ in itertools.takewhile(self.push, records))

    def take(self, count: int) -> None:
        for _ in range(count):
            self.head = self.records.popleft()[1]


ACTIONS = [
    "push",
    "push",
    "push a view",
    "many",
    "many and a misfit",
    "push block",
    "pop",
    "take",
    "peek",
    "block",
    "commit too many",
    "writer again",
    "reader again",
]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_against_a_deque(data: st.DataObject) -> None:
    capacity = data.draw(st.sampled_from([64, 128, 512]))
    record = data.draw(st.sampled_from([0, 0, 1, 8, 13, 24, 32, capacity // 2]))
    ring, model, number = memory(capacity, record), Model(capacity, record), 0
    writer, reader = handle(ring, True), handle(ring, False)
    largest = capacity // 2 - 8
    sizes = st.just(record) if record else st.one_of(st.integers(0, largest), st.sampled_from([0, 8, largest]))
    for action in data.draw(st.lists(st.sampled_from(ACTIONS), max_size=60)):
        if action == "many":
            texts = [bytes([number & 0xFF]) * size for size in data.draw(st.lists(sizes, max_size=12))]
            number += 1
            assert writer.push_many(texts) == model.push_many(texts)
        elif action == "many and a misfit":
            with pytest.raises(ValueError, match=rf"record of {capacity} bytes, allowed: "):
                writer.push_many([bytes(capacity), bytes(record or 1)])
        elif action == "push block" and record:
            count = data.draw(st.integers(0, 12))
            block = bytes((number + i) & 0xFF for i in range(count * record))
            number += 1
            pieces = [block[i : i + record] for i in range(0, len(block), record)]
            assert writer.push_block(block) == model.push_many(pieces)
            if record > 1:
                with pytest.raises(ValueError, match=rf"block of {len(block) + 1} bytes, allowed: a multiple of the"):
                    writer.push_block(block + b"x")
        elif action == "push block":
            with pytest.raises(ValueError, match="block: allowed: in a ring whose records are of one size"):
                writer.push_block(b"")
        elif action.startswith("push"):
            number += 1
            text = bytes((number + i) & 0xFF for i in range(data.draw(sizes)))
            assert writer.push(text if action == "push" else bytearray(text)) is model.push(text)
        elif action == "pop":
            count = data.draw(st.integers(0, 3))
            assert reader.peek_many(count) == [r for r, _ in model.records][:count]
            count = min(count, len(model.records))
            reader.commit(count)
            model.take(count)
        elif action == "take":
            assert reader.pop() == (model.records[0][0] if model.records else None)
            model.take(min(1, len(model.records)))
            with pytest.raises(ValueError, match=r"commit: 1 records, allowed: at most the 0"):
                reader.commit(1)
        elif action == "peek":
            assert reader.peek_many(1000) == [r for r, _ in model.records]
        elif action == "commit too many":
            seen = len(reader.peek_many(2))
            with pytest.raises(
                ValueError, match=rf"commit: .* records, allowed: at most the {seen} that were peeked at$"
            ):
                reader.commit(seen + 1)
        elif action == "block" and record and record % 8 == 0:
            # Whole records up to where the ring begins anew, or all.
            block = reader.peek_block()
            count = len(block) // record
            assert block == b"".join(r for r, _ in list(model.records)[:count])
            assert (
                count == len(model.records)
                or capacity - model.records[count - 1][1] % capacity < record
                or model.records[count - 1][1] % capacity == 0
            )
            assert count or not model.records
            count = data.draw(st.integers(0, count))
            reader.commit(count)
            model.take(count)
        elif action == "block":
            with pytest.raises(
                ValueError, match=rf"records of {record} bytes, allowed: of one size that is a multiple"
            ):
                reader.peek_block()
        elif action == "writer again":
            writer = handle(ring, True)
        else:
            reader = handle(ring, False)
        assert writer.used == reader.used == model.tail - model.head
        assert not reader.damaged
    assert reader.peek_many(1000) == [r for r, _ in model.records]


def test_sizes_that_never_fit(path: Path) -> None:
    with Ring.create(path, 1000) as writer, Ring.attach(path, "reader") as reader:
        assert path.stat().st_size == _ring.HEADER_SIZE + 1024
        for _ in range(9):  # at every place of the ring: two of them never fill it, whatever is skipped
            assert writer.push(bytes(504)) and reader.pop() == bytes(504)
            assert writer.push(b"") and reader.pop() == b""
        with pytest.raises(ValueError, match=r"record of 505 bytes, allowed: 504"):
            writer.push(bytes(505))
        assert reader.pop() is None
    path.unlink()
    with Ring.create(path, 4096, record=100) as writer:
        for size in (0, 99, 101):
            with pytest.raises(ValueError, match=rf"record of {size} bytes, allowed: 100"):
                writer.push(bytes(size))
        assert sum(writer.push(bytes(100)) for _ in range(1000)) == 39
    path.unlink()
    for record in (65, 2**32 - 1, 2**32, -1):
        with pytest.raises(
            RingError, match=r"record of \d+ bytes, allowed in a ring of 128: at most 64|value|overflow"
        ):
            Ring.create(path, 100, record=record)
        assert not list(path.parent.glob(path.name + "*"))


@pytest.mark.parametrize("record", [0, 8])
def test_of_many_with_one_that_never_fits_none_is_published(path: Path, record: int) -> None:
    with Ring.create(path, 128, record=record) as writer, Ring.attach(path, "reader") as reader:
        assert writer.push(b"12345678") and reader.pop() == b"12345678"
        for wrong, error in ((bytes(129), ValueError), ("12345678", TypeError)):
            with pytest.raises(error):
                writer.push_many([b"abcdefgh", b"abcdefgh", wrong])  # type: ignore[list-item]
            assert writer.used == 0 and reader.pop() is None
        assert writer.push_many([b"abcdefgh", b"ABCDEFGH"]) == 2
        assert reader.peek_many(9) == [b"abcdefgh", b"ABCDEFGH"]


# ---------------------------------------------------------------------------------- ends


def test_a_file_that_is_there_is_not_replaced(path: Path, tmp_path: Path) -> None:
    with Ring.create(path, 64):
        with pytest.raises(RingError, match="File exists"):
            Ring.create(path, 64)
        with pytest.raises(RingError, match="No such file"):
            Ring.create(tmp_path / "none" / "ring", 64)
        with pytest.raises(RingError, match="No such file"):
            Ring.attach(tmp_path / "ring", "reader")
    assert list(path.parent.iterdir()) == [path]


def test_each_end_does_its_own(path: Path) -> None:
    with Ring.create(path, 64) as writer, Ring.attach(path, "reader") as reader:
        with pytest.raises(RingError, match="this end is its reader"):
            reader.push(b"1")
        with pytest.raises(RingError, match="this end is its reader"):
            reader.push_many([b"1"])
        with pytest.raises(RingError, match="this end is its reader"):
            reader.push_block(b"1")
        for call in (writer.pop, writer.peek_block, lambda: writer.peek_many(1), lambda: writer.commit(0)):
            with pytest.raises(RingError, match="this end is its writer"):
                call()
        assert writer.peer_alive() and reader.peer_alive()
        writer.close()
        writer.close()
        assert not reader.peer_alive() and writer.address
        with pytest.raises(RingError, match="this end is closed"):
            writer.push(b"1")
        with Ring.attach(path, "writer") as again:
            assert again.push(b"2") and reader.pop() == b"2"
        assert reader.takeovers == 0, "who has left is not taken over from"


def hold(path: Path, role: Any, ready: Any) -> None:
    ring = Ring.attach(path, role)
    ready.send(ring.takeovers)
    time.sleep(LIMIT)


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_a_living_end_is_refused_and_a_dead_one_taken_over(path: Path, role: Any, child: Callable[..., Any]) -> None:
    Ring.create(path, 64).close()
    other = Ring.attach(path, "reader" if role == "writer" else "writer")
    with Ring.attach(path, role), pytest.raises(RingError, match=rf"its {role} is process {os.getpid()}, which is al"):
        Ring.attach(path, role)
    assert not other.peer_alive()
    for killed in range(3):
        receiver, sender = fork.Pipe(duplex=False)
        holder = child(hold, path, role, sender)
        assert receiver.poll(LIMIT) and receiver.recv() == killed
        assert other.peer_alive()
        with pytest.raises(
            RingError, match=rf"its {role} is process {holder.pid}, which is alive; allowed: one {role}$"
        ):
            Ring.attach(path, role)
        holder.kill()
        holder.join(LIMIT)
        assert not other.peer_alive()
    with Ring.attach(path, role) as ring:
        assert ring.takeovers == 3 and other.peer_alive()


def test_the_pid_of_another_process_is_no_life(path: Path) -> None:
    """The pid is in use again, by a process that was started later."""
    with Ring.create(path, 64) as writer, Ring.attach(path, "reader") as reader:
        started = identity.read_start_time(os.getpid())
        assert started is not None
        patch(path, TAIL + 16, started - 1)
        assert not reader.peer_alive()
        with Ring.attach(path, "writer") as again:
            assert again.takeovers == 1
        del writer


def test_another_boot_is_refused(path: Path) -> None:
    with Ring.create(path, 64):
        patch(path, BOOT_ID, b"00000000-0000")
        with pytest.raises(RingError, match="is of an earlier boot; remove it"):
            Ring.attach(path, "reader")


def test_a_forked_child_does_not_leave_for_its_parent(path: Path, child: Callable[..., Any]) -> None:
    with Ring.create(path, 64) as writer, Ring.attach(path, "reader") as reader:
        process = child(writer.close)
        process.join(LIMIT)
        assert process.exitcode == 0
        assert reader.peer_alive()


def race(path: Path, go: Any, result: Any) -> None:
    go.wait(LIMIT)
    try:
        ring = Ring.attach(path, "reader")
    except RingError:
        result.send(False)
    else:
        result.send(True)
        time.sleep(LIMIT)
        ring.close()


def test_of_those_who_attach_at_once_one_succeeds(path: Path, child: Callable[..., Any]) -> None:
    Ring.create(path, 64).close()
    go, pipes = fork.Event(), [fork.Pipe(duplex=False) for _ in range(6)]
    for _, sender in pipes:
        child(race, path, go, sender)
    go.set()
    assert all(receiver.poll(LIMIT) for receiver, _ in pipes)
    assert sum(receiver.recv() for receiver, _ in pipes) == 1


# ---------------------------------------------------------------------------------- two processes


def record_of(number: int) -> bytes:
    """8 bytes of number, and as many as the number says: whoever reads it can tell that it is whole."""
    return number.to_bytes(8, "little") * (1 + number * 7 % 6)


def produce(path: Path, first: int, end: int) -> None:
    with Ring.attach(path, "writer") as ring:
        for number in range(first, end):
            record = record_of(number)
            while not ring.push(record):
                os.sched_yield()


def drain(ring: Ring, expected: int) -> int:
    """Take what is there; all of it is whole and in order."""
    records = ring.peek_many(256)
    if not records:
        os.sched_yield()
    for i, record in enumerate(records):
        assert record == record_of(expected + i)
    ring.commit(len(records))
    return expected + len(records)


@pytest.mark.parametrize("capacity", [128, 1 << 16])
def test_two_processes(path: Path, capacity: int, child: Callable[..., Any]) -> None:
    Ring.create(path, capacity).close()
    count = 20_000 if capacity == 128 else 100_000
    reader, begun = Ring.attach(path, "reader"), time.monotonic()
    process, expected = child(produce, path, 0, count), 0
    while expected < count:
        expected = drain(reader, expected)
        assert time.monotonic() - begun < LIMIT
    process.join(LIMIT)
    assert process.exitcode == 0 and reader.used == 0 and reader.takeovers == 0


def test_a_writer_that_is_killed(path: Path, child: Callable[..., Any]) -> None:
    """At random moments: what it had published is whole, and the next one goes on behind it."""
    Ring.create(path, 512).close()
    rng, reader, expected = random.Random(5), Ring.attach(path, "reader"), 0
    for round in range(20):
        process = child(produce, path, expected, 2**60)
        end, deadline = expected + rng.randrange(1, 3000), time.monotonic() + LIMIT
        while expected < end:
            expected = drain(reader, expected)
            assert time.monotonic() < deadline
        process.kill()
        process.join(LIMIT)
        assert process.exitcode == -signal.SIGKILL and not reader.peer_alive()
        while reader.used:
            expected = drain(reader, expected)
        assert reader.takeovers == round


def consume(path: Path, file: Path, batch: int) -> None:
    ring = Ring.attach(path, "reader")
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        records = ring.peek_many(batch)
        os.write(descriptor, b"".join(r[:8] for r in records))
        ring.commit(len(records))


def test_a_reader_that_is_killed(path: Path, tmp_path: Path, child: Callable[..., Any]) -> None:
    """What it had not committed comes again, at most one batch of it; nothing is lost."""
    rng, writer, number, file, batch = random.Random(6), Ring.create(path, 4096), 0, tmp_path / "read", 16
    for _ in range(20):
        process = child(consume, path, file, batch)
        end, deadline = number + rng.randrange(1, 3000), time.monotonic() + LIMIT
        while number < end:
            if writer.push(record_of(number)):
                number += 1
            else:
                os.sched_yield()
            assert time.monotonic() < deadline
        process.kill()
        process.join(LIMIT)
        assert process.exitcode == -signal.SIGKILL and not writer.peer_alive()
        if file.exists():
            os.truncate(file, file.stat().st_size // 8 * 8)
    with Ring.attach(path, "reader") as reader:
        rest = reader.peek_many(10_000)
    data = file.read_bytes()
    seen = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    seen += [int.from_bytes(record[:8], "little") for record in rest]
    assert sorted(set(seen)) == list(range(number))
    again = [before - after + 1 for before, after in itertools.pairwise(seen) if after != before + 1]
    assert all(0 < a <= batch for a in again) and len(again) <= 20


def test_documented(path: Path) -> None:
    text = (Path(__file__).parents[4] / "docs" / "ring.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    found: dict[str, Any] = {}
    exec(block.replace("/run/trading_agent/example.ring", str(path)), found)
    assert found["records"] == [b"a record"] and found["reader"].used == 0
    assert f"| {_ring.HEADER_SIZE} | the records" in text and f"| {TAIL} | tail" in text and f"| {HEAD} | head" in text
