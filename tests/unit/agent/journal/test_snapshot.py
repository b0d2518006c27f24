"""Snapshots, the layout before, and archives: whatever a start reads adds up to what the whole file adds up to."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine import journal_writer
from agent.journal import file as journal
from agent.journal import layout, record, writer
from agent.journal.errors import JournalError
from agent.journal.rebuild import Sum, rebuild
from agent.journal.record import SIZE
from agent.shm.ring import Ring

from .test_journal import DECISIONS, LIFE, ORDERS, OTHERS, entry, number, packed

SYMBOLS = ["A", "B", "1000000MOGBULLUSDT12"]
ROWS = st.lists(ORDERS | OTHERS | DECISIONS, min_size=1, max_size=40)


def make(path: Path, records: bytes, symbols: list[str] = SYMBOLS) -> None:
    path.unlink(missing_ok=True)
    journal.snapshot_of(path).unlink(missing_ok=True)
    path.write_bytes(layout.pack_header(symbols) + records)
    path.chmod(0o600)


def add_up(records: bytes) -> Sum:
    total = Sum(len(SYMBOLS))
    total.add(records)
    return total


def keep_snapshot(path: Path, count: int) -> None:
    """Write the snapshot of the first records."""
    with journal.Journal(path) as file:
        file.write_snapshot(add_up(path.read_bytes()[file.header.begin :][: count * SIZE]))


@given(ROWS, st.integers(0, 40), st.integers(0, 40))
def test_a_snapshot_and_the_rest_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], kept: int, archived: int
) -> None:
    records, path = packed(*number(rows)), tmp_path_factory.getbasetemp() / "snap.journal"
    whole = rebuild([records], 3)
    make(path, records)
    kept, archived = min(kept, len(rows)), min(archived, len(rows))
    keep_snapshot(path, kept)
    with journal.Journal(path) as file:
        total, why = file.read_snapshot()
        assert why == "" and (total.records if total else 0) == kept
        assert file.add_up(total).state == whole == file.add_up().state
    # In memory, and through the bytes of a snapshot; and where the file begins behind an archive.
    part = add_up(records[: archived * SIZE])
    held = layout.Snapshot(SYMBOLS, part.records, b"\0", part.save())
    assert layout.unpack_state(layout.pack_state(held)) == held
    again = Sum(3, layout.unpack_state(layout.pack_state(held)).saved)
    assert again.state == part.state and again.save() == part.save()
    again.add(records[archived * SIZE :])
    assert again.state == whole and again.save() == add_up(records).save()
    if archived:
        make(path, records[: archived * SIZE])
        with journal.Journal(path) as file:
            old = file.archive(part)
        assert old.read_bytes() == layout.pack_header(SYMBOLS) + records[: archived * SIZE]
        old.unlink()
        with journal.Appender(path) as end:
            assert end.last == archived
            end.append(records)
        keep_snapshot_of_all(path)
        with journal.Journal(path) as file:
            assert file.add_up().state == whole == file.add_up(file.read_snapshot()[0]).state
            assert (file.read_snapshot()[0] is None) == (archived == len(rows))


def keep_snapshot_of_all(path: Path) -> None:
    with journal.Journal(path) as file:
        file.write_snapshot(file.add_up())


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:-1], "checksum"),
        (lambda data: data[:40], "no state of a journal"),
        (lambda data: b"", "no state of a journal"),
        (lambda data: bytes(len(data)), "no state of a journal"),
        (lambda data: b"HTJSTAT2" + data[8:], "a state of version '2', allowed: 1"),
        (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "checksum"),
        (lambda data: data[:8] + b"\xff" * 8 + data[16:], "checksum"),
        (lambda data: data + bytes(8), "checksum"),
    ],
)
def test_a_damaged_snapshot_is_not_used_and_it_is_said(
    tmp_path: Path, damage: Callable[[bytes], bytes], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.journal"
    make(path, packed(*LIFE))
    keep_snapshot(path, 9)
    place = journal.snapshot_of(path)
    place.write_bytes(damage(place.read_bytes()))
    state = journal_writer.recover(path, tmp_path / "none", SYMBOLS)
    assert state == rebuild([packed(*LIFE)], 3)
    (line,) = capfd.readouterr().err.splitlines()
    assert (
        line.startswith(f"agent: {path}: the whole file is read, its snapshot is not used: {place}: ") and why in line
    )


def test_a_snapshot_of_another_journal_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    make(path, packed(*LIFE))
    keep_snapshot(path, 9)
    taken = journal.snapshot_of(path).read_bytes()
    make(path, packed(*LIFE[:8], msgspec.structs.replace(LIFE[8], time_ns=7), *LIFE[9:]))  # went on otherwise
    journal.snapshot_of(path).write_bytes(taken)
    with journal.Journal(path) as file:
        assert file.read_snapshot()[0] is None
        assert "is of another journal: its record 9 is not in this one" in file.read_snapshot()[1]
    make(path, packed(*LIFE), ["A", "C", "D"])
    journal.snapshot_of(path).write_bytes(taken)
    with journal.Journal(path) as file:
        assert "is for the symbols A, B, 1000000MOGBULLUSDT12" in file.read_snapshot()[1]


@pytest.mark.parametrize(("cut", "last"), [(0, 0), (10, 0), (-17 * SIZE, 0), (-9 * SIZE, 8), (-9 * SIZE - 1, 7)])
def test_a_journal_that_lacks_records_of_its_snapshot_stops_the_start(tmp_path: Path, cut: int, last: int) -> None:
    """Cut, an older copy, or moved away without its snapshot: twice, since a start is tried again."""
    path = tmp_path / "a.journal"
    make(path, packed(*LIFE))
    keep_snapshot(path, 9)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    for _ in range(2):
        with pytest.raises(JournalError, match=rf"^{path}: ends with record {last}, and its snapshot .* record 9: put"):
            journal_writer.recover(path, tmp_path / "none", SYMBOLS)
    journal.snapshot_of(path).rename(tmp_path / "away")
    assert journal_writer.recover(path, tmp_path / "none", SYMBOLS).records == last
    path.write_bytes(data)
    (tmp_path / "away").rename(journal.snapshot_of(path))
    assert journal_writer.recover(path, tmp_path / "none", SYMBOLS) == rebuild([packed(*LIFE)], 3)


def spoil(saved: Any) -> list[Any]:
    """What save() returns, with each of its values another one in turn."""
    found: list[Any] = [None, {}, [], "x"]
    for i, value in enumerate(saved if isinstance(saved, list) else []):
        for other in (None, "x", -1, 2**64, [7], []):
            if other != value:
                found.append([*saved[:i], other, *saved[i + 1 :]])
        found += [[*saved[:i], other, *saved[i + 1 :]] for other in spoil(value)[4:]]
    return found


def test_a_snapshots_sum_has_to_be_one(tmp_path: Path) -> None:
    """Its checksum is right, and what it says is not what records add up to: it is used, or it is not, and no other
    error comes of it; an engine looks again at what it is given."""
    path = tmp_path / "a.journal"
    make(path, packed(*LIFE))
    good, refused = add_up(packed(*LIFE)), 0
    everything = spoil(good.save())
    for saved in everything:
        block = layout.pack_state(layout.Snapshot(SYMBOLS, good.records, packed(LIFE[-1]), saved))
        journal.snapshot_of(path).write_bytes(block)
        with journal.Journal(path) as file:
            total, why = file.read_snapshot()
            refused += total is None
            assert (total is None) == bool(why) and "\n" not in why
            if total is not None:
                assert all(symbol < 3 for symbol in total.state.positions)
                assert all(o.symbol < 3 and o.leaves > 0 for o in total.state.open_orders.values())
    assert 0.6 * len(everything) < refused < len(everything)


def test_a_journal_of_the_layout_before_is_converted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.journal"
    old = b"HTJOURN1" + struct.pack("<Q", 2) + b"A       BTCUSDT "
    path.write_bytes(old + packed(*LIFE) + b"torn")
    path.chmod(0o600)
    symbols, state = journal.load(path)
    assert symbols == ["A", "BTCUSDT"] and state == rebuild([packed(*LIFE)], 2)
    assert journal_writer.recover(path, tmp_path / "none", ["A", "BTCUSDT", "1000PEPEUSDT"]) == state
    assert path.read_bytes() == layout.pack_header(["A", "BTCUSDT", "1000PEPEUSDT"]) + packed(*LIFE)
    assert capfd.readouterr().err == (f"agent: {path}: was in the layout before, HTJOURN1, and is in HTJOURN2 now\n")
    assert journal_writer.recover(path, tmp_path / "none", ["A", "BTCUSDT", "1000PEPEUSDT"]) == state
    assert capfd.readouterr().err == ""


def test_a_long_journal_is_archived_at_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path, whole = tmp_path / "a.journal", rebuild([packed(*LIFE)], 3)
    make(path, packed(*LIFE))
    before = path.read_bytes()
    keep_snapshot(path, 5)
    monkeypatch.setattr(journal, "ARCHIVE_BYTES", len(before) + 1)
    assert journal_writer.recover(path, tmp_path / "none", SYMBOLS) == whole and path.read_bytes() == before
    monkeypatch.setattr(journal, "ARCHIVE_BYTES", len(before))
    assert journal_writer.recover(path, tmp_path / "none", SYMBOLS) == whole
    archived = tmp_path / "a.journal.17"
    assert archived.read_bytes() == before
    assert f"begins anew behind record 17; those before are in {archived}, " in capfd.readouterr().err
    for _ in range(2):
        assert journal_writer.recover(path, tmp_path / "none", [*SYMBOLS, "NEW"]) == whole
    assert capfd.readouterr().err == ""
    with journal.Appender(path) as end:
        with pytest.raises(JournalError, match="record 19 follows record 17: records are missing"):
            end.append(packed(entry(19, record.QUERIED)))
        assert end.append(packed(entry(18, record.QUERIED))) == 1
    assert journal.load(path)[1].records == 18
    # What its header holds is damaged: there is no telling what it adds up to.
    data = bytearray(path.read_bytes())
    data[-SIZE - 9] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalError, match=r"a\.journal: damaged: a state whose checksum is another one"):
        journal.load(path)


def test_a_disk_that_is_full_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.journal"
    make(path, packed(*LIFE))
    before = path.read_bytes()

    def fail(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "ARCHIVE_BYTES", 0)
    monkeypatch.setattr(os, "fsync", fail)
    assert journal_writer.recover(path, tmp_path / "none", SYMBOLS) == rebuild([packed(*LIFE)], 3)
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["a.journal"]


def test_the_writer_keeps_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "EVERY", 4)
    path = tmp_path / "a.journal"
    make(path, packed(*LIFE[:3]))
    with Ring.create(tmp_path / "ring", 1 << 16, record=SIZE) as ring, journal.Appender(path) as end:
        reader, snapshots = Ring.attach(tmp_path / "ring", "reader"), writer.Snapshots(end)
        with reader:
            for count, r in enumerate(LIFE[3:], 4):
                assert ring.push(packed(r))
                assert writer.drain(reader, end, snapshots) == 1
                with journal.Journal(path) as file:
                    total, why = file.read_snapshot()
                    assert why == "" and (total.records if total else 0) == count // 4 * 4
                    assert file.add_up(total).state == rebuild([packed(*LIFE[:count])], 3)


def test_a_snapshot_that_cannot_be_written_costs_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writer, "EVERY", 1)
    path = tmp_path / "a.journal"
    make(path, b"")
    journal.snapshot_of(path).mkdir()
    with Ring.create(tmp_path / "ring", 1 << 16, record=SIZE) as ring, journal.Appender(path) as end:
        snapshots = writer.Snapshots(end)
        with Ring.attach(tmp_path / "ring", "reader") as reader:
            for r in LIFE:
                assert ring.push(packed(r))
                assert writer.drain(reader, end, snapshots) == 1
    assert capfd.readouterr().err.count("no more snapshots, the next start takes longer: ") == 1
    assert journal.load(path)[1] == rebuild([packed(*LIFE)], 3)
