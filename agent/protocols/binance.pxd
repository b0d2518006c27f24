# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Binance spot market streams: JSON text to an event, without the GIL and without allocation.

Source: Binance "Web Socket Streams for Binance", Individual Symbol Book Ticker Streams and Trade
Streams, raw (`{"u":...}`) and combined (`{"stream":...,"data":{...}}`) form.

The scanner is strict JSON for everything it accepts as a tick, and never reads at or beyond
`end`. It is stricter than JSON where leniency could misread a tick: a field given twice, an
escape in a key or in a used value, and more than 8 decimals are malformed. A `depthUpdate` is
recognised by its first field and not scanned further.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from agent.strategy.abi cimport AGENT_BOOK, AGENT_TRADE, AGENT_SCALE, agent_event

cdef enum:
    BOOK = 1
    TRADE = 2
    DEPTH = 3
    OTHER = 4
    TRUNCATED = -1
    BAD_JSON = -2
    BAD_FIELD = -3
    BAD_NUMBER = -4

cdef enum:
    _ABSENT = 0
    _STRING = 1
    _ESCAPED = 2
    _NUMBER = 3
    _LITERAL = 4
    _NESTED = 5

    MAX_DEPTH = 16          # of nesting in values that are skipped

    # places in _Fields.at
    _e = 0
    _u = 1
    _s = 2
    _b = 3
    _B = 4
    _a = 5
    _A = 6
    _p = 7
    _q = 8
    _t = 9
    _FIELDS = 10

cdef struct Span:
    const uint8_t *at
    uint32_t size
    int kind

cdef struct _Fields:
    Span at[_FIELDS]
    bint data               # a "data" object was read
    bint doubled


cdef inline const uint8_t *_space(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and (p[0] == c' ' or p[0] == c'\t' or p[0] == c'\n' or p[0] == c'\r'):
        p += 1
    return p


cdef inline int _hex(uint8_t c) noexcept nogil:
    return (c >= c'0' and c <= c'9') or (c >= c'a' and c <= c'f') or (c >= c'A' and c <= c'F')


cdef inline const uint8_t *_string(const uint8_t *p, const uint8_t *end, Span *out,
                                   int *error) noexcept nogil:
    """After the opening quote; returns the place after the closing one."""
    cdef int i
    out.at = p
    out.kind = _STRING
    while p < end:
        if p[0] == c'"':
            out.size = <uint32_t> (p - out.at)
            return p + 1
        if p[0] == c'\\':
            out.kind = _ESCAPED
            p += 1
            if p >= end:
                break
            if p[0] == c'u':
                for i in range(4):
                    p += 1
                    if p >= end:
                        error[0] = TRUNCATED
                        return NULL
                    if not _hex(p[0]):
                        error[0] = BAD_JSON
                        return NULL
            elif not (p[0] == c'"' or p[0] == c'\\' or p[0] == c'/' or p[0] == c'b' or p[0] == c'f'
                      or p[0] == c'n' or p[0] == c'r' or p[0] == c't'):
                error[0] = BAD_JSON
                return NULL
        elif p[0] < 0x20:
            error[0] = BAD_JSON
            return NULL
        p += 1
    error[0] = TRUNCATED
    return NULL


cdef inline const uint8_t *_digits(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and p[0] >= c'0' and p[0] <= c'9':
        p += 1
    return p


cdef inline const uint8_t *_number(const uint8_t *p, const uint8_t *end, Span *out,
                                   int *error) noexcept nogil:
    cdef const uint8_t *digits
    out.at = p
    out.kind = _NUMBER
    error[0] = TRUNCATED
    if p[0] == c'-':
        p += 1
        if p >= end:
            return NULL
    if p[0] == c'0':
        p += 1
    else:
        digits = p
        p = _digits(p, end)
        if p == digits:
            error[0] = BAD_JSON
            return NULL
    if p < end and p[0] == c'.':
        digits = p + 1
        p = _digits(digits, end)
        if p == digits:
            error[0] = TRUNCATED if p == end else BAD_JSON
            return NULL
    if p < end and (p[0] == c'e' or p[0] == c'E'):
        p += 1
        if p < end and (p[0] == c'+' or p[0] == c'-'):
            p += 1
        digits = p
        p = _digits(digits, end)
        if p == digits:
            error[0] = TRUNCATED if p == end else BAD_JSON
            return NULL
    out.size = <uint32_t> (p - out.at)
    return p


cdef inline const uint8_t *_literal(const uint8_t *p, const uint8_t *end, const char *word, int n,
                                    Span *out, int *error) noexcept nogil:
    cdef int i
    for i in range(n):
        if p + i >= end:
            error[0] = TRUNCATED
            return NULL
        if p[i] != <uint8_t> word[i]:
            error[0] = BAD_JSON
            return NULL
    out.at = p
    out.size = n
    out.kind = _LITERAL
    return p + n


cdef inline const uint8_t *_scalar(const uint8_t *p, const uint8_t *end, Span *out,
                                   int *error) noexcept nogil:
    """A value that is neither object nor array; p < end."""
    if p[0] == c'"':
        return _string(p + 1, end, out, error)
    if p[0] == c't':
        return _literal(p, end, "true", 4, out, error)
    if p[0] == c'f':
        return _literal(p, end, "false", 5, out, error)
    if p[0] == c'n':
        return _literal(p, end, "null", 4, out, error)
    return _number(p, end, out, error)


cdef inline const uint8_t *_nested(const uint8_t *p, const uint8_t *end, int *error) noexcept nogil:
    """Skip the object or array that opens at p, checking its grammar; no recursion."""
    cdef uint8_t close[MAX_DEPTH]
    cdef int depth = 0
    cdef Span span
    while True:
        # Here p is at an opening bracket, or (depth > 0) at a place for a member or a close.
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if depth == 0 or (p[0] == c'{' or p[0] == c'['):
            if depth == MAX_DEPTH:
                error[0] = BAD_JSON
                return NULL
            close[depth] = c'}' if p[0] == c'{' else c']'
            depth += 1
            p = _space(p + 1, end)
            if p < end and p[0] == close[depth - 1]:
                p += 1
                depth -= 1
            else:
                p = _member(p, end, close[depth - 1], error)
                if p == NULL:
                    return NULL
                continue
        else:
            p = _scalar(p, end, &span, error)
            if p == NULL:
                return NULL
        # A value has just ended: close what closes, then go to the next member.
        while True:
            if depth == 0:
                return p
            p = _space(p, end)
            if p >= end:
                error[0] = TRUNCATED
                return NULL
            if p[0] == close[depth - 1]:
                p += 1
                depth -= 1
                continue
            if p[0] != c',':
                error[0] = BAD_JSON
                return NULL
            p = _member(_space(p + 1, end), end, close[depth - 1], error)
            if p == NULL:
                return NULL
            break


cdef inline const uint8_t *_member(const uint8_t *p, const uint8_t *end, uint8_t close,
                                   int *error) noexcept nogil:
    """To the value of a member: over the key and colon in an object, nothing in an array."""
    cdef Span key
    if close == c'}':
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] != c'"':
            error[0] = BAD_JSON
            return NULL
        p = _string(p + 1, end, &key, error)
        if p == NULL:
            return NULL
        p = _space(p, end)
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] != c':':
            error[0] = BAD_JSON
            return NULL
        p = _space(p + 1, end)
    return p


