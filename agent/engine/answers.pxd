# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The exchange's answers about orders. The state of an order changes only by an answer of the exchange, or by its word
after a new login that it never saw the order. An answer that cannot be shuts the gate; what it says is done all the
same where that can be known: an execution counts, an order is what its acceptance says.

Each function that may call the strategy returns False if the connection was lost while the strategy's orders were sent.
Source: Nasdaq "OUCH 5.0", outbound messages.
"""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cimport agent.journal.record as record
cimport agent.protocols.ouch as ouch
cimport agent.shm.histogram as histogram
from agent.engine.contradictions cimport contradict
from agent.engine.executions cimport find_execution, remember_execution
from agent.engine.journal cimport write_record
from agent.engine.losses cimport add_execution
from agent.engine.open_orders cimport add_exposure, add_open, find_closed, find_open, reduce_open
from agent.engine.orders cimport submit_all
from agent.engine.own_prices cimport forget_own, remember_own
from agent.engine.state cimport CATCHING_UP, LIVE, RUNNING, SENT, SLOTS, UNSEEN, Core, Execution, OpenOrder
from agent.engine.symbols cimport find_exchange_symbol
from agent.strategy.abi cimport (AGENT_ACCEPTED, AGENT_BUY, AGENT_CANCELED, AGENT_EXECUTED, AGENT_REJECTED,
                                 AGENT_REPLACED, AGENT_SELL)


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


cdef inline bint is_worse(int32_t side, uint64_t price, uint64_t limit) noexcept nogil:
    """Whether a price is worse than an order's limit, for whoever gave the order, or is none of OUCH's."""
    return price == 0 or price > ouch.MAX_PRICE or (price > limit if side == AGENT_BUY else price < limit)


cdef inline int32_t read_side(uint8_t side) noexcept nogil:
    """Returns a side of OUCH as the engine has it, 0 for none: short sales are sales, though the engine sends none."""
    if side == c'B':
        return AGENT_BUY
    return AGENT_SELL if side == c'S' or side == c'T' or side == c'E' else 0


cdef inline void set_open(Core *e, OpenOrder *o, uint32_t units) noexcept nogil:
    """Let so many units be open of an open order; none: it is closed."""
    if units > o.leaves:
        add_exposure(e, o, units - o.leaves)
        o.leaves = units
    else:
        reduce_open(e, o, o.leaves - units)


cdef inline void check_details(Core *e, const ouch.Answer *a, const OpenOrder *o, int symbol,
                               int64_t expected) noexcept nogil:
    """Accepted, Replaced and Modified: where side, symbol, size or any other field is not what was sent, it is a
    contradiction; OUCH allows a better price. symbol: the answer's; expected: the quantity that it should have."""
    if a.type != c'M' and not ouch.has_our_terms(a):
        contradict(e, record.WRONG_ANSWER, a, o, False)
    if a.side != (c'B' if o.side == AGENT_BUY else c'S'):
        contradict(e, record.WRONG_SIDE, a, o, False)
    if symbol != <int> o.symbol:
        contradict(e, record.WRONG_SYMBOL, a, o, False)
    if a.type != c'M' and is_worse(o.side, a.price, o.limit):
        contradict(e, record.WRONG_PRICE, a, o, False)
    if <int64_t> a.quantity != expected:
        contradict(e, record.WRONG_SIZE, a, o, False)


cdef inline void take_details(Core *e, const ouch.Answer *a, OpenOrder *o, int64_t expected) noexcept nogil:
    """Accepted, Replaced and Modified of an open order: side, symbol, price and size are what the exchange says.
    expected: as of check_details()."""
    cdef int32_t side = read_side(a.side)
    cdef int symbol = <int> o.symbol
    cdef uint64_t price = o.price
    if a.symbol != NULL:
        symbol = find_exchange_symbol(e, a.symbol, o.symbol)
    check_details(e, a, o, symbol, expected)
    if a.type != c'M' and 0 < a.price <= ouch.MAX_PRICE:
        price = a.price
        if is_worse(o.side, price, o.limit):
            o.limit = price
    if side == o.side and symbol == <int> o.symbol and price == o.price:
        return
    add_exposure(e, o, -<int64_t> o.leaves)
    forget_own(e, o)
    o.side = <int8_t> side if side else o.side
    o.symbol = <uint32_t> symbol if symbol >= 0 else o.symbol
    o.price = price
    remember_own(e, o)
    add_exposure(e, o, o.leaves)


