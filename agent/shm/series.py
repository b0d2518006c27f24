"""The tick series of a running engine, as NumPy arrays without a copy.

    with Series(Path("/run/trading_agent/main.series")) as series:
        recent = series.recent("AAPL", 1000)
        mean = (recent.prices * recent.sizes).sum() / recent.sizes.sum()
        if series.intact(recent): ...

The arrays are windows into memory that the engine goes on writing. series.pxd has the layout.
"""

import ctypes
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import AgentError
from agent.shm import _series, identity, place
from agent.symbols import MAX_NAME, MAX_SYMBOLS
from hosttune.patterns import late_pattern

_MAGIC = b"HTSERIES"
_NAME = late_pattern(rf"[!-~]{{1,{MAX_NAME}}} *")
#: Entries of a symbol at most: as agent.toml allows.
_MOST_ENTRIES = 1 << 24
_WORDS = _series.LINE // 8  # from one count to the next
_PROT_NONE, _PROT_READ = 0, 1
_MAP_SHARED, _MAP_FIXED, _MAP_PRIVATE, _MAP_ANONYMOUS = 0x01, 0x10, 0x02, 0x20
_FAILED = ctypes.c_void_p(-1).value


class SeriesError(AgentError):
    """There is no such series, or it cannot be made or read; the message names the file."""


class Recent(NamedTuple):
    """The last entries of a symbol, oldest first: three read-only int64 arrays of one length. timestamps:
    CLOCK_MONOTONIC ns; prices, sizes: units of 1e-8. end: the number of entries ever written when it was made."""

    symbol: str
    timestamps: NDArray[np.int64]
    prices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    end: int


def create(path: Path, names: list[str], capacity: int) -> _series.Writer:
    """Make a new series in a file, which replaces what is there. Returns its writer. names: at most MAX_NAME characters
    each; capacity: entries per symbol, rounded up to a power of two from 512. Raises SeriesError when the file cannot
    be made."""
    entries = _series.MIN_CAPACITY
    while entries < capacity:
        entries *= 2
    try:
        size = _series.size(len(names), entries)
        descriptor = place.create_file(path, size, _MAGIC)
        try:
            memory = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SeriesError(place.explain(error, path)) from None
    return _series.Writer(
        memory, [name.encode() for name in names], entries, identity.read_boot_id().encode(), *identity.own()
    )


