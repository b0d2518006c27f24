# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""ITCH 5.0: one message to a structure, without the GIL and without allocation.

Source: "Nasdaq TotalView-ITCH 5.0", the edition with the Direct Listing with Capital Raise message
(revision log of April 28, 2023). Every message type has one length there; agent/protocols/itch_layouts.py has the same
layouts as a table for tools, and the tests hold the two together.

Prices are as on the wire: 4 decimals. The 8-decimal levels of 'V' and the other fields that no book or
strategy needs are not read here. The specification gives 200,000.0000 as the highest Price (4), but real
stocks have been above it, so every value that the field can hold is passed on.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from agent.protocols.verdict cimport BAD_FIELD, OVERSIZED, TRUNCATED, UNKNOWN
from agent.protocols.wire cimport load16, load32, load64

cdef enum:
    # Codes, a bit for each, counted from 'A'.
    SIDES = 1 << (c'B' - c'A') | 1 << (c'S' - c'A')
    EVENTS = (1 << (c'O' - c'A') | 1 << (c'S' - c'A') | 1 << (c'Q' - c'A') | 1 << (c'M' - c'A') | 1 << (c'E' - c'A')
              | 1 << (c'C' - c'A'))
    STATES = 1 << (c'H' - c'A') | 1 << (c'P' - c'A') | 1 << (c'Q' - c'A') | 1 << (c'T' - c'A')
    MARKETS = 1 << (c'Q' - c'A') | 1 << (c'B' - c'A') | 1 << (c'X' - c'A')
    HALTS = 1 << (c'H' - c'A') | 1 << (c'T' - c'A')
    RELEASES = 1 << (c'A' - c'A') | 1 << (c'C' - c'A')
    DIRECTIONS = (1 << (c'B' - c'A') | 1 << (c'S' - c'A') | 1 << (c'N' - c'A') | 1 << (c'O' - c'A')
                  | 1 << (c'P' - c'A'))
    # 'A', the extended trading close, and 'I', the intraday cross of older days, each in one of Q and I.
    CROSSES = (1 << (c'O' - c'A') | 1 << (c'C' - c'A') | 1 << (c'H' - c'A') | 1 << (c'A' - c'A')
               | 1 << (c'I' - c'A'))
    PRINTABLE = 1 << (c'Y' - c'A') | 1 << (c'N' - c'A')

cdef struct Message:
    uint8_t type                # 'A', 'F', 'E', ...
    uint8_t side                # A F P: 'B' or 'S'
    uint8_t printable           # C: 'Y' or 'N'
    uint8_t event               # the code of S H Y W K h, the cross type of Q I
    uint8_t market              # h: the market that it is of, 'Q', 'B' or 'X'
    uint16_t locate
    uint16_t tracking
    uint64_t timestamp          # ns after midnight
    uint64_t reference          # order reference number (of U: the original one)
    uint64_t new_reference      # U
    uint64_t match              # match number of E C P Q B
    uint64_t shares             # A F P U: shares; E C: executed; X: cancelled; Q: of the cross
    uint32_t price              # 4 decimals; of C: execution price; of Q: cross price; of J: collar's reference
    uint32_t upper              # J: the auction collar, 4 decimals
    uint32_t lower
    const uint8_t *stock        # 8 bytes, padded with spaces, in the message; NULL where the type has none


cdef extern from *:
    """
    /* Bytes of a message by its type, 0: there is no such type. */
    static const unsigned char ITCH_LENGTHS[256] = {
        ['A'] = 36, ['B'] = 19, ['C'] = 36, ['D'] = 19, ['E'] = 31, ['F'] = 40, ['H'] = 25, ['I'] = 50, ['J'] = 35,
        ['K'] = 28, ['L'] = 26, ['N'] = 20, ['O'] = 48, ['P'] = 44, ['Q'] = 40, ['R'] = 39, ['S'] = 12, ['U'] = 35,
        ['V'] = 35, ['W'] = 12, ['X'] = 23, ['Y'] = 20, ['h'] = 21,
    };
    """
    const unsigned char ITCH_LENGTHS[256]


