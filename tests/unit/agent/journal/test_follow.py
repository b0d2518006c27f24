"""A second reader of a journal: it sees what the file holds, byte for byte, and the writer does not know of it."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.journal import file as journal
from agent.journal import layout, record
from agent.journal.errors import JournalError
from agent.journal.follow import Follower
from agent.journal.record import SIZE, LimitRecord, Record

from ..stage import Stage
from .test_journal import LIFE, entry, packed

SYMBOLS = ["X"]


def make_records(first: int, count: int) -> bytes:
    return packed(*(entry(n, record.ENTERED, n % 1_000_000 + 1, 10) for n in range(first, first + count)))


def read_all(follower: Follower, most: int = 7) -> bytes:
    """Returns the bytes of the records that there are now."""
    found: list[Record | LimitRecord] = []
    while piece := follower.read(most):
        found += piece
    return packed(*found)


def read_bytes(path: Path) -> bytes:
    """Returns the bytes of the records in a file."""
    data = path.read_bytes()
    return data[layout.unpack_header(data[: layout.MOST_HEADER]).begin :]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(1, 64), st.data())
@settings(deadline=None, max_examples=60)
def test_any_pieces_make_up_the_file(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], most: int, data: st.DataObject
) -> None:
    """pieces: bytes that are written at a time: also records that are torn when they are looked at."""
    path = tmp_path_factory.mktemp("j") / "main.journal"
    journal.create(path, SYMBOLS)
    records, seen, at = make_records(1, sum(pieces) // SIZE + 1), b"", 0
    with Follower(path) as follower, path.open("ab", buffering=0) as file:
        for piece in pieces:
            file.write(records[at : at + piece])
            at += piece
            if data.draw(st.booleans()):
                seen += read_all(follower, most)
                assert seen == records[: at // SIZE * SIZE]
        file.write(records[at:])
        assert seen + read_all(follower, most) == records == read_bytes(path)


def test_it_begins_behind_the_last_record_that_there_is(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with journal.Appender(path) as appender:
        appender.append(make_records(1, 10))
        with Follower(path, None) as follower, Follower(path, 4) as other:
            assert (follower.read(5), follower.last) == ([], 10)
            assert read_all(other) == make_records(5, 6)
            appender.append(make_records(11, 3))
            assert read_all(follower) == read_all(other) == make_records(11, 3)


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    with Follower(path, None) as follower:
        assert follower.read(5) == []
        path.touch(0o600)
        assert follower.read(5) == []
        journal.create(path, SYMBOLS)
        with journal.Appender(path) as appender:
            appender.append(make_records(1, 3))
        assert read_all(follower) == make_records(1, 3)


@pytest.mark.parametrize("read_before", [0, 5, 10])
def test_archives_and_new_symbols_are_gone_through(tmp_path: Path, read_before: int) -> None:
    """A start archives the journal twice, and adds a symbol: wherever the reader was, it misses nothing."""
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with Follower(path) as follower:
        with journal.Appender(path) as appender:
            appender.append(make_records(1, 10))
        seen = packed(*follower.read(read_before)) if read_before else b""
        for first in (11, 21):
            with journal.Journal(path, os.O_RDWR) as old:
                old.archive(old.add_up())
            journal.create(path, [*SYMBOLS, "Y"])
            with journal.Appender(path) as appender:
                appender.append(make_records(first, 10))
        seen += read_all(follower)
        assert follower.symbols == ["X", "Y"]
        with journal.Appender(path) as appender:
            appender.append(make_records(31, 2))
        assert seen + read_all(follower) == make_records(1, 32)


def test_an_archive_that_was_moved_away_is_said(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with Follower(path) as follower:
        with journal.Appender(path) as appender:
            appender.append(make_records(1, 10))
        assert len(follower.read(4)) == 4
        follower.close()  # else the file that is open still has them
        with journal.Journal(path, os.O_RDWR) as old:
            old.archive(old.add_up()).unlink()
        with pytest.raises(JournalError, match="record 5 is in no file here: its archive was moved away"):
            follower.read(5)


def test_a_journal_of_other_symbols_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with Follower(path) as follower:
        assert follower.read(1) == []
        path.unlink()
        journal.create(path, ["Z"])
        with pytest.raises(JournalError, match="is for the symbols Z; allowed: X, and others behind"):
            follower.read(1)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_records_that_are_there_twice_come_once(tmp_path: Path, most: int) -> None:
    """As agent.journal.rebuild counts them once."""
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with path.open("ab") as file:
        file.write(make_records(1, 4) + make_records(2, 3) + make_records(5, 2))
    with Follower(path) as follower:
        found = []
        for _ in range(20):
            found += follower.read(most)
        assert packed(*found) == make_records(1, 6)


def test_what_the_writer_appends_last_before_a_start_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the end of a file and the look whether it was replaced."""
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with Follower(path) as follower:
        assert follower.read(1) == []
        replaced = follower._is_replaced

        def append_first() -> bool:
            with journal.Appender(path) as appender:
                appender.append(make_records(1, 3))
            with journal.Journal(path, os.O_RDWR) as old:
                old.archive(old.add_up()).unlink()
            return replaced()

        monkeypatch.setattr(follower, "_is_replaced", append_first)
        assert packed(*follower.read(10)) == make_records(1, 3)


