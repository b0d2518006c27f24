"""The journal's ring and its writer's process: what is left behind when they end, also when they end badly."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.config import Journal
from agent.engine import journal_writer
from agent.engine.errors import RunError
from agent.engine.journal_writer import drain_left_ring, end_writer, open_journal, start_writer
from agent.journal import _record, record
from agent.journal import file as journal
from agent.journal.errors import JournalError
from agent.shm.ring import Ring, RingHeld


def entered(number: int) -> bytes:
    """The record of an Enter Order with its own number as UserRefNum."""
    fields = {"number": number, "price": 1_000_000, "kind": record.ENTERED, "id": number, "quantity": 5, "side": 1}
    return _record.pack(dict.fromkeys(record.Record.__struct_fields__, 0) | fields)


def opened(directory: Path) -> Any:
    return open_journal(Journal(directory=str(directory)), "main", directory / "segment", ["AAPL"])


def test_what_the_engine_said_is_in_the_file_when_it_is_done(tmp_path: Path) -> None:
    with opened(tmp_path) as (ring, state):
        assert state.reference == 0
        assert all(ring.push(entered(number)) for number in (1, 2, 3))
    assert not (tmp_path / "segment.journal-ring").exists()
    with opened(tmp_path) as (_, state):
        assert state.reference == 3 and sorted(state.open_orders) == [1, 2, 3]


def test_what_a_killed_engine_left_in_the_ring_is_written(tmp_path: Path) -> None:
    with opened(tmp_path) as (ring, _):
        ring.push(entered(1))
    with Ring.create(tmp_path / "segment.journal-ring", 1 << 16, record=record.SIZE) as ring:
        ring.push(entered(2))
    with opened(tmp_path) as (_, state):
        assert state.reference == 2


def test_a_journal_is_one_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another engine's ring is in another directory, and while the writer of one that was killed writes."""
    other, path = tmp_path / "other", tmp_path / "main.journal"
    other.mkdir(mode=0o700)

    def open_other() -> Any:
        return open_journal(Journal(directory=str(tmp_path)), "main", other / "segment", ["AAPL"])

    monkeypatch.setattr(journal_writer, "_WRITER_ENDS", 0.05)
    message = rf"^{path}: another engine writes it, or its writer does, and holds {path}\.lock; "
    with opened(tmp_path), pytest.raises(JournalError, match=message), open_other():
        raise AssertionError("the engine must not run with another one's journal")
    ring_path = tmp_path / "left.journal-ring"
    with Ring.create(ring_path, 1 << 16, record=record.SIZE):
        with journal.hold(path, 0) as held:
            writer = start_writer(ring_path, path, held)
        try:
            with pytest.raises(JournalError, match=message), open_other():
                raise AssertionError("the engine must not run while a writer appends")
        finally:
            end_writer(writer)
    with open_other() as (_, state):
        assert state.records == 0


def test_a_record_of_two_engines_is_not_taken_for_one(tmp_path: Path) -> None:
    with opened(tmp_path) as (ring, _):
        assert all(ring.push(entered(number)) for number in (1, 2))
    before = (tmp_path / "main.journal").read_bytes()
    fields = _record.unpack(entered(2), 0) | {"quantity": 6}
    with Ring.create(tmp_path / "segment.journal-ring", 1 << 16, record=record.SIZE) as ring:
        assert all(ring.push(each) for each in (entered(1), _record.pack(fields), entered(3)))
    message = r"record 2: is another one in the file: two engines have written it; the journal may lack"
    for _ in range(2):
        with pytest.raises(RunError, match=message), opened(tmp_path):
            raise AssertionError("the engine must not run")
        assert (tmp_path / "main.journal").read_bytes() == before and (tmp_path / "segment.journal-ring").exists()


def test_a_ring_that_a_writer_holds_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    with Ring.create(ring, 1 << 16, record=record.SIZE), Ring.attach(ring, "reader"), pytest.raises(RingHeld):
        drain_left_ring(ring, tmp_path / "journal", 0.05)
    assert ring.exists()


def test_a_writer_that_does_not_start_leaves_no_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "posix_spawn", refuse)
    message = r"^journal: its writer could not be started: Operation not permitted$"
    with pytest.raises(RunError, match=message), opened(tmp_path):
        raise AssertionError("the engine must not run without its journal")
    assert not (tmp_path / "segment.journal-ring").exists()


def test_a_ring_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    segment = tmp_path / "missing" / "segment"
    with (
        pytest.raises(RunError, match=rf"^journal: {segment.parent}: No such file or directory"),
        open_journal(Journal(directory=str(tmp_path)), "main", segment, ["AAPL"]),
    ):
        raise AssertionError("the engine must not run without its journal")


def test_a_writer_that_does_not_end_is_killed() -> None:
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    read, write = os.pipe()
    writer = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", code], os.environ,
                            file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])  # fmt: skip
    os.close(write)
    assert os.read(read, 1) == b"\n"  # it ignores SIGTERM now
    os.close(read)
    end_writer(writer, 0.05)
    with pytest.raises(ChildProcessError):
        os.waitpid(writer, 0)


def run_placed(monkeypatch: pytest.MonkeyPatch, cpus: frozenset[int], wrong: str, refuse: int = 0) -> list[set[int]]:
    """Place this process with what was read about its CPUs; returns where it was put."""
    placed: list[set[int]] = []

    def place(process: int, where: frozenset[int]) -> None:
        assert process == 77
        if refuse:
            raise OSError(refuse, os.strerror(refuse))
        placed.append(set(where))

    monkeypatch.setattr(journal_writer, "read_helper_cpus", lambda root, engine: (cpus, wrong))
    monkeypatch.setattr(os, "sched_setaffinity", place)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3})
    journal_writer.place_helper(77, "the writer")
    return placed


def test_a_helper_is_put_on_housekeeping_cpus(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_placed(monkeypatch, frozenset({0, 1}), "") == [{0, 1}]
    assert capsys.readouterr().err == ""
    assert run_placed(monkeypatch, frozenset({0}), "not known") == [{0}]
    assert capsys.readouterr().err == "agent: the writer runs on CPUs 3: not known\n"
    assert run_placed(monkeypatch, frozenset(), "none") == []
    assert capsys.readouterr().err == "agent: the writer runs on CPUs 3: none\n"
    assert run_placed(monkeypatch, frozenset({0, 1}), "", errno.EINVAL) == []
    assert capsys.readouterr().err == "agent: the writer runs on CPUs 3: CPUs 0-1: Invalid argument\n"
    assert run_placed(monkeypatch, frozenset({0}), "", errno.ESRCH) == []
    assert capsys.readouterr().err == ""
