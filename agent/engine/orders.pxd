# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The strategy's orders: through the gate, into the journal, encoded, to the socket.

An order is in the journal before it is in the socket.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cimport agent.journal.record as record
cimport agent.protocols.ouch as ouch
cimport agent.shm.histogram as histogram
from agent.engine.gate cimport check_order, check_sending
from agent.engine.journal cimport write_record
from agent.engine.measure cimport record_stage
from agent.engine.open_orders cimport add_open, find_open, next_slot, prefetch, reduce_open
from agent.engine.outbox cimport send_bytes
from agent.engine.state cimport READY, SLOTS, Core, OpenOrder
from agent.engine.unlikely cimport unlikely
from agent.shm.clock cimport monotonic_ns
from agent.strategy.abi cimport AGENT_BUY, AGENT_CANCEL, AGENT_ENTER, AGENT_MAX_ORDERS, AGENT_REPLACE, agent_order


cdef inline bint send_order(Core *e, OpenOrder *o, const uint8_t *frame, uint32_t size) noexcept nogil:
    """Send the frame of an order and time it. Returns False if the connection is lost."""
    cdef int64_t begun, ended
    cdef bint connected
    if e.orders.simulated:
        if e.outbox.wire == NULL:
            reduce_open(e, o, o.leaves)
        return send_bytes(e, frame, size)
    begun = monotonic_ns()
    if e.stamps:
        histogram.record(&e.histograms.encode, begun - e.mark)
    connected = send_bytes(e, frame, size)
    ended = monotonic_ns()
    e.session.last_sent = ended
    o.sent_at = begun
    histogram.record(&e.histograms.own_code, begun - e.received)
    histogram.record(&e.histograms.send, ended - begun)
    histogram.record(&e.histograms.total, ended - e.received)
    e.mark = ended
    # Where the next order is written down, while nobody waits.
    prefetch(next_slot(e), 1)
    if e.journal.ring != NULL:
        prefetch(e.journal.ring.data + (e.journal.ring.own & e.journal.ring.mask), 1)
    return connected


cdef inline bint enter_order(Core *e, const agent_order *order) noexcept nogil:
    """Send an Enter Order if the gate lets it through. Returns False if the connection is lost."""
    cdef uint64_t price = 0
    cdef OpenOrder *o
    cdef uint8_t *frame
    if not check_order(e, order, order.symbol, order.side, NULL, &price):
        return True
    record_stage(e, &e.histograms.risk)
    e.orders.reference += 1
    e.risk.orders_today += 1
    o = add_open(e, e.orders.reference, order.symbol, order.side, <uint32_t> order.size, price, order.tag)
    write_record(e, record.ENTERED, o, o.leaves, price, 0)
    frame = e.orders.enter_frames + order.symbol * 64
    ouch.patch_order(frame, e.orders.reference, c'B' if order.side == AGENT_BUY else c'S', <uint32_t> order.size, price,
                     e.strategy.event.sequence)
    e.counters.orders_sent += 1
    return send_order(e, o, frame, ouch.ORDER_FRAME)


cdef inline bint replace_order(Core *e, const agent_order *order) noexcept nogil:
    """Send a Replace Order if the order is open, no other Replace of it is under way (OUCH ignores a second one, and
    goes on as the first one says), and the gate lets it through. Returns False if the connection is lost."""
    cdef uint64_t price = 0
    cdef OpenOrder *old = find_open(e, <uint32_t> order.id) if order.id < (1ULL << 32) else NULL
    cdef OpenOrder *o
    if old == NULL or find_open(e, old.replacement) != NULL:
        e.counters.reject_id += 1
        return True
    if order.size > 0 and order.size + old.filled > ouch.MAX_QUANTITY:
        # OUCH counts what was executed, and takes an order with too large a quantity out of the book.
        e.counters.reject_size += 1
        return True
    if not check_order(e, order, old.symbol, old.side, old, &price):
        return True
    record_stage(e, &e.histograms.risk)
    e.orders.reference += 1
    e.risk.orders_today += 1
    o = add_open(e, e.orders.reference, old.symbol, old.side, <uint32_t> order.size, price, order.tag)
    o.original = old.id
    o.filled = old.filled
    old.replacement = o.id
    write_record(e, record.REPLACING, o, o.leaves, price, 0)
    ouch.patch_replace(e.orders.replace_frame, old.id, e.orders.reference, <uint32_t> order.size + old.filled, price,
                       e.strategy.event.sequence)
    e.counters.replaces_sent += 1
    return send_order(e, o, e.orders.replace_frame, ouch.REPLACE_FRAME)


cdef inline bint send_cancel(Core *e, OpenOrder *o, uint32_t remain) noexcept nogil:
    """Send a Cancel of all but `remain` units of what is open. Returns False if the connection is lost."""
    ouch.patch_cancel(e.orders.cancel_frame, o.id, remain + o.filled if remain else 0)
    e.counters.cancels_sent += 1
    e.session.last_sent = e.received
    return send_bytes(e, e.orders.cancel_frame, ouch.CANCEL_FRAME)


cdef inline bint cancel_order(Core *e, const agent_order *order) noexcept nogil:
    """Send a Cancel if the order is open and is to become smaller. Returns False if the connection is lost."""
    cdef OpenOrder *o = find_open(e, <uint32_t> order.id) if order.id < (1ULL << 32) else NULL
    if o == NULL:
        e.counters.reject_id += 1
        return True
    if order.size < 0 or order.size >= o.leaves:
        e.counters.reject_size += 1
        return True
    if not check_sending(e):
        return True
    return send_cancel(e, o, <uint32_t> order.size)


cdef inline bint submit_order(Core *e, const agent_order *order) noexcept nogil:
    """Do what the strategy wants with one struct agent_order. Returns False if the connection is lost."""
    if order.action == AGENT_ENTER:
        return enter_order(e, order)
    if order.action == AGENT_REPLACE:
        return replace_order(e, order)
    if order.action == AGENT_CANCEL:
        return cancel_order(e, order)
    e.counters.reject_action += 1
    return True


cdef inline bint submit_some(Core *e, int32_t n) noexcept nogil:
    """submit_all() for an n other than 0."""
    cdef int32_t i
    if unlikely(n < 0):
        e.counters.strategy_errors += 1
        e.strategy.failed_with = n
        return True
    e.counters.orders_wanted += <uint64_t> n
    if unlikely(n > AGENT_MAX_ORDERS):
        # The strategy wrote beyond its buffer or lies: none of the orders can be trusted.
        e.counters.reject_count += <uint64_t> n
        return True
    for i in range(n):
        if not submit_order(e, &e.strategy.orders[i]):
            return False
    return True


cdef inline bint submit_all(Core *e, int32_t n) noexcept nogil:
    """Submit the n orders that a function of the strategy wrote to Strategy.orders; n below 0: it failed. Returns
    False if the connection is lost."""
    return n == 0 or submit_some(e, n)


cdef inline bint cancel_open_orders(Core *e) noexcept nogil:
    """Go on with cancelling all open orders, as far as the socket takes the Cancels at once. Returns False if the
    connection is lost."""
    cdef uint32_t budget = 64
    cdef OpenOrder *o
    while e.orders.cancel_at < SLOTS and budget and e.session.state == READY and e.outbox.end == 0:
        o = &e.orders.open[e.orders.cancel_at]
        e.orders.cancel_at += 1
        if o.id != 0 and o.original == 0:
            budget -= 1
            if not send_cancel(e, o, 0):
                return False
    return True