@pytest.mark.parametrize("count", [0, 3, 9])
def test_a_journal_that_was_begun_anew_is_said(tmp_path: Path, count: int) -> None:
    """Moved away while the position is flat, as docs/journal.md allows: its numbers begin at 1 again."""
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with Follower(path) as follower:
        with journal.Appender(path) as appender:
            appender.append(make_records(1, 10))
        assert read_all(follower) == make_records(1, 10)
        path.rename(tmp_path / "old")
        assert follower.read(5) == []
        journal.create(path, SYMBOLS)
        with journal.Appender(path) as appender:
            appender.append(make_records(1, count))
        with pytest.raises(JournalError, match="record 10 was read before and is not there: it was begun anew, or cut"):
            follower.read(5)


def test_a_journal_that_was_cut_is_said(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with Follower(path) as follower:
        with journal.Appender(path) as appender:
            appender.append(make_records(1, 10))
        assert len(follower.read(10)) == 10
        os.truncate(path, path.stat().st_size - SIZE)
        with pytest.raises(JournalError, match="record 10 was read before"):
            follower.read(5)


@pytest.mark.parametrize("at", [0, 3])
def test_what_no_engine_writes_is_named_once_all_before_it_is_read(tmp_path: Path, at: int) -> None:
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with path.open("ab") as file:
        file.write(make_records(1, at) + b"\xff" * SIZE + make_records(at + 2, 2))
    with Follower(path) as follower:
        if at:
            assert len(follower.read(10)) == at
        with pytest.raises(JournalError) as found:
            follower.read(10)
    assert str(path) in str(found.value)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with path.open("ab") as file:
        file.write(make_records(1, 2) + make_records(4, 1))
    with Follower(path) as follower:
        assert len(follower.read(10)) == 2
        with pytest.raises(JournalError, match="record 4 follows record 2: records are missing"):
            follower.read(10)


def test_the_writer_is_not_disturbed(tmp_path: Path) -> None:
    """No lock, and a descriptor that cannot write: whatever the reader does, the file stays the writer's."""
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    with journal.Appender(path) as appender, Follower(path) as follower:
        appender.append(packed(*LIFE))
        before = path.read_bytes(), os.stat(path).st_mtime_ns, sorted(os.listdir(tmp_path))
        assert read_all(follower) == packed(*LIFE)
        descriptors = [
            int(name) for name in os.listdir("/proc/self/fd")
            if os.path.realpath(f"/proc/self/fd/{name}") == str(path) and int(name) != appender.descriptor
        ]  # fmt: skip
        assert len(descriptors) == 1
        about = Path(f"/proc/self/fdinfo/{descriptors[0]}").read_text()
        assert "lock:" not in about
        flags = int(next(line.split()[1] for line in about.splitlines() if line.startswith("flags:")), 8)
        assert flags & os.O_ACCMODE == os.O_RDONLY
        assert (path.read_bytes(), os.stat(path).st_mtime_ns, sorted(os.listdir(tmp_path))) == before


def test_a_place_where_nothing_can_be_found(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    path.symlink_to(tmp_path / "nowhere")
    with Follower(path) as follower:
        assert follower.read(10) == []
        path.unlink()
        path.symlink_to(path)
        with pytest.raises(JournalError, match=r"main\.journal: Too many levels of symbolic links"):
            follower.read(10)
        path.unlink()
        journal.create(path, SYMBOLS)
        assert follower.read(10) == []
        path.unlink()
        path.symlink_to(path)
        with pytest.raises(JournalError, match=r"main\.journal: Too many levels of symbolic links"):
            follower.read(10)


WRITER = """
import random, sys
from pathlib import Path
from agent.journal.file import Appender
data, size = sys.stdin.buffer.read(), int(sys.argv[2])
with Appender(Path(sys.argv[1])) as appender:
    while data:
        count = random.randrange(1, 40)
        appender.append(data[:count * size])
        data = data[count * size:]
"""


def test_a_writing_process_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    journal.create(path, SYMBOLS)
    records = make_records(1, 5000)
    with (
        Follower(path) as follower,
        subprocess.Popen([sys.executable, "-P", "-c", WRITER, str(path), str(SIZE)], stdin=subprocess.PIPE) as writer,
    ):
        assert writer.stdin
        writer.stdin.write(records)
        writer.stdin.close()
        seen, limit, looks = b"", time.monotonic() + 60, 0
        while len(seen) < len(records):
            assert time.monotonic() < limit
            seen += packed(*follower.read(random.randrange(1, 100)))
            looks += 1
        assert writer.wait(20) == 0
    assert seen == records
    assert looks > 50


def test_an_engine_that_trades_is_followed(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        engine = stage.agent()
        path = Path(stage.environment["STATE_DIRECTORY"]) / "main.journal"
        seen, over = bytearray(), threading.Event()

        def follow() -> None:
            with Follower(path) as follower:
                while not over.is_set():
                    seen.extend(packed(*follower.read(50)))
                    time.sleep(0.001)
                seen.extend(read_all(follower))

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            done = stage.exchange("--feed", "generated", "--messages", "3000", "--rate", "3000")
            engine.terminate()
            engine.wait(30)
        finally:
            over.set()
            thread.join(30)
        assert done.returncode == 0, done.stderr
        assert bytes(seen) == read_bytes(path)
        assert len(seen) // SIZE > 10
