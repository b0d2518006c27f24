# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Binance spot market streams: JSON text to a Tick, without the GIL and without allocation.

Source: Binance "Web Socket Streams for Binance", Individual Symbol Book Ticker Streams and Trade
Streams, raw (`{"u":...}`) and combined (`{"stream":...,"data":{...}}`) form.

A recording is lines of LOCAL_TIME MESSAGE.

The exchange's time is T (of the trade, or of the transaction that made a quote), else E (when the event was sent), in
milliseconds, or in microseconds where the stream is asked for them; the bookTicker of the spot market has neither.

The scanner is strict JSON for everything it accepts as a tick, and never reads at or beyond
`end`. It is stricter than JSON where leniency could misread a tick: a field given twice, an
escape in a key or in a used value, and more than 8 decimals are malformed. A `depthUpdate` is
recognised by its first field and not scanned further, but that it is not cut: it ends with a bracket.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memset

from agent.protocols.text cimport STAMPED, Span, Tick, first_line, is_symbol, parse_decimal, parse_integer, split_stamp
from agent.protocols.verdict cimport BAD_FIELD, BAD_JSON, BAD_NUMBER, BAD_SYMBOL, DEPTH, OTHER, QUOTE, TRADE, TRUNCATED

cdef enum:
    # _Value.kind
    _ABSENT = 0
    _STRING = 1
    _ESCAPED = 2            # a string with an escape in it
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
    _E = 10
    _T = 11
    _FIELDS = 12

cdef struct _Value:
    Span text               # without quotes
    int kind

cdef struct _Fields:
    _Value at[_FIELDS]      # by the member's name, which is one letter
    bint data               # a "data" object was read
    bint doubled            # a member was given twice, or its name has an escape


cdef inline const uint8_t *_skip_space(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and (p[0] == c' ' or p[0] == c'\t' or p[0] == c'\n' or p[0] == c'\r'):
        p += 1
    return p


cdef inline int _is_hex(uint8_t c) noexcept nogil:
    return (c >= c'0' and c <= c'9') or (c >= c'a' and c <= c'f') or (c >= c'A' and c <= c'F')


cdef inline const uint8_t *_scan_string(const uint8_t *p, const uint8_t *end, _Value *out, int *error) noexcept nogil:
    """After the opening quote; returns the place after the closing one."""
    cdef int _i
    out.text.at = p
    out.kind = _STRING
    while p < end:
        if p[0] == c'"':
            out.text.size = <uint32_t> (p - out.text.at)
            return p + 1
        if p[0] == c'\\':
            out.kind = _ESCAPED
            p += 1
            if p >= end:
                break
            if p[0] == c'u':
                for _i in range(4):
                    p += 1
                    if p >= end:
                        error[0] = TRUNCATED
                        return NULL
                    if not _is_hex(p[0]):
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


cdef inline const uint8_t *_skip_digits(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and p[0] >= c'0' and p[0] <= c'9':
        p += 1
    return p


cdef inline const uint8_t *_scan_number(const uint8_t *p, const uint8_t *end, _Value *out, int *error) noexcept nogil:
    cdef const uint8_t *digits
    out.text.at = p
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
        p = _skip_digits(p, end)
        if p == digits:
            error[0] = BAD_JSON
            return NULL
    if p < end and p[0] == c'.':
        digits = p + 1
        p = _skip_digits(digits, end)
        if p == digits:
            error[0] = TRUNCATED if p == end else BAD_JSON
            return NULL
    if p < end and (p[0] == c'e' or p[0] == c'E'):
        p += 1
        if p < end and (p[0] == c'+' or p[0] == c'-'):
            p += 1
        digits = p
        p = _skip_digits(digits, end)
        if p == digits:
            error[0] = TRUNCATED if p == end else BAD_JSON
            return NULL
    out.text.size = <uint32_t> (p - out.text.at)
    return p


cdef inline const uint8_t *_scan_literal(const uint8_t *p, const uint8_t *end, const char *word, int n,
                                         _Value *out, int *error) noexcept nogil:
    cdef int i
    for i in range(n):
        if p + i >= end:
            error[0] = TRUNCATED
            return NULL
        if p[i] != <uint8_t> word[i]:
            error[0] = BAD_JSON
            return NULL
    out.text.at = p
    out.text.size = n
    out.kind = _LITERAL
    return p + n


cdef inline const uint8_t *_scan_scalar(const uint8_t *p, const uint8_t *end, _Value *out, int *error) noexcept nogil:
    """A value that is neither object nor array; p < end."""
    if p[0] == c'"':
        return _scan_string(p + 1, end, out, error)
    if p[0] == c't':
        return _scan_literal(p, end, "true", 4, out, error)
    if p[0] == c'f':
        return _scan_literal(p, end, "false", 5, out, error)
    if p[0] == c'n':
        return _scan_literal(p, end, "null", 4, out, error)
    return _scan_number(p, end, out, error)


cdef inline const uint8_t *_skip_nested(const uint8_t *p, const uint8_t *end, int *error) noexcept nogil:
    """Skip the object or array that opens at p, checking its grammar; no recursion."""
    cdef uint8_t close[MAX_DEPTH]
    cdef int depth = 0
    cdef _Value value
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
            p = _skip_space(p + 1, end)
            if p < end and p[0] == close[depth - 1]:
                p += 1
                depth -= 1
            else:
                p = _skip_key(p, end, close[depth - 1], error)
                if p == NULL:
                    return NULL
                continue
        else:
            p = _scan_scalar(p, end, &value, error)
            if p == NULL:
                return NULL
        # A value has just ended: close what closes, then go to the next member.
        while True:
            if depth == 0:
                return p
            p = _skip_space(p, end)
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
            p = _skip_key(_skip_space(p + 1, end), end, close[depth - 1], error)
            if p == NULL:
                return NULL
            break


cdef inline const uint8_t *_skip_key(const uint8_t *p, const uint8_t *end, uint8_t close, int *error) noexcept nogil:
    """To the value of a member: over the key and colon in an object, nothing in an array."""
    cdef _Value key
    if close == c'}':
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] != c'"':
            error[0] = BAD_JSON
            return NULL
        p = _scan_string(p + 1, end, &key, error)
        if p == NULL:
            return NULL
        p = _skip_space(p, end)
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] != c':':
            error[0] = BAD_JSON
            return NULL
        p = _skip_space(p + 1, end)
    return p


