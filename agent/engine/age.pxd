# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""When a packet of the feed came to this host. A process that stood still reads at once what waited for seconds: the
time at which it reads a packet says nothing then.

What a look at the feed finds arrived after the last look that found nothing. While that is shorter ago than the limit
(max_tick_age_us), no more has to be known. Else a datagram has the kernel's receive stamp, which counts as long as
nobody has set CLOCK_REALTIME since that look; a record of a ring has none, and is dated by the records that were in the
ring at an earlier look. What cannot be dated is as old as the last look that found nothing.

Source: Documentation/networking/timestamping.rst (SO_TIMESTAMPING).
"""

from libc.stdint cimport int64_t, uint64_t

from agent.shm.ring cimport RING_LOAD, Ring

cdef enum:
    STEP = 1000000              # ns by which the clocks differ more than before if one was set; slewing is below


cdef struct Backlog:            # of a ring that is not empty
    int64_t fresh_at            # the record in hand was written after that, CLOCK_MONOTONIC ns
    int64_t marked_at           # when `mark` was the ring's end; 0: no mark
    uint64_t mark


cdef inline bint was_set(int64_t offset, int64_t before) noexcept nogil:
    """Returns whether CLOCK_REALTIME was set between two readings of its distance from CLOCK_MONOTONIC, ns."""
    return not -STEP < offset - before < STEP


cdef inline int64_t find_arrival(int64_t received, int64_t empty_at, int64_t stamp, int64_t realtime, int64_t offset,
                                 int64_t stepped_at) noexcept nogil:
    """Returns when a datagram came to this host, CLOCK_MONOTONIC ns, or the earliest time at which it can have.

    received: now, and realtime: the same by CLOCK_REALTIME. empty_at: of the last look that found nothing. stamp: the
    kernel's, CLOCK_REALTIME ns, 0 for none. offset: CLOCK_REALTIME less CLOCK_MONOTONIC, as last seen. stepped_at: when
    CLOCK_REALTIME was last seen to have been set.
    """
    cdef int64_t arrived = received - (realtime - stamp)
    if stamp == 0 or was_set(realtime - received, offset) or stepped_at >= empty_at or arrived < empty_at:
        return empty_at
    return arrived if arrived < received else received


cdef inline void find_empty(Backlog *b, int64_t at) noexcept nogil:
    """A look at the ring that began after `at` found nothing."""
    b.fresh_at = at
    b.marked_at = 0


cdef inline int64_t date_record(Backlog *b, Ring *ring, int64_t at, int64_t limit) noexcept nogil:
    """Returns when the record in hand can have been written at the earliest, CLOCK_MONOTONIC ns. at: now. limit: on its
    age, ns; 0: none."""
    if limit == 0 or at - b.fresh_at <= limit // 2:
        return at
    if b.marked_at and <int64_t> (ring.own - b.mark) >= 0:
        b.fresh_at = b.marked_at
        b.marked_at = 0
    if b.marked_at == 0:
        b.mark = RING_LOAD(&ring.header.tail.index)
        b.marked_at = at
    return b.fresh_at
