# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Loops over what the engine has inlined, for agent/bench."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

cimport agent.histogram as histogram
cimport agent.itch as itch
from agent.ring cimport Ring, ring_peek, ring_pop, ring_push
from agent.segment cimport agent_histogram
from agent.wire cimport now


def itch_decode(const uint8_t[::1] messages not None):
    """Parse Add Orders of 36 bytes each: (the sum of their fields, nanoseconds)."""
    cdef Py_ssize_t i, n = messages.shape[0] // 36
    cdef const uint8_t *at = &messages[0]
    cdef itch.Message m
    cdef uint64_t total = 0
    cdef int64_t begun
    with nogil:
        begun = now()
        for i in range(n):
            if itch.parse(at + 36 * i, 36, &m) > 0:
                total += m.locate + m.timestamp + m.reference + m.side + m.shares + m.price
        begun = now() - begun
    return total, begun


def record(const int64_t[::1] values not None):
    """Record values into a histogram: nanoseconds."""
    cdef agent_histogram h
    cdef Py_ssize_t i
    cdef int64_t begun
    memset(&h, 0, sizeof(h))
    with nogil:
        begun = now()
        for i in range(values.shape[0]):
            histogram.record(&h, values[i])
        begun = now() - begun
    if h.count != <uint64_t> values.shape[0]:
        raise RuntimeError("histogram: values were lost")
    return begun


def ring_echo(uintptr_t source, uintptr_t sink, int64_t count):
    """Send `count` records back: agent.ring.Ring.address of a reader and a writer."""
    cdef Ring *into = <Ring *> source
    cdef Ring *out = <Ring *> sink
    cdef const void *record
    cdef uint32_t size = 0
    cdef int64_t i
    with nogil:
        for i in range(count):
            while True:
                record = ring_peek(into, &size)
                if record != NULL:
                    break
            while not ring_push(out, record, size):
                pass
            ring_pop(into)


def ring_trips(uintptr_t sink, uintptr_t source, int64_t count, int64_t batch):
    """`count` records of 64 bytes there and back: a list of nanoseconds a trip, of each batch."""
    cdef Ring *out = <Ring *> sink
    cdef Ring *into = <Ring *> source
    cdef uint8_t[64] record
    cdef const void *answer
    cdef uint32_t size = 0
    cdef int64_t i, k, begun
    memset(record, 0, 64)
    found = []
    for k in range(count // batch):
        with nogil:
            begun = now()
            for i in range(batch):
                while not ring_push(out, record, 64):
                    pass
                while True:
                    answer = ring_peek(into, &size)
                    if answer != NULL:
                        break
                memcpy(record, answer, 64)
                ring_pop(into)
            begun = now() - begun
        found.append(begun / <double> batch)
    return found