cdef inline int _field_of(uint8_t c) noexcept nogil:
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
    if c == c'E':
        return _E
    if c == c'T':
        return _T
    return -1


cdef inline bint _equals(const _Value *value, const char *text, uint32_t size) noexcept nogil:
    """Returns whether the value is the string text, of size bytes."""
    return value.kind == _STRING and value.text.size == size and memcmp(value.text.at, text, size) == 0


cdef inline const uint8_t *_scan_object(const uint8_t *p, const uint8_t *end, _Fields *f, bint outer,
                                        int *error) noexcept nogil:
    """The members of the object whose first byte after `{` is p.

    error is 0 with NULL returned when the message is known to be a depthUpdate.
    """
    cdef _Value key, value
    cdef int place
    p = _skip_space(p, end)
    if p < end and p[0] == c'}':
        return p + 1
    while True:
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] != c'"':
            error[0] = BAD_JSON
            return NULL
        p = _scan_string(p + 1, end, &key, error)
        if p == NULL:
            return NULL
        if key.kind == _ESCAPED:
            f.doubled = True
        p = _skip_space(p, end)
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] != c':':
            error[0] = BAD_JSON
            return NULL
        p = _skip_space(p + 1, end)
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] == c'{' or p[0] == c'[':
            if outer and p[0] == c'{' and _equals(&key, "data", 4):
                if f.data:
                    f.doubled = True
                f.data = True
                p = _scan_data(p + 1, end, f, error)
            else:
                p = _skip_nested(p, end, error)
            value.kind = _NESTED
        else:
            p = _scan_scalar(p, end, &value, error)
        if p == NULL:
            return NULL
        if key.text.size == 1 and key.kind == _STRING:
            place = _field_of(key.text.at[0])
            if place >= 0:
                if f.at[place].kind != _ABSENT:
                    f.doubled = True
                f.at[place] = value
                if place == _e and _equals(&value, "depthUpdate", 11):
                    error[0] = 0
                    return NULL
        p = _skip_space(p, end)
        if p >= end:
            error[0] = TRUNCATED
            return NULL
        if p[0] == c'}':
            return p + 1
        if p[0] != c',':
            error[0] = BAD_JSON
            return NULL
        p = _skip_space(p + 1, end)


cdef inline const uint8_t *_scan_data(const uint8_t *p, const uint8_t *end, _Fields *f, int *error) noexcept nogil:
    return _scan_object(p, end, f, False, error)


cdef inline bint _ends_as_object(const uint8_t *end, uint32_t size) noexcept nogil:
    """Returns whether a message of size bytes before `end`, which begins as an object, has a bracket at its end."""
    while size and ((end - 1)[0] == c' ' or (end - 1)[0] == c'\t' or (end - 1)[0] == c'\n' or (end - 1)[0] == c'\r'):
        end -= 1
        size -= 1
    return size > 0 and (end - 1)[0] == c'}'


