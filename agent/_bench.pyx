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


cdef enum:
    SPINS = 1 << 30             # looks at a ring that nobody writes to: some seconds


cdef inline bint ring_take(Ring *r, uint8_t *record) noexcept nogil:
    """Wait for a record of 64 bytes, copy it, take it off; False: none came."""
    cdef uint32_t size = 0
    cdef int64_t spins
    cdef const void *at
    for spins in range(SPINS):
        at = ring_peek(r, &size)
        if at != NULL and size == 64:
            memcpy(record, at, 64)
            ring_pop(r)
            return True
    return False


cdef inline bint ring_give(Ring *r, const uint8_t *record) noexcept nogil:
    """Wait for room, push a record of 64 bytes; False: there was none."""
    cdef int64_t spins
    for spins in range(SPINS):
        if ring_push(r, record, 64):
            return True
    return False


def ring_echo(uintptr_t source, uintptr_t sink, int64_t count):
    """Send `count` records of 64 bytes back: agent.ring.Ring.address of a reader and a writer."""
    cdef uint8_t[64] record
    cdef int64_t i
    with nogil:
        for i in range(count):
            if not ring_take(<Ring *> source, record) or not ring_give(<Ring *> sink, record):
                break
        else:
            i = count
    if i != count:
        raise RuntimeError("ring: the other side is gone")


def ring_trips(uintptr_t sink, uintptr_t source, int64_t count, int64_t batch):
    """`count` records of 64 bytes there and back: a list of nanoseconds a trip, of each batch."""
    cdef uint8_t[64] record
    cdef int64_t i = 0, k, begun
    memset(record, 0, 64)
    found = []
    for k in range(count // batch):
        with nogil:
            begun = now()
            for i in range(batch):
                if not ring_give(<Ring *> sink, record) or not ring_take(<Ring *> source, record):
                    begun = 0
                    break
            else:
                begun = now() - begun
        if not begun:
            raise RuntimeError("ring: the other side is gone")
        found.append(begun / <double> batch)
    return found


def ring_send(uintptr_t sink, int64_t count):
    """Push `count` records of 64 bytes, numbered."""
    cdef uint8_t[64] record
    cdef int64_t i
    memset(record, 0, 64)
    with nogil:
        for i in range(count):
            (<int64_t *> record)[0] = i
            if not ring_give(<Ring *> sink, record):
                break
        else:
            i = count
    if i != count:
        raise RuntimeError("ring: the other side is gone")


def ring_receive(uintptr_t source, int64_t count, int64_t warm):
    """Take what ring_send() pushes: nanoseconds a record, without the first `warm`. RuntimeError: one was lost."""
    cdef uint8_t[64] record
    cdef int64_t i, begun = 0
    with nogil:
        for i in range(count):
            if i == warm:
                begun = now()
            if not ring_take(<Ring *> source, record) or (<int64_t *> record)[0] != i:
                break
        else:
            i = count
            begun = now() - begun
    if i != count:
        raise RuntimeError(f"ring: record {i} did not come")
    return begun / <double> (count - warm)

