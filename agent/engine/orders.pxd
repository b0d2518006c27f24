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
cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport (AGENT_ACCEPTED, AGENT_BUY, AGENT_CANCEL, AGENT_CANCELED, AGENT_ENTER, AGENT_EXECUTED,
                        AGENT_MAX_ORDERS, AGENT_REJECTED, AGENT_REPLACE, AGENT_REPLACED, agent_order)
from agent.engine.state cimport *
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

cdef inline void journal(Core *e, uint32_t kind, const Open *o, uint32_t quantity, uint64_t price,
                         uint64_t answer) noexcept nogil:
    """One record. When the ring is full the journal ends there, without a hole, and so does trading. answer: the
    sequenced messages that the exchange need not send again; 0 for our own doing."""
    cdef Entry entry
    if e.journal == NULL or e.journal_full:
        return
    e.entries += 1
    entry.number = e.entries
    entry.time_ns = e.received + e.realtime
    entry.exchange_sequence = answer
    entry.price = price
    entry.tag = o.tag
    entry.kind = kind
    entry.id = o.id
    entry.original = o.original
    entry.quantity = quantity
    entry.side = o.side
    entry.symbol = o.symbol
    if ring_push(e.journal, &entry, sizeof(entry)):
        e.c.journal_records += 1
    else:
        e.journal_full = True


cdef inline void journal_session(Core *e) noexcept nogil:
    """Logged in: what answers from now on are counted in."""
    cdef Open o
    cdef uint64_t price = 0
    memset(&o, 0, sizeof(o))
    memcpy(&o.tag, e.session, 8)
    memcpy(&price, e.session + 8, 2)
    journal(e, SESSION, &o, 0, price, e.sequence)


cdef inline void journal_query(Core *e, uint32_t kind, uint32_t id) noexcept nogil:
    cdef Open o
    memset(&o, 0, sizeof(o))
    o.id = id
    journal(e, kind, &o, 0, 0, e.sequence if kind == CAUGHT_UP else 0)


# ---------------------------------------------------------------------------------- sending

