# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The tick series: the last trades of each symbol in rings of shared memory, one writer, any number of readers.

The mapping begins with struct series_header; behind it a word per symbol, each on a cache line of its own: how many
entries were ever written. Then, for each symbol, three arrays of `capacity` int64: timestamps, prices, sizes. Entry
number i is at place i modulo capacity. An array is a whole number of pages, so that a reader can map it twice,
one behind the other, and see any window as one piece of memory.

A push writes its three words, then the count with release. A reader loads the count with acquire, looks, and
loads it again: what is older than count - capacity then, or being written, it cannot trust (series.py). For that a
release fence keeps the words of entry i behind the store of count i, and an acquire fence keeps what the reader
looked at before its second load: whoever has seen a part of entry i loads a count of at least i. On x86-64 both fences
only hold the compiler back, on aarch64 they are `dmb`.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from *:
    """
    #include <stdint.h>
    struct series_header {
        char magic[8];                  /* HTSERIES */
        uint32_t version;               /* SERIES_VERSION */
        uint32_t symbols;
        uint64_t capacity;              /* entries per symbol, a power of two */
        uint64_t counts;                /* offset of the first count */
        uint64_t data;                  /* offset of the first array */
        char boot_id[40];               /* of the boot of the process that writes it */
        uint64_t pid;                   /* of that process */
        uint64_t start_time;            /* of that process, clock ticks after boot */
    };
    #define SERIES_LOAD_ACQUIRE(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define SERIES_STORE_RELAXED(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
    #define SERIES_FENCE_WRITER() __atomic_thread_fence(__ATOMIC_RELEASE)
    #define SERIES_FENCE_READER() __atomic_thread_fence(__ATOMIC_ACQUIRE)
    #define SERIES_STORE_RELEASE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    """
    struct series_header:       # each field: above
        char magic[8]
        uint32_t version
        uint32_t symbols
        uint64_t capacity
        uint64_t counts
        uint64_t data
        char boot_id[40]
        uint64_t pid
        uint64_t start_time
    uint64_t SERIES_LOAD_ACQUIRE(const uint64_t *) nogil
    void SERIES_STORE_RELAXED(int64_t *, int64_t) nogil
    void SERIES_FENCE_WRITER() nogil
    void SERIES_FENCE_READER() nogil
    void SERIES_STORE_RELEASE(uint64_t *, uint64_t) nogil


cdef enum:
    SERIES_VERSION = 2
    SERIES_PAGE = 4096
    SERIES_LINE = 64            # bytes from one count to the next
    SERIES_NAMES_OFFSET = 256   # of the names
    SERIES_NAME = 24            # bytes of a name, padded with spaces
    SERIES_MIN_CAPACITY = 512   # entries: one page of each array


cdef struct Series:
    uint8_t *memory             # the mapping
    uint64_t capacity           # entries per symbol
    uint64_t mask               # capacity - 1
    uint64_t *counts            # of the first symbol; of the next SERIES_LINE bytes on
    int64_t *data               # the first symbol's first array


cdef inline size_t series_data_offset(uint32_t symbols) noexcept nogil:
    """Returns the bytes before the first array: header, names and counts."""
    cdef size_t size = SERIES_NAMES_OFFSET + SERIES_NAME * <size_t> symbols + 64 + SERIES_LINE * <size_t> symbols
    return (size + SERIES_PAGE - 1) & ~<size_t> (SERIES_PAGE - 1)


cdef inline size_t series_size(uint32_t symbols, uint64_t capacity) noexcept nogil:
    """Returns the bytes of a series. capacity: a power of two from SERIES_MIN_CAPACITY."""
    return series_data_offset(symbols) + 24 * capacity * <size_t> symbols


cdef inline void series_init(Series *s, uint8_t *memory, uint32_t symbols, uint64_t capacity) noexcept nogil:
    """Begin a series in zeroed memory of series_size() bytes, aligned to a page. The caller writes names and owner."""
    cdef series_header *h = <series_header *> memory
    h.version = SERIES_VERSION
    h.symbols = symbols
    h.capacity = capacity
    h.counts = (SERIES_NAMES_OFFSET + SERIES_NAME * <uint64_t> symbols + 63) & ~<uint64_t> 63
    h.data = series_data_offset(symbols)
    s.memory = memory
    s.capacity = capacity
    s.mask = capacity - 1
    s.counts = <uint64_t *> (memory + h.counts)
    s.data = <int64_t *> (memory + h.data)
    memcpy(h.magic, b"HTSERIES", 8)


cdef inline void series_push(Series *s, uint32_t symbol, int64_t timestamp, int64_t price, int64_t size) noexcept nogil:
    """Write one entry of the symbol with this index: O(1), no branch on the wrap. timestamp: CLOCK_MONOTONIC, ns; price
    and size: units of 1e-8."""
    cdef uint64_t *count = s.counts + symbol * (SERIES_LINE // 8)
    cdef uint64_t written = count[0]
    cdef int64_t *at = s.data + 3 * s.capacity * symbol + (written & s.mask)
    SERIES_FENCE_WRITER()
    SERIES_STORE_RELAXED(at, timestamp)
    SERIES_STORE_RELAXED(at + s.capacity, price)
    SERIES_STORE_RELAXED(at + 2 * s.capacity, size)
    SERIES_STORE_RELEASE(count, written + 1)
