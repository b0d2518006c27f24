# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The exchange's answers about orders. The state of an order changes only by an answer of the exchange, or by its word
after a new login that it never saw the order.

Each function that may call the strategy returns False if the connection was lost while the strategy's orders were sent.
Source: Nasdaq "OUCH 5.0", outbound messages.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cimport agent.journal.record as record
cimport agent.protocols.ouch as ouch
cimport agent.shm.histogram as histogram
from agent.engine.journal cimport write_record
from agent.engine.losses cimport add_execution
from agent.engine.open_orders cimport find_open, reduce_open
from agent.engine.orders cimport submit_all
from agent.engine.own_prices cimport include_price
from agent.engine.state cimport LIVE, SENT, SLOTS, Core, OpenOrder
from agent.strategy.abi cimport (AGENT_ACCEPTED, AGENT_CANCELED, AGENT_EXECUTED, AGENT_REJECTED,
                                 AGENT_REPLACED)


cdef inline bint call_on_fill(Core *e, const OpenOrder *o, uint32_t leaves, uint32_t kind, uint32_t units,
                              uint64_t price, uint32_t reason) noexcept nogil:
    """Tell the strategy what became of an order, and submit the orders that it returns."""
    e.strategy.fill.id = o.id
    e.strategy.fill.tag = o.tag
    e.strategy.fill.received_ns = e.received
    e.strategy.fill.size = units
    e.strategy.fill.leaves = leaves
    e.strategy.fill.position = <int64_t> e.feed.rows[o.symbol].position
    e.strategy.fill.price = <double> price * 1e-4
    e.strategy.fill.side = o.side
    e.strategy.fill.symbol = o.symbol
    e.strategy.fill.kind = kind
    e.strategy.fill.reason = reason
    e.counters.fills += 1
    e.cause_at = 0
    return submit_all(e, e.strategy.table.on_fill(e.strategy.state, &e.strategy.fill, e.strategy.orders))


