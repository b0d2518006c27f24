# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The risk gate: every order passes here between strategy and socket, in the loop.

The limits are words of shared memory (AGENT_LIMITS in shm/include/agent_shm.h) and may change at any
moment: each is read once per order. A refusal is counted by its reason, the first that applies, in the
order of the code below.
"""

from libc.math cimport fabs, floor
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport AGENT_BUY, AGENT_SELL, agent_order
from agent.engine.state cimport READY, SLOTS, Core, OpenOrder
from agent.shm.segment cimport agent_symbol

cdef enum:
    PRICE_UNIT = 10000              # of an event's 1e-8 in one of OUCH's 1e-4


cdef inline int64_t limit(const uint64_t *word) noexcept nogil:
    return <int64_t> (<const volatile uint64_t *> word)[0]


cdef inline bint open_for_orders(Core *e) noexcept nogil:
    """What stops every message to the exchange, cancels included."""
    if e.session.state != READY:
        e.counters.reject_closed += 1
        return False
    if e.outbox.end:
        e.counters.reject_backlog += 1
        return False
    if e.journal.full:
        e.counters.reject_journal += 1
        return False
    return True


cdef inline bint price_of(Core *e, const agent_order *order, uint64_t *price) noexcept nogil:
    cdef double scaled = order.price * 1e4, grid
    # Written so that a NaN fails it.
    if not (scaled > 0.5 and scaled < ouch.MAX_PRICE + 0.5):
        e.counters.reject_price += 1
        return False
    grid = floor(scaled + 0.5)
    if fabs(scaled - grid) > 1e-3:
        e.counters.reject_price += 1
        return False
    price[0] = <uint64_t> grid
    return True


cdef inline bint gate(Core *e, const agent_order *order, uint32_t symbol, int32_t side,
                      const OpenOrder *replaced, uint64_t *price) noexcept nogil:
    """True if a new order, or one in the place of `replaced` (else NULL), may go out; its price with 4
    decimals."""
    cdef agent_symbol *row
    cdef int64_t bound, room, size = order.size
    cdef uint64_t key, far
    if limit(&e.risk.limits.kill):
        e.counters.reject_killed += 1
        return False
    if not open_for_orders(e):
        return False
    if side != AGENT_BUY and side != AGENT_SELL:
        e.counters.reject_side += 1
        return False
    if symbol >= e.feed.symbols or not e.feed.traded[symbol]:
        e.counters.reject_symbol += 1
        return False
    row = &e.feed.rows[symbol]
    if row.stale:
        e.counters.reject_stale += 1
        return False
    if size <= 0 or size > limit(&e.risk.limits.max_size) or size > ouch.MAX_QUANTITY:
        e.counters.reject_size += 1
        return False
    if not price_of(e, order, price):
        return False
    bound = limit(&e.risk.limits.max_notional)
    if bound and price[0] * <uint64_t> size > <uint64_t> bound:
        e.counters.reject_notional += 1
        return False
    bound = limit(&e.risk.limits.collar_ppm)
    if bound:
        # Beyond the far side only: a passive order cannot trade at a bad price.
        far = row.ask if side == AGENT_BUY else row.bid
        if far == 0 or (
                <double> price[0] * PRICE_UNIT > <double> far * (1.0 + 1e-6 * <double> bound) if side == AGENT_BUY
                else <double> price[0] * PRICE_UNIT < <double> far * (1.0 - 1e-6 * <double> bound)):
            e.counters.reject_collar += 1
            return False
    bound = limit(&e.risk.limits.max_position)
    if bound:
        if side == AGENT_BUY:
            room = bound - <int64_t> row.position - <int64_t> row.open_buy
        else:
            room = bound + <int64_t> row.position - <int64_t> row.open_sell
        if replaced != NULL:
            room += replaced.leaves
        if size > room:
            e.counters.reject_position += 1
            return False
    bound = limit(&e.risk.limits.max_open_orders)
    # The slot of the order that used this reference 65,536 orders ago may be taken still.
    if (bound and replaced == NULL and e.orders.open_count >= <uint64_t> bound) \
            or e.orders.open[(e.orders.reference + 1) & (SLOTS - 1)].id != 0:
        e.counters.reject_open_orders += 1
        return False
    bound = limit(&e.risk.limits.duplicate_ns)
    key = (price[0] << 32) ^ (<uint64_t> size << 1) ^ <uint64_t> (side == AGENT_BUY)
    if bound and e.risk.last_key[symbol] == key and e.received - e.risk.last_key_at[symbol] < bound:
        e.counters.reject_duplicate += 1
        return False
    # Token bucket as a virtual schedule (GCRA): an order costs the interval, the burst may be ahead.
    bound = limit(&e.risk.limits.rate_interval_ns)
    if bound:
        if e.risk.rate_arrival - e.received > limit(&e.risk.limits.rate_burst_ns) - bound:
            e.counters.reject_rate += 1
            return False
        e.risk.rate_arrival = (e.risk.rate_arrival if e.risk.rate_arrival > e.received else e.received) + bound
    e.risk.last_key[symbol] = key
    e.risk.last_key_at[symbol] = e.received
    return True