cdef inline bint _read_integer(const _Value *value, int64_t *out) noexcept nogil:
    """Read a JSON number that is a non-negative integer of at most 2^63 - 1. Returns False for another value."""
    cdef const uint8_t *end = value.text.at + value.text.size
    return value.kind == _NUMBER and parse_integer(value.text.at, end, out) == end


cdef inline bint _read_time(const _Fields *f, int64_t *out) noexcept nogil:
    """Read the exchange's time, which need not be given. Returns False where it is no integer."""
    cdef int64_t sent
    if f.at[_E].kind != _ABSENT and not _read_integer(&f.at[_E], &sent if f.at[_T].kind != _ABSENT else out):
        return False
    return f.at[_T].kind == _ABSENT or _read_integer(&f.at[_T], out)


cdef inline int _read_trade(const _Fields *f, Tick *tick) noexcept nogil:
    if f.at[_s].kind != _STRING or f.at[_p].kind != _STRING or f.at[_q].kind != _STRING:
        return BAD_FIELD
    if not (_read_integer(&f.at[_t], &tick.exchange_id) and _read_time(f, &tick.exchange_ns)):
        return BAD_FIELD
    if not (parse_decimal(&f.at[_p].text, &tick.price) and parse_decimal(&f.at[_q].text, &tick.size)):
        return BAD_NUMBER
    tick.symbol = f.at[_s].text
    return TRADE if is_symbol(&tick.symbol) else BAD_SYMBOL


cdef inline int _read_quote(const _Fields *f, Tick *tick) noexcept nogil:
    if (f.at[_s].kind != _STRING or f.at[_b].kind != _STRING or f.at[_B].kind != _STRING
            or f.at[_a].kind != _STRING or f.at[_A].kind != _STRING):
        return BAD_FIELD
    if not (_read_integer(&f.at[_u], &tick.exchange_id) and _read_time(f, &tick.exchange_ns)):
        return BAD_FIELD
    if not (parse_decimal(&f.at[_b].text, &tick.bid) and parse_decimal(&f.at[_B].text, &tick.bid_size)
            and parse_decimal(&f.at[_a].text, &tick.ask) and parse_decimal(&f.at[_A].text, &tick.ask_size)):
        return BAD_NUMBER
    tick.symbol = f.at[_s].text
    return QUOTE if is_symbol(&tick.symbol) else BAD_SYMBOL


cdef inline int parse(const uint8_t *p, uint32_t size, Tick *tick) noexcept nogil:
    """Read one message of size bytes.

    Returns QUOTE or TRADE, with every field of tick set (its symbol points into the message, and exchange_ns is the
    number of T or E, whatever its unit, 0 where there is neither); DEPTH or OTHER; or why the message is malformed:
    TRUNCATED, BAD_JSON, BAD_FIELD, BAD_NUMBER or BAD_SYMBOL. Then tick is undefined.
    """
    cdef const uint8_t *end = p + size
    cdef _Fields f
    cdef int error = BAD_JSON
    memset(&f, 0, sizeof(f))
    p = _skip_space(p, end)
    if p >= end:
        return TRUNCATED
    if p[0] != c'{':
        return BAD_JSON
    p = _scan_object(p + 1, end, &f, True, &error)
    if p == NULL:
        return error if error else DEPTH if _ends_as_object(end, size) else TRUNCATED
    if _skip_space(p, end) != end:
        return BAD_JSON
    if f.doubled:
        return BAD_FIELD

    memset(tick, 0, sizeof(Tick))
    if _equals(&f.at[_e], "trade", 5):
        return _read_trade(&f, tick)
    if _equals(&f.at[_e], "bookTicker", 10):
        return _read_quote(&f, tick)
    if f.at[_e].kind == _ABSENT and f.at[_s].kind != _ABSENT and (
            f.at[_b].kind != _ABSENT or f.at[_a].kind != _ABSENT):
        return _read_quote(&f, tick)
    return OTHER


cdef inline bint begins_recording(const uint8_t *head, size_t size) noexcept nogil:
    """Returns whether a file begins with a line TIME {..."""
    cdef const uint8_t *line = NULL
    cdef const uint8_t *message = NULL
    cdef uint32_t n = 0
    cdef int64_t local = 0
    return (first_line(head, size, &line, &n) and split_stamp(line, n, &local, &message, &n) == STAMPED
            and message[0] == c'{')
