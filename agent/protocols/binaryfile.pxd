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

    # skip_records
    DONE = 0                    # every byte is used
    MORE = 1                    # the verdict on what begins at at[0] needs bytes that are not here yet
    CUT = 2                     # final, and the record at at[0] is not complete
    SESSION_END = 3             # final, and the last record, at at[0], is the mark of the session's end
    LOST = 4                    # no record begins at at[0]: go on at find_records()

    MISFITS = 8                 # records that may misfit in a row before their lengths are not believed
    RUN = 3                     # records that fit in a row, which find_records() looks for
    LONGEST = 127               # bytes of a misfit in which no records are looked for; ITCH's longest have 50
    REACH = 8 * 65537           # bytes that MISFITS records can span
    PROBED = 8                  # messages that begins_recording() looks at


cdef inline int next_record(const uint8_t **at, const uint8_t *end, const uint8_t **message,
                            uint32_t *size) noexcept nogil:
    """Take the record at at[0], which moves behind it; message and size are set.

    Returns RECORD, END or TRUNCATED (at[0] stays). A record may be of any length up to 65,535, 0 too:
    the parser of its message judges it.
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
    """Returns whether a length and a type that belong together are at p. The message may go on behind the end."""
    return end - p >= 3 and p[0] == 0 and p[1] != 0 and itch.length(p[2]) == p[1]


cdef inline bint _hides_records(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Returns whether the misfit at p holds a RUN of records that fit: then its length is wrong."""
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


cdef inline int _leads_to_records(const uint8_t *p, const uint8_t *end, bint final) noexcept nogil:
    """Do lengths lead from p, behind a record that misfits, to two records that fit (or to the final end)?

    Returns 1 for yes, 0 for no, -1 when the end is too near to say.
    """
    cdef int _hop
    cdef int run = 0
    for _hop in range(MISFITS + 2):
        if p == end:
            return 1 if final else -1
        if p > end or end - p < 3:
            return 0 if final else -1
        if _fits(p, end):
            run += 1
            if run == 2:
                return 1
        elif _hides_records(p, end):
            return 0
        else:
            run = 0
        p += 2 + load16(p)
    return 0


cdef inline const uint8_t *find_records(const uint8_t *p, const uint8_t *end, bint final) noexcept nogil:
    """Returns the first place from p on where RUN records that fit follow each other, or fewer that reach the
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


cdef inline int skip_records(const uint8_t **at, const uint8_t *end, bint final) noexcept nogil:
    """Move at[0] over whole records. final: nothing follows the end.

    Returns DONE, MORE, CUT, SESSION_END or LOST, which says what is at at[0]. A record that does not fit
    its type is passed over like the others (its parser will name the reason) as long as the lengths lead on to records
    that fit, and it holds none itself.
    """
    cdef const uint8_t *p = at[0]
    cdef int leads
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
        if _hides_records(p, end):
            return LOST
        if end - p - 2 < load16(p):
            leads = 0 if final or end - p >= REACH else -1
        else:
            leads = _leads_to_records(p + 2 + load16(p), end, final)
        if leads < 0 and end - p < REACH:
            return MORE
        if leads <= 0:
            return LOST
        p += 2 + load16(p)


cdef inline bint begins_recording(const uint8_t *head, size_t size) noexcept nogil:
    """Returns whether most of the first PROBED records of a file fit, or it is only the mark of a session's end."""
    cdef const uint8_t *at = head
    cdef const uint8_t *end = head + size
    cdef const uint8_t *message = NULL
    cdef uint32_t n = 0
    cdef int count = 0, fit = 0
    if size == 2 and load16(head) == 0:
        return True
    while count < PROBED and next_record(&at, end, &message, &n) == RECORD:
        count += 1
        fit += n > 0 and itch.length(message[0]) == n
    return fit > 0 and 2 * fit > count
