# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Recorded text: one line after the other, and the local time that a Binance recording puts before the JSON.

Lines end with a line feed, one carriage return before it is dropped; the last one may lack it.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memchr

cdef enum:
    STAMPED = 1
    EMPTY = 0
    BAD_STAMP = -1              # not NANOSECONDS, one space, a message

    LONGEST_LINE = 1048576      # bytes; recordings.py skips longer ones


cdef inline bint next_line(const uint8_t **at, const uint8_t *end, const uint8_t **line, uint32_t *size) noexcept nogil:
    """The line at at[0], which moves behind it. False at the end. A line must be shorter than 4 GiB."""
    cdef const uint8_t *begin = at[0]
    cdef const uint8_t *stop
    if begin >= end:
        return False
    stop = <const uint8_t *> memchr(begin, c'\n', end - begin)
    if stop == NULL:
        stop = end
        at[0] = end
    else:
        at[0] = stop + 1
    if stop > begin and (stop - 1)[0] == c'\r':
        stop -= 1
    line[0] = begin
    size[0] = <uint32_t> (stop - begin)
    return True


cdef inline const uint8_t *nanoseconds(const uint8_t *p, const uint8_t *end, int64_t *out) noexcept nogil:
    """Digits from p on, as a time that int64 holds; the place behind them, or NULL."""
    cdef const uint8_t *begin = p
    cdef int64_t value = 0
    cdef int digit
    while p < end and p[0] >= c'0' and p[0] <= c'9':
        digit = p[0] - c'0'
        if value > (0x7FFFFFFFFFFFFFFFLL - digit) // 10:
            return NULL
        value = value * 10 + digit
        p += 1
    if p == begin:
        return NULL
    out[0] = value
    return p


cdef inline int stamped(const uint8_t *line, uint32_t size, int64_t *local, const uint8_t **message,
                        uint32_t *message_size) noexcept nogil:
    """`LOCAL_NANOSECONDS JSON` apart: STAMPED, EMPTY for an empty line, or BAD_STAMP. JSON is not looked at."""
    cdef const uint8_t *end = line + size
    cdef const uint8_t *p
    if size == 0:
        return EMPTY
    p = nanoseconds(line, end, local)
    if p == NULL or p >= end or p[0] != c' ' or p + 1 >= end:
        return BAD_STAMP
    message[0] = p + 1
    message_size[0] = <uint32_t> (end - p - 1)
    return STAMPED