cdef inline bint link_send(Core *e, const uint8_t *data, uint32_t size) noexcept nogil:
    """Give bytes to the socket; what it does not take is kept, in order. Only called when nothing
    waits already. False: the link is gone."""
    cdef Py_ssize_t n
    if e.simulated:
        return True
    n = send(e.exchange, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    e.c.send_calls += 1
    if n == <Py_ssize_t> size:
        return True
    if n < 0:
        if errno != EAGAIN and errno != EINTR:
            return False
        e.c.send_refused += 1
        n = 0
    else:
        e.c.send_short += 1
    memcpy(e.backlog, data + n, size - n)
    e.backlog_at = 0
    e.backlog_size = size - <uint32_t> n
    return True


cdef inline bint link_flush(Core *e) noexcept nogil:
    cdef Py_ssize_t n = send(e.exchange, e.backlog + e.backlog_at, e.backlog_size - e.backlog_at,
                             MSG_DONTWAIT | MSG_NOSIGNAL)
    e.c.send_calls += 1
    if n < 0:
        return errno == EAGAIN or errno == EINTR
    e.backlog_at += <uint32_t> n
    if e.backlog_at == e.backlog_size:
        e.backlog_at = e.backlog_size = 0
    return True


# ---------------------------------------------------------------------------------- open orders

cdef inline Open *slot(Core *e, uint32_t id) noexcept nogil:
    """The open order with this UserRefNum, or NULL."""
    cdef Open *o = &e.open[id & (SLOTS - 1)]
    return o if o.id == id and id != 0 else NULL


cdef inline void exposure(Core *e, const Open *o, int64_t units) noexcept nogil:
    cdef agent_symbol *row = &e.rows[o.symbol]
    if o.side == AGENT_BUY:
        row.open_buy += <uint64_t> units
    else:
        row.open_sell += <uint64_t> units


cdef inline void reduce(Core *e, Open *o, uint32_t units) noexcept nogil:
    """So many units fewer are open; with none left the slot is free."""
    if units > o.leaves:
        units = o.leaves
    o.leaves -= units
    exposure(e, o, -<int64_t> units)
    if o.leaves == 0:
        o.id = 0
        e.open_orders -= 1
        e.c.orders_open = e.open_orders


cdef inline Open *occupy(Core *e, uint32_t id, uint32_t symbol, int32_t side, uint32_t units, uint64_t price,
                         uint64_t tag) noexcept nogil:
    cdef Open *o = &e.open[id & (SLOTS - 1)]
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
    o.sequence = e.event.sequence
    exposure(e, o, units)
    e.open_orders += 1
    e.c.orders_open = e.open_orders
    return o


# ---------------------------------------------------------------------------------- the strategy's orders

cdef inline bint give(Core *e, Open *o, const uint8_t *frame, uint32_t size) noexcept nogil:
    """Send a frame and stamp the order it is for."""
    cdef int64_t entered, left
    cdef bint there
    if e.simulated:
        if o != NULL:
            reduce(e, o, o.leaves)
        return True
    entered = now()
    if e.stamps:
        histogram.record(&e.h.encode, entered - e.mark)
    there = link_send(e, frame, size)
    left = now()
    e.last_sent = left
    if o != NULL:
        o.sent_at = entered
    histogram.record(&e.h.own_code, entered - e.received)
    histogram.record(&e.h.send, left - entered)
    histogram.record(&e.h.total, left - e.received)
    e.mark = left
    # Where the next order is written down, while nobody waits.
    prefetch(&e.open[(e.reference + 1) & (SLOTS - 1)], 1)
    if e.journal != NULL:
        prefetch(e.journal.data + (e.journal.own & e.journal.mask), 1)
    return there


cdef inline void passed(Core *e) noexcept nogil:
    cdef int64_t at
    if e.stamps:
        at = now()
        histogram.record(&e.h.risk, at - e.mark)
        e.mark = at


cdef inline bint enter(Core *e, const agent_order *order) noexcept nogil:
    """False: the link is gone."""
    cdef uint64_t price = 0
    cdef Open *o
    cdef uint8_t *frame
    if not gate(e, order, order.symbol, order.side, NULL, &price):
        return True
    passed(e)
    e.reference += 1
    o = occupy(e, e.reference, order.symbol, order.side, <uint32_t> order.size, price, order.tag)
    journal(e, ENTERED, o, o.leaves, price, 0)
    frame = e.frames + order.symbol * 64
    ouch.order_patch(frame, e.reference, c'B' if order.side == AGENT_BUY else c'S', <uint32_t> order.size, price,
                     e.event.sequence)
    e.c.orders_sent += 1
    return give(e, o, frame, ouch.ORDER_FRAME)


cdef inline bint replace(Core *e, const agent_order *order) noexcept nogil:
    cdef uint64_t price = 0
    cdef Open *old = slot(e, <uint32_t> order.id) if order.id < (1ULL << 32) else NULL
    cdef Open *o
    # OUCH ignores a second Replace of one order: it goes on as the first one says.
    if old == NULL or slot(e, old.replacement) != NULL:
        e.c.reject_id += 1
        return True
    if not gate(e, order, old.symbol, old.side, old, &price):
        return True
    passed(e)
    e.reference += 1
    o = occupy(e, e.reference, old.symbol, old.side, <uint32_t> order.size, price, order.tag)
    o.original = old.id
    old.replacement = o.id
    journal(e, REPLACING, o, o.leaves, price, 0)
    ouch.replace_patch(e.replace_frame, old.id, e.reference, <uint32_t> order.size + old.filled, price, e.event.sequence)
    e.c.replaces_sent += 1
    return give(e, o, e.replace_frame, ouch.REPLACE_FRAME)


cdef inline bint cancel(Core *e, Open *o, uint32_t remain) noexcept nogil:
    """All but `remain` of what is open. False: the link is gone."""
    ouch.cancel_patch(e.cancel_frame, o.id, remain + o.filled if remain else 0)
    e.c.cancels_sent += 1
    e.last_sent = e.received
    return link_send(e, e.cancel_frame, ouch.CANCEL_FRAME)


cdef inline bint submit(Core *e, const agent_order *order) noexcept nogil:
    cdef Open *o
    if order.action == AGENT_ENTER:
        return enter(e, order)
    if order.action == AGENT_REPLACE:
        return replace(e, order)
    if order.action != AGENT_CANCEL:
        e.c.reject_action += 1
        return True
    o = slot(e, <uint32_t> order.id) if order.id < (1ULL << 32) else NULL
    if o == NULL:
        e.c.reject_id += 1
        return True
    if order.size < 0 or order.size >= o.leaves:
        e.c.reject_size += 1
        return True
    if not open_for_orders(e):
        return True
    return cancel(e, o, <uint32_t> order.size)


cdef inline bint submit_all(Core *e, int32_t n) noexcept nogil:
    """What a call of the strategy returned, and wrote to e.orders. False: the link is gone."""
    cdef int32_t i
    if n == 0:
        return True
    if n < 0:
        e.c.strategy_errors += 1
        return True
    e.c.orders_wanted += <uint64_t> n
    if n > AGENT_MAX_ORDERS:
        # It wrote beyond its buffer or lies: none of them can be trusted.
        e.c.reject_count += <uint64_t> n
        return True
    for i in range(n):
        if not submit(e, &e.orders[i]):
            return False
    return True


cdef inline bint cancel_some(Core *e) noexcept nogil:
    """Go on with cancelling all open orders, as far as the socket takes them at once."""
    cdef uint32_t budget = 64
    cdef Open *o
    while e.cancel_at < SLOTS and budget and e.link == UP and e.backlog_size == 0:
        o = &e.open[e.cancel_at]
        e.cancel_at += 1
        if o.id != 0 and o.original == 0:
            budget -= 1
            if not cancel(e, o, 0):
                return False
    return True


# ---------------------------------------------------------------------------------- the exchange's answers

cdef inline int32_t tell(Core *e, const Open *o, uint32_t kind, uint32_t units, uint64_t price,
                         uint32_t reason) noexcept nogil:
    """Call on_fill; how many orders it returned."""
    e.fill.id = o.id
    e.fill.tag = o.tag
    e.fill.received_ns = e.received
    e.fill.size = units
    e.fill.position = <int64_t> e.rows[o.symbol].position
    e.fill.price = <double> price * 1e-4
    e.fill.side = o.side
    e.fill.symbol = o.symbol
    e.fill.kind = kind
    e.fill.reason = reason
    e.c.fills += 1
    return e.strategy.on_fill(e.state, &e.fill, e.orders)


cdef inline bint _answered(Core *e, const ouch.Answer *a, Open *o) noexcept nogil:
    """The answer about this order alone."""
    cdef Open *old
    cdef Open copy
    cdef agent_symbol *row
    cdef uint32_t units, kind
    if a.type == c'A' or a.type == c'U':
        if a.type == c'U':
            old = slot(e, a.original)
            if old != NULL:
                o.filled = old.filled
                reduce(e, old, old.leaves)
            e.c.replaced += 1
        else:
            e.c.accepted += 1
        if o.state == SENT and o.sent_at:
            histogram.record(&e.h.order_ack, e.received - o.sent_at)
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
        journal(e, ACCEPTED if a.type == c'A' else REPLACED, &copy, a.quantity, a.price, e.sequence - a.dead)
        if a.dead and o.id != 0:
            reduce(e, o, o.leaves)
            kind = AGENT_CANCELED
            journal(e, CANCELED, &copy, a.quantity, a.price, e.sequence)
        e.fill.leaves = o.leaves if o.id else 0
        return submit_all(e, tell(e, &copy, kind, a.quantity, a.price, 0))
    if a.type == c'E':
        units = a.quantity
        row = &e.rows[o.symbol]
        row.position += <uint64_t> (<int64_t> units if o.side == AGENT_BUY else -<int64_t> units)
        e.c.executed += 1
        o.filled += units
        copy = o[0]
        reduce(e, o, units)
        journal(e, EXECUTED, &copy, units, a.price, e.sequence)
        e.fill.leaves = o.leaves
        return submit_all(e, tell(e, &copy, AGENT_EXECUTED, units, a.price, 0))
    if a.type == c'C' or a.type == c'D':
        units = a.quantity if a.quantity < o.leaves else o.leaves
        e.c.canceled += 1
        copy = o[0]
        reduce(e, o, units)
        journal(e, CANCELED, &copy, units, copy.price, e.sequence)
        e.fill.leaves = o.leaves
        return submit_all(e, tell(e, &copy, AGENT_CANCELED, units, copy.price, a.reason))
    if a.type == c'J':
        e.c.rejected += 1
        copy = o[0]
        reduce(e, o, o.leaves)
        journal(e, REJECTED, &copy, copy.leaves, copy.price, e.sequence)
        e.fill.leaves = 0
        return submit_all(e, tell(e, &copy, AGENT_REJECTED, copy.leaves, copy.price, a.reason))
    if a.type == c'M':
        # Order Modified: what is open of it now.
        if a.quantity < o.leaves:
            copy = o[0]
            units = o.leaves - a.quantity
            reduce(e, o, units)
            journal(e, CANCELED, &copy, units, copy.price, e.sequence)
        e.c.exchange_other += 1
        return True
    e.c.exchange_other += 1
    return True


cdef inline bint forsaken(Core *e, uint32_t id) noexcept nogil:
    """An order is gone while a Replace of it was under way: the exchange ignores that one, without a word, and what was
    to replace it in turn. Answers come in the order of what happened: had it been in time, we would know. False: the
    link is gone."""
    cdef Open *o = slot(e, id)
    cdef Open copy
    while o != NULL:
        copy = o[0]
        reduce(e, o, o.leaves)
        e.c.replaces_ignored += 1
        journal(e, IGNORED, &copy, copy.leaves, copy.price, 0)
        e.fill.leaves = 0
        if not submit_all(e, tell(e, &copy, AGENT_REJECTED, copy.leaves, copy.price, 0)):
            return False
        o = slot(e, copy.replacement)
    return True


cdef inline bint answered(Core *e, const ouch.Answer *a) noexcept nogil:
    """One OUCH answer about an order. False: the link is gone."""
    cdef Open *o = slot(e, a.id)
    cdef uint32_t replacement
    if o == NULL:
        e.c.answers_unmatched += 1
        return True
    replacement = o.replacement
    if not _answered(e, a, o):
        return False
    return replacement == 0 or slot(e, a.id) != NULL or forsaken(e, replacement)


cdef inline void never_reached(Core *e, uint32_t next_id) noexcept nogil:
    """After a new login, all answers read: the exchange expects next_id, so it has not seen any order from there
    on; and one before that has no answer it has ignored."""
    cdef uint32_t i
    cdef Open *o
    cdef Open copy
    for i in range(SLOTS):
        o = &e.open[i]
        if o.id != 0 and (o.id >= next_id or o.state == SENT):
            copy = o[0]
            reduce(e, o, o.leaves)
            e.c.orders_never_reached += 1
            journal(e, NEVER_REACHED, &copy, copy.leaves, copy.price, 0)
    if next_id and next_id - 1 > e.reference:
        e.reference = next_id - 1
