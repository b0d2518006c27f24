"""The tick series of a running engine, as NumPy arrays without a copy.

    with Series(Path("/dev/shm/hosttune-agent-main.series")) as series:
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

import numpy as np
from numpy.typing import NDArray

from agent.errors import AgentError
from agent.shm import _series, identity

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
    """Make a new series in a file, which replaces what is there. Returns its writer. names: at most 8 characters each;
    capacity: entries per symbol, rounded up to a power of two from 512. Raises SeriesError when the file cannot be
    made."""
    entries = _series.MIN_CAPACITY
    while entries < capacity:
        entries *= 2
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            size = _series.size(len(names), entries)
            os.posix_fallocate(descriptor, 0, size)
            memory = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SeriesError(f"{path}: {error.strerror}") from None
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
        for place in (self.address, self.address + size):
            self._map(place, size, _PROT_READ, _MAP_SHARED | _MAP_FIXED, descriptor, offset)

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


class Series:
    """A series to read; a context manager. Raises SeriesError when the file is not there or is no series."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._open(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise SeriesError(f"{path}: {getattr(error, 'strerror', None) or error}") from None

    def _open(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size < _series.HEADER_SIZE:
            raise ValueError(f"{size} bytes, too short for a tick series")
        self._map = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        # A copy: what is checked is what is used.
        head: dict[str, Any] = _series.read_header(self._map[: _series.HEADER_SIZE])
        if head["magic"] != b"HTSERIES":
            raise ValueError("not a tick series (no HTSERIES at its start)")
        if head["version"] != _series.VERSION:
            raise ValueError(f"layout version {head['version']}, this agent reads version {_series.VERSION}")
        self.capacity: int = head["capacity"]
        self.pid: int = head["pid"]
        self._start_time: int = head["start_time"]
        symbols, counts, data = head["symbols"], head["counts"], head["data"]
        at, whole = _series.NAMES_OFFSET, data + 24 * self.capacity * symbols
        if (
            self.capacity & (self.capacity - 1)
            or self.capacity < _series.MIN_CAPACITY
            or counts % 8
            or data % _series.PAGE
            or whole != size
            or counts + _series.LINE * symbols > data
            or at + 8 * symbols > counts
        ):
            raise ValueError(f"{size} bytes, but its header describes {whole}")
        self.symbols = [
            self._map[i : i + 8].decode("ascii", "replace").rstrip() for i in range(at, at + 8 * symbols, 8)
        ]
        self._boot_id: str = head["boot_id"].split(b"\0")[0].decode("ascii", "replace")
        self._counts = memoryview(self._map)[counts : counts + _series.LINE * symbols].cast("Q")
        length = 8 * self.capacity
        self._maps = [
            tuple(_DoubleMap(descriptor, data + (3 * i + k) * length, length) for k in range(3)) for i in range(symbols)
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
        return identity.is_alive(self._boot_id, self.pid, self._start_time)

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
