# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""CSV ticks: one line to an event, without the GIL and without allocation.

The format is this project's own. A file begins with one of the two headers

    timestamp_ns,symbol,bid,bid_size,ask,ask_size
    timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size

and every further line has 6 or 8 fields in that order, without quotes and spaces. timestamp_ns: digits, at
most 2^63 - 1. symbol: 1 to 8 printable ASCII characters. The others are decimals (at most 11 digits,
and 8 after a point). The four quote fields are all given (0 and 0 for an empty side) or all empty; so are
the two of a trade; a line has a quote, a trade, or both. Strict: anything else is malformed. LF or CR LF.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from agent.strategy.abi cimport AGENT_BOOK, AGENT_TRADE, agent_event
from agent.protocols.binance cimport Span, decimal
from agent.protocols.binance cimport _STRING as _TEXT
from agent.protocols.text cimport nanoseconds

cdef enum:
    # > 0: event.kind: AGENT_BOOK, AGENT_TRADE, or both (3)
    HEADER = 4
    EMPTY = 0
    TRUNCATED = -1              # fewer than 6 fields, or 7
    OVERSIZED = -2              # more than 8 fields
    BAD_FIELD = -3              # symbol, or a quote or trade of which only a part is given, or neither
    BAD_NUMBER = -4

    SYMBOL = 8                  # characters
    _FIELDS = 8


cdef inline bint is_header(const uint8_t *line, uint32_t size) noexcept nogil:
    cdef const char *full = "timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size"
    return (size == 45 or size == 56) and memcmp(line, full, size) == 0


cdef inline bint _symbol(const Span *span) noexcept nogil:
    cdef uint32_t i
    if span.size == 0 or span.size > SYMBOL:
        return False
    for i in range(span.size):
        if span.at[i] < c'!' or span.at[i] > c'~' or span.at[i] == c'"':
            return False
    return True


cdef inline int parse(const uint8_t *line, uint32_t size, agent_event *event, Span *symbol) noexcept nogil:
    """One line without its end. > 0: event's market fields and exchange_ns are set (exchange_id is 0), and
    symbol points into the line, or it is a HEADER; EMPTY; or the reason (< 0) why it is malformed."""
    cdef Span fields[_FIELDS]
    cdef const uint8_t *p = line
    cdef const uint8_t *end = line + size
    cdef const uint8_t *stop
    cdef int count = 0
    cdef int kind = 0
    cdef int i, given
    if size == 0:
        return EMPTY
    if line[0] == c't':
        return HEADER if is_header(line, size) else BAD_FIELD
    while True:
        if count == _FIELDS:
            return OVERSIZED
        fields[count].at = p
        fields[count].kind = _TEXT
        while p < end and p[0] != c',':
            p += 1
        fields[count].size = <uint32_t> (p - fields[count].at)
        count += 1
        if p == end:
            break
        p += 1
    if count != 6 and count != 8:
        return TRUNCATED
    if not _symbol(&fields[1]):
        return BAD_FIELD
    stop = nanoseconds(fields[0].at, fields[0].at + fields[0].size, &event.exchange_ns)
    if stop != fields[0].at + fields[0].size:
        return BAD_NUMBER

    event.bid = event.bid_size = event.ask = event.ask_size = event.price = event.size = 0
    event.exchange_id = 0
    given = 0
    for i in range(2, 6):
        given += fields[i].size != 0
    if given == 4:
        if not (decimal(&fields[2], &event.bid) and decimal(&fields[3], &event.bid_size)
                and decimal(&fields[4], &event.ask) and decimal(&fields[5], &event.ask_size)):
            return BAD_NUMBER
        kind = AGENT_BOOK
    elif given:
        return BAD_FIELD
    if count == 8 and (fields[6].size or fields[7].size):
        if fields[6].size == 0 or fields[7].size == 0:
            return BAD_FIELD
        if not (decimal(&fields[6], &event.price) and decimal(&fields[7], &event.size)):
            return BAD_NUMBER
        kind |= AGENT_TRADE
    if kind == 0:
        return BAD_FIELD
    event.kind = <uint32_t> kind
    symbol[0] = fields[1]
    return kind