cdef inline void cancel_late_order(Core *e, const OpenOrder *o) noexcept nogil:
    """While no order may be open, cancel one that comes to be: with `kill` at the next look at it, which is one for all
    such orders; while the loop ends at once."""
    cdef uint32_t slot = o.id & (SLOTS - 1)
    e.orders.killed = False
    if e.stop != RUNNING and slot < e.orders.cancel_at:
        e.orders.cancel_at = slot


cdef inline bint take_acceptance(Core *e, const ouch.Answer *a, OpenOrder *o, uint32_t units,
                                 bint tell) noexcept nogil:
    """The order is live with so many units open, or dead already. tell: the strategy, whose order it is."""
    cdef OpenOrder copy
    cdef uint32_t kind = AGENT_ACCEPTED if a.type == c'A' else AGENT_REPLACED
    o.state = LIVE
    o.original = 0
    if a.id > e.orders.confirmed:
        e.orders.confirmed = a.id
    copy = o[0]
    set_open(e, o, units)
    copy.original = a.original
    # Two records of one message: only the last one says that it need not come again.
    write_record(e, record.ACCEPTED if a.type == c'A' else record.REPLACED, &copy, a.quantity, a.price,
                 e.session.sequence - a.dead)
    copy.original = 0
    if a.dead:
        if o.id != 0:
            reduce_open(e, o, o.leaves)
        kind = AGENT_CANCELED
        write_record(e, record.CANCELED, &copy, a.quantity, a.price, e.session.sequence)
    elif o.id != 0 and (a.type == c'U' or not tell):
        # A Cancel of the order that it replaced came too late, and it had none of its own.
        cancel_late_order(e, o)
    return not tell or call_on_fill(e, &copy, o.leaves if o.id else 0, kind, a.quantity, a.price, 0)