cdef inline uint32_t length(uint8_t type) noexcept nogil:
    """Returns the bytes of a message of this type, 0 for an unknown type."""
    return ITCH_LENGTHS[type]


cdef inline bint _is_one_of(uint8_t code, uint32_t codes) noexcept nogil:
    """As bits of a word: nobody can guess which is next, so no branch may depend on it."""
    cdef uint32_t letter = <uint32_t> code - <uint32_t> c'A'
    return letter < 32 and codes >> letter & 1


cdef inline int _length_reason(uint32_t size, uint32_t expected) noexcept nogil:
    return TRUNCATED if size < expected else OVERSIZED


cdef inline void _read_head(const uint8_t *data, Message *m, uint8_t type) noexcept nogil:
    """What all messages begin with, and nothing else in it."""
    cdef uint64_t word = load64(data + 3)   # tracking number (2 bytes) and timestamp (6)
    # One by one, not memset: so the compiler keeps what a caller uses in registers, and drops the rest.
    m.type = type
    m.side = m.printable = m.event = m.market = 0
    m.reference = m.new_reference = m.match = m.shares = 0
    m.price = m.upper = m.lower = 0
    m.stock = NULL
    m.locate = load16(data + 1)
    m.tracking = <uint16_t> (word >> 48)
    m.timestamp = word & 0xFFFFFFFFFFFFULL


cdef inline void _read_order(const uint8_t *data, Message *m) noexcept nogil:
    """What A, F and P have in common."""
    m.reference = load64(data + 11)
    m.side = data[19]
    m.shares = load32(data + 20)
    m.stock = data + 24
    m.price = load32(data + 32)


cdef inline int _parse_rare(const uint8_t *data, uint32_t size, Message *m) noexcept nogil:
    """parse() for the types that few messages have."""
    cdef uint8_t type = data[0]
    cdef uint32_t expected = length(type)
    if size != expected:
        return UNKNOWN if expected == 0 else _length_reason(size, expected)
    _read_head(data, m, type)
    if type == c'B':
        m.match = load64(data + 11)
    elif type == c'S':
        m.event = data[11]
        if not _is_one_of(m.event, EVENTS):
            return BAD_FIELD
    elif type == c'h':
        m.stock = data + 11
        m.market = data[19]
        m.event = data[20]
        if not _is_one_of(m.market, MARKETS) or not _is_one_of(m.event, HALTS):
            return BAD_FIELD
    elif type == c'Y':
        m.stock = data + 11
        m.event = data[19]
        if m.event < c'0' or m.event > c'2':
            return BAD_FIELD
    elif type == c'W':
        m.event = data[11]
        if m.event < c'1' or m.event > c'3':
            return BAD_FIELD
    elif type == c'K':
        m.stock = data + 11
        m.event = data[23]
        if not _is_one_of(m.event, RELEASES):
            return BAD_FIELD
    elif type == c'J':
        m.stock = data + 11
        m.price = load32(data + 19)
        m.upper = load32(data + 23)
        m.lower = load32(data + 27)
    elif type == c'L':
        m.stock = data + 15
    elif type == c'R' or type == c'N' or type == c'O':
        m.stock = data + 11
    return type


cdef inline void _read_add(const uint8_t *data, Message *m, uint8_t type) noexcept nogil:
    """All of A and F."""
    _read_head(data, m, type)
    _read_order(data, m)


cdef inline void _read_priced(const uint8_t *data, Message *m) noexcept nogil:
    """All of C."""
    _read_head(data, m, c'C')
    m.reference = load64(data + 11)
    m.shares = load32(data + 19)
    m.match = load64(data + 23)
    m.printable = data[31]
    m.price = load32(data + 32)


cdef inline void _read_state(const uint8_t *data, Message *m) noexcept nogil:
    """All of H."""
    _read_head(data, m, c'H')
    m.stock = data + 11
    m.event = data[19]


cdef inline void _read_imbalance(const uint8_t *data, Message *m) noexcept nogil:
    """All of I."""
    _read_head(data, m, c'I')
    m.stock = data + 28
    m.event = data[48]


