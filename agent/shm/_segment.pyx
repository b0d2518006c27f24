# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""segment.pxd for Python: the segment's head, and its words with their descriptions."""

import os

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc

from agent.shm.histogram cimport bucket
from agent.shm.segment cimport (AGENT_CONNECTING, AGENT_COUNTER_WORDS, AGENT_HEADER_SIZE, AGENT_HISTOGRAM_WORDS,
                                AGENT_LIMIT_WORDS, AGENT_REQUEST_WORDS, AGENT_RUNNING, AGENT_SHM_MAGIC,
                                AGENT_SHM_VERSION, AGENT_STARTING, AGENT_STOPPED, AGENT_SYMBOL_WORDS, agent_shm,
                                agent_shm_size, agent_word)

cdef extern from *:
    """
    #include <errno.h>
    #include <setjmp.h>
    #include <signal.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>

    static sigjmp_buf segment_cut;

    static void segment_was_cut(int number) { (void)number; siglongjmp(segment_cut, 1); }

    /* Stores words at places (bytes from the begin) of a file that its owner may cut short meanwhile, which is SIGBUS
       once it is mapped. Returns 0, or an error number. */
    static int segment_store(int descriptor, size_t size, const size_t *places, const uint64_t *words, size_t count)
    {
        struct sigaction ours, before;
        volatile int failed = 0;
        volatile size_t i;
        char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        if (memory == MAP_FAILED)
            return errno;
        memset(&ours, 0, sizeof ours);
        ours.sa_handler = segment_was_cut;
        sigemptyset(&ours.sa_mask);
        sigaction(SIGBUS, &ours, &before);
        if (sigsetjmp(segment_cut, 1) == 0) {
            for (i = 0; i < count; i++)
                __atomic_store_n((uint64_t *)(memory + places[i]), words[i], __ATOMIC_SEQ_CST);
        } else {
            failed = EIO;
        }
        sigaction(SIGBUS, &before, NULL);
        munmap(memory, size);
        return failed;
    }
    """
    int segment_store(int descriptor, size_t size, const size_t *places, const uint64_t *words, size_t count)


MAGIC = AGENT_SHM_MAGIC
VERSION = AGENT_SHM_VERSION
HEADER_SIZE = AGENT_HEADER_SIZE
STATES = {AGENT_STARTING: "starting", AGENT_CONNECTING: "connecting", AGENT_RUNNING: "running",
          AGENT_STOPPED: "stopped"}
STOPPED = AGENT_STOPPED


cdef class Word:
    """One word of the segment (a histogram: its first). kind: counter, gauge, histogram, limit, request or symbol;
    offset: bytes from the segment's begin, for a symbol's field from its row's."""

    cdef readonly str name, kind, text
    cdef readonly size_t offset


cdef dict words(const agent_word *row):
    cdef Word word
    cdef dict found = {}
    while row.name != NULL:
        word = Word.__new__(Word)
        word.name, word.kind, word.text = row.name.decode(), row.kind.decode(), row.text.decode()
        word.offset = row.offset
        found[word.name] = word
        row += 1
    return found


def counters():
    """Returns the counters by name, in the header's order."""
    return words(AGENT_COUNTER_WORDS)


def histograms():
    """Returns the histograms by name, in the header's order."""
    return words(AGENT_HISTOGRAM_WORDS)


def limits():
    """Returns the limits by name, in the header's order."""
    return words(AGENT_LIMIT_WORDS)


def symbol_fields():
    """Returns the fields of a symbol's row by name, in the header's order."""
    return words(AGENT_SYMBOL_WORDS)


def request_fields():
    """Returns what a command asks of the loop, and the loop's answer, by name, in the header's order."""
    return words(AGENT_REQUEST_WORDS)


def read_header(const uint8_t[::1] segment not None):
    """Returns what stands before the words, by the names of struct agent_shm: texts as bytes of their whole length, all
    else as numbers. Raises ValueError for fewer than HEADER_SIZE bytes."""
    if <size_t> segment.shape[0] < AGENT_HEADER_SIZE:
        raise ValueError(f"{segment.shape[0]} bytes, expected at least {AGENT_HEADER_SIZE}")
    cdef const agent_shm *s = <const agent_shm *> &segment[0]
    return {
        "magic": s.magic[:sizeof(s.magic)],
        "version": s.version,
        "state": s.state,
        "size": s.size,
        "pid": s.pid,
        "start_time": s.start_time,
        "started_ns": s.started_ns,
        "heartbeat_ns": s.heartbeat_ns,
        "counters_offset": s.counters_offset,
        "counters_count": s.counters_count,
        "histograms_offset": s.histograms_offset,
        "histograms_count": s.histograms_count,
        "histogram_bits": s.histogram_bits,
        "histogram_buckets": s.histogram_buckets,
        "limits_offset": s.limits_offset,
        "limits_count": s.limits_count,
        "symbols_offset": s.symbols_offset,
        "symbols_count": s.symbols_count,
        "symbol_words": s.symbol_words,
        "names_offset": s.names_offset,
        "names_size": s.names_size,
        "boot_id": s.boot_id[:sizeof(s.boot_id)],
        "ended": s.ended[:sizeof(s.ended)],
        "tripped": s.tripped[:sizeof(s.tripped)],
        "feed_session": s.feed_session[:sizeof(s.feed_session)],
        "configured_offset": s.configured_offset,
        "abi": s.abi,
        "build": s.build[:sizeof(s.build)],
    }


def size(uint64_t symbols):
    """Returns the bytes of the segment of an engine with so many symbols."""
    return agent_shm_size(symbols)


def find_bucket(uint64_t value):
    """Returns the index of the histogram bucket that holds value, ns."""
    return bucket(value)


def store(int descriptor, size_t size, list words not None):
    """Store words in a segment: (bytes from its begin, number) of each, one aligned store after the other, in order.

    descriptor: open for reading and writing; size: bytes of the file. Raises OSError, also when the file is cut short
    meanwhile, and ValueError for a place that is not aligned or not inside; then no word is stored."""
    cdef size_t count = len(words), i
    cdef size_t *places
    cdef uint64_t *values
    cdef int failed
    for place, _ in words:
        if place % 8 or not 0 <= place <= size - 8:
            raise ValueError(f"place: {place} of {size} bytes, allowed: a multiple of 8 inside")
    places = <size_t *> malloc(count * (sizeof(size_t) + sizeof(uint64_t)) + 1)
    if places == NULL:
        raise MemoryError
    values = <uint64_t *> (places + count)
    try:
        for i in range(count):
            places[i], values[i] = words[i]
        failed = segment_store(descriptor, size, places, values, count)
    finally:
        free(places)
    if failed:
        raise OSError(failed, os.strerror(failed))