cdef inline int _place(uint8_t c) noexcept nogil:
    if c == c'e':
        return _e
    if c == c'u':
        return _u
    if c == c's':
        return _s
    if c == c'b':
        return _b
    if c == c'B':
        return _B
    if c == c'a':
        return _a
    if c == c'A':
        return _A
    if c == c'p':
        return _p
    if c == c'q':
        return _q
    if c == c't':
        return _t
    return -1


cdef inline bint _is(const Span *span, const char *text, uint32_t size) noexcept nogil:
    return span.kind == _STRING and span.size == size and memcmp(span.at, text, size) == 0


cdef inline const uint8_t *_object(const uint8_t *p, const uint8_t *end, _Fields *f, bint outer,
                                   int *error) noexcept nogil:
    """The members of the object whose first byte after `{` is p.

    error is 0 with NULL returned when the message is known to be a depthUpdate.
    """
    cdef Span key, value
    cdef int place
    p = _space(p, end)
    if p < end and p[0] == c'}':
        return p + 1
    while True:
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] != c'"':
            error[0] = BAD_JSON
            return NULL
        p = _string(p + 1, end, &key, error)
        if p == NULL:
            return NULL
        if key.kind == _ESCAPED:
            f.doubled = True
        p = _space(p, end)
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] != c':':
            error[0] = BAD_JSON
            return NULL
        p = _space(p + 1, end)
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] == c'{' or p[0] == c'[':
            if outer and p[0] == c'{' and _is(&key, "data", 4):
                if f.data:
                    f.doubled = True
                f.data = True
                p = _inner(p + 1, end, f, error)
            else:
                p = _nested(p, end, error)
            value.kind = _NESTED
        else:
            p = _scalar(p, end, &value, error)
        if p == NULL:
            return NULL
        if key.size == 1 and key.kind == _STRING:
            place = _place(key.at[0])
            if place >= 0:
                if f.at[place].kind != _ABSENT:
                    f.doubled = True
                f.at[place] = value
                if place == _e and _is(&value, "depthUpdate", 11):
                    error[0] = 0
                    return NULL
        p = _space(p, end)
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] == c'}':
            return p + 1
        if p[0] != c',':
            error[0] = BAD_JSON
            return NULL
        p = _space(p + 1, end)


