# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Text: what feeds and recordings in text share: lines, decimals, times, and the message of quotes and trades.

Lines end with a line feed, one carriage return before it is dropped; the last one may lack it. A recording of messages
without a time of their own has the local time of each line before the message (split_stamp).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr

cdef enum:
    # split_stamp
    STAMPED = 1
    NO_LINE = 0                 # an empty line
    BAD_STAMP = -1              # not digits, one space, a message

    WHOLE_DIGITS = 11           # of a decimal, before the point
    DECIMALS = 8                # of a decimal, behind the point

    SYMBOL = 20                 # characters of a symbol's name, at most; agent/symbols.py says the same

cdef struct Span:
    const uint8_t *at
    uint32_t size               # bytes

# A message of a feed of quotes and trades. Prices and sizes: units of 1e-8. What a message does not give is 0.
cdef struct Tick:
    Span symbol                 # in the message
    int64_t exchange_ns         # the exchange's time since 1970, in the message's unit (stamps.pxd: in ns)
    int64_t exchange_id         # the exchange's number of the update or trade
    int64_t bid
    int64_t bid_size
    int64_t ask
    int64_t ask_size
    int64_t price               # of the trade
    int64_t size                # of the trade


cdef inline bint next_line(const uint8_t **at, const uint8_t *end, const uint8_t **line, uint32_t *size) noexcept nogil:
    """Take the line at at[0], which moves behind it; line and size are set, without the line's end.

    Returns False at the end. A line must be shorter than 4 GiB.
    """
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


cdef inline bint first_line(const uint8_t *head, size_t head_size, const uint8_t **line, uint32_t *size) noexcept nogil:
    """Find the first line of a recording that is not empty. Returns False when there is none."""
    cdef const uint8_t *end = head + head_size
    while head < end and (head[0] == c'\r' or head[0] == c'\n'):
        head += 1
    return next_line(&head, end, line, size)


cdef inline const uint8_t *parse_integer(const uint8_t *p, const uint8_t *end, int64_t *out) noexcept nogil:
    """Read digits from p on, as a number that int64 holds. Returns the place behind them, or NULL."""
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


cdef inline bint is_symbol(const Span *span) noexcept nogil:
    """Returns whether a text is a symbol's name: 1 to SYMBOL printable ASCII characters, no space, no quote."""
    cdef uint32_t i
    if span.size == 0 or span.size > SYMBOL:
        return False
    for i in range(span.size):
        if span.at[i] < c'!' or span.at[i] > c'~' or span.at[i] == c'"':
            return False
    return True


cdef inline bint parse_decimal(const Span *span, int64_t *out) noexcept nogil:
    """Read `61837.63000000` in units of 1e-8. Returns False unless it is digits[.digits], at most 11 and 8 of them."""
    cdef const uint8_t *p = span.at
    cdef const uint8_t *end = p + span.size
    cdef uint64_t value = 0
    cdef int places = 0
    while p < end and p[0] >= c'0' and p[0] <= c'9':
        value = value * 10 + (p[0] - c'0')
        p += 1
    if p == span.at or p - span.at > WHOLE_DIGITS:
        return False
    if p < end:
        if p[0] != c'.':
            return False
        p += 1
        while p < end and p[0] >= c'0' and p[0] <= c'9' and places < DECIMALS:
            value = value * 10 + (p[0] - c'0')
            p += 1
            places += 1
        if places == 0 or p != end:
            return False
    while places < DECIMALS:
        value *= 10
        places += 1
    if value > 0x7FFFFFFFFFFFFFFFULL:
        return False
    out[0] = <int64_t> value
    return True


cdef inline int split_stamp(const uint8_t *line, uint32_t size, int64_t *local, const uint8_t **message,
                            uint32_t *message_size) noexcept nogil:
    """Take `LOCAL_TIME MESSAGE` apart; the message is not looked at, and the time is the line's number, whatever its
    unit.

    Returns STAMPED, NO_LINE for an empty line, or BAD_STAMP.
    """
    cdef const uint8_t *end = line + size
    cdef const uint8_t *p
    if size == 0:
        return NO_LINE
    p = parse_integer(line, end, local)
    if p == NULL or p >= end or p[0] != c' ' or p + 1 >= end:
        return BAD_STAMP
    message[0] = p + 1
    message_size[0] = <uint32_t> (end - p - 1)
    return STAMPED