cdef inline void _read_cross(const uint8_t *data, Message *m) noexcept nogil:
    """All of Q."""
    _read_head(data, m, c'Q')
    m.shares = load64(data + 11)
    m.stock = data + 19
    m.price = load32(data + 27)
    m.match = load64(data + 31)
    m.event = data[39]


cdef inline void _read_replace(const uint8_t *data, Message *m) noexcept nogil:
    """All of U."""
    _read_head(data, m, c'U')
    m.reference = load64(data + 11)
    m.new_reference = load64(data + 19)
    m.shares = load32(data + 27)
    m.price = load32(data + 31)


cdef inline void _read_execution(const uint8_t *data, Message *m) noexcept nogil:
    """All of E."""
    _read_head(data, m, c'E')
    m.reference = load64(data + 11)
    m.shares = load32(data + 19)
    m.match = load64(data + 23)


cdef inline void _read_cancel(const uint8_t *data, Message *m) noexcept nogil:
    """All of X."""
    _read_head(data, m, c'X')
    m.reference = load64(data + 11)
    m.shares = load32(data + 19)


cdef inline void _read_trade(const uint8_t *data, Message *m) noexcept nogil:
    """All of P."""
    _read_head(data, m, c'P')
    _read_order(data, m)
    m.match = load64(data + 36)


cdef inline int parse(const uint8_t *data, uint32_t size, Message *m) noexcept nogil:
    """Read the message in exactly data[0:size].

    Returns its type (> 0), with every field of m set (0 or NULL where the type has none); or why it is no message:
    TRUNCATED (shorter than its type, or empty), OVERSIZED (longer), UNKNOWN (no such type) or BAD_FIELD (a side,
    printable flag, or other code that does not exist). Then m is undefined.

    Each type checks its own length, and gives itself as a constant: what a caller asks about the type is then
    decided already where the function is inlined.
    """
    cdef uint8_t type
    cdef Message rare
    cdef int kind
    if size == 0:
        return TRUNCATED
    type = data[0]
    if type == c'A':
        if size != 36:
            return _length_reason(size, 36)
        if not _is_one_of(data[19], SIDES):
            return BAD_FIELD
        _read_add(data, m, c'A')
        return c'A'
    elif type == c'D':
        if size != 19:
            return _length_reason(size, 19)
        _read_head(data, m, c'D')
        m.reference = load64(data + 11)
        return c'D'
    elif type == c'U':
        if size != 35:
            return _length_reason(size, 35)
        _read_replace(data, m)
        return c'U'
    elif type == c'E':
        if size != 31:
            return _length_reason(size, 31)
        _read_execution(data, m)
        return c'E'
    elif type == c'X':
        if size != 23:
            return _length_reason(size, 23)
        _read_cancel(data, m)
        return c'X'
    elif type == c'F':
        if size != 40:
            return _length_reason(size, 40)
        if not _is_one_of(data[19], SIDES):
            return BAD_FIELD
        _read_add(data, m, c'F')
        return c'F'
    elif type == c'C':
        if size != 36:
            return _length_reason(size, 36)
        if not _is_one_of(data[31], PRINTABLE):
            return BAD_FIELD
        _read_priced(data, m)
        return c'C'
    elif type == c'P':
        if size != 44:
            return _length_reason(size, 44)
        if not _is_one_of(data[19], SIDES):
            return BAD_FIELD
        _read_trade(data, m)
        return c'P'
    elif type == c'H':
        if size != 25:
            return _length_reason(size, 25)
        if not _is_one_of(data[19], STATES):
            return BAD_FIELD
        _read_state(data, m)
        return c'H'
    elif type == c'I':
        if size != 50:
            return _length_reason(size, 50)
        if not _is_one_of(data[48], CROSSES) or not _is_one_of(data[27], DIRECTIONS):
            return BAD_FIELD
        _read_imbalance(data, m)
        return c'I'
    elif type == c'Q':
        if size != 40:
            return _length_reason(size, 40)
        if not _is_one_of(data[39], CROSSES):
            return BAD_FIELD
        _read_cross(data, m)
        return c'Q'
    # By way of a copy: the address of m goes nowhere, so m need not be in memory for the types above.
    kind = _parse_rare(data, size, &rare)
    m[0] = rare
    return kind