cdef inline bint handle_accepted(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Order Accepted or Order Replaced of an open order."""
    cdef bint accepted = a.type == c'A'
    cdef OpenOrder *old
    cdef int64_t expected = <int64_t> o.leaves + o.filled
    if o.state != SENT or (o.original != 0 if accepted else a.original == 0 or a.original == a.id):
        contradict(e, record.WRONG_ANSWER, a, o, True)
        return True
    if accepted:
        e.counters.accepted += 1
    else:
        e.counters.replaced += 1
        if a.original != o.original:
            contradict(e, record.WRONG_ANSWER, a, o, False)
        old = find_open(e, a.original)
        if old != NULL:
            expected -= old.filled
            o.filled = old.filled
            reduce_open(e, old, old.leaves)
        else:
            expected -= o.filled
    if o.sent_at:
        histogram.record(&e.histograms.order_ack, e.received - o.sent_at)
    take_details(e, a, o, expected)
    if not accepted:
        return take_acceptance(e, a, o, a.quantity, True)
    # Executed before it was accepted: the size that is accepted is that of the whole order.
    return take_acceptance(e, a, o, a.quantity - o.filled if a.quantity > o.filled else 0, True)


cdef inline bint adopt_order(Core *e, const ouch.Answer *a, bint expected) noexcept nogil:
    """Order Accepted or Order Replaced of an order that is not in the table: it is as the exchange says. expected: the
    session's past is read, and may have orders that the journal does not."""
    cdef OpenOrder *o = &e.orders.open[a.id & (SLOTS - 1)]
    cdef OpenOrder *old
    cdef int32_t side = read_side(a.side)
    cdef int symbol = find_exchange_symbol(e, a.symbol, 0)
    cdef bint known = a.id <= e.orders.reference
    cdef bint priced = 0 < a.price <= ouch.MAX_PRICE
    if a.id == 0 or side == 0 or symbol < 0 or not priced or o.id != 0 or a.original == a.id:
        # There is no place for it: what becomes of it cannot be followed.
        contradict(e, record.WRONG_SYMBOL if symbol < 0 else record.WRONG_SIDE if side == 0
                   else record.UNKNOWN_ORDER if priced else record.WRONG_PRICE, a, NULL, True)
        return True
    if not ouch.has_our_terms(a):
        contradict(e, record.WRONG_ANSWER, a, NULL, False)
    if side == AGENT_SELL and a.side != c'S':
        contradict(e, record.WRONG_SIDE, a, NULL, False)
    if not expected:
        contradict(e, record.WRONG_ANSWER if known else record.UNKNOWN_ORDER, a, NULL, False)
    if not known:
        e.orders.reference = a.id
        e.risk.orders_today += 1
    e.counters.orders_adopted += 1
    o = add_open(e, a.id, <uint32_t> symbol, side, a.quantity, a.price, 0)
    old = find_open(e, a.original)
    if old != NULL:
        o.filled = old.filled
        reduce_open(e, old, old.leaves)
    elif expected and a.type == c'U':
        contradict(e, record.UNKNOWN_ORDER, a, o, False)
    return take_acceptance(e, a, o, a.quantity, False)


cdef inline bint handle_executed(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Order Executed. o: the order, open or closed: the position is what the exchange says."""
    cdef OpenOrder copy, entry
    # A price that nothing can have is not believed: the profit would be nonsense.
    cdef uint64_t price = a.price if a.price <= ouch.MAX_PRICE else o.limit
    if find_execution(e, a.match, a.id) != NULL:
        contradict(e, record.WRONG_MATCH, a, o, True)
        return True
    if o.id == 0 or a.quantity > o.leaves or o.filled + a.quantity > ouch.MAX_QUANTITY:
        contradict(e, record.EXECUTED_TOO_MUCH, a, o, False)
        if o.id != 0 and a.quantity < o.leaves:
            # More than an order with all that it replaced can have: nothing is open of it behind that.
            write_record(e, record.CANCELED, o, o.leaves - a.quantity, o.price, 0)
            reduce_open(e, o, o.leaves - a.quantity)
    if is_worse(o.side, a.price, o.limit):
        contradict(e, record.WRONG_PRICE, a, o, False)
    if o.id != 0 and o.state == SENT and o.original != 0:
        contradict(e, record.WRONG_ANSWER, a, o, False)
    add_execution(e, o.symbol, o.side, a.quantity, price)
    e.counters.executed += 1
    remember_execution(e, a.match, a.id, o.symbol, o.side, a.quantity, price)
    o.filled += a.quantity
    copy = o[0]
    copy.id = a.id
    if o.id != 0:
        reduce_open(e, o, a.quantity)
    else:
        copy.original = 0
    entry = copy
    entry.tag = a.match
    write_record(e, record.EXECUTED, &entry, a.quantity, price, e.session.sequence)
    return call_on_fill(e, &copy, o.leaves, AGENT_EXECUTED, a.quantity, price, 0)


cdef inline void handle_broken(Core *e, const ouch.Answer *a) noexcept nogil:
    """Broken Trade: the execution did not happen, and the position is without it."""
    cdef Execution *x = find_execution(e, a.match, a.id)
    cdef OpenOrder entry
    e.counters.broken_trades += 1
    if x == NULL or x.units == 0:
        contradict(e, record.WRONG_MATCH, a, NULL, True)
        return
    add_execution(e, x.symbol, -x.side, x.units, x.price)
    memset(&entry, 0, sizeof(entry))
    entry.id = a.id
    entry.symbol = x.symbol
    entry.side = <int8_t> x.side
    entry.tag = a.match
    write_record(e, record.BROKEN, &entry, x.units, x.price, e.session.sequence)
    x.units = 0


cdef inline bint handle_canceled(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Order Canceled or AIQ Canceled."""
    cdef OpenOrder copy = o[0]
    cdef uint32_t units = a.quantity if a.quantity < o.leaves else o.leaves
    e.counters.canceled += 1
    if a.quantity > o.leaves:
        contradict(e, record.CANCELED_TOO_MUCH, a, o, False)
    if o.state == SENT and o.original != 0:
        contradict(e, record.WRONG_ANSWER, a, o, False)
    reduce_open(e, o, units)
    write_record(e, record.CANCELED, &copy, units, copy.price, e.session.sequence)
    return call_on_fill(e, &copy, o.leaves, AGENT_CANCELED, units, copy.price, a.reason)


cdef inline OpenOrder close_order(Core *e, OpenOrder *o, uint32_t kind, uint64_t answer) noexcept nogil:
    """Close an order whole, and write so. kind, answer: as of write_record(). Returns the order as it was."""
    cdef OpenOrder copy = o[0]
    reduce_open(e, o, o.leaves)
    write_record(e, kind, &copy, copy.leaves, copy.price, answer)
    return copy


cdef inline bint handle_rejected(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Rejected."""
    cdef OpenOrder copy
    e.counters.rejected += 1
    if o.state != SENT or (o.original == 0 and o.filled):
        contradict(e, record.WRONG_ANSWER, a, o, False)
    copy = close_order(e, o, record.REJECTED, e.session.sequence)
    return call_on_fill(e, &copy, 0, AGENT_REJECTED, copy.leaves, copy.price, a.reason)


cdef inline void handle_modified(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Order Modified: its quantity is what is open of the order now."""
    cdef OpenOrder copy
    cdef uint32_t units = o.leaves
    e.counters.exchange_other += 1
    if o.state == SENT:
        contradict(e, record.WRONG_ANSWER, a, o, False)
        o.original = 0
        if a.quantity:
            # Without units it is a cancellation, also in the journal, and none is an acceptance.
            o.state = LIVE
    take_details(e, a, o, a.quantity if a.quantity < o.leaves else o.leaves)
    copy = o[0]
    set_open(e, o, a.quantity)
    if a.quantity == 0:
        write_record(e, record.CANCELED, &copy, units, copy.price, e.session.sequence)
    else:
        write_record(e, record.MODIFIED, &copy, a.quantity, copy.price, e.session.sequence)


cdef inline bint handle_by_type(Core *e, const ouch.Answer *a, OpenOrder *o) noexcept nogil:
    """Do what the answer says about its own order, which is open."""
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
        return True
    if a.type == c'T' and is_worse(o.side, a.price, o.limit):
        contradict(e, record.WRONG_PRICE, a, o, True)
    count_other(e, a)
    return True


cdef inline void count_other(Core *e, const ouch.Answer *a) noexcept nogil:
    """An answer that changes nothing of an order."""
    if a.type == c'I' or a.type == c'P':
        e.counters.cancel_rejected += 1
    else:
        e.counters.exchange_other += 1


cdef inline bint handle_unmatched(Core *e, const ouch.Answer *a) noexcept nogil:
    """An answer about an order that is not open: of an earlier process, done already, or never sent."""
    cdef OpenOrder *closed = find_closed(e, a.id)
    cdef OpenOrder copy
    cdef bint used = 0 < a.id <= e.orders.reference
    cdef bint past = e.session.state == CATCHING_UP and a.id > e.orders.reference
    e.counters.answers_unmatched += 1
    if a.type == c'A' and closed != NULL and closed.state == SENT and closed.filled:
        # Executed whole before it was accepted.
        check_details(e, a, closed, find_exchange_symbol(e, a.symbol, closed.symbol), closed.filled)
        closed.state = LIVE
        copy = closed[0]
        copy.id = a.id
        copy.original = 0
        write_record(e, record.ACCEPTED, &copy, a.quantity, copy.price, e.session.sequence)
        return True
    if (a.type == c'A' or a.type == c'U') and (not used or (closed != NULL and closed.state == UNSEEN)):
        return adopt_order(e, a, past)
    if a.type == c'J' and past:
        e.orders.reference = a.id
        return True
    if not used:
        contradict(e, record.UNKNOWN_ORDER, a, NULL, True)
    elif a.type == c'E':
        if closed != NULL:
            return handle_executed(e, a, closed)
        contradict(e, record.UNKNOWN_ORDER, a, NULL, True)
    elif a.type == c'C' or a.type == c'D':
        contradict(e, record.CANCELED_TOO_MUCH, a, closed, True)
    elif a.type == c'A' or a.type == c'U' or a.type == c'J' or a.type == c'M':
        contradict(e, record.WRONG_ANSWER, a, closed, True)
    else:
        count_other(e, a)
    return True


cdef inline bint close_ignored_replaces(Core *e, uint32_t id) noexcept nogil:
    """Close the Replace `id` of an order that was closed while the Replace was under way, and the Replaces of that one
    in turn: the exchange ignores them and does not answer. Answers come in the order of what happened: had the Replace
    been in time, its answer would have come before the order was closed."""
    cdef OpenOrder *o = find_open(e, id)
    cdef OpenOrder copy
    while o != NULL and o.state == SENT:
        o.state = UNSEEN
        e.counters.replaces_ignored += 1
        copy = close_order(e, o, record.IGNORED, 0)
        if not call_on_fill(e, &copy, 0, AGENT_REJECTED, copy.leaves, copy.price, 0):
            return False
        o = find_open(e, copy.replacement)
    return True


cdef inline bint has_possible_quantity(const ouch.Answer *a) noexcept nogil:
    """Whether the quantity is one that OUCH allows in this answer. Nothing else is done, nor written as an order's."""
    if a.type == c'A' or a.type == c'U' or a.type == c'E' or a.type == c'C' or a.type == c'D':
        return 0 < a.quantity <= ouch.MAX_QUANTITY
    return a.type != c'M' or a.quantity <= ouch.MAX_QUANTITY


cdef inline bint handle_answer(Core *e, const ouch.Answer *a) noexcept nogil:
    """Handle one OUCH answer about an order."""
    cdef OpenOrder *o = find_open(e, a.id)
    cdef uint32_t replacement
    if not has_possible_quantity(a):
        e.counters.exchange_malformed += 1
        contradict(e, record.BAD_VALUE, a, o, True)
        return True
    if o == NULL:
        return handle_unmatched(e, a)
    replacement = o.replacement
    if not handle_by_type(e, a, o):
        return False
    return replacement == 0 or find_open(e, a.id) != NULL or close_ignored_replaces(e, replacement)


cdef inline void close_unseen_orders(Core *e) noexcept nogil:
    """Close what the exchange has not seen, after a new login when all answers are read: an order without an answer
    never came, or is a Replace that was ignored."""
    cdef uint32_t i
    cdef OpenOrder *o
    for i in range(<uint32_t> SLOTS):
        o = &e.orders.open[i]
        if o.id != 0 and o.state == SENT:
            o.state = UNSEEN
            e.counters.orders_never_reached += 1
            close_order(e, o, record.NEVER_REACHED, 0)


cdef inline void close_day_orders(Core *e) noexcept nogil:
    """Close all orders, whose session is over: none outlives it."""
    cdef uint32_t i
    cdef OpenOrder *o
    for i in range(<uint32_t> SLOTS):
        o = &e.orders.open[i]
        if o.id != 0 and o.state == LIVE:
            close_order(e, o, record.CANCELED, 0)
    close_unseen_orders(e)
