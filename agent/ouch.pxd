"""OUCH 5.0 over SoupBinTCP: the few messages of the first cut, as published.

Sources: Nasdaq "O*U*C*H Version 5.0" (Order Entry Specification), section 2.1 Enter Order and
section 3 outbound messages; Nasdaq "SoupBinTCP Version 3.00" and "4.00" (the framing is the same).
Integers are big-endian. Alpha fields are left-justified and padded with spaces. A price is 8
bytes with 4 implied decimals, at most $199,999.9900; a quantity is under 1,000,000.

    Enter Order (47)                      Accepted (64)
     0  1  "O"                             0  1  "A"
     1  4  UserRefNum                      1  8  Timestamp, ns after midnight
     5  1  Side B S T E                    9  4  UserRefNum
     6  4  Quantity                       13  1  Side
    10  8  Symbol                         14  4  Quantity
    18  8  Price                          18  8  Symbol
    26  1  Time In Force                  26  8  Price
    27  1  Display                        34  1  Time In Force
    28  1  Capacity                       35  1  Display
    29  1  InterMarket Sweep              36  8  Order Reference Number
    30  1  CrossType                      44  1  Capacity
    31 14  ClOrdID                        45  1  InterMarket Sweep
    45  2  Appendage Length               46  1  CrossType
                                          47  1  Order State
    Rejected: "J", Timestamp 8,           48 14  ClOrdID
    UserRefNum 4, Reason 2, ClOrdID 14    62  2  Appendage Length

A SoupBinTCP packet is a 2-byte length (of what follows), a type byte and the payload.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from agent.wire cimport store16, store32, store64

cdef enum:
    SOUP_HEADER = 3
    ENTER_ORDER = 47
    ACCEPTED = 64
    REJECTED = 29
    ORDER_FRAME = 50            # SOUP_HEADER + ENTER_ORDER
    ACCEPTED_FRAME = 67         # SOUP_HEADER + ACCEPTED
    MAX_QUANTITY = 999999
    MAX_PRICE = 1999999900      # 4 decimals
    CLORDID = 14


cdef inline void order_template(uint8_t *frame, const char *symbol, int size) noexcept nogil:
    """The 50 bytes of an Unsequenced Data packet with an Enter Order for one symbol (at most 8
    characters): day order, visible, principal, continuous market, no appendage."""
    memset(frame, c' ', ORDER_FRAME)
    store16(frame, ORDER_FRAME - 2)
    frame[2] = c'U'
    frame[3] = c'O'
    memcpy(frame + 13, symbol, size)
    frame[29] = c'0'
    frame[30] = c'Y'
    frame[31] = c'P'
    frame[32] = c'N'
    frame[33] = c'N'
    store16(frame + 48, 0)


cdef inline void order_patch(uint8_t *frame, uint32_t reference, uint8_t side, uint32_t quantity,
                             uint64_t price, uint64_t sequence) noexcept nogil:
    """Write the bytes of one order that change. price has 4 implied decimals; ClOrdID is the
    MoldUDP64 sequence number of the tick that caused the order, 14 decimal digits (modulo 1e14)."""
    cdef int i
    store32(frame + 4, reference)
    frame[8] = side
    store32(frame + 9, quantity)
    store64(frame + 21, price)
    for i in range(CLORDID - 1, -1, -1):
        frame[34 + i] = c'0' + <uint8_t> (sequence % 10)
        sequence //= 10
