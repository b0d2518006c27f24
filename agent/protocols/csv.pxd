# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""CSV ticks: one line to a Tick, without the GIL and without allocation.

The format is this project's own. A file begins with one of the two headers

    timestamp_ns,symbol,bid,bid_size,ask,ask_size
    timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size

and every further line has 6 or 8 fields in that order, without quotes and spaces. timestamp_ns: digits, at
most 2^63 - 1, in any unit that stamps.pxd tells. symbol: 1 to 20 printable ASCII characters. The others are decimals
(at most 11 digits, and 8 after a point). The four quote fields are all given (0 and 0 for an empty side) or all empty;
so are the two of a trade; a line has a quote, a trade, or both. Strict: anything else is malformed. LF or CR LF.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from agent.protocols.text cimport Span, Tick, first_line, is_symbol, parse_decimal, parse_integer
from agent.protocols.verdict cimport (BAD_FIELD, BAD_NUMBER, BAD_SYMBOL, EMPTY, HEADER, OVERSIZED, QUOTE, TRADE,
                                      TRUNCATED)

cdef enum:
    _FIELDS = 8                 # of a line with a trade


cdef inline bint is_header(const uint8_t *line, uint32_t size) noexcept nogil:
    """Returns whether a line is one of the two headers."""
    cdef const char *full = "timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size"
    return (size == 45 or size == 56) and memcmp(line, full, size) == 0


cdef inline int parse(const uint8_t *line, uint32_t size, Tick *tick) noexcept nogil:
    """Read one line of size bytes, without its end.

    Returns QUOTE, TRADE or both (or-ed), with every field of tick set (its symbol points into the line, and exchange_id
    is 0); HEADER or EMPTY; or why the line is malformed: TRUNCATED (fewer than 6 fields, or 7), OVERSIZED (more than
    8), BAD_SYMBOL, BAD_FIELD (a quote or trade of which only a part is given, or neither) or BAD_NUMBER. Then tick is
    undefined. Its exchange_ns is the line's number, whatever its unit.
    """
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
        while p < end and p[0] != c',':
            p += 1
        fields[count].size = <uint32_t> (p - fields[count].at)
        count += 1
        if p == end:
            break
        p += 1
    if count != 6 and count != 8:
        return TRUNCATED
    if not is_symbol(&fields[1]):
        return BAD_SYMBOL
    stop = parse_integer(fields[0].at, fields[0].at + fields[0].size, &tick.exchange_ns)
    if stop != fields[0].at + fields[0].size:
        return BAD_NUMBER

    tick.bid = tick.bid_size = tick.ask = tick.ask_size = tick.price = tick.size = 0
    tick.exchange_id = 0
    given = 0
    for i in range(2, 6):
        given += fields[i].size != 0
    if given == 4:
        if not (parse_decimal(&fields[2], &tick.bid) and parse_decimal(&fields[3], &tick.bid_size)
                and parse_decimal(&fields[4], &tick.ask) and parse_decimal(&fields[5], &tick.ask_size)):
            return BAD_NUMBER
        kind = QUOTE
    elif given:
        return BAD_FIELD
    if count == 8 and (fields[6].size or fields[7].size):
        if fields[6].size == 0 or fields[7].size == 0:
            return BAD_FIELD
        if not (parse_decimal(&fields[6], &tick.price) and parse_decimal(&fields[7], &tick.size)):
            return BAD_NUMBER
        kind |= TRADE
    if kind == 0:
        return BAD_FIELD
    tick.symbol = fields[1]
    return kind


cdef inline bint begins_recording(const uint8_t *head, size_t size) noexcept nogil:
    """Returns whether a file begins with one of the two headers."""
    cdef const uint8_t *line = NULL
    cdef uint32_t n = 0
    return first_line(head, size, &line, &n) and is_header(line, n)
