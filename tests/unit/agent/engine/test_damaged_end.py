"""A journal whose end is damaged, and an engine's ring beside it: a start goes on behind the right records, or refuses
in one line, and no record of the ring is lost."""

import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine import journal_writer
from agent.engine.errors import RunError
from agent.journal import _record, layout, record
from agent.journal import file as journal
from agent.journal.errors import JournalError
from agent.shm import _ring
from agent.shm.ring import Ring

SIZE = record.SIZE
SYMBOLS = ["AAPL"]
HEADER = layout.pack_header(SYMBOLS)


def execution(number: int, **more: int) -> bytes:
    """An execution of one unit: the position is the number of records."""
    fields = {
        "number": number,
        "kind": record.EXECUTED,
        "id": number & 0xFFFFFFFF,
        "quantity": 1,
        "side": 1,
        "price": 1_000_000,
    }
    return _record.pack(dict.fromkeys(record.Record.__struct_fields__, 0) | fields | more)


def executions(first: int, last: int) -> bytes:
    return b"".join(map(execution, range(first, last + 1)))


class Desk:
    """A journal's file with any bytes, and a ring that an engine has left."""

    def __init__(self, folder: Path, data: bytes, ring: bytes = b"") -> None:
        self.path, self.ring = folder / "a.journal", folder / "a.journal-ring"
        self.path.write_bytes(data)
        self.path.chmod(0o600)
        self.left = ring
        if ring:
            with Ring.create(self.ring, 1 << 14, record=SIZE) as made:
                for at in range(0, len(ring), SIZE):
                    assert made.push(ring[at : at + SIZE])

    def recover(self) -> int:
        """Returns the number of the last record. What is appended follows it."""
        state = journal_writer.recover(self.path, self.ring, SYMBOLS)
        assert state.positions.get(0, 0) == state.records and not self.ring.exists()
        assert self.path.read_bytes() == HEADER + executions(1, state.records)
        with journal.Appender(self.path) as end:
            assert end.last == state.records
            end.append(execution(state.records + 1))
        assert journal.load(self.path)[1].records == state.records + 1
        return state.records

    def refuse(self, message: str = ".") -> None:
        """Every record of the ring is in it, or in the file; twice, since a start is tried again."""
        for _ in range(2):
            with pytest.raises((RunError, JournalError), match=message) as caught:
                journal_writer.recover(self.path, self.ring, SYMBOLS)
            assert "\n" not in str(caught.value)
            if self.left:
                kept = self.ring.read_bytes()[_ring.HEADER_SIZE :] + self.path.read_bytes()
                assert all(self.left[at : at + SIZE] in kept for at in range(0, len(self.left), SIZE))


def test_a_nonsense_last_record_keeps_what_the_ring_holds(tmp_path: Path) -> None:
    for nonsense, message in (
        (execution(2**64 - 1), r"record 18446744073709551615 follows record 1: records are missing"),
        (execution(2**64 - 1, kind=77), r"record 18446744073709551615 follows record 1: records are missing"),
        (execution(2, kind=77), r"record 2: kind: found 77, allowed: 1 to 16, 32, 33"),
        (execution(1, side=7), r"record 1: side: found 7, allowed: "),
        (execution(0), r"record 0: number: found 0, allowed: from 1"),
    ):
        desk = Desk(tmp_path, HEADER + execution(1) + nonsense, executions(2, 3))
        desk.refuse(message)
        with pytest.raises(RunError):  # nor does the ring's reader by itself
            journal_writer.drain_left_ring(desk.ring, desk.path)
        with pytest.raises(JournalError, match=rf"^{desk.path}: record \d+"):
            journal.Appender(desk.path)
        assert desk.path.read_bytes() == HEADER + execution(1) + nonsense and desk.ring.exists()
        desk.ring.unlink()


def test_a_record_of_number_0_in_the_ring_is_not_taken_for_written(tmp_path: Path) -> None:
    Desk(tmp_path, HEADER + execution(1), execution(0) + execution(2)).refuse("record 0: number: found 0, allowed: ")


