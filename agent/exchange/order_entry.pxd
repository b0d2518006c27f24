# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""OUCH messages of the agent: judged, and answered in the log.

Source: Nasdaq "O*U*C*H Version 5.0", section 2 (Inbound Messages).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from agent.exchange.answers cimport append_accepted, append_canceled, append_query_response, append_rejected, \
    append_replaced
from agent.exchange.matching cimport add_resting, execute_order, find_order, find_symbol, get_slot, remove_order
from agent.exchange.state cimport MAX_OPEN_ORDERS, Arrivals, Market, Order
from agent.protocols.wire cimport load16, load32, load64

cdef enum:
    # The shortest of each type: with an empty appendage, or without one.
    CANCEL_ORDER_SIZE = 9
    ENTER_ORDER_SIZE = 47
    REPLACE_ORDER_SIZE = 40
    CL_ORD_ID_SIZE = 14
    MAX_QUANTITY = 999999
    MAX_PRICE = 1999999900


cdef inline int64_t find_message(const Arrivals *arrivals, const uint8_t *cl_ord_id) noexcept nogil:
    """Returns the index of the message whose sequence number the ClOrdID is, or -1: no digits, no message of this run,
    or one that was not sent yet."""
    cdef uint64_t sequence = 0
    cdef int i
    for i in range(CL_ORD_ID_SIZE):
        if cl_ord_id[i] < c'0' or cl_ord_id[i] > c'9':
            return -1
        sequence = sequence * 10 + (cl_ord_id[i] - c'0')
    if sequence < arrivals.first_sequence or sequence - arrivals.first_sequence >= arrivals.messages_sent:
        return -1
    return <int64_t> (sequence - arrivals.first_sequence)


cdef inline void record_arrival(Arrivals *arrivals, uint32_t user_ref_num, const uint8_t *cl_ord_id,
                                int64_t at) noexcept nogil:
    """Take a sample of an Enter Order."""
    cdef int64_t message = find_message(arrivals, cl_ord_id)
    if message < 0:
        arrivals.unmatched += 1
    if arrivals.count < arrivals.capacity:
        arrivals.message[arrivals.count] = message
        arrivals.at[arrivals.count] = at
        arrivals.user_ref_num[arrivals.count] = user_ref_num
        arrivals.count += 1
    else:
        arrivals.overflow += 1
    arrivals.last_at = at


cdef inline bint is_valid(uint32_t quantity, uint64_t price) noexcept nogil:
    return 0 < quantity <= MAX_QUANTITY and 0 < price <= MAX_PRICE


cdef inline void enter_order(Market *market, const uint8_t *m, uint32_t size, int64_t at) noexcept nogil:
    """Enter Order of at least ENTER_ORDER_SIZE bytes."""
    cdef uint32_t user_ref_num = load32(m + 1)
    cdef uint8_t side = m[5]
    cdef uint32_t quantity = load32(m + 6)
    cdef uint64_t price = load64(m + 18)
    cdef const uint8_t *cl_ord_id = m + 31
    cdef Order *o
    if user_ref_num <= market.last_user_ref_num:
        market.out_of_order += 1
        return
    market.last_user_ref_num = user_ref_num
    if not (side == c'B' or side == c'S' or side == c'T' or side == c'E') or not is_valid(quantity, price) \
            or size != ENTER_ORDER_SIZE + <uint32_t> load16(m + 45):
        market.invalid += 1
        append_rejected(market, at, user_ref_num, cl_ord_id)
        return
    o = get_slot(market, user_ref_num)
    market.valid_orders += 1
    if (market.reject_every and market.valid_orders % market.reject_every == 0) or o.user_ref_num != 0:
        market.rejected_on_purpose += 1
        append_rejected(market, at, user_ref_num, cl_ord_id)
        return
    memset(o, 0, sizeof(Order))
    o.user_ref_num = user_ref_num
    o.symbol = find_symbol(market, m + 10) if market.executes else -1
    o.total = quantity
    o.price = price
    o.side = c'B' if side == c'B' else c'S'
    memcpy(o.symbol_name, m + 10, 8)
    o.time_in_force = m[26]
    o.display = m[27]
    memcpy(o.capacity_to_cross, m + 28, 3)
    memcpy(o.cl_ord_id, cl_ord_id, CL_ORD_ID_SIZE)
    append_accepted(market, at, o, side)
    market.acknowledged += 1
    add_resting(market, o)
    execute_order(market, o, at)
    if o.user_ref_num and o.time_in_force == c'3':          # immediate or cancel
        append_canceled(market, at, user_ref_num, o.total - o.executed, c'I')
        remove_order(market, o)


