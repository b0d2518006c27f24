"""The journal's file: a header (layout.py), then records of one size (record.pxd) that are only appended.

The engine writes records into a ring in shared memory; a process of its own (writer.py) appends them to the file. Both
outlive the engine: a restart reads the file and what is still in the ring, and knows its positions, its open orders,
and from which message on it wants the exchange to go on. Nothing of either is believed that no engine writes.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.journal import _record, layout
from agent.journal.errors import JournalError
from agent.journal.rebuild import State, Sum
from agent.journal.record import SIZE
from agent.shm import place
from hosttune import files

#: Bytes of a journal's file at most: 268 million records.
MOST_BYTES = 16 << 30
#: Bytes of a file that a start takes for long enough, 4 million records: it is archived, and a new one begins.
ARCHIVE_BYTES = 256 << 20
_PIECE = SIZE << 14  # bytes that are read at once
#: What a disk writes whole or not at all, bytes: where a write that the power's loss ended turns into zeros.
_SECTOR = 512
#: Bytes of zeros at the end that are taken for one write that was lost: 65,536 records. More may have been written.
_MOST_LOST = SIZE << 16


def default_directory() -> Path:
    """Returns $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/trading_agent, else ~/.local/state/trading_agent."""
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / place.DIRECTORY


def path_of(directory: str, name: str) -> Path:
    """Returns the path of an engine's journal. directory: of journal.directory, "" for default_directory()."""
    return (Path(directory) if directory else default_directory()) / f"{name}.journal"


def tail_of(path: Path) -> Path:
    """Returns where a journal's end is kept that a lost write left and that was cut off."""
    return path.with_name(path.name + ".damaged-tail")


def snapshot_of(path: Path) -> Path:
    """Returns where what the first records of a journal add up to is kept."""
    return path.with_name(path.name + ".snapshot")