cdef inline bint handle_accepted(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Order Accepted or Order Replaced."""
    cdef bint accepted = a.type == c'A'
    cdef OpenOrder *old
    cdef OpenOrder copy
    cdef uint32_t kind = AGENT_ACCEPTED if accepted else AGENT_REPLACED
    if accepted:
        e.counters.accepted += 1
    else:
        e.counters.replaced += 1
        old = find_open(e, a.original)
        if old != NULL:
            o.filled = old.filled
            reduce_open(e, old, old.leaves)
    if o.state == SENT and o.sent_at:
        histogram.record(&e.histograms.order_ack, e.received - o.sent_at)
    o.state = LIVE
    o.original = 0
    # The exchange's word on how much it is.
    if a.quantity < o.leaves:
        reduce_open(e, o, o.leaves - a.quantity)
    if o.price != a.price:
        o.price = a.price
        if o.id != 0:
            include_price(e, o)
    copy = o[0]
    copy.id = a.id
    # Two records of one message: only the last one says that it need not come again.
    write_record(e, record.ACCEPTED if accepted else record.REPLACED, &copy, a.quantity, a.price,
                 e.session.sequence - a.dead)
    if a.dead and o.id != 0:
        reduce_open(e, o, o.leaves)
        kind = AGENT_CANCELED
        write_record(e, record.CANCELED, &copy, a.quantity, a.price, e.session.sequence)
    return call_on_fill(e, &copy, o.leaves if o.id else 0, kind, a.quantity, a.price, 0)


cdef inline bint handle_executed(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Order Executed."""
    cdef OpenOrder copy
    add_execution(e, o.symbol, o.side, a.quantity, a.price)
    e.counters.executed += 1
    o.filled += a.quantity
    copy = o[0]
    reduce_open(e, o, a.quantity)
    write_record(e, record.EXECUTED, &copy, a.quantity, a.price, e.session.sequence)
    return call_on_fill(e, &copy, o.leaves, AGENT_EXECUTED, a.quantity, a.price, 0)


cdef inline bint handle_canceled(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Order Canceled or AIQ Canceled."""
    cdef OpenOrder copy = o[0]
    cdef uint32_t units = a.quantity if a.quantity < o.leaves else o.leaves
    e.counters.canceled += 1
    reduce_open(e, o, units)
    write_record(e, record.CANCELED, &copy, units, copy.price, e.session.sequence)
    return call_on_fill(e, &copy, o.leaves, AGENT_CANCELED, units, copy.price, a.reason)


cdef inline bint handle_rejected(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Rejected."""
    cdef OpenOrder copy = o[0]
    e.counters.rejected += 1
    reduce_open(e, o, o.leaves)
    write_record(e, record.REJECTED, &copy, copy.leaves, copy.price, e.session.sequence)
    return call_on_fill(e, &copy, 0, AGENT_REJECTED, copy.leaves, copy.price, a.reason)


cdef inline void handle_modified(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Order Modified: its quantity is what is open of the order now."""
    cdef OpenOrder copy = o[0]
    cdef uint32_t units
    e.counters.exchange_other += 1
    if a.quantity < o.leaves:
        units = o.leaves - a.quantity
        reduce_open(e, o, units)
        write_record(e, record.CANCELED, &copy, units, copy.price, e.session.sequence)


cdef inline bint handle_by_type(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Do what the answer says about its own order."""
    if a.type == c'A' or a.type == c'U':
        return handle_accepted(e, a, o)
    if a.type == c'E':
        return handle_executed(e, a, o)
    if a.type == c'C' or a.type == c'D':
        return handle_canceled(e, a, o)
    if a.type == c'J':
        return handle_rejected(e, a, o)
    if a.type == c'M':
        handle_modified(e, a, o)
    else:
        e.counters.exchange_other += 1
    return True


cdef inline bint close_ignored_replaces(Core *e, uint32_t id) noexcept nogil:
    """Close the Replace `id` of an order that was closed while the Replace was under way, and the Replaces of that one
    in turn: the exchange ignores them and does not answer. Answers come in the order of what happened: had the Replace
    been in time, its answer would have come before the order was closed."""
    cdef OpenOrder *o = find_open(e, id)
    cdef OpenOrder copy
    while o != NULL:
        copy = o[0]
        reduce_open(e, o, o.leaves)
        e.counters.replaces_ignored += 1
        write_record(e, record.IGNORED, &copy, copy.leaves, copy.price, 0)
        if not call_on_fill(e, &copy, 0, AGENT_REJECTED, copy.leaves, copy.price, 0):
            return False
        o = find_open(e, copy.replacement)
    return True


cdef inline bint has_possible_quantity(const ouch.Answer *a) noexcept nogil:
    """Whether the quantity is one that OUCH allows in this answer. Nothing else is done, nor written in the journal."""
    if a.type == c'A' or a.type == c'U' or a.type == c'E' or a.type == c'C' or a.type == c'D':
        return 0 < a.quantity <= ouch.MAX_QUANTITY
    return a.type != c'M' or a.quantity <= ouch.MAX_QUANTITY


cdef inline bint handle_answer(Core *e, const ouch.Answer *a) noexcept nogil:
    """Handle one OUCH answer about an order."""
    cdef OpenOrder *o = find_open(e, a.id)
    cdef uint32_t replacement
    if o == NULL:
        e.counters.answers_unmatched += 1
        return True
    if not has_possible_quantity(a):
        e.counters.exchange_malformed += 1
        return True
    replacement = o.replacement
    if not handle_by_type(e, a, o):
        return False
    return replacement == 0 or find_open(e, a.id) != NULL or close_ignored_replaces(e, replacement)


cdef inline void close_unseen_orders(Core *e, uint32_t next_reference) noexcept nogil:
    """Close what the exchange has not seen, after a new login when all answers are read. The exchange expects
    next_reference: it has not seen any order from there on, and one before that has no answer it has ignored."""
    cdef uint32_t i
    cdef OpenOrder *o
    cdef OpenOrder copy
    for i in range(<uint32_t> SLOTS):
        o = &e.orders.open[i]
        if o.id != 0 and (o.id >= next_reference or o.state == SENT):
            copy = o[0]
            reduce_open(e, o, o.leaves)
            e.counters.orders_never_reached += 1
            write_record(e, record.NEVER_REACHED, &copy, copy.leaves, copy.price, 0)
    if next_reference and next_reference - 1 > e.orders.reference:
        e.orders.reference = next_reference - 1