cdef inline void replace_order(Market *market, const uint8_t *m, uint32_t size, int64_t at) noexcept nogil:
    """Replace Order Request of at least REPLACE_ORDER_SIZE bytes. One for an order that is not open is ignored, and one
    with invalid details takes the order out of the book; neither uses up its UserRefNum."""
    cdef uint32_t original = load32(m + 1), user_ref_num = load32(m + 5), quantity = load32(m + 9)
    cdef uint64_t price = load64(m + 13)
    cdef Order *old = find_order(market, original)
    cdef Order *o
    cdef Order copy
    if user_ref_num <= market.last_user_ref_num:
        market.out_of_order += 1
        return
    if old == NULL:
        market.replaces_ignored += 1
        return
    o = get_slot(market, user_ref_num)
    if not is_valid(quantity, price) or o.user_ref_num != 0 \
            or size != REPLACE_ORDER_SIZE + <uint32_t> load16(m + 38):
        market.invalid += 1
        append_canceled(market, at, original, old.total - old.executed, c'U')
        remove_order(market, old)
        return
    if quantity <= old.executed:
        append_canceled(market, at, original, old.total - old.executed, c'U')
        remove_order(market, old)
        return
    market.last_user_ref_num = user_ref_num
    copy = old[0]
    remove_order(market, old)
    o[0] = copy
    o.user_ref_num = user_ref_num
    o.total = quantity
    o.price = price
    o.time_in_force = m[21]
    o.display = m[22]
    memcpy(o.cl_ord_id, m + 24, CL_ORD_ID_SIZE)
    append_replaced(market, at, o, original)
    market.replaced += 1
    add_resting(market, o)
    execute_order(market, o, at)


cdef inline void cancel_order(Market *market, const uint8_t *m, int64_t at) noexcept nogil:
    """Cancel Order Request of at least CANCEL_ORDER_SIZE bytes: its quantity is what the order is reduced to, executed
    shares included. One for an order that is not open is ignored, and so is one that would not reduce the order."""
    cdef Order *o = find_order(market, load32(m + 1))
    cdef uint32_t wanted = load32(m + 5)
    if o == NULL or wanted >= o.total:
        return
    if wanted > o.executed:
        append_canceled(market, at, o.user_ref_num, o.total - wanted, c'U')
        o.total = wanted
        return
    append_canceled(market, at, o.user_ref_num, o.total - o.executed, c'U')
    remove_order(market, o)


cdef inline void cancel_open_orders(Market *market, int64_t at) noexcept nogil:
    """Cancel all: the exchange does that when the link goes down."""
    cdef Order *o
    cdef uint32_t i
    for i in range(<uint32_t> MAX_OPEN_ORDERS):
        o = &market.orders[i]
        if o.user_ref_num:
            append_canceled(market, at, o.user_ref_num, o.total - o.executed, c'Z')
            remove_order(market, o)


cdef inline void handle_message(Market *market, Arrivals *arrivals, const uint8_t *m, uint32_t size,
                                int64_t at) noexcept nogil:
    """The payload of an Unsequenced Data packet that was read at `at`."""
    market.order_messages += size >= 1 and (m[0] == c'O' or m[0] == c'U' or m[0] == c'X')
    if size >= ENTER_ORDER_SIZE and m[0] == c'O':
        record_arrival(arrivals, load32(m + 1), m + 31, at)
        enter_order(market, m, size, at)
    elif size >= REPLACE_ORDER_SIZE and m[0] == c'U':
        replace_order(market, m, size, at)
    elif size >= CANCEL_ORDER_SIZE and m[0] == c'X':
        cancel_order(market, m, at)
    elif size >= 1 and m[0] == c'Q':
        market.queries += 1
        market.queried_at = at
        append_query_response(market, at)
    else:
        market.other_messages += 1