cdef inline const uint8_t *_inner(const uint8_t *p, const uint8_t *end, _Fields *f,
                                  int *error) noexcept nogil:
    return _object(p, end, f, False, error)


cdef inline bint decimal(const Span *span, int64_t *out) noexcept nogil:
    """`61837.63000000` in units of 1e-8. False unless digits[.digits], at most 11 and 8 of them."""
    cdef const uint8_t *p = span.at
    cdef const uint8_t *end = p + span.size
    cdef uint64_t value = 0
    cdef int places = 0
    if span.kind != _STRING:
        return False
    while p < end and p[0] >= c'0' and p[0] <= c'9':
        value = value * 10 + (p[0] - c'0')
        p += 1
    if p == span.at or p - span.at > 11:
        return False
    if p < end:
        if p[0] != c'.':
            return False
        p += 1
        while p < end and p[0] >= c'0' and p[0] <= c'9' and places < 8:
            value = value * 10 + (p[0] - c'0')
            p += 1
            places += 1
        if places == 0 or p != end:
            return False
    while places < 8:
        value *= 10
        places += 1
    if value > 0x7FFFFFFFFFFFFFFFULL:
        return False
    out[0] = <int64_t> value
    return True


cdef inline bint integer(const Span *span, int64_t *out) noexcept nogil:
    """A JSON number that is a non-negative integer of at most 18 digits."""
    cdef uint32_t i
    cdef int64_t value = 0
    if span.kind != _NUMBER or span.size > 18:
        return False
    for i in range(span.size):
        if span.at[i] < c'0' or span.at[i] > c'9':
            return False
        value = value * 10 + (span.at[i] - c'0')
    out[0] = value
    return True


cdef inline int parse(const uint8_t *p, uint32_t size, agent_event *event, Span *symbol) noexcept nogil:
    """One message. BOOK or TRADE with event's market fields and symbol set; DEPTH, OTHER; or the
    reason (< 0) why it is malformed. symbol points into the message."""
    cdef const uint8_t *end = p + size
    cdef _Fields f
    cdef int error = BAD_JSON
    memset(&f, 0, sizeof(f))
    p = _space(p, end)
    if p >= end:
        return TRUNCATED
    if p[0] != c'{':
        return BAD_JSON
    p = _object(p + 1, end, &f, True, &error)
    if p == NULL:
        return error if error else DEPTH
    if _space(p, end) != end:
        return BAD_JSON
    if f.doubled:
        return BAD_FIELD

    event.bid = event.bid_size = event.ask = event.ask_size = event.price = event.size = 0
    if _is(&f.at[_e], "trade", 5):
        if f.at[_s].kind != _STRING or f.at[_p].kind != _STRING or f.at[_q].kind != _STRING:
            return BAD_FIELD
        if not integer(&f.at[_t], &event.exchange_id):
            return BAD_FIELD
        if not (decimal(&f.at[_p], &event.price) and decimal(&f.at[_q], &event.size)):
            return BAD_NUMBER
        event.kind = AGENT_TRADE
        symbol[0] = f.at[_s]
        return TRADE
    if f.at[_e].kind == _ABSENT or _is(&f.at[_e], "bookTicker", 10):
        if f.at[_e].kind == _ABSENT and (f.at[_s].kind == _ABSENT or (
                f.at[_b].kind == _ABSENT and f.at[_a].kind == _ABSENT)):
            return OTHER
        if (f.at[_s].kind != _STRING or f.at[_b].kind != _STRING or f.at[_B].kind != _STRING
                or f.at[_a].kind != _STRING or f.at[_A].kind != _STRING):
            return BAD_FIELD
        if not integer(&f.at[_u], &event.exchange_id):
            return BAD_FIELD
        if not (decimal(&f.at[_b], &event.bid) and decimal(&f.at[_B], &event.bid_size)
                and decimal(&f.at[_a], &event.ask) and decimal(&f.at[_A], &event.ask_size)):
            return BAD_NUMBER
        event.kind = AGENT_BOOK
        symbol[0] = f.at[_s]
        return BOOK
    return OTHER
