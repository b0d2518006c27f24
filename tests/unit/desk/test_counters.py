"""What a process of the desk publishes is whole whenever it is read, and its state is told from the file."""

import errno
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import counters
from desk.counters import MOST_SLOT, SLOT, Counters, CountersError, Snapshot, list_all, read, split_name

LIMIT = 20.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path / "run"


def start(directory: Path, script: str) -> subprocess.Popen[bytes]:
    text = f"import os, sys, time\nfrom pathlib import Path\nfrom desk.counters import Counters\n{script}"
    return subprocess.Popen([sys.executable, "-P", "-c", text, str(directory)], stdout=subprocess.PIPE)


@pytest.fixture
def publisher(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that publishes as fast as it can: each time one number twice, and so many characters."""
    script = """
counters = Counters.open("busy", "ingest", 0.01, Path(sys.argv[1]))
number = 0
while True:
    number += 1
    counters.publish({"a": number, "b[x-0]": number}, {"text": "x" * (number % 400)})
    if number == 1:
        print("ready", flush=True)
"""
    process = start(directory, script)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.wait(LIMIT)


def test_what_is_published_is_read(directory: Path) -> None:
    with Counters.open("one", "sync", 0.5, directory) as mine:
        with pytest.raises(CountersError, match=r"one\.counters: holds no publication that is whole"):
            read(mine.path)
        assert mine.due()
        mine.publish({"a": 1, "b[t-0]": 2.5, "nan": float("nan")}, {"problem": "y" * 1000})
        assert not mine.due()
        (found,) = list_all(directory)
        assert isinstance(found, Snapshot)
        assert (found.name, found.kind, found.state, found.pid) == ("one", "sync", "runs", os.getpid())
        assert found.numbers == {"a": 1, "b[t-0]": 2.5} and found.texts == {"problem": "y" * counters.MOST_TEXT}
        assert 0 <= found.age < LIMIT and found.sequence == 1
        with pytest.raises(CountersError, match=f"another process has this name: pid {os.getpid()}; end that"):
            Counters.open("one", "sync", 0.5, directory)
        with pytest.raises(ValueError, match=r"counters of \d+ bytes without labels, allowed: 65528"):
            mine.publish({f"{'n' * 50}{number}": number for number in range(80_000)})
    assert read(mine.path).state == "ended"
    with Counters.open("one", "sync", 0.5, directory) as again:
        again.publish({"a": 7})
        assert read(again.path).numbers == {"a": 7}, "what another process said before does not win"


def test_names() -> None:
    assert split_name("lag[ticks-0]") == ("lag", "ticks-0")
    assert split_name("lag") == ("lag", "")


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 40])
def test_a_name_that_is_none(directory: Path, name: str) -> None:
    with pytest.raises(CountersError, match="name: found"):
        Counters.open(name, "sync", 0.5, directory)


def test_every_reading_is_whole(directory: Path, publisher: subprocess.Popen[bytes]) -> None:
    last = 0
    for _ in range(300):
        found = read(directory / "busy.counters")
        number = found.numbers["a"]
        assert found.numbers["b[x-0]"] == number and len(found.texts["text"]) == number % 400
        assert found.state == "runs" and number >= last
        last = int(number)
    assert last > 1


def test_a_process_that_was_killed_has_died(directory: Path, publisher: subprocess.Popen[bytes]) -> None:
    publisher.kill()
    publisher.wait(LIMIT)
    found = read(directory / "busy.counters")
    assert found.state == "died" and found.numbers["a"] == found.numbers["b[x-0]"]
    with Counters.open("busy", "ingest", 0.5, directory) as again:
        again.publish({"a": 0})
        assert read(again.path).state == "runs"


def test_a_process_that_stands_still_hangs(
    directory: Path, publisher: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "HUNG_SECONDS", 0.1)
    os.kill(publisher.pid, signal.SIGSTOP)
    until = time.monotonic() + LIMIT
    while read(directory / "busy.counters").state != "hung":
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(publisher.pid, signal.SIGCONT)
    while read(directory / "busy.counters").state != "runs":
        assert time.monotonic() < until
        time.sleep(0.02)


def test_of_two_publications_the_whole_one_is_read(directory: Path) -> None:
    with Counters.open("one", "sync", 0.5, directory) as mine:
        mine.publish({"a": 1})
        mine.publish({"a": 2})
        with mine.path.open("r+b") as file:  # a writer that was killed in its second publication
            file.seek(12)
            file.write(b"\xff")
        assert read(mine.path).numbers == {"a": 1}
        with mine.path.open("r+b") as file:
            file.truncate(SLOT // 2)
        with pytest.raises(CountersError, match="holds no publication"):
            read(mine.path)


@given(data=st.binary(max_size=200), size=st.integers(0, 2**32 - 1))
def test_a_file_of_anything_is_no_publication(tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int) -> None:
    import zlib

    directory = tmp_path_factory.mktemp("run", numbered=True)
    directory.chmod(0o700)
    path = directory / "x.counters"
    for stated in (size, len(data)):
        body = stated.to_bytes(4, "little") + data
        path.write_bytes(zlib.crc32(body).to_bytes(4, "little") + body)
        path.chmod(0o600)
        with pytest.raises(CountersError, match=r"x\.counters"):
            read(path)
    (found,) = list_all(directory)
    assert isinstance(found, CountersError)


def test_another_directory(tmp_path: Path) -> None:
    assert list_all(tmp_path / "none") == []
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(CountersError, match="open"):
        list_all(tmp_path / "open")


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63), 10**400, float("inf"), float("-inf"), float("nan")])
def test_a_number_that_no_reader_takes_is_left_out(directory: Path, value: float) -> None:
    with Counters.open("x", "run", directory=directory) as own:
        own.publish({"a": value, "b": (1 << 63) - 1, "c": 1e300})
    assert read(directory / "x.counters").numbers == {"b": (1 << 63) - 1, "c": 1e300}


@pytest.mark.parametrize("number", ["1" + "0" * 400, "9223372036854775808", "1e999"])
def test_a_publication_with_a_number_that_is_none_is_not_whole(directory: Path, number: str) -> None:
    path = directory / "x.counters"
    with Counters.open("x", "run", directory=directory) as own:
        own.publish({"a": 7})
    text = path.read_bytes()[: SLOT * 2]
    slots = [text[at : at + SLOT] for at in (0, SLOT)]
    found = b""
    for slot in slots:
        body = slot[8:].rstrip(b"\0").replace(b'"a":7', b'"a":' + number.encode())
        size = struct.pack("<I", len(body))
        found += (struct.pack("<I", zlib.crc32(size + body)) + size + body).ljust(SLOT, b"\0")
    path.write_bytes(found)
    with pytest.raises(CountersError, match="holds no publication that is whole"):
        read(path)


def make_many(partitions: int) -> dict[str, int]:
    return {f"{name * 10}[{'t' * 200}-{number}]": number for number in range(partitions) for name in "abcdefghij"}


def test_a_file_grows_with_what_is_published_and_stays_readable(directory: Path) -> None:
    with Counters.open("one", "ingest", directory=directory) as mine:
        for partitions in (1, 100, 1, 256, 2):
            mine.publish({"a": partitions, **make_many(partitions)}, {"problem": "x"})
            found = read(mine.path)
            assert found.numbers == {"a": partitions, **make_many(partitions)} and found.state == "runs"
        sequence = found.sequence
    assert 2 * SLOT < mine.path.stat().st_size <= 2 * MOST_SLOT
    assert read(mine.path).state == "ended"
    with Counters.open("one", "ingest", directory=directory) as again:
        again.publish({"a": 3})
        assert read(again.path).numbers == {"a": 3} and read(again.path).sequence > sequence


def test_a_file_of_another_size_is_made_one(directory: Path) -> None:
    (directory / "one.counters").write_bytes(bytes(300_000))
    (directory / "one.counters").chmod(0o600)
    with Counters.open("one", "ingest", directory=directory) as mine:
        for partitions in (1, 100):
            mine.publish(make_many(partitions))
            assert read(mine.path).numbers == make_many(partitions)


def test_what_there_is_no_space_for_is_left_out_and_counted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Counters.open("one", "ingest", directory=directory) as mine:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
        mine.publish({"a": 1, **make_many(100)}, {"problem": "x", "ring[t-0]": "y"})
        found = read(mine.path)
        assert found.numbers["a"] == 1 and found.texts == {"problem": "x"}
        assert found.numbers["left_out"] == 1000 + 1 - (len(found.numbers) - 2) > 0
        mine.publish({"a": 2})
        assert read(mine.path).numbers == {"a": 2}


def test_a_text_that_is_none_is_published_readable(directory: Path) -> None:
    with Counters.open("one", "sync", directory=directory) as mine:
        mine.publish({}, {"problem": "audit /a\udcff: No space left on device"})
        assert read(mine.path).texts == {"problem": "audit /a?: No space left on device"}
