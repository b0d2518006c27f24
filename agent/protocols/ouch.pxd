# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""OUCH 5.0: orders out of templates, answers into one struct.

Source: Nasdaq "O*U*C*H Version 5.0", Order Entry Specification, revision 1.05 (2025-10-07). The
document itself could not be read where this was written: types, fields, offsets and sizes are the
ones on which two independent public descriptions of that revision and one of an earlier revision
agree, field by field. docs/protocols.md says what that leaves open.

Integers are unsigned and big-endian. Alpha fields are left-justified and padded with spaces. A
price is 8 bytes with 4 implied decimals, at most $199,999.9900; a quantity is below 1,000,000. A
timestamp is in nanoseconds after midnight. Inbound messages go in SoupBinTCP Unsequenced Data,
outbound ones come in Sequenced Data.

Most messages end with an Appendage Length (2 bytes) and so many bytes of options, each a length (1,
of what follows), a tag (1) and a value. Where the document allows to leave out the length with the
options, they are not sent here, and read in both forms.

    inbound, to Appendage Length                                              bytes
    O Enter Order      UserRefNum 4, Side 1, Quantity 4, Symbol 8, Price 8, Time In Force 1, Display 1,
                       Capacity 1, InterMarket Sweep 1, CrossType 1, ClOrdID 14            45
    U Replace Order    OrigUserRefNum 4, UserRefNum 4, Quantity 4, Price 8, Time In Force 1,
                       Display 1, InterMarket Sweep 1, ClOrdID 14                          38
    X Cancel Order     UserRefNum 4, Quantity 4 (what is to remain; 0: nothing)             9 *
    M Modify Order     UserRefNum 4, Side 1, Quantity 4                                    10 *
    C Mass Cancel      UserRefNum 4, Firm 4, Symbol 8                                      17
    D Disable Order Entry, E Enable Order Entry   UserRefNum 4, Firm 4                      9
    Q Account Query                                                                         1 *

    outbound: Timestamp 8 and UserRefNum 4 (not in S), then, to Appendage Length
    S System Event     Event 1                                                    10 (no options)
    A Accepted         Side 1, Quantity 4, Symbol 8, Price 8, Time In Force 1, Display 1, Order
                       Reference Number 8, Capacity 1, InterMarket Sweep 1, CrossType 1, Order
                       State 1 (L live, D dead), ClOrdID 14                                62
    U Replaced         OrigUserRefNum 4 comes before UserRefNum, then as Accepted          66
    C Canceled         Quantity 4 (taken off), Reason 1                                    18 *
    D AIQ Canceled     Decrement Shares 4, Reason 1, Quantity Prevented From Trading 4, Execution
                       Price 8, Liquidity Flag 1, AIQ Strategy 1                           32 *
    E Executed         Quantity 4, Price 8, Liquidity Flag 1, Match Number 8               34
    B Broken Trade     Match Number 8, Reason 1, ClOrdID 14                                36 *
    J Rejected         Reason 2, ClOrdID 14                                                29 *
    P Cancel Pending, I Cancel Reject                                                      13 *
    T Priority Update  Price 8, Display 1, Order Reference Number 8                        30 *
    M Order Modified   Side 1, Quantity 4 (what remains)                                   18 *
    R Order Restated   Reason 1                                                            14
    X Mass Cancel Response   Firm 4, Symbol 8                                              25
    G Disable, K Enable Order Entry Response   Firm 4                                      17
    Q Account Query Response (the number is NextUserRefNum)                                13 *

* Appendage Length may be absent. It is not said to be for Executed, but read without it all the same:
an execution is not to be missed for two bytes of nothing.

One file because the table above is what both halves, inbound and outbound, are checked against.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from agent.protocols.wire cimport load16, load32, load64, store16, store32, store64

