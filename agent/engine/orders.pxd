# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Orders: from the strategy through the gate to the socket, and the exchange's answers back.

An order is in the journal before it is in the socket. What the socket does not take is kept, whole and
in order, and nothing else passes until it is gone. The state of an order changes only by an answer
of the exchange, or by its word after a new login that it never saw it.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cimport agent.shm.histogram as histogram
cimport agent.journal.record as record
cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport (AGENT_ACCEPTED, AGENT_BUY, AGENT_CANCEL, AGENT_CANCELED, AGENT_ENTER, AGENT_EXECUTED,
                        AGENT_MAX_ORDERS, AGENT_REJECTED, AGENT_REPLACE, AGENT_REPLACED, agent_order)
from agent.engine.state cimport LIVE, READY, SENT, SLOTS, Core, OpenOrder
from agent.engine.gate cimport gate, open_for_orders
from agent.shm.ring cimport ring_push
from agent.shm.segment cimport agent_symbol
from agent.protocols.wire cimport now


cdef extern from "<sys/socket.h>" nogil:
    Py_ssize_t send(int, const void *, size_t, int)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef extern from * nogil:
    void prefetch "__builtin_prefetch"(const void *, int)


# ---------------------------------------------------------------------------------- journal

cdef inline void journal(Core *e, uint32_t kind, const OpenOrder *o, uint32_t quantity, uint64_t price,
                         uint64_t answer) noexcept nogil:
    """One record. When the ring is full the journal ends there, without a hole, and so does trading. answer: the
    sequenced messages that the exchange need not send again; 0 for our own doing."""
    cdef record.JournalRecord entry
    if e.journal.ring == NULL or e.journal.full:
        return
    e.journal.records += 1
    entry.number = e.journal.records
    entry.time_ns = e.received + e.journal.realtime_offset
    entry.exchange_sequence = answer
    entry.price = price
    entry.tag = o.tag
    entry.kind = kind
    entry.id = o.id
    entry.original = o.original
    entry.quantity = quantity
    entry.side = o.side
    entry.symbol = o.symbol
    if ring_push(e.journal.ring, &entry, sizeof(entry)):
        e.counters.journal_records += 1
    else:
        e.journal.full = True


cdef inline void journal_session(Core *e) noexcept nogil:
    """Logged in: what answers from now on are counted in."""
    cdef OpenOrder o
    cdef uint64_t price = 0
    memset(&o, 0, sizeof(o))
    memcpy(&o.tag, e.session.id, 8)
    memcpy(&price, e.session.id + 8, 2)
    journal(e, record.SESSION, &o, 0, price, e.session.sequence)


cdef inline void journal_query(Core *e, uint32_t kind, uint32_t id) noexcept nogil:
    cdef OpenOrder o
    memset(&o, 0, sizeof(o))
    o.id = id
    journal(e, kind, &o, 0, 0, e.session.sequence if kind == record.CAUGHT_UP else 0)


# ---------------------------------------------------------------------------------- sending

