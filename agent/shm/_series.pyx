# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""series.pxd for Python: what agent/shm/series.py needs to make a series and to read its counts."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from agent.shm.series cimport (SERIES_FENCE_READER, SERIES_LINE, SERIES_LOAD_ACQUIRE, SERIES_MIN_CAPACITY,
                               SERIES_NAME, SERIES_NAMES_OFFSET, SERIES_PAGE, SERIES_VERSION, Series, series_header,
                               series_init, series_push, series_size)

MIN_CAPACITY = SERIES_MIN_CAPACITY
VERSION = SERIES_VERSION
NAMES_OFFSET = SERIES_NAMES_OFFSET
NAME = SERIES_NAME
LINE = SERIES_LINE
PAGE = SERIES_PAGE
HEADER_SIZE = sizeof(series_header)


def size(uint32_t symbols, uint64_t capacity):
    """Returns the bytes of a series. capacity: a power of two from MIN_CAPACITY."""
    return series_size(symbols, capacity)


def read_header(const uint8_t[::1] series not None):
    """Returns what stands in the header, by the names of struct series_header: texts as bytes of their whole length,
    all else as numbers. Raises ValueError for fewer than HEADER_SIZE bytes."""
    if <size_t> series.shape[0] < sizeof(series_header):
        raise ValueError(f"{series.shape[0]} bytes, too short for a tick series")
    cdef const series_header *h = <const series_header *> &series[0]
    return {
        "magic": h.magic[:sizeof(h.magic)],
        "version": h.version,
        "symbols": h.symbols,
        "capacity": h.capacity,
        "counts": h.counts,
        "data": h.data,
        "boot_id": h.boot_id[:sizeof(h.boot_id)],
        "pid": h.pid,
        "start_time": h.start_time,
    }


def load_count(const uint64_t[::1] words not None, Py_ssize_t index):
    """Returns the word at index, loaded after all that was read before, and before all that is read after."""
    SERIES_FENCE_READER()
    return SERIES_LOAD_ACQUIRE(&words[index])


cdef class Writer:
    """The writing end. memory: writable, zeroed, exactly size() bytes; the object keeps it. names: bytes, at
    most NAME each. boot_id, pid, start_time (clock ticks after boot): of this process. Raises ValueError for a capacity
    that is no power of two from MIN_CAPACITY, and for memory of another size."""

    cdef Series s
    cdef object memory
    cdef uint32_t symbols

    def __cinit__(self, memory, names, uint64_t capacity, bytes boot_id=b"", uint64_t pid=0, uint64_t start_time=0):
        cdef uint8_t[::1] view = memory
        cdef series_header *h = <series_header *> &view[0]
        cdef Py_ssize_t i
        self.symbols = <uint32_t> len(names)
        if capacity & (capacity - 1) or capacity < SERIES_MIN_CAPACITY \
                or <size_t> view.shape[0] != series_size(self.symbols, capacity):
            raise ValueError(f"capacity: {capacity}, allowed: a power of two from {SERIES_MIN_CAPACITY}, "
                             "and memory that fits")
        self.memory = memory
        for i, name in enumerate(names):
            padded = name.ljust(SERIES_NAME)[:SERIES_NAME]
            memcpy(&view[SERIES_NAMES_OFFSET + SERIES_NAME * i], <const char *> padded, SERIES_NAME)
        memcpy(h.boot_id, <const char *> boot_id, min(<int> len(boot_id), 39))
        h.pid = pid
        h.start_time = start_time
        series_init(&self.s, &view[0], self.symbols, capacity)

    @property
    def address(self):
        """Of the struct Series, for compiled code; valid while this object lives."""
        return <uintptr_t> &self.s

    def push(self, uint32_t symbol, int64_t timestamp, int64_t price, int64_t size):
        """Write one entry: timestamp in ns (CLOCK_MONOTONIC), price and size in units of 1e-8. Raises IndexError for an
        unknown symbol."""
        if symbol >= self.symbols:
            raise IndexError(f"symbol {symbol} of {self.symbols}")
        series_push(&self.s, symbol, timestamp, price, size)
