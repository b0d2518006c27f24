# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""series.pxd for Python: what agent/shm/series.py needs to make a series and to read its counts."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from agent.shm.series cimport *

LEAST = SERIES_LEAST
VERSION = SERIES_VERSION
NAMES = SERIES_NAMES


def size(uint32_t symbols, uint64_t capacity):
    """Bytes of a series."""
    return series_size(symbols, capacity)


def count(const uint64_t[::1] words not None, Py_ssize_t index):
    """The word at index, loaded after all that was read before, and before all that is read after."""
    SERIES_FENCE_READER()
    return SERIES_LOAD(&words[index])


cdef class Writer:
    """The writing end. memory: writable, zeroed, exactly size() bytes, kept. names: bytes, at most 8 each."""

    cdef Series s
    cdef object keep
    cdef uint32_t symbols

    def __cinit__(self, memory, names, uint64_t capacity, bytes boot_id=b"", uint64_t pid=0, uint64_t start_time=0):
        cdef uint8_t[::1] view = memory
        cdef series_header *h = <series_header *> &view[0]
        self.symbols = <uint32_t> len(names)
        if capacity & (capacity - 1) or capacity < SERIES_LEAST \
                or <size_t> view.shape[0] != series_size(self.symbols, capacity):
            raise ValueError(f"capacity: {capacity}, allowed: a power of two from {SERIES_LEAST}, and memory that fits")
        self.keep = memory
        for i, name in enumerate(names):
            padded = name.ljust(8)[:8]
            memcpy(&view[SERIES_NAMES + 8 * i], <const char *> padded, 8)
        memcpy(h.boot_id, <const char *> boot_id, min(<int> len(boot_id), 39))
        h.pid = pid
        h.start_time = start_time
        series_init(&self.s, &view[0], self.symbols, capacity)

    @property
    def address(self):
        """Of the struct Series, for compiled code; valid while this object lives."""
        return <uintptr_t> &self.s

    def push(self, uint32_t symbol, int64_t timestamp, int64_t price, int64_t size):
        """Write one entry. Raises IndexError for an unknown symbol."""
        if symbol >= self.symbols:
            raise IndexError(f"symbol {symbol} of {self.symbols}")
        series_push(&self.s, symbol, timestamp, price, size)
