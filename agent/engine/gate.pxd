# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The risk gate: every order is checked here between strategy and socket, in the loop.

The limits are words of shared memory (AGENT_LIMITS in shm/include/agent_shm.h) and may change at any
moment: each is read once per order. A refusal is counted by its reason, the first that applies, in the
order in which check_order() asks.
"""

from libc.math cimport fabs, floor
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport AGENT_BUY, AGENT_SELL, agent_order
from agent.engine.conditions cimport check_conditions, is_plain
from agent.engine.open_orders cimport next_slot
from agent.engine.own_prices cimport crosses_own
from agent.engine.state cimport READY, RECENT, RUNNING, Core, OpenOrder, Sent, SymbolRisk
from agent.engine.unlikely cimport unlikely
from agent.shm.clock cimport monotonic_ns
from agent.shm.segment cimport agent_symbol, read_word

cdef extern from *:
    "#define GATE_LAST_REFERENCE UINT32_MAX"
    const uint32_t LAST_REFERENCE "GATE_LAST_REFERENCE"

cdef enum:
    PRICE_UNIT = 10000              # of an event's 1e-8 in one of OUCH's 1e-4


cdef inline bint check_sending(Core *e) noexcept nogil:
    """Returns True if a message, a Cancel included, may go to the exchange now."""
    if unlikely(e.session.state != READY):
        e.counters.reject_closed += 1
        return False
    if unlikely(e.outbox.end):
        e.counters.reject_backlog += 1
        return False
    if unlikely(e.journal.full):
        e.counters.reject_journal += 1
        return False
    return True


cdef inline bint round_price(Core *e, const agent_order *order, uint64_t *price) noexcept nogil:
    """The order's price with 4 decimals. Returns False if OUCH cannot express it."""
    cdef double scaled = order.price * 1e4, grid
    # Written so that a NaN fails it.
    if unlikely(not (scaled > 0.5 and scaled < ouch.MAX_PRICE + 0.5)):
        e.counters.reject_price += 1
        return False
    grid = floor(scaled + 0.5)
    if unlikely(fabs(scaled - grid) > 1e-3):
        e.counters.reject_price += 1
        return False
    price[0] = <uint64_t> grid
    return True


cdef inline bint is_old(const Core *e, uint32_t symbol, int64_t limit) noexcept nogil:
    """Returns whether the tick that caused the order in hand, or the one that the symbol's quotes are from, arrived
    longer ago than limit, ns: an order of on_timer or on_fill rests on the symbol's last one. A recording's ticks have
    no age."""
    cdef int64_t arrived = e.cause_at if e.cause_at else <int64_t> e.feed.rows[symbol].tick_ns
    if e.risk.symbols[symbol].quoted_at < arrived:
        arrived = e.risk.symbols[symbol].quoted_at
    return not e.orders.simulated and (arrived == 0 or monotonic_ns() - arrived > limit)


cdef inline bint check_quotes(Core *e, uint32_t symbol) noexcept nogil:
    """Returns True if a symbol's quotes can be trusted, and are new enough."""
    cdef const agent_symbol *row = &e.feed.rows[symbol]
    cdef int64_t limit = read_word(&e.risk.limits.max_tick_age_ns)
    if unlikely(row.stale):
        e.counters.reject_stale += 1
        return False
    if unlikely(limit and is_old(e, symbol, limit)):
        e.counters.reject_old += 1
        return False
    return True


cdef inline bint check_exposure(Core *e, const agent_symbol *row, int32_t side, int64_t size, uint64_t price,
                                const OpenOrder *replaced) noexcept nogil:
    """Returns whether the order's worth, its distance from the book and the position that it may make are allowed."""
    cdef int64_t bound, margin
    cdef uint64_t far
    bound = read_word(&e.risk.limits.max_notional)
    if bound and price * <uint64_t> size > <uint64_t> bound:
        e.counters.reject_notional += 1
        return False
    bound = read_word(&e.risk.limits.collar_ppm)
    if bound:
        # Beyond the far side only: a passive order cannot trade at a bad price.
        far = row.ask if side == AGENT_BUY else row.bid
        if far == 0 or (
                <double> price * PRICE_UNIT > <double> far * (1.0 + 1e-6 * <double> bound) if side == AGENT_BUY
                else <double> price * PRICE_UNIT < <double> far * (1.0 - 1e-6 * <double> bound)):
            e.counters.reject_collar += 1
            return False
    bound = read_word(&e.risk.limits.max_position)
    if bound:
        if side == AGENT_BUY:
            margin = bound - <int64_t> row.position - <int64_t> row.open_buy
        else:
            margin = bound + <int64_t> row.position - <int64_t> row.open_sell
        if replaced != NULL:
            margin += replaced.leaves
        if size > margin:
            e.counters.reject_position += 1
            return False
    return True


