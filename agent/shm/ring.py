"""Rings in shared memory between processes: `Ring.create`, `Ring.attach`, push and pop.

The layout and the memory ordering are in ring.pxd; docs/ring.md says what happens when an end dies.
"""

import fcntl
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from agent.errors import AgentError
from agent.shm import _ring, identity, place
from hosttune import files

Role = Literal["writer", "reader"]
#: Seconds that another process may hold a ring's lock: it attaches meanwhile.
_LOCKED = 1.0


class RingError(AgentError):
    """The ring cannot be used; the message names its file, what was found and what is allowed."""


class RingHeld(RingError):
    """A living process holds this end."""


class Ring:
    """One end of a ring. At most one writer and one reader at a time, each a process.

    Raises RingError for a file that is not a ring of this boot, for one that others than this process's user and root
    could have made or written (agent.shm.place), for one whose lock another process holds for longer than a second, and
    when the file cannot be made or mapped; RingHeld for an end that a living process holds (this one too).
    """

    def __init__(self, path: Path, role: Role) -> None:
        self.path, self.role = path, role
        try:
            descriptor = place.open_file(path, os.O_RDWR)
            try:
                # Two that attach at once: one after the other.
                self._lock(descriptor)
                try:
                    size = os.fstat(descriptor).st_size
                    if not _ring.HEADER_SIZE < size <= _ring.MOST_BYTES:
                        raise ValueError(f"{size} bytes: not a ring")
                    # Its pages are there before the loop that writes them runs.
                    self._map = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
                    self._handle = _ring.Handle(self._map, role == "writer")
                    self._claim()
                finally:
                    # Not by close(): the mapping has a duplicate of the descriptor.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RingError(place.explain(error, path)) from None
        except ValueError as error:
            raise RingError(f"{path}: {error}") from None
        # The end that this is, until close().
        self._closed = False
        self._writer = self._handle if role == "writer" else None
        self._reader = self._handle if role == "reader" else None

    def _lock(self, descriptor: int) -> None:
        try:
            files.lock_file(descriptor, _LOCKED)
        except BlockingIOError:
            raise RingError(f"{self.path}: another process holds its lock: found longer than {_LOCKED:g} s, "
                            "allowed: while it attaches") from None  # fmt: skip

    def _claim(self) -> None:
        if self._handle.boot_id != identity.read_boot_id().encode():
            raise RingError(f"{self.path}: is of an earlier boot; remove it")
        pid, start_time = self._handle.read_owner(self.role == "writer")
        if _is_held(pid, start_time):
            raise RingHeld(f"{self.path}: its {self.role} is process {pid}, which is alive; allowed: one {self.role}")
        self._handle.attach(*identity.own(), takeover=bool(pid))

    @classmethod
    def create(cls, path: Path, capacity: int, record: int = 0) -> Self:
        """Make a new, empty ring. Returns its writer.

        capacity: bytes of records, the padding of each to 8 included, and 8 more where they vary; rounded up to a power
        of two, at most 2 GiB. record: bytes of each record, up to half of the capacity; 0: they vary. Raises RingError
        when the file is there already or cannot be made, and for a record over half of the capacity.
        """
        size = 64
        while size < capacity:
            size *= 2
        try:
            _ring.check_sizes(size, record)
            descriptor = place.create_file(path, _ring.HEADER_SIZE + size, locked=True)
            try:
                with mmap.mmap(descriptor, _ring.HEADER_SIZE) as memory:
                    _ring.initialise(memory, size, record, identity.read_boot_id().encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RingError(place.explain(error, path)) from None
        except (ValueError, OverflowError) as error:
            raise RingError(f"{path}: {error}") from None
        return cls(path, "writer")

    @classmethod
    def attach(cls, path: Path, role: Role) -> Self:
        """Returns an end of a ring that is there. The end of a process that has died is taken over where it left off.
        Raises RingError as the class."""
        return cls(path, role)

    @classmethod
    def open_writer(cls, path: Path, capacity: int, record: int = 0) -> Self:
        """Returns the writer of the ring that is there, whatever its records are, or else of a new one, as create().
        Raises RingError as both."""
        return cls.attach(path, "writer") if os.path.lexists(path) else cls.create(path, capacity, record)

    @property
    def address(self) -> int:
        """Of the struct Ring of ring.pxd, for compiled code; valid while this object lives."""
        return self._handle.address

    @property
    def record_size(self) -> int:
        """Bytes of each record; 0: they vary."""
        return self._handle.record

    @property
    def tail(self) -> int:
        """Bytes that were ever published, as of the file: 0 for a ring that nobody has written to."""
        return self._handle.tail

    @property
    def used(self) -> int:
        """Bytes that are published and not yet taken."""
        return self._handle.used

    @property
    def takeovers(self) -> int:
        """How often an end was taken over from a process that had died without leaving."""
        return self._handle.takeovers

    def peer_alive(self) -> bool:
        """Returns whether a process holds the other end, by pid and start time."""
        return _is_held(*self._handle.read_owner(self.role != "writer"))

    def _wrong_end(self) -> RingError:
        return RingError(f"{self.path}: this end is {'closed' if self._closed else f'its {self.role}'}")

    def push(self, record: bytes) -> bool:
        """Publish a record. Returns False when there is no space now. Raises ValueError for a record that can never
        fit, RingError when this is not the writer."""
        if self._writer is None:
            raise self._wrong_end()
        return self._writer.push(record)

    def push_many(self, records: list[bytes]) -> int:
        """Publish records: all at once, or as many of the first as there is space for now; many times faster than by
        push(). Returns how many. Raises TypeError for a record that is not bytes and ValueError for one that can never
        fit, and then none is published; RingError when this is not the writer."""
        if self._writer is None:
            raise self._wrong_end()
        return self._writer.push_many(records)

    def push_block(self, block: bytes | bytearray | memoryview) -> int:
        """Publish records of the ring's one size that lie one behind the other in a buffer: all at once, or as many of
        the first as there is space for now. Returns how many. Raises ValueError unless the block is a whole number of
        such records, RingError when this is not the writer."""
        if self._writer is None:
            raise self._wrong_end()
        return self._writer.push_block(block)

    def peek_many(self, limit: int) -> list[bytes]:
        """Returns up to `limit` records, oldest first. They stay in the ring until commit().

        Raises RingError when this is not the reader, and when the ring is damaged and all records before that place
        have been taken.
        """
        if self._reader is None:
            raise self._wrong_end()
        found = self._reader.peek_many(limit)
        if not found and self._reader.damaged:
            raise self._damaged()
        return found

    def peek_block(self) -> bytes:
        """Returns the oldest records in one, as far as they lie one behind the other: many at a time much faster than
        by peek_many(). They stay in the ring until commit(). b"": there are none.

        Raises ValueError unless records are of one size that is a multiple of 8 bytes, RingError as peek_many().
        """
        if self._reader is None:
            raise self._wrong_end()
        found = self._reader.peek_block()
        if not found and self._reader.damaged:
            raise self._damaged()
        return found

    def commit(self, count: int) -> None:
        """Take the `count` oldest of the records that were peeked at off the ring; until then a reader that dies will
        read them again. Raises ValueError for more than were peeked at, RingError when this is not the reader."""
        if self._reader is None:
            raise self._wrong_end()
        self._reader.commit(count)

    def pop(self) -> bytes | None:
        """Take the oldest record off the ring. Returns it, or None. Raises RingError as peek_many()."""
        if self._reader is None:
            raise self._wrong_end()
        found = self._reader.pop()
        if found is None and self._reader.damaged:
            raise self._damaged()
        return found

    def _damaged(self) -> RingError:
        return RingError(f"{self.path}: damaged: a length or the tail does not fit")

    def close(self) -> None:
        """Detach: another process may attach to this end."""
        if self._closed:
            return
        self._closed = True
        self._writer = self._reader = None
        # Not in a child that was forked: the end is its parent's.
        if self._handle.read_owner(self.role == "writer")[0] == os.getpid():
            self._handle.detach()
        # Compiled code may have the address: handle and mapping stay until the object goes.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_held(pid: int, start_time: int) -> bool:
    """Whether a living process has an end, by what the ring has of its owner."""
    return bool(pid) and identity.read_start_time(pid) == start_time


class Fill(NamedTuple):
    """How full a ring is, seen by neither end. capacity, used: bytes; writer, reader: whether a living process holds
    that end. taken: bytes that the reader has ever taken."""

    capacity: int
    used: int
    writer: bool
    reader: bool
    taken: int = 0


def read_fill(path: Path) -> Fill:
    """Returns how full the ring at path is: its head is read, and nothing is mapped or written. Raises RingError."""
    try:
        descriptor = place.open_file(path, os.O_RDONLY, reading=True)
        try:
            capacity, used, taken, *ends = _ring.read_header(os.pread(descriptor, _ring.HEADER_SIZE, 0))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RingError(place.explain(error, path)) from None
    except ValueError as error:
        raise RingError(f"{path}: {error}") from None
    writer, reader = (_is_held(*end) for end in ends)
    return Fill(capacity, used, writer, reader, taken)