cdef enum:
    # parse, < 0
    TRUNCATED = -1              # shorter than the fields of its type
    OVERSIZED = -2              # longer than its fields and its options
    UNKNOWN = -3                # not an outbound type
    BAD_APPENDAGE = -4          # the options overrun, or one has not its tag's size

    FRAME_HEADER = 3            # SoupBinTCP's length and type
    ENTER = 47                  # message sizes as sent
    REPLACE = 40
    CANCEL = 9
    MODIFY = 10
    MASS_CANCEL = 19
    CONTROL = 11
    ACCOUNT_QUERY = 1
    ENTER_FRAME = 50            # with SoupBinTCP's header
    REPLACE_FRAME = 43
    CANCEL_FRAME = 12
    MODIFY_FRAME = 13
    MASS_CANCEL_FRAME = 22
    CONTROL_FRAME = 14
    ACCOUNT_QUERY_FRAME = 4

    ORDER_FRAME = 50            # of build_order_template
    SYMBOL_AT = 13              # bytes before its Symbol
    SYMBOL_SIZE = 8
    CLORDID = 14
    MAX_QUANTITY = 999999
    MAX_PRICE = 1999999900      # 4 decimals
    MARKET_PRICE = 0x7FFFFFFF   # a market order, in a cross only

    # option tags
    SECONDARY_REFERENCE = 1
    FIRM = 2
    MIN_QTY = 3
    CUSTOMER_TYPE = 4
    MAX_FLOOR = 5
    PRICE_TYPE = 6
    PEG_OFFSET = 7
    DISCRETION_PRICE = 9
    DISCRETION_PRICE_TYPE = 10
    DISCRETION_PEG_OFFSET = 11
    POST_ONLY = 12
    RANDOM_RESERVES = 13
    ROUTE = 14
    EXPIRE_TIME = 15
    TRADE_NOW = 16
    HANDLE_INST = 17
    BBO_WEIGHT = 18
    DISPLAY_QUANTITY = 22
    DISPLAY_PRICE = 23
    GROUP_ID = 24
    SHARES_LOCATED = 25
    LOCATE_BROKER = 26
    SIDE = 27
    USER_REF_INDEX = 28
    AIQ_STRATEGY = 29
    AIQ_GROUP_ID = 30

cdef struct Answer:
    uint8_t type
    uint8_t side                # A U M
    uint8_t time_in_force       # A U
    uint8_t display             # A U T
    uint8_t capacity            # A U
    uint8_t sweep               # A U, InterMarket Sweep Eligibility
    uint8_t cross_type          # A U
    uint8_t state               # A U: L live, D dead
    uint8_t dead                # 1: A or U with state D, accepted and canceled at once
    uint8_t liquidity           # E D
    uint8_t strategy            # D, AIQ Strategy
    uint8_t event               # S
    uint8_t index               # option UserRefIdx, 0: none
    uint16_t reason             # J: a code; C D B R: a character
    uint32_t id                 # UserRefNum; Q: NextUserRefNum
    uint32_t original           # U: OrigUserRefNum
    uint32_t quantity           # A U M: what is open; C D: taken off; E: executed
    uint32_t prevented          # D
    uint64_t timestamp
    uint64_t price              # A U T; E and D: of the execution
    uint64_t match              # E B
    uint64_t reference          # A U T: Order Reference Number
    uint64_t secondary          # option SecondaryOrdRefNum, 0: none
    uint32_t display_quantity   # option DisplayQuantity
    uint64_t display_price      # option DisplayPrice
    const uint8_t *symbol       # A U X: 8 bytes, else NULL
    const uint8_t *clordid      # A U B J: 14 bytes, else NULL
    const uint8_t *firm         # X G K: 4 bytes, else NULL
    const uint8_t *options      # all of them, checked
    uint32_t options_size


# ------------------------------------------------------------------------------------------- inbound

cdef inline void write_alpha(uint8_t *at, uint32_t size, const char *text, uint32_t length) noexcept nogil:
    """At most size characters, padded with spaces."""
    memset(at, c' ', size)
    memcpy(at, text, length if length < size else size)


