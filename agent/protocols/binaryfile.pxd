# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Nasdaq BinaryFILE: recorded messages, each behind its length in 2 bytes, big-endian.

Source: Nasdaq "BinaryFILE", version 1.00 (March 30, 2010). A length of zero says that the session ended.
The format has no marks to find the next record by when a length is damaged. Here the messages are ITCH 5.0,
whose types have one length each, so records that fit their types are such a mark.
"""

from libc.stdint cimport uint8_t, uint32_t

cimport agent.protocols.itch as itch
from agent.protocols.wire cimport load16

cdef enum:
    # next_record
    RECORD = 1
    END = 0
    TRUNCATED = -1              # the length or the message goes on behind the end

    # whole
    DONE = 0                    # every byte is used
    MORE = 1                    # the verdict on what begins at at[0] needs bytes that are not here yet
    CUT = 2                     # final, and the record at at[0] is not complete
    SESSION_END = 3             # final, and the last record, at at[0], is the mark of the session's end
    LOST = 4                    # no record begins at at[0]: go on at resync()

    HOPS = 8                    # records that may misfit in a row before their lengths are not believed
    RUN = 3                     # records that fit in a row, which resync() looks for
    LONGEST = 127               # bytes of a misfit in which no records are looked for; ITCH's longest have 50
    REACH = 8 * 65537           # bytes that HOPS records can span


cdef inline int next_record(const uint8_t **at, const uint8_t *end, const uint8_t **message,
                            uint32_t *size) noexcept nogil:
    """The record at at[0], which moves behind it: RECORD, END or TRUNCATED (at[0] stays).

    A record may be of any length up to 65,535, 0 too: the parser of its message judges it.
    """
    cdef const uint8_t *p = at[0]
    if end - p < 2:
        return END if p == end else TRUNCATED
    size[0] = load16(p)
    if <uint32_t> (end - p - 2 if end - p - 2 < 65536 else 65536) < size[0]:
        return TRUNCATED
    message[0] = p + 2
    at[0] = p + 2 + size[0]
    return RECORD


cdef inline bint _fits(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """At p are a length and a type that belong together. The rest may be behind the end."""
    return end - p >= 3 and p[0] == 0 and p[1] != 0 and itch.length(p[2]) == p[1]


cdef inline bint _swallows(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Does the misfit at p hold a RUN of records that fit? Then it is its length that is wrong."""
    cdef const uint8_t *last = p + 2 + load16(p)
    cdef const uint8_t *q
    cdef int run
    if load16(p) <= LONGEST:
        return False
    if last > end:
        last = end
    p += 2
    while p < last:
        q = p
        run = 0
        while run < RUN and q < last and _fits(q, last):
            q += 2 + q[1]
            run += 1
        if run == RUN:
            return True
        p += 1
    return False


cdef inline int _rejoins(const uint8_t *p, const uint8_t *end, bint final) noexcept nogil:
    """After a record that misfits, do lengths lead from p to two records that fit (or to the final end)?

    1 yes, 0 no, -1: the end is too near to say.
    """
    cdef int hop
    cdef int run = 0
    for hop in range(HOPS + 2):
        if p == end:
            return 1 if final else -1
        if p > end or end - p < 3:
            return 0 if final else -1
        if _fits(p, end):
            run += 1
            if run == 2:
                return 1
        elif _swallows(p, end):
            return 0
        else:
            run = 0
        p += 2 + load16(p)
    return 0


cdef inline const uint8_t *resync(const uint8_t *p, const uint8_t *end, bint final) noexcept nogil:
    """The first place from p on where RUN records that fit follow each other, or fewer that reach the
    final end. Without one: the end; or, when more bytes may decide, the first place that is still possible."""
    cdef const uint8_t *q
    cdef int run
    while p < end:
        q = p
        run = 0
        while run < RUN and _fits(q, end):
            q += 2 + q[1]
            run += 1
            if q >= end:
                break
        if run == RUN or (final and ((run == 1 and q == end) or (run > 1 and q >= end))):
            return p
        if not final and (end - p < 3 or (run > 0 and (q >= end or end - q < 3))):
            return p
        p += 1
    return end


cdef inline int whole(const uint8_t **at, const uint8_t *end, bint final) noexcept nogil:
    """Move at[0] over whole records: DONE, MORE, CUT, SESSION_END or LOST. final: nothing follows the end.

    A record that does not fit its type is passed over like the others (its parser will name the reason) as
    long as the lengths lead on to records that fit, and it holds none itself.
    """
    cdef const uint8_t *p = at[0]
    cdef int rejoins
    while True:
        at[0] = p
        if p == end:
            return DONE
        if _fits(p, end):
            if end - p - 2 < p[1]:
                return CUT if final else MORE
            p += 2 + p[1]
            continue
        if end - p < 3:
            if not final:
                return MORE
            return SESSION_END if end - p == 2 and load16(p) == 0 else CUT
        if _swallows(p, end):
            return LOST
        if end - p - 2 < load16(p):
            rejoins = 0 if final or end - p >= REACH else -1
        else:
            rejoins = _rejoins(p + 2 + load16(p), end, final)
        if rejoins < 0 and end - p < REACH:
            return MORE
        if rejoins <= 0:
            return LOST
        p += 2 + load16(p)