class _DoubleMap:
    """Bytes offset to offset + size of a file, mapped read-only twice, one behind the other."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.size = size
        self.address = self._map(None, 2 * size, _PROT_NONE, _MAP_PRIVATE | _MAP_ANONYMOUS, -1, 0)
        for half in (self.address, self.address + size):
            self._map(half, size, _PROT_READ, _MAP_SHARED | _MAP_FIXED, descriptor, offset)

    def _map(self, at: int | None, size: int, protection: int, flags: int, descriptor: int, offset: int) -> int:
        found = self._libc.mmap(at, size, protection, flags, descriptor, offset)
        if found is None or found == _FAILED:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return int(found)

    def __del__(self) -> None:
        if address := getattr(self, "address", 0):
            self._libc.munmap(address, 2 * self.size)

    def view(self, first: int, count: int) -> NDArray[np.int64]:
        """Returns words first to first + count, as an array that keeps the mapping."""
        # Only a class of its own can have the attribute that keeps the mapping.
        kind: Any = type("Window", (ctypes.c_int64 * count,), {})
        window = kind.from_address(self.address + 8 * first)
        window.mapping = self
        array = np.frombuffer(window, dtype=np.int64)
        array.flags.writeable = False
        return array


class Head(msgspec.Struct, frozen=True):
    """What a series says of itself. counts, data: offsets of the first count and of the first array, bytes; size: bytes
    of the whole file."""

    symbols: tuple[str, ...]
    capacity: int
    counts: int
    data: int
    size: int
    boot_id: str
    pid: int
    start_time: int


def decode_head(begin: bytes, size: int) -> Head:
    """Returns what a series says of itself. begin: the file's first HEAD_SIZE bytes, or all of a shorter one; size:
    bytes of the file. Raises ValueError unless all that it describes lies inside of the file, each symbol once."""
    head: dict[str, Any] = _series.read_header(begin)
    if head["magic"] != _MAGIC:
        raise ValueError("not a tick series (no HTSERIES at its start)")
    if head["version"] != _series.VERSION:
        raise ValueError(f"layout version {head['version']}, this agent reads version {_series.VERSION}")
    capacity, symbols, counts, data = head["capacity"], head["symbols"], head["counts"], head["data"]
    at, whole = _series.NAMES_OFFSET, data + 24 * capacity * symbols
    if (
        capacity & (capacity - 1)
        or not _series.MIN_CAPACITY <= capacity <= _MOST_ENTRIES
        or symbols > MAX_SYMBOLS
        or counts % 8
        or data % _series.PAGE
        or whole != size
        or counts + _series.LINE * symbols > data
        or at + _series.NAME * symbols > min(counts, len(begin))
    ):
        raise ValueError(f"{size} bytes, but its header describes {whole}")
    width = _series.NAME
    names = [begin[i : i + width].decode("ascii", "replace") for i in range(at, at + width * symbols, width)]
    if not all(map(_NAME.fullmatch, names)) or len(set(names)) != symbols:
        raise ValueError("damaged: its symbols are not each a name")
    boot_id = head["boot_id"].split(b"\0")[0].decode("ascii", "replace")
    found = tuple(name.rstrip() for name in names)
    return Head(found, capacity, counts, data, size, boot_id, head["pid"], head["start_time"])


#: Bytes that the header and the names of the most symbols take.
HEAD_SIZE = _series.NAMES_OFFSET + _series.NAME * MAX_SYMBOLS


class Series:
    """A series to read; a context manager. Raises SeriesError when the file is not there, is no series, or is not this
    user's or root's, who could cut it short: a mapping of what is gone kills its reader (SIGBUS)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = place.open_file(path, os.O_RDONLY)
            try:
                self._open(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SeriesError(place.explain(error, path)) from None
        except ValueError as error:
            raise SeriesError(f"{path}: {error}") from None

    def _open(self, descriptor: int) -> None:
        head = decode_head(os.pread(descriptor, HEAD_SIZE, 0), os.fstat(descriptor).st_size)
        self._head, self.symbols, self.capacity, self.pid = head, list(head.symbols), head.capacity, head.pid
        self._map = mmap.mmap(descriptor, head.size, prot=mmap.PROT_READ)
        self._counts = memoryview(self._map)[head.counts : head.counts + _series.LINE * len(self.symbols)].cast("Q")
        length = 8 * self.capacity
        self._maps = [
            tuple(_DoubleMap(descriptor, head.data + (3 * i + k) * length, length) for k in range(3))
            for i in range(len(self.symbols))
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file; arrays that were given out keep their own mappings."""
        self._counts.release()
        self._map.close()
        self._maps = []

    @property
    def alive(self) -> bool:
        """Whether the process that writes it still runs."""
        return identity.is_alive(self._head.boot_id, self._head.pid, self._head.start_time)

    def _index(self, symbol: str) -> int:
        try:
            return self.symbols.index(symbol)
        except ValueError:
            raise SeriesError(f"{self.path}: symbol: found {symbol!r}, allowed: {', '.join(self.symbols)}") from None

    def count(self, symbol: str) -> int:
        """Returns the number of entries ever written for a symbol. Raises SeriesError for an unknown one."""
        return _series.load_count(self._counts, _WORDS * self._index(symbol))

    def recent(self, symbol: str, n: int) -> Recent:
        """Returns the last n entries, or as many as there are; at most capacity - 1, since the oldest place is the
        one that is written next. Nothing is copied. Raises SeriesError for an unknown symbol."""
        index = self._index(symbol)
        end = self.count(symbol)
        n = max(0, min(n, end, self.capacity - 1))
        first = (end - n) & (self.capacity - 1)
        times, prices, sizes = (array.view(first, n) for array in self._maps[index])
        return Recent(symbol, times, prices, sizes, end)

    def intact(self, recent: Recent) -> bool:
        """Returns whether nothing of `recent` has been overwritten yet: what was computed from it before this call is
        right."""
        first = recent.end - len(recent.prices)
        return self.count(recent.symbol) - first < self.capacity