cdef inline uint64_t _eight_digits(uint32_t number) noexcept nogil:
    """Returns the 8 decimal digits of a number below 10^8 as the bytes of a word, the first in the highest: all digits
    at once, since each step splits every number that the word holds."""
    cdef uint64_t digits = <uint64_t> (number // 10000) << 32 | number % 10000
    cdef uint64_t left = digits * 10486 >> 20 & 0x7F0000007FULL    # 10486 / 2^20: a hundredth, exact below 10^4
    digits = left << 16 | digits - 100 * left
    left = digits * 103 >> 10 & 0x000F000F000F000FULL              # 103 / 2^10: a tenth, exact below 100
    return (left << 8 | digits - 10 * left) + 0x3030303030303030ULL


cdef inline void write_clordid(uint8_t *at, uint64_t number) noexcept nogil:
    """14 decimal digits, with zeros on the left; the number modulo 10^14."""
    cdef uint64_t high
    if number >= 100000000000000ULL:
        number %= 100000000000000ULL
    high = number // 100000000
    # Without the first two digits, which are zeros; the two bytes behind the others are written again.
    store64(at, _eight_digits(<uint32_t> high) << 16)
    store64(at + 6, _eight_digits(<uint32_t> (number - high * 100000000)))


cdef inline void _header(uint8_t *frame, uint32_t size, uint8_t type) noexcept nogil:
    store16(frame, <uint16_t> (size - 2))
    frame[2] = c'U'
    frame[3] = type


cdef inline void build_enter_template(uint8_t *frame, const char *symbol, uint32_t size, uint8_t time_in_force,
                                      uint8_t display, uint8_t capacity, uint8_t sweep,
                                      uint8_t cross_type) noexcept nogil:
    """The ENTER_FRAME bytes of an Enter Order in Unsequenced Data, without options. Time In Force:
    0 day, 3 immediate or cancel, 5 extended hours, 6 until a time (needs an option), E after hours.
    Display: Y visible, N hidden, A attributable. Capacity: A agency, P principal, R riskless, O
    other. Sweep: Y, N. Cross type: N continuous market, O opening, C closing, H halt or IPO, S
    supplemental, R retail, E extended life, A after hours close."""
    memset(frame, c' ', ENTER_FRAME)
    _header(frame, ENTER_FRAME, c'O')
    write_alpha(frame + 13, 8, symbol, size)
    frame[29] = time_in_force
    frame[30] = display
    frame[31] = capacity
    frame[32] = sweep
    frame[33] = cross_type
    store16(frame + 48, 0)


cdef inline void build_order_template(uint8_t *frame, const char *symbol, int size) noexcept nogil:
    """An Enter Order for one symbol (at most 8 characters): day order, visible, principal, no sweep,
    continuous market, no options."""
    build_enter_template(frame, symbol, <uint32_t> size, c'0', c'Y', c'P', c'N', c'N')


cdef inline bint has_our_terms(const Answer *a) noexcept nogil:
    """Whether Accepted or Replaced has what build_order_template and build_replace_template ask for, which no exchange
    may change; and an Order State that there is."""
    return (a.time_in_force == c'0' and a.display == c'Y' and a.capacity == c'P' and a.sweep == c'N'
            and a.cross_type == c'N' and (a.state == c'L' or a.state == c'D'))


cdef inline void patch_order(uint8_t *frame, uint32_t id, uint8_t side, uint32_t quantity, uint64_t price,
                             uint64_t sequence) noexcept nogil:
    """Write the bytes of one Enter Order that change. id: UserRefNum, higher than any before. side:
    B buy, S sell, T sell short, E sell short exempt. price: 4 decimals. ClOrdID is the MoldUDP64
    sequence number of the tick that caused the order, 14 digits."""
    store32(frame + 4, id)
    frame[8] = side
    store32(frame + 9, quantity)
    store64(frame + 21, price)
    write_clordid(frame + 34, sequence)


cdef inline void build_replace_template_for(uint8_t *frame, uint8_t time_in_force, uint8_t display,
                                            uint8_t sweep) noexcept nogil:
    """The REPLACE_FRAME bytes of a Replace Order Request without options. Time In Force: as for Enter
    Order, but not E."""
    memset(frame, c' ', REPLACE_FRAME)
    _header(frame, REPLACE_FRAME, c'U')
    frame[24] = time_in_force
    frame[25] = display
    frame[26] = sweep
    store16(frame + 41, 0)


cdef inline void build_replace_template(uint8_t *frame) noexcept nogil:
    """A Replace Order Request: day order, visible, no sweep, no options."""
    build_replace_template_for(frame, c'0', c'Y', c'N')


cdef inline void patch_replace(uint8_t *frame, uint32_t original, uint32_t id, uint32_t quantity,
                               uint64_t price, uint64_t sequence) noexcept nogil:
    """original: UserRefNum of the order to replace; id: the new one's. quantity: shares of the whole
    chain, executed ones included."""
    store32(frame + 4, original)
    store32(frame + 8, id)
    store32(frame + 12, quantity)
    store64(frame + 16, price)
    write_clordid(frame + 27, sequence)


cdef inline void build_cancel_template(uint8_t *frame) noexcept nogil:
    """The CANCEL_FRAME bytes of a Cancel Order Request."""
    memset(frame, 0, CANCEL_FRAME)
    _header(frame, CANCEL_FRAME, c'X')


cdef inline void patch_cancel(uint8_t *frame, uint32_t id, uint32_t quantity) noexcept nogil:
    """quantity: the order's new intended size, executed shares included; 0 cancels what is open."""
    store32(frame + 4, id)
    store32(frame + 8, quantity)


cdef inline void build_modify_template(uint8_t *frame) noexcept nogil:
    """The MODIFY_FRAME bytes of a Modify Order Request."""
    memset(frame, 0, MODIFY_FRAME)
    _header(frame, MODIFY_FRAME, c'M')


cdef inline void patch_modify(uint8_t *frame, uint32_t id, uint8_t side, uint32_t quantity) noexcept nogil:
    """side may change between the selling ones only; quantity may not grow."""
    store32(frame + 4, id)
    frame[8] = side
    store32(frame + 9, quantity)


cdef inline void build_account_query(uint8_t *frame) noexcept nogil:
    """The ACCOUNT_QUERY_FRAME bytes of an Account Query Request."""
    _header(frame, ACCOUNT_QUERY_FRAME, c'Q')


cdef inline void build_mass_cancel(uint8_t *frame, uint32_t id, const char *firm, uint32_t firm_size,
                                   const char *symbol, uint32_t size) noexcept nogil:
    """The MASS_CANCEL_FRAME bytes of a Mass Cancel Request for a firm; no symbol: all of them."""
    _header(frame, MASS_CANCEL_FRAME, c'C')
    store32(frame + 4, id)
    write_alpha(frame + 8, 4, firm, firm_size)
    write_alpha(frame + 12, 8, symbol, size)
    store16(frame + 20, 0)


cdef inline void order_entry(uint8_t *frame, bint enable, uint32_t id, const char *firm,
                             uint32_t firm_size) noexcept nogil:
    """The CONTROL_FRAME bytes of an Enable or Disable Order Entry Request for a firm."""
    _header(frame, CONTROL_FRAME, c'E' if enable else c'D')
    store32(frame + 4, id)
    write_alpha(frame + 8, 4, firm, firm_size)
    store16(frame + 12, 0)


# ------------------------------------------------------------------------------------------- outbound

cdef inline int option_size(uint8_t tag) noexcept nogil:
    """Bytes of a tag's value, -1 for an unknown tag."""
    if tag == SECONDARY_REFERENCE or tag == DISCRETION_PRICE or tag == DISPLAY_PRICE:
        return 8
    if tag == GROUP_ID or tag == AIQ_GROUP_ID:
        return 2
    if (tag == FIRM or tag == MIN_QTY or tag == MAX_FLOOR or tag == PEG_OFFSET or tag == DISCRETION_PEG_OFFSET
            or tag == RANDOM_RESERVES or tag == ROUTE or tag == EXPIRE_TIME or tag == DISPLAY_QUANTITY
            or tag == LOCATE_BROKER):
        return 4
    if (tag == CUSTOMER_TYPE or tag == PRICE_TYPE or tag == DISCRETION_PRICE_TYPE or tag == POST_ONLY
            or tag == TRADE_NOW or tag == HANDLE_INST or tag == BBO_WEIGHT or tag == SHARES_LOCATED
            or tag == SIDE or tag == USER_REF_INDEX or tag == AIQ_STRATEGY):
        return 1
    return -1


cdef inline bint option_next(const uint8_t *options, uint32_t size, uint32_t *place, uint8_t *tag,
                             const uint8_t **value, uint32_t *value_size) noexcept nogil:
    """The option at options[place], which moves on. False: the end, or an option that overruns or has
    no tag, with place left below size."""
    cdef uint32_t at = place[0], length
    if at >= size:
        return False
    length = options[at]
    if length == 0 or size - at - 1 < length:
        return False
    tag[0] = options[at + 1]
    value[0] = options + at + 2
    value_size[0] = length - 1
    place[0] = at + 1 + length
    return True


cdef inline int _options(const uint8_t *data, uint32_t size, Answer *a) noexcept nogil:
    """What follows the fixed fields: Appendage Length and options."""
    cdef uint32_t place = 0, n = 0
    cdef uint8_t tag = 0
    cdef const uint8_t *value = NULL
    cdef int expected
    if size < 2:
        return TRUNCATED
    a.options = data + 2
    a.options_size = load16(data)
    if a.options_size != size - 2:
        return BAD_APPENDAGE if a.options_size > size - 2 else OVERSIZED
    while option_next(a.options, a.options_size, &place, &tag, &value, &n):
        expected = option_size(tag)
        if expected >= 0 and n != <uint32_t> expected:
            return BAD_APPENDAGE
        if tag == USER_REF_INDEX:
            a.index = value[0]
        elif tag == SECONDARY_REFERENCE:
            a.secondary = load64(value)
        elif tag == DISPLAY_QUANTITY:
            a.display_quantity = load32(value)
        elif tag == DISPLAY_PRICE:
            a.display_price = load64(value)
    return 0 if place == a.options_size else BAD_APPENDAGE


cdef inline uint32_t fixed_size(uint8_t type) noexcept nogil:
    """Bytes of an outbound type before Appendage Length, 0 for an unknown type."""
    if type == c'A':
        return 62
    if type == c'E':
        return 34
    if type == c'C' or type == c'M':
        return 18
    if type == c'J':
        return 29
    if type == c'U':
        return 66
    if type == c'D':
        return 32
    if type == c'B':
        return 36
    if type == c'P' or type == c'I' or type == c'Q':
        return 13
    if type == c'T':
        return 30
    if type == c'R':
        return 14
    if type == c'X':
        return 25
    if type == c'G' or type == c'K':
        return 17
    if type == c'S':
        return 10
    return 0


cdef inline bint _bare(uint8_t type) noexcept nogil:
    """May the message end without Appendage Length?"""
    return not (type == c'A' or type == c'U' or type == c'R' or type == c'X' or type == c'G' or type == c'K')


cdef inline void _order(const uint8_t *p, Answer *a) noexcept nogil:
    """The fields that Accepted and Replaced share, from Side on."""
    a.side = p[0]
    a.quantity = load32(p + 1)
    a.symbol = p + 5
    a.price = load64(p + 13)
    a.time_in_force = p[21]
    a.display = p[22]
    a.reference = load64(p + 23)
    a.capacity = p[31]
    a.sweep = p[32]
    a.cross_type = p[33]
    a.state = p[34]
    a.dead = a.state == c'D'
    a.clordid = p + 35


cdef inline int parse(const uint8_t *data, uint32_t size, Answer *a) noexcept nogil:
    """One outbound message, the payload of a Sequenced Data packet: its type (> 0), or why it is
    none (< 0). The pointers in a go into data. Values of code fields are passed on unchecked."""
    cdef uint32_t fixed
    cdef int error
    memset(a, 0, sizeof(Answer))
    if size == 0:
        return TRUNCATED
    a.type = data[0]
    fixed = fixed_size(a.type)
    if fixed == 0:
        return UNKNOWN
    if size < fixed:
        return TRUNCATED
    if size != fixed:
        if a.type == c'S':
            return OVERSIZED
        error = _options(data + fixed, size - fixed, a)
        if error:
            return error
    elif not _bare(a.type):
        return TRUNCATED
    a.timestamp = load64(data + 1)
    if a.type == c'S':
        a.event = data[9]
        return a.type
    a.id = load32(data + 9)
    if a.type == c'A':
        _order(data + 13, a)
    elif a.type == c'E':
        a.quantity = load32(data + 13)
        a.price = load64(data + 17)
        a.liquidity = data[25]
        a.match = load64(data + 26)
    elif a.type == c'C':
        a.quantity = load32(data + 13)
        a.reason = data[17]
    elif a.type == c'J':
        a.reason = load16(data + 13)
        a.clordid = data + 15
    elif a.type == c'U':
        a.original = a.id
        a.id = load32(data + 13)
        _order(data + 17, a)
    elif a.type == c'D':
        a.quantity = load32(data + 13)
        a.reason = data[17]
        a.prevented = load32(data + 18)
        a.price = load64(data + 22)
        a.liquidity = data[30]
        a.strategy = data[31]
    elif a.type == c'B':
        a.match = load64(data + 13)
        a.reason = data[21]
        a.clordid = data + 22
    elif a.type == c'T':
        a.price = load64(data + 13)
        a.display = data[21]
        a.reference = load64(data + 22)
    elif a.type == c'M':
        a.side = data[13]
        a.quantity = load32(data + 14)
    elif a.type == c'R':
        a.reason = data[13]
    elif a.type == c'X':
        a.firm = data + 13
        a.symbol = data + 17
    elif a.type == c'G' or a.type == c'K':
        a.firm = data + 13
    return a.type
