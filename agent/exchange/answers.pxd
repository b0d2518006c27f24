# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""OUCH messages of the exchange, appended to the log.

Source: Nasdaq "O*U*C*H Version 5.0", section 3 (Outbound Messages). Each ends with an empty appendage where it may have
one. `at` is when the message that it answers was read.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from agent.exchange.log cimport append_payload
from agent.exchange.state cimport Market, Order
from agent.protocols.wire cimport store16, store32, store64

cdef enum:
    ACCEPTED_SIZE = 64
    CANCELED_SIZE = 18
    EXECUTED_SIZE = 36
    QUERY_RESPONSE_SIZE = 13
    REJECTED_SIZE = 31
    REPLACED_SIZE = 68
    REASON_OTHER = 0x000F       # Rejected: Reason


cdef inline void write_header(uint8_t *a, uint8_t type, const Market *market, int64_t at,
                              uint32_t user_ref_num) noexcept nogil:
    """Write what all begin with: type, Timestamp, UserRefNum."""
    a[0] = type
    store64(a + 1, <uint64_t> at - market.midnight)
    store32(a + 9, user_ref_num)


cdef inline void append_rejected(Market *market, int64_t at, uint32_t user_ref_num,
                                 const uint8_t *cl_ord_id) noexcept nogil:
    cdef uint8_t *a = append_payload(&market.log, REJECTED_SIZE)
    if a != NULL:
        write_header(a, c'J', market, at, user_ref_num)
        store16(a + 13, REASON_OTHER)
        memcpy(a + 15, cl_ord_id, 14)
        store16(a + 29, 0)


cdef inline void write_order(uint8_t *a, Market *market, const Order *o, uint8_t side) noexcept nogil:
    """Write what Accepted and Replaced have in common, from Side on: 51 bytes."""
    a[0] = side
    store32(a + 1, o.total - o.executed)
    memcpy(a + 5, o.symbol_name, 8)
    store64(a + 13, o.price)
    a[21] = o.time_in_force
    a[22] = o.display
    market.last_reference_number += 1
    store64(a + 23, market.last_reference_number)
    memcpy(a + 31, o.capacity_to_cross, 3)
    a[34] = c'L'                                # Order State: live
    memcpy(a + 35, o.cl_ord_id, 14)
    store16(a + 49, 0)


cdef inline void append_accepted(Market *market, int64_t at, const Order *o, uint8_t side) noexcept nogil:
    """side: as the order had it."""
    cdef uint8_t *a = append_payload(&market.log, ACCEPTED_SIZE)
    if a != NULL:
        write_header(a, c'A', market, at, o.user_ref_num)
        write_order(a + 13, market, o, side)


cdef inline void append_replaced(Market *market, int64_t at, const Order *o, uint32_t original) noexcept nogil:
    """original: UserRefNum of the order that was replaced."""
    cdef uint8_t *a = append_payload(&market.log, REPLACED_SIZE)
    if a != NULL:
        write_header(a, c'U', market, at, original)
        store32(a + 13, o.user_ref_num)
        write_order(a + 17, market, o, o.side)


cdef inline void append_canceled(Market *market, int64_t at, uint32_t user_ref_num, uint32_t shares,
                                 uint8_t reason) noexcept nogil:
    """shares: by how many the order was decremented."""
    cdef uint8_t *a = append_payload(&market.log, CANCELED_SIZE)
    if a != NULL:
        write_header(a, c'C', market, at, user_ref_num)
        store32(a + 13, shares)
        a[17] = reason
        market.canceled += 1


cdef inline void append_executed(Market *market, int64_t at, uint32_t user_ref_num, uint32_t shares,
                                 uint64_t price) noexcept nogil:
    cdef uint8_t *a = append_payload(&market.log, EXECUTED_SIZE)
    if a != NULL:
        write_header(a, c'E', market, at, user_ref_num)
        store32(a + 13, shares)
        store64(a + 17, price)
        a[25] = c'A'                            # Liquidity Flag: added
        market.last_match_number += 1
        store64(a + 26, market.last_match_number)
        store16(a + 34, 0)
        market.executions += 1


cdef inline void append_query_response(Market *market, int64_t at) noexcept nogil:
    """The UserRefNum in it is the next one that is expected."""
    cdef uint8_t *a = append_payload(&market.log, QUERY_RESPONSE_SIZE)
    if a != NULL:
        write_header(a, c'Q', market, at, market.last_user_ref_num + 1)
