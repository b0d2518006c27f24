# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""ITCH 5.0: one message to a structure, without the GIL and without allocation.

Source: "Nasdaq TotalView-ITCH 5.0", the edition with the Direct Listing with Capital Raise message
(revision log of April 28, 2023). Every message type has one length there; agent/itch.py has the same
layouts as a table for tools, and the tests hold the two together.

Prices are as on the wire: 4 decimals. The 8-decimal levels of 'V' and the other fields that no book or
strategy needs are not read here. The specification gives 200,000.0000 as the highest Price (4), but real
stocks have been above it, so every value that the field can hold is passed on.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from agent.wire cimport load16, load32, load64

cdef enum:
    LONGEST = 50                # bytes, of 'I'

    TRUNCATED = -1              # shorter than its type, or empty
    OVERSIZED = -2              # longer than its type
    UNKNOWN = -3                # no such type
    BAD_FIELD = -4              # a side, printable flag, event code or state that does not exist

cdef struct Message:
    uint8_t type                # 'A', 'F', 'E', ...
    uint8_t side                # A F P: 'B' or 'S'
    uint8_t printable           # C: 'Y' or 'N'
    uint8_t event               # S: event code; H: trading state; h: operational halt action; Q: cross type
    uint16_t locate
    uint16_t tracking
    uint64_t timestamp          # ns after midnight
    uint64_t reference          # order reference number (of U: the original one)
    uint64_t new_reference      # U
    uint64_t match              # match number of E C P Q B
    uint64_t shares             # A F P U: shares; E C: executed; X: cancelled; Q: of the cross
    uint32_t price              # 4 decimals; of C: execution price; of Q: cross price
    const uint8_t *stock        # 8 bytes, padded with spaces, in the message; NULL where the type has none


cdef inline uint32_t length(uint8_t type) noexcept nogil:
    """Bytes of a message of this type, 0 for an unknown type."""
    if type == c'A':
        return 36
    elif type == c'D':
        return 19
    elif type == c'U':
        return 35
    elif type == c'E':
        return 31
    elif type == c'X':
        return 23
    elif type == c'F':
        return 40
    elif type == c'C':
        return 36
    elif type == c'P':
        return 44
    elif type == c'Q':
        return 40
    elif type == c'B':
        return 19
    elif type == c'I':
        return 50
    elif type == c'S' or type == c'W':
        return 12
    elif type == c'R':
        return 39
    elif type == c'H':
        return 25
    elif type == c'Y' or type == c'N':
        return 20
    elif type == c'L':
        return 26
    elif type == c'V' or type == c'J':
        return 35
    elif type == c'K':
        return 28
    elif type == c'h':
        return 21
    elif type == c'O':
        return 48
    return 0


cdef inline bint _event(uint8_t code) noexcept nogil:
    return (code == c'O' or code == c'S' or code == c'Q' or code == c'M' or code == c'E' or code == c'C')


cdef inline bint _state(uint8_t code) noexcept nogil:
    return code == c'H' or code == c'P' or code == c'Q' or code == c'T'


cdef inline int parse(const uint8_t *data, uint32_t size, Message *m) noexcept nogil:
    """The message in exactly data[0:size].

    > 0: its type, with every field of m set (0 or NULL where the type has none). Else the reason (< 0)
    why it is not a message; then m is undefined.
    """
    cdef uint8_t type
    cdef uint32_t expected
    cdef uint64_t word
    if size == 0:
        return TRUNCATED
    type = data[0]
    expected = length(type)
    if size != expected:
        if expected == 0:
            return UNKNOWN
        return TRUNCATED if size < expected else OVERSIZED

    # One by one, not memset: so the compiler keeps what a caller uses in registers, and drops the rest.
    m.type = type
    m.side = m.printable = m.event = 0
    m.reference = m.new_reference = m.match = m.shares = 0
    m.price = 0
    m.stock = NULL
    m.locate = load16(data + 1)
    word = load64(data + 3)     # tracking number (2 bytes) and timestamp (6)
    m.tracking = <uint16_t> (word >> 48)
    m.timestamp = word & 0xFFFFFFFFFFFFULL

    if type == c'A' or type == c'F':
        m.reference = load64(data + 11)
        m.side = data[19]
        m.shares = load32(data + 20)
        m.stock = data + 24
        m.price = load32(data + 32)
        if m.side != c'B' and m.side != c'S':
            return BAD_FIELD
    elif type == c'D':
        m.reference = load64(data + 11)
    elif type == c'U':
        m.reference = load64(data + 11)
        m.new_reference = load64(data + 19)
        m.shares = load32(data + 27)
        m.price = load32(data + 31)
    elif type == c'E':
        m.reference = load64(data + 11)
        m.shares = load32(data + 19)
        m.match = load64(data + 23)
    elif type == c'C':
        m.reference = load64(data + 11)
        m.shares = load32(data + 19)
        m.match = load64(data + 23)
        m.printable = data[31]
        m.price = load32(data + 32)
        if m.printable != c'Y' and m.printable != c'N':
            return BAD_FIELD
    elif type == c'X':
        m.reference = load64(data + 11)
        m.shares = load32(data + 19)
    elif type == c'P':
        m.reference = load64(data + 11)
        m.side = data[19]
        m.shares = load32(data + 20)
        m.stock = data + 24
        m.price = load32(data + 32)
        m.match = load64(data + 36)
        if m.side != c'B' and m.side != c'S':
            return BAD_FIELD
    elif type == c'Q':
        m.shares = load64(data + 11)
        m.stock = data + 19
        m.price = load32(data + 27)
        m.match = load64(data + 31)
        m.event = data[39]
    elif type == c'B':
        m.match = load64(data + 11)
    elif type == c'S':
        m.event = data[11]
        if not _event(m.event):
            return BAD_FIELD
    elif type == c'H':
        m.stock = data + 11
        m.event = data[19]
        if not _state(m.event):
            return BAD_FIELD
    elif type == c'h':
        m.stock = data + 11
        m.event = data[20]
        if m.event != c'H' and m.event != c'T':
            return BAD_FIELD
    elif type == c'L':
        m.stock = data + 15
    elif type == c'I':
        m.stock = data + 28
    elif type == c'R' or type == c'Y' or type == c'K' or type == c'J' or type == c'N' or type == c'O':
        m.stock = data + 11
    return type