@pytest.mark.parametrize("zeros", [1, 64, 65, 640, 1 << 20, 4 << 20])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_zeros_at_the_end_are_moved_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zeros: int, count: int
) -> None:
    desk = Desk(tmp_path, HEADER + executions(1, count) + bytes(zeros))
    assert desk.recover() == count
    tail, whole = journal.tail_of(desk.path), zeros // SIZE * SIZE
    said = (
        f"agent: {desk.path}: moved the last {whole:,} bytes, of a write that was lost (a power failure?), to {tail}\n"
    )
    assert capsys.readouterr().err == (said if whole else "")
    assert (tail.read_bytes() if whole else b"") == bytes(whole)


@pytest.mark.parametrize("more", [0, 64, 6400])
def test_a_record_that_turns_into_zeros_at_a_sector_is_moved_away(tmp_path: Path, more: int) -> None:
    records = executions(1, 20)
    cut = 512 * 2 - len(HEADER)
    part = records[:cut] + bytes(-cut % SIZE)
    desk = Desk(tmp_path, HEADER + part + bytes(more))
    assert cut % SIZE and desk.recover() == cut // SIZE
    assert journal.tail_of(desk.path).read_bytes() == part[cut // SIZE * SIZE :] + bytes(more)


def test_what_no_lost_write_leaves_is_refused(tmp_path: Path) -> None:
    for end, message in (
        (bytes(SIZE) + execution(2), "record 0: number: found 0"),
        (execution(2)[:40] + bytes(24 + 640), "record 2: kind: found 0"),  # not at a sector
        (bytes((4 << 20) + SIZE), "at least the last [0-9,]+ bytes are zeros, more than one write"),
    ):
        data = HEADER + execution(1) + end
        desk = Desk(tmp_path, data, executions(2, 3))
        desk.refuse(message)
        assert desk.path.read_bytes() == data and not journal.tail_of(desk.path).exists()
        desk.ring.unlink()


DAMAGE = st.one_of(
    st.tuples(st.just("zeros"), st.integers(0, 700).map(bytes)),
    st.tuples(st.just("noise"), st.binary(max_size=200)),
    st.tuples(
        st.just("a number"),
        st.builds(lambda n, kind: execution(n, kind=kind), st.integers(0, 2**64 - 1), st.integers(0, 99)),
    ),
    st.tuples(
        st.just("noise, zeros"), st.builds(lambda a, n: a + bytes(n), st.binary(max_size=90), st.integers(0, 300))
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(0, 30),
    kept=st.integers(0, 30 * SIZE),
    damage=DAMAGE,
    over=st.integers(0, 5),
    left=st.integers(0, 5),
)
def test_any_damaged_end(count: int, kept: int, damage: tuple[str, bytes], over: int, left: int) -> None:
    """The file: the records 1 to count, of which so many bytes are there, then the damage. The ring: the last ones of
    them (over) that its writer had not taken off, and more (left)."""
    whole = executions(1, count)[:kept]
    right = len(whole) // SIZE
    first, last = max(1, count + 1 - over), count + left
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder), HEADER + whole + damage[1], executions(first, last))
        before = desk.path.read_bytes()
        try:
            found = desk.recover()
        except (RunError, JournalError):
            desk.refuse()
            assert desk.path.read_bytes().startswith(before[: len(HEADER) + right * SIZE])
            # Nothing but the damage is a reason.
            assert damage[1] or first > right + 1
        else:
            # The damage may have been the rest of the record, or nothing but what comes next.
            extra = journal_records(damage[1], whole)
            assert found == max(right + extra, last if first <= last else 0), (found, right, last)


def journal_records(damage: bytes, whole: bytes) -> int:
    """Returns how many records the bytes there and the damage make by chance."""
    data = (whole + damage)[len(whole) // SIZE * SIZE :]
    number = len(whole) // SIZE
    made = 0
    while data[made * SIZE : (made + 1) * SIZE] == execution(number + made + 1):
        made += 1
    return made


@pytest.mark.parametrize("size", range(len(HEADER)))
def test_a_header_that_is_cut_keeps_what_the_ring_holds(tmp_path: Path, size: int) -> None:
    Desk(tmp_path, HEADER[:size], executions(2, 3)).refuse("record 2 follows record 0: records are missing")


def test_a_header_of_zeros_is_no_journal(tmp_path: Path) -> None:
    data = struct.pack("<QQ", 0, 0) + bytes(640)
    desk = Desk(tmp_path, data, executions(1, 2))
    desk.refuse("not an agent's journal")
    assert desk.path.read_bytes() == data
