"""The journal's file: the names of the symbols, then records of one size (record.pxd) that are only appended.

The engine writes records into a ring in shared memory; a process of its own (writer.py) appends them to the file. Both
outlive the engine: a restart reads the file and what is still in the ring, and knows its positions, its open orders,
and from which message on it wants the exchange to go on. Nothing of either is believed that no engine writes.
"""

import os
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.journal import _record
from agent.journal.errors import JournalError
from agent.journal.rebuild import State, rebuild
from agent.journal.record import SIZE
from agent.shm import place
from agent.symbols import MAX_SYMBOLS
from hosttune import files

#: What the file begins with: the layout's version. The number of symbols and their names of 8 characters follow.
MAGIC = b"HTJOURN1"
#: Bytes of a journal's file at most: 16 million records.
MOST_BYTES = 1 << 30
_NAMES = 16  # offset of the names, bytes
_NAME = re.compile(rb"[!-~]{1,8} *")
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


def pack_header(symbols: list[str]) -> bytes:
    """Returns the file's first bytes: magic, number of symbols, and their names of 8 characters."""
    return MAGIC + struct.pack("<Q", len(symbols)) + b"".join(s.encode().ljust(8) for s in symbols)


def unpack_header(data: bytes) -> tuple[list[str], int]:
    """Returns (symbols, bytes of the header) from what a file begins with. Raises JournalError."""
    if data[:8] != MAGIC or len(data) < _NAMES:
        raise JournalError(f"not an agent's journal (no {MAGIC.decode()} at its start)")
    count = struct.unpack_from("<Q", data, 8)[0]
    begin = _NAMES + 8 * count
    if not 0 < count <= MAX_SYMBOLS or len(data) < begin:
        raise JournalError(f"damaged: {count} symbols in {len(data)} bytes")
    names = [data[i : i + 8] for i in range(_NAMES, begin, 8)]
    if not all(map(_NAME.fullmatch, names)) or len(set(names)) != count:
        raise JournalError("damaged: its symbols are not each a name")
    return [name.decode().rstrip() for name in names], begin


def tail_of(path: Path) -> Path:
    """Returns where a journal's end is kept that a lost write left and that was cut off."""
    return path.with_name(path.name + ".damaged-tail")


class Journal:
    """A journal's file, open; a context manager. symbols: of its records, by index.

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
            self.symbols, self._begin = unpack_header(os.pread(self.descriptor, _NAMES + 8 * MAX_SYMBOLS, 0))
        except (JournalError, OSError) as error:
            self.close()
            raise self._name(error) from None

    def read(self) -> Iterator[bytes]:
        """Yields the whole records that there were when the file was opened, many at once. A torn last record is not a
        record. Raises JournalError."""
        at = self._begin
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

    def add_up(self, pieces: Iterable[bytes]) -> State:
        """Returns what whole records of this journal add up to. Raises JournalError as agent.journal.rebuild."""
        try:
            return rebuild(pieces, len(self.symbols))
        except JournalError as error:
            raise self._name(error) from None

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
        number, most = _record.unpack(record, 0)["number"], (end - self._begin) // SIZE
        return f"record {number} is last of {most}: records are missing" if number > most else ""

    def _cut(self, count: int) -> None:
        if count:
            self.size -= count
            os.ftruncate(self.descriptor, self.size)
            os.fsync(self.descriptor)

    def add_symbols(self, symbols: list[str]) -> None:
        """Put a file with more symbols in the place of this one, which may not be used any more. Raises OSError."""
        records = os.pread(self.descriptor, self.size - self._begin, self._begin)
        files.replace_file(self.path, pack_header(symbols) + records)

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
            self.last = 0
            if self.size > self._begin:
                record = os.pread(self.descriptor, SIZE, self.size - SIZE)
                self.last = _record.unpack(record, 0)["number"]
        except BaseException:
            self.close()
            raise

    def append(self, records: bytes) -> int:
        """Append whole records, on disk when this returns, but for those that are in the file already. Returns how many
        records it was given. Raises OSError, and JournalError, which names the record and no file, for one that no
        engine writes or that does not follow the last one; those before it are appended then."""
        first, end, why = _record.select(records, len(self.symbols), self.last)
        data = memoryview(records)[first * SIZE : end * SIZE]
        if data:
            last = _record.unpack(records, end - 1)["number"]
            while data:
                data = data[os.write(self.descriptor, data) :]
            os.fdatasync(self.descriptor)
            self.last = last
        if why:
            raise JournalError(why)
        return len(records) // SIZE


def load(path: Path) -> tuple[list[str], State]:
    """Returns (symbols, what the records add up to) of a journal's file. Raises JournalError."""
    with Journal(path) as journal:
        return journal.symbols, journal.add_up(journal.read())


def create(path: Path, symbols: list[str]) -> int:
    """Make an empty journal (mode 0600), and its directory where it is missing, or check that the one there is for the
    same symbols, in the same order, and cut off what a lost write has left; new symbols may stand behind those there.
    Returns as Journal.cut_lost_write(). Raises JournalError."""
    try:
        place.make_directory(path.parent)
        _write_header(path, pack_header(symbols))
        with Journal(path, os.O_RDWR) as journal:
            if journal.symbols != symbols[: len(journal.symbols)]:
                raise JournalError(
                    f"{path}: is for the symbols {', '.join(journal.symbols)}; allowed: these first, in this order, or "
                    "another journal.directory"
                )
            lost = journal.cut_lost_write()
            if journal.symbols != symbols:
                journal.add_symbols(symbols)
            return lost
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