cdef inline bint link_send(Core *e, const uint8_t *data, uint32_t size) noexcept nogil:
    """Give bytes to the socket; what it does not take is kept, in order. Only called when nothing
    waits already. False: the link is gone."""
    cdef Py_ssize_t n
    if e.orders.simulated:
        return True
    n = send(e.session.socket, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    e.counters.send_calls += 1
    if n == <Py_ssize_t> size:
        return True
    if n < 0:
        if errno != EAGAIN and errno != EINTR:
            return False
        e.counters.send_refused += 1
        n = 0
    else:
        e.counters.send_short += 1
    memcpy(e.outbox.bytes, data + n, size - n)
    e.outbox.begin = 0
    e.outbox.end = size - <uint32_t> n
    return True


cdef inline bint link_flush(Core *e) noexcept nogil:
    cdef Py_ssize_t n = send(e.session.socket, e.outbox.bytes + e.outbox.begin, e.outbox.end - e.outbox.begin,
                             MSG_DONTWAIT | MSG_NOSIGNAL)
    e.counters.send_calls += 1
    if n < 0:
        return errno == EAGAIN or errno == EINTR
    e.outbox.begin += <uint32_t> n
    if e.outbox.begin == e.outbox.end:
        e.outbox.begin = e.outbox.end = 0
    return True


# ---------------------------------------------------------------------------------- open orders

cdef inline OpenOrder *slot(Core *e, uint32_t id) noexcept nogil:
    """The open order with this UserRefNum, or NULL."""
    cdef OpenOrder *o = &e.orders.open[id & (SLOTS - 1)]
    return o if o.id == id and id != 0 else NULL


cdef inline void exposure(Core *e, const OpenOrder *o, int64_t units) noexcept nogil:
    cdef agent_symbol *row = &e.feed.rows[o.symbol]
    if o.side == AGENT_BUY:
        row.open_buy += <uint64_t> units
    else:
        row.open_sell += <uint64_t> units


cdef inline void reduce(Core *e, OpenOrder *o, uint32_t units) noexcept nogil:
    """So many units fewer are open; with none left the slot is free."""
    if units > o.leaves:
        units = o.leaves
    o.leaves -= units
    exposure(e, o, -<int64_t> units)
    if o.leaves == 0:
        o.id = 0
        e.orders.open_count -= 1
        e.counters.orders_open = e.orders.open_count


cdef inline OpenOrder *occupy(Core *e, uint32_t id, uint32_t symbol, int32_t side, uint32_t units, uint64_t price,
                         uint64_t tag) noexcept nogil:
    cdef OpenOrder *o = &e.orders.open[id & (SLOTS - 1)]
    o.id = id
    o.original = o.replacement = 0
    o.symbol = symbol
    o.side = side
    o.leaves = units
    o.filled = 0
    o.price = price
    o.tag = tag
    o.state = SENT
    o.sent_at = 0
    o.sequence = e.strategy.event.sequence
    exposure(e, o, units)
    e.orders.open_count += 1
    e.counters.orders_open = e.orders.open_count
    return o


# ---------------------------------------------------------------------------------- the strategy's orders

cdef inline bint give(Core *e, OpenOrder *o, const uint8_t *frame, uint32_t size) noexcept nogil:
    """Send a frame and stamp the order it is for."""
    cdef int64_t entered, left
    cdef bint there
    if e.orders.simulated:
        if o != NULL:
            reduce(e, o, o.leaves)
        return True
    entered = now()
    if e.stamps:
        histogram.record(&e.histograms.encode, entered - e.mark)
    there = link_send(e, frame, size)
    left = now()
    e.session.last_sent = left
    if o != NULL:
        o.sent_at = entered
    histogram.record(&e.histograms.own_code, entered - e.received)
    histogram.record(&e.histograms.send, left - entered)
    histogram.record(&e.histograms.total, left - e.received)
    e.mark = left
    # Where the next order is written down, while nobody waits.
    prefetch(&e.orders.open[(e.orders.reference + 1) & (SLOTS - 1)], 1)
    if e.journal.ring != NULL:
        prefetch(e.journal.ring.data + (e.journal.ring.own & e.journal.ring.mask), 1)
    return there


cdef inline void passed(Core *e) noexcept nogil:
    cdef int64_t at
    if e.stamps:
        at = now()
        histogram.record(&e.histograms.risk, at - e.mark)
        e.mark = at


cdef inline bint enter(Core *e, const agent_order *order) noexcept nogil:
    """False: the link is gone."""
    cdef uint64_t price = 0
    cdef OpenOrder *o
    cdef uint8_t *frame
    if not gate(e, order, order.symbol, order.side, NULL, &price):
        return True
    passed(e)
    e.orders.reference += 1
    o = occupy(e, e.orders.reference, order.symbol, order.side, <uint32_t> order.size, price, order.tag)
    journal(e, record.ENTERED, o, o.leaves, price, 0)
    frame = e.orders.enter_frames + order.symbol * 64
    ouch.order_patch(frame, e.orders.reference, c'B' if order.side == AGENT_BUY else c'S', <uint32_t> order.size, price,
                     e.strategy.event.sequence)
    e.counters.orders_sent += 1
    return give(e, o, frame, ouch.ORDER_FRAME)


cdef inline bint replace(Core *e, const agent_order *order) noexcept nogil:
    cdef uint64_t price = 0
    cdef OpenOrder *old = slot(e, <uint32_t> order.id) if order.id < (1ULL << 32) else NULL
    cdef OpenOrder *o
    # OUCH ignores a second Replace of one order: it goes on as the first one says.
    if old == NULL or slot(e, old.replacement) != NULL:
        e.counters.reject_id += 1
        return True
    if not gate(e, order, old.symbol, old.side, old, &price):
        return True
    passed(e)
    e.orders.reference += 1
    o = occupy(e, e.orders.reference, old.symbol, old.side, <uint32_t> order.size, price, order.tag)
    o.original = old.id
    old.replacement = o.id
    journal(e, record.REPLACING, o, o.leaves, price, 0)
    ouch.replace_patch(e.orders.replace_frame, old.id, e.orders.reference, <uint32_t> order.size + old.filled, price,
                       e.strategy.event.sequence)
    e.counters.replaces_sent += 1
    return give(e, o, e.orders.replace_frame, ouch.REPLACE_FRAME)


cdef inline bint cancel(Core *e, OpenOrder *o, uint32_t remain) noexcept nogil:
    """All but `remain` of what is open. False: the link is gone."""
    ouch.cancel_patch(e.orders.cancel_frame, o.id, remain + o.filled if remain else 0)
    e.counters.cancels_sent += 1
    e.session.last_sent = e.received
    return link_send(e, e.orders.cancel_frame, ouch.CANCEL_FRAME)


cdef inline bint submit(Core *e, const agent_order *order) noexcept nogil:
    cdef OpenOrder *o
    if order.action == AGENT_ENTER:
        return enter(e, order)
    if order.action == AGENT_REPLACE:
        return replace(e, order)
    if order.action != AGENT_CANCEL:
        e.counters.reject_action += 1
        return True
    o = slot(e, <uint32_t> order.id) if order.id < (1ULL << 32) else NULL
    if o == NULL:
        e.counters.reject_id += 1
        return True
    if order.size < 0 or order.size >= o.leaves:
        e.counters.reject_size += 1
        return True
    if not open_for_orders(e):
        return True
    return cancel(e, o, <uint32_t> order.size)


cdef inline bint submit_all(Core *e, int32_t n) noexcept nogil:
    """What a call of the strategy returned, and wrote to e.strategy.orders. False: the link is gone."""
    cdef int32_t i
    if n == 0:
        return True
    if n < 0:
        e.counters.strategy_errors += 1
        return True
    e.counters.orders_wanted += <uint64_t> n
    if n > AGENT_MAX_ORDERS:
        # It wrote beyond its buffer or lies: none of them can be trusted.
        e.counters.reject_count += <uint64_t> n
        return True
    for i in range(n):
        if not submit(e, &e.strategy.orders[i]):
            return False
    return True


cdef inline bint cancel_some(Core *e) noexcept nogil:
    """Go on with cancelling all open orders, as far as the socket takes them at once."""
    cdef uint32_t budget = 64
    cdef OpenOrder *o
    while e.orders.cancel_at < SLOTS and budget and e.session.state == READY and e.outbox.end == 0:
        o = &e.orders.open[e.orders.cancel_at]
        e.orders.cancel_at += 1
        if o.id != 0 and o.original == 0:
            budget -= 1
            if not cancel(e, o, 0):
                return False
    return True


# ---------------------------------------------------------------------------------- the exchange's answers

cdef inline int32_t tell(Core *e, const OpenOrder *o, uint32_t kind, uint32_t units, uint64_t price,
                         uint32_t reason) noexcept nogil:
    """Call on_fill; how many orders it returned."""
    e.strategy.fill.id = o.id
    e.strategy.fill.tag = o.tag
    e.strategy.fill.received_ns = e.received
    e.strategy.fill.size = units
    e.strategy.fill.position = <int64_t> e.feed.rows[o.symbol].position
    e.strategy.fill.price = <double> price * 1e-4
    e.strategy.fill.side = o.side
    e.strategy.fill.symbol = o.symbol
    e.strategy.fill.kind = kind
    e.strategy.fill.reason = reason
    e.counters.fills += 1
    return e.strategy.table.on_fill(e.strategy.state, &e.strategy.fill, e.strategy.orders)


cdef inline bint _answered(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """The answer about this order alone."""
    cdef OpenOrder *old
    cdef OpenOrder copy
    cdef agent_symbol *row
    cdef uint32_t units, kind
    if a.type == c'A' or a.type == c'U':
        if a.type == c'U':
            old = slot(e, a.original)
            if old != NULL:
                o.filled = old.filled
                reduce(e, old, old.leaves)
            e.counters.replaced += 1
        else:
            e.counters.accepted += 1
        if o.state == SENT and o.sent_at:
            histogram.record(&e.histograms.order_ack, e.received - o.sent_at)
        o.state = LIVE
        o.original = 0
        # The exchange's word on how much it is.
        if a.quantity < o.leaves:
            reduce(e, o, o.leaves - a.quantity)
        o.price = a.price
        kind = AGENT_ACCEPTED if a.type == c'A' else AGENT_REPLACED
        copy = o[0]
        copy.id = a.id
        # Two records of one message: only the last one says that it need not come again.
        journal(e, record.ACCEPTED if a.type == c'A' else record.REPLACED, &copy, a.quantity, a.price,
                e.session.sequence - a.dead)
        if a.dead and o.id != 0:
            reduce(e, o, o.leaves)
            kind = AGENT_CANCELED
            journal(e, record.CANCELED, &copy, a.quantity, a.price, e.session.sequence)
        e.strategy.fill.leaves = o.leaves if o.id else 0
        return submit_all(e, tell(e, &copy, kind, a.quantity, a.price, 0))
    if a.type == c'E':
        units = a.quantity
        row = &e.feed.rows[o.symbol]
        row.position += <uint64_t> (<int64_t> units if o.side == AGENT_BUY else -<int64_t> units)
        e.counters.executed += 1
        o.filled += units
        copy = o[0]
        reduce(e, o, units)
        journal(e, record.EXECUTED, &copy, units, a.price, e.session.sequence)
        e.strategy.fill.leaves = o.leaves
        return submit_all(e, tell(e, &copy, AGENT_EXECUTED, units, a.price, 0))
    if a.type == c'C' or a.type == c'D':
        units = a.quantity if a.quantity < o.leaves else o.leaves
        e.counters.canceled += 1
        copy = o[0]
        reduce(e, o, units)
        journal(e, record.CANCELED, &copy, units, copy.price, e.session.sequence)
        e.strategy.fill.leaves = o.leaves
        return submit_all(e, tell(e, &copy, AGENT_CANCELED, units, copy.price, a.reason))
    if a.type == c'J':
        e.counters.rejected += 1
        copy = o[0]
        reduce(e, o, o.leaves)
        journal(e, record.REJECTED, &copy, copy.leaves, copy.price, e.session.sequence)
        e.strategy.fill.leaves = 0
        return submit_all(e, tell(e, &copy, AGENT_REJECTED, copy.leaves, copy.price, a.reason))
    if a.type == c'M':
        # Order Modified: what is open of it now.
        if a.quantity < o.leaves:
            copy = o[0]
            units = o.leaves - a.quantity
            reduce(e, o, units)
            journal(e, record.CANCELED, &copy, units, copy.price, e.session.sequence)
        e.counters.exchange_other += 1
        return True
    e.counters.exchange_other += 1
    return True


cdef inline bint forsaken(Core *e, uint32_t id) noexcept nogil:
    """An order is gone while a Replace of it was under way: the exchange ignores that one, without a word, and what was
    to replace it in turn. Answers come in the order of what happened: had it been in time, we would know. False: the
    link is gone."""
    cdef OpenOrder *o = slot(e, id)
    cdef OpenOrder copy
    while o != NULL:
        copy = o[0]
        reduce(e, o, o.leaves)
        e.counters.replaces_ignored += 1
        journal(e, record.IGNORED, &copy, copy.leaves, copy.price, 0)
        e.strategy.fill.leaves = 0
        if not submit_all(e, tell(e, &copy, AGENT_REJECTED, copy.leaves, copy.price, 0)):
            return False
        o = slot(e, copy.replacement)
    return True


cdef inline bint answered(Core *e, const ouch.Answer *a) noexcept nogil:
    """One OUCH answer about an order. False: the link is gone."""
    cdef OpenOrder *o = slot(e, a.id)
    cdef uint32_t replacement
    if o == NULL:
        e.counters.answers_unmatched += 1
        return True
    replacement = o.replacement
    if not _answered(e, a, o):
        return False
    return replacement == 0 or slot(e, a.id) != NULL or forsaken(e, replacement)


cdef inline void never_reached(Core *e, uint32_t next_id) noexcept nogil:
    """After a new login, all answers read: the exchange expects next_id, so it has not seen any order from there
    on; and one before that has no answer it has ignored."""
    cdef uint32_t i
    cdef OpenOrder *o
    cdef OpenOrder copy
    for i in range(SLOTS):
        o = &e.orders.open[i]
        if o.id != 0 and (o.id >= next_id or o.state == SENT):
            copy = o[0]
            reduce(e, o, o.leaves)
            e.counters.orders_never_reached += 1
            journal(e, record.NEVER_REACHED, &copy, copy.leaves, copy.price, 0)
    if next_id and next_id - 1 > e.orders.reference:
        e.orders.reference = next_id - 1