cdef inline bint check_room(Core *e, uint32_t symbol, int32_t side, uint64_t price,
                            const OpenOrder *replaced) noexcept nogil:
    """Returns whether there is a number and room for one more order, beside those that are open and those of today."""
    cdef int64_t bound
    bound = read_word(&e.risk.limits.max_open_orders)
    if e.orders.reference == LAST_REFERENCE:
        # The next one would be 0, and OUCH takes no number twice in a session.
        e.counters.reject_exhausted += 1
        return False
    # The slot of the order that used this reference 65,536 orders ago may be taken still.
    if (bound and replaced == NULL and e.orders.open_count >= <uint64_t> bound) \
            or next_slot(e).id != 0:
        e.counters.reject_open_orders += 1
        return False
    if read_word(&e.risk.limits.refuse_self_match) and crosses_own(e, symbol, side, price):
        e.counters.reject_self_match += 1
        return False
    bound = read_word(&e.risk.limits.max_orders_per_day)
    if bound and e.risk.orders_today >= <uint64_t> bound:
        e.counters.reject_daily += 1
        return False
    return True


cdef inline bint was_sent(const Sent *recent, uint64_t key, int64_t after) noexcept nogil:
    """Returns whether the same order was let through later than `after`. recent: RECENT of them."""
    cdef bint found = False
    cdef int i
    # No branch for each: which of them it is says nothing about the next order.
    for i in range(RECENT):
        found |= (recent[i].key == key) & (recent[i].at > after)
    return found


cdef inline bint check_pace(Core *e, SymbolRisk *own, int32_t side, int64_t size, uint64_t price) noexcept nogil:
    """Returns whether the order is neither sent again nor one too many now; if so, it counts from here."""
    cdef int64_t bound
    cdef uint64_t key = price << 32 | <uint64_t> size
    cdef Sent *recent = &own.bought[0] if side == AGENT_BUY else &own.sold[0]
    cdef uint32_t *place = &own.next_bought if side == AGENT_BUY else &own.next_sold
    bound = read_word(&e.risk.limits.duplicate_ns)
    if bound and was_sent(recent, key, e.received - bound):
        e.counters.reject_duplicate += 1
        return False
    # Token bucket as a virtual schedule (GCRA): an order costs the interval, the burst may be ahead.
    bound = read_word(&e.risk.limits.rate_interval_ns)
    if bound:
        if e.risk.rate_arrival - e.received > read_word(&e.risk.limits.rate_burst_ns) - bound:
            e.counters.reject_rate += 1
            return False
        e.risk.rate_arrival = (e.risk.rate_arrival if e.risk.rate_arrival > e.received else e.received) + bound
    recent[place[0]].key = key
    recent[place[0]].at = e.received
    place[0] = (place[0] + 1) & (RECENT - 1)
    return True


cdef inline bint check_order(Core *e, const agent_order *order, uint32_t symbol, int32_t side,
                             const OpenOrder *replaced, uint64_t *price) noexcept nogil:
    """Check a new order, or one in the place of `replaced` (else NULL). Returns True if it may be sent, and in price[0]
    its price with 4 decimals."""
    cdef agent_symbol *row
    cdef int64_t size = order.size
    # A switch that was taken back is on until the loop has held the losses against their limits again.
    if unlikely(read_word(&e.risk.limits.kill) != 0 or e.risk.killed):
        if e.orders.contradicted:
            e.counters.reject_contradicted += 1
        else:
            e.counters.reject_killed += 1
        return False
    if unlikely(e.stop != RUNNING):
        # The loop ends: open orders are cancelled, and no answer to a Cancel brings a new one.
        e.counters.reject_closed += 1
        return False
    if not check_sending(e):
        return False
    if unlikely(side != AGENT_BUY and side != AGENT_SELL):
        e.counters.reject_side += 1
        return False
    if unlikely(symbol >= e.feed.symbols or not e.feed.traded[symbol]):
        e.counters.reject_symbol += 1
        return False
    row = &e.feed.rows[symbol]
    if not check_quotes(e, symbol) or not (is_plain(e, symbol, row)
                                           or check_conditions(e, symbol, side, size, replaced)):
        return False
    if unlikely(size <= 0 or size > read_word(&e.risk.limits.max_size) or size > ouch.MAX_QUANTITY):
        e.counters.reject_size += 1
        return False
    if not round_price(e, order, price):
        return False
    return (check_exposure(e, row, side, size, price[0], replaced)
            and check_room(e, symbol, side, price[0], replaced)
            and check_pace(e, &e.risk.symbols[symbol], side, size, price[0]))
