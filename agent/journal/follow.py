"""A journal's records as it grows, for a second reader: it opens the file to read, locks and writes nothing, and the
writer does not know of it.

A start may put another file in the journal's place: behind an archive (NAME.journal.NUMBER), in a newer layout, or with
more symbols. The reader goes on there behind the last record that it has read, and reads what it has missed from the
archives.
"""

import itertools
import os
import re
import stat
from pathlib import Path
from typing import Self

from agent.journal import _record
from agent.journal.errors import JournalError
from agent.journal.file import Journal
from agent.journal.record import SIZE, LimitRecord, Record, unpack

#: Names in the journal's directory that are looked at for archives, at most.
_MOST_NAMES = 4096


class Follower:
    """The reader. path: of the journal. last: the number of the record before the first one that read() returns; None:
    of the last record that there is now. symbols: of the records, by index: others may be added, behind these.

    Raises JournalError as Journal; then, and later, the file need not be there yet, or be whole: so is one that an
    engine's first start is making.
    """

    def __init__(self, path: Path, last: int | None = 0) -> None:
        self.path = path
        self.symbols: list[str] = []
        self._journal: Journal | None = None
        self._identity = (0, 0)
        self._at = 0
        self.last = last or 0
        if last is None and (journal := self._open(path)):
            header = journal.header
            count = max(0, journal.size - header.begin) // SIZE
            self.last, self._at = header.first - 1 + count, header.begin + count * SIZE

    def read(self, most: int) -> list[Record | LimitRecord]:
        """Returns the next records, at most so many; [] where there are none now. Raises JournalError, which names the
        file and the record, for one that no engine writes, for a missing one, and for what is no journal."""
        if self._journal is None and not self._open(self.path):
            return []
        assert self._journal is not None
        if self._journal.header.first > self.last + 1:
            self._open_archive()
        found = self._read_file(most)
        if not found and self._is_replaced():
            # Nothing is appended to the old one any more: look once more, then go on in the new one.
            found = self._read_file(most)
            if not found:
                self.close()
                if self._open(self.path) and self._journal.header.first > self.last + 1:
                    self._open_archive()
                found = self._read_file(most) if self._journal is not None else []
        return found

    @property
    def is_open(self) -> bool:
        """Whether there was a journal at the last read()."""
        return self._journal is not None

    def close(self) -> None:
        """Close the file; read() opens it again."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _open(self, path: Path) -> Journal | None:
        """Open a journal in the place of the one that is open. Returns it, None where there is none."""
        self.close()
        try:
            state = os.stat(path)
            if stat.S_ISREG(state.st_mode) and state.st_size == 0:
                return None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from None
        try:
            self._journal = journal = Journal(path)
        except JournalError:
            if path.exists():
                raise
            return None  # it was archived just now
        state = os.fstat(journal.descriptor)
        self._identity = (state.st_dev, state.st_ino)
        self._at = journal.header.begin + max(0, self.last + 1 - journal.header.first) * SIZE
        self._require_read()
        known = self.symbols
        if known != journal.symbols[: len(known)]:
            symbols = ", ".join(journal.symbols)
            raise JournalError(f"{path}: is for the symbols {symbols}; allowed: {', '.join(known)}, and others behind")
        self.symbols = journal.symbols
        return journal

    def _require_read(self) -> None:
        """Raise JournalError where the file does not have the records any more that were read: it has begun anew, say,
        and what is in it cannot be told from what was read before."""
        assert self._journal is not None
        size = os.fstat(self._journal.descriptor).st_size
        if self._at > max(size, self._journal.header.begin):
            raise JournalError(
                f"{self._journal.path}: record {self.last} was read before and is not there: it was begun anew, or cut"
            )

    def _is_replaced(self) -> bool:
        try:
            state = os.stat(self.path)
        except OSError:  # _open() says which
            return self._identity != (0, 0)
        return (state.st_dev, state.st_ino) != self._identity

    def _open_archive(self) -> None:
        """Open the archive that has the next record. Raises JournalError where there is none."""
        pattern = re.compile(re.escape(self.path.name) + r"\.([0-9]{1,18})")
        try:
            with os.scandir(self.path.parent) as entries:
                names = [entry.name for entry in itertools.islice(entries, _MOST_NAMES)]
        except OSError as error:
            raise JournalError(f"{self.path.parent}: {error.strerror}") from None
        numbers = sorted(int(match[1]) for name in names if (match := pattern.fullmatch(name)))
        for number in numbers:
            if number > self.last:
                archive = self.path.with_name(f"{self.path.name}.{number}")
                # An archive has the symbols of its time.
                known, self.symbols = self.symbols, []
                self._open(archive)
                self.symbols = known if len(known) > len(self.symbols) else self.symbols
                break
        if self._journal is None or self._journal.header.first > self.last + 1:
            raise JournalError(f"{self.path}: record {self.last + 1} is in no file here: its archive was moved away")

    def _read_file(self, most: int) -> list[Record | LimitRecord]:
        assert self._journal is not None
        try:
            piece = os.pread(self._journal.descriptor, most * SIZE, self._at)
        except OSError as error:
            raise JournalError(f"{self._journal.path}: {error.strerror}") from None
        piece = piece[: len(piece) // SIZE * SIZE]
        first, end, why = _record.select(piece, len(self._journal.symbols), self.last)
        found = [unpack(piece, index) for index in range(first, end)]
        self._at += end * SIZE
        if found:
            self.last = found[-1].number
        elif why:
            raise JournalError(f"{self._journal.path}: {why}")
        else:
            self._require_read()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