@contextlib.contextmanager
def hold(path: Path, seconds: float) -> Iterator[int]:
    """Keep other engines off a journal that need not be there yet: two would write one file. Yields the descriptor that
    holds it, as each copy of it does in another process. Raises JournalError where another process holds the journal
    for longer than so many seconds."""
    lock = path.with_name(path.name + ".lock")  # the file itself is replaced now and then
    try:
        place.make_directory(path.parent)
        descriptor = place.open_file(lock, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise JournalError(f"journal.directory: {place.explain(error, path)}") from None
    try:
        files.lock_file(descriptor, seconds)
        yield descriptor
    except BlockingIOError:
        raise JournalError(f"{path}: another engine writes it, or its writer does, and holds {lock}; allowed: one "
                           "engine, with a journal.directory or an engine.name of its own") from None  # fmt: skip
    finally:
        os.close(descriptor)


class LostRecords(JournalError):
    """A snapshot has records that the journal's file lacks."""


class Journal:
    """A journal's file, open; a context manager. header: what stands before the records. symbols: of its records, by
    index.

    Raises JournalError, which names the file, for one that is no journal, that is larger than MOST_BYTES, or that
    others than this process's user and root could have made or written (agent.shm.place; root also reads that of the
    user who owns the directory).
    """

    def __init__(self, path: Path, flags: int = os.O_RDONLY) -> None:
        self.path = path
        try:
            self.descriptor = place.open_file(path, flags, reading=flags == os.O_RDONLY)
        except OSError as error:
            raise JournalError(place.explain(error, path)) from None
        try:
            self.size = os.fstat(self.descriptor).st_size
            if self.size > MOST_BYTES:
                raise JournalError(f"found {self.size:,} bytes, allowed: at most {MOST_BYTES:,}; move it away while "
                                   "the agent is stopped and its position is flat")  # fmt: skip
            self.header = layout.unpack_header(os.pread(self.descriptor, layout.MOST_HEADER, 0))
            self.symbols, self._begin = self.header.symbols, self.header.begin
        except (JournalError, OSError) as error:
            self.close()
            raise self._name(error) from None

    def begin(self) -> Sum:
        """Returns what the records before the file's first one add up to: nothing, where that is the journal's first.
        Raises JournalError."""
        if not self.header.state:
            return Sum(len(self.symbols))
        try:
            block = os.pread(self.descriptor, self.header.state, self._begin - self.header.state)
            found = layout.unpack_state(block)
            total = Sum(len(self.symbols), found.saved)
            if total.records != self.header.first - 1:
                raise JournalError(f"damaged: a state of {total.records} records before record {self.header.first}")
        except (JournalError, OSError) as error:
            raise self._name(error) from None
        return total

    def read(self, behind: int = 0) -> Iterator[bytes]:
        """Yields the whole records that there were when the file was opened, many at once: those whose numbers are
        above `behind`. A torn last record is not a record. Raises JournalError."""
        at = self._begin + max(0, behind - self.header.first + 1) * SIZE
        while at + SIZE <= self.size:
            try:
                piece = os.pread(self.descriptor, min(_PIECE, self.size - at), at)
            except OSError as error:
                raise self._name(error) from None
            piece = piece[: len(piece) // SIZE * SIZE]
            if not piece:
                return
            at += len(piece)
            yield piece

    def add_up(self, total: Sum | None = None) -> Sum:
        """Returns what this journal adds up to. total: of its first records, which are not read again; the rest is
        added to it. Raises JournalError as Sum.add()."""
        total = total or self.begin()
        try:
            for piece in self.read(total.records):
                total.add(piece)
        except JournalError as error:
            raise self._name(error) from None
        return total

    def read_snapshot(self) -> tuple[Sum | None, str]:
        """Returns what the snapshot beside this journal says, None where there is none that can be believed; and why
        not, one line, "" where there is none. Raises JournalError for one that says that this journal had more records
        than are here, and for nothing else at the snapshot's name."""
        path = snapshot_of(self.path)
        try:
            descriptor = place.open_file(path, os.O_RDONLY, reading=True)
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, place.explain(error, path)
        try:
            found = layout.unpack_state(files.read_bounded(descriptor, layout.MOST_STATE, path))
            if found.number < self.header.first and self.header.first > 1:
                return None, ""  # from before the journal was archived
            self._require_records(found)
            return self._use_snapshot(found), ""
        except LostRecords:
            raise
        except JournalError as error:
            return None, f"{path}: {error}"
        except OSError as error:
            return None, place.explain(error, path)
        finally:
            os.close(descriptor)

    def _require_records(self, found: layout.Snapshot) -> None:
        """Raise LostRecords for a snapshot of this journal's symbols that ends behind the file: it was cut, or is an
        older copy, or the snapshot of one that was moved away. Positions and decisions would be lost without a word."""
        last = self.header.first - 1 + (self.size - self._begin) // SIZE
        if found.symbols == self.symbols[: len(found.symbols)] and found.number > last:
            raise LostRecords(
                f"{self.path}: ends with record {last:,}, and its snapshot {snapshot_of(self.path)} with record "
                f"{found.number:,}: put the whole file back; or, to go on without its last records, compare positions "
                "and limits, and move the snapshot away"
            )

    def _use_snapshot(self, found: layout.Snapshot) -> Sum:
        """Raises JournalError for the snapshot of another journal: the record that it ends with is not here."""
        if found.symbols != self.symbols[: len(found.symbols)]:
            raise JournalError(f"is for the symbols {', '.join(map(str, found.symbols))}")
        if self._read_record(found.number) != found.last:
            raise JournalError(f"is of another journal: its record {found.number} is not in this one")
        total = Sum(len(self.symbols), found.saved)
        if total.records != found.number:
            raise JournalError(f"damaged: a state of {total.records} records up to record {found.number}")
        return total

    def _read_record(self, number: int) -> bytes:
        """Returns the bytes of a record; b"": the file does not have it."""
        at = self._begin + (number - self.header.first) * SIZE
        return os.pread(self.descriptor, SIZE, at) if self._begin <= at <= self.size - SIZE else b""

    def _pack(self, total: Sum) -> bytes:
        last = self._read_record(total.records)
        return layout.pack_state(layout.Snapshot(self.symbols, total.records, last, total.save()))

    def write_snapshot(self, total: Sum) -> None:
        """Keep what the records add up to beside the journal, of which they have to be in the file. Raises OSError."""
        if total.records < self.header.first:
            return
        data = self._pack(total)
        if len(data) <= layout.MOST_STATE:
            files.replace_file(snapshot_of(self.path), data)

    def cut_lost_write(self) -> int:
        """Cut off what a write that did not come to its end has left: a last record that is not whole; then zeros.
        Where they begin inside of a record, at a sector's begin, that record is cut off with them; where the one before
        is damaged, nothing is. Returns how many bytes of whole records were cut off: they are kept at tail_of(path).
        Raises OSError; and JournalError for more zeros than one write has, which stay."""
        self._cut((self.size - self._begin) % SIZE)
        end = self._find_zeros()
        whole = end + (self._begin - end) % SIZE  # end of the record in which they begin
        if self._find_fault(whole) and -end % _SECTOR < whole - end:
            whole -= SIZE
        lost = self.size - whole
        if lost > _MOST_LOST:
            raise JournalError(
                f"{self.path}: at least the last {lost:,} bytes are zeros, more than one write that was lost; "
                "restore the file from a copy, or move it away while the position is flat"
            )
        if lost == 0 or self._find_fault(whole):
            return 0
        files.replace_file(tail_of(self.path), os.pread(self.descriptor, lost, whole))
        self._cut(lost)
        return lost

    def _find_zeros(self) -> int:
        """Returns where the zeros at the end begin, at most one piece more than _MOST_LOST before it."""
        end = self.size
        while end > self._begin and self.size - end <= _MOST_LOST:
            start = max(self._begin, end - _PIECE)
            piece = os.pread(self.descriptor, end - start, start).rstrip(b"\0")
            end = start + len(piece)
            if piece:
                break
        return end

    def _find_fault(self, end: int) -> str:
        """Returns what is wrong with the record that ends there, one line; "": nothing, or there is none."""
        if end <= self._begin:
            return ""
        record = os.pread(self.descriptor, SIZE, end - SIZE)
        if fault := _record.check(record, 0, len(self.symbols)):
            return fault
        number = _record.unpack(record, 0)["number"]
        most = self.header.first - 1 + (end - self._begin) // SIZE
        return f"record {number} is last of {most}: records are missing" if number > most else ""

    def _cut(self, count: int) -> None:
        if count:
            self.size -= count
            os.ftruncate(self.descriptor, self.size)
            os.fsync(self.descriptor)

    def rewrite(self, symbols: list[str]) -> None:
        """Put a file of this version's layout, with these symbols, in the place of this one, which may not be used any
        more. Raises OSError."""
        state = os.pread(self.descriptor, self.header.state, self._begin - self.header.state)
        header = layout.pack_header(symbols, self.header.first, state)
        _put(self.path, header, self.descriptor, self._begin, self.size)

    def archive(self, total: Sum) -> Path:
        """Copy this journal, whose records add up to total, to NAME.journal.NUMBER of its last record, and put one
        without records in its place, which begins behind it and holds total. Returns the copy's path. Raises OSError:
        then the journal is as it was."""
        path = self.path.with_name(f"{self.path.name}.{total.records}")
        state = self._pack(total)
        if len(state) > layout.MOST_STATE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        _put(path, b"", self.descriptor, 0, self.size)
        files.replace_file(self.path, layout.pack_header(self.symbols, total.records + 1, state))
        return path

    def require_symbols(self, symbols: list[str]) -> None:
        """Raise JournalError unless the symbols are this journal's, in the same order, and others behind them."""
        if self.symbols != symbols[: len(self.symbols)]:
            raise JournalError(
                f"{self.path}: is for the symbols {', '.join(self.symbols)}; allowed: these first, in this order, or "
                "another journal.directory"
            )

    def _name(self, error: Exception) -> JournalError:
        text = str(getattr(error, "strerror", None) or error)
        return JournalError(text if text.startswith(f"{self.path}: ") else f"{self.path}: {text}")

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Appender(Journal):
    """The end of a journal's file: what is appended is checked before, and the file holds whole records only. last: the
    number of its last record, which is one that an engine writes. One process at a time. Raises as Journal, and
    OSError."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, os.O_RDWR | os.O_APPEND)
        try:
            self._cut((self.size - self._begin) % SIZE)
            if fault := self._find_fault(self.size):
                raise self._name(JournalError(fault))
            self.last = self.header.first - 1
            if self.size > self._begin:
                record = os.pread(self.descriptor, SIZE, self.size - SIZE)
                self.last = _record.unpack(record, 0)["number"]
        except BaseException:
            self.close()
            raise

    def append(self, records: bytes) -> int:
        """Append whole records, on disk when this returns, but for those that are in the file already. Returns how many
        records it was given. Raises OSError, and JournalError, which names the record and no file, for one that no
        engine writes or that does not follow the last one; those before it are appended then. So for one whose number
        is in the file, with other bytes; then none is."""
        first, end, why = _record.select(records, len(self.symbols), self.last)
        self._require_same(records, first)
        data = memoryview(records)[first * SIZE : end * SIZE]
        if data:
            last = _record.unpack(records, end - 1)["number"]
            while data:
                data = data[os.write(self.descriptor, data) :]
            os.fdatasync(self.descriptor)
            self.size += (end - first) * SIZE
            self.last = last
        if why:
            raise JournalError(why)
        return len(records) // SIZE

    def _require_same(self, records: bytes, count: int) -> None:
        """Raise JournalError unless the first records are those of the file, but for the ones that are archived."""
        for i in range(count):
            number = _record.unpack(records, i)["number"]
            if number >= self.header.first and self._read_record(number) != records[i * SIZE : (i + 1) * SIZE]:
                raise JournalError(f"record {number}: is another one in the file: two engines have written it")


def load(path: Path) -> tuple[list[str], State]:
    """Returns (symbols, what all records add up to) of a journal's file. Raises JournalError."""
    with Journal(path) as journal:
        return journal.symbols, journal.add_up().state


def _put(path: Path, header: bytes, descriptor: int, at: int, end: int) -> None:
    """Put a file with these bytes, and those of another file from `at` to before `end`, at a path: whole or not at all.
    Raises OSError."""
    draft = path.with_name(f".{path.name}.draft")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    made = place.open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            left = memoryview(header)
            while left or at < end:
                if not left:
                    left = memoryview(os.pread(descriptor, min(_PIECE, end - at), at))
                    at += len(left)
                    if not left:
                        raise OSError(errno.EIO, "the file is cut short", str(path))
                left = left[os.write(made, left) :]
            os.fsync(made)
        finally:
            os.close(made)
        draft.replace(path)
    except BaseException:
        draft.unlink()
        raise
    files.sync_directory(path.parent)


def create(path: Path, symbols: list[str]) -> tuple[int, bool]:
    """Make an empty journal (mode 0600), and its directory where it is missing, or check that the one there is for the
    same symbols, in the same order, and cut off what a lost write has left; new symbols may stand behind those there.
    One of the version before is put into this version's layout. Returns as Journal.cut_lost_write(), and whether that
    was so. Raises JournalError."""
    try:
        place.make_directory(path.parent)
        _write_header(path, layout.pack_header(symbols))
        with Journal(path, os.O_RDWR) as journal:
            journal.require_symbols(symbols)
            lost = journal.cut_lost_write()
            if journal.symbols != symbols or journal.header.old:
                journal.rewrite(symbols)
            return lost, journal.header.old
    except OSError as error:
        raise JournalError(f"journal.directory: {place.explain(error, path)}") from None


def _write_header(path: Path, header: bytes) -> None:
    """Begin a file that is new, or whose maker was killed before its header was whole. Raises OSError."""
    descriptor = place.open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        begin = os.pread(descriptor, len(header) + 1, 0)
        if len(begin) < len(header) and header.startswith(begin):
            os.pwrite(descriptor, header, 0)
            os.fsync(descriptor)
            files.sync_directory(path.parent)
    finally:
        os.close(descriptor)
