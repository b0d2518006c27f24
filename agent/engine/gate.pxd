# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The risk gate: every order passes here between strategy and socket, in the loop.

The limits are words of shared memory (AGENT_LIMITS in shm/include/agent_shm.h) and may change at any
moment: each is read once per order. A refusal is counted by its reason, the first that applies, in the
order of the code below.
"""

from libc.math cimport fabs, floor
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport AGENT_BUY, AGENT_ENTER, AGENT_REPLACE, AGENT_SCALE, AGENT_SELL, agent_order
from agent.engine.state cimport ITCH, SLOTS, UP, Core, Open
from agent.shm.segment cimport agent_symbol

cdef enum:
    PRICE_UNIT = 10000              # of an event's 1e-8 in one of OUCH's 1e-4


cdef inline int64_t limit(const uint64_t *word) noexcept nogil:
    return <int64_t> (<const volatile uint64_t *> word)[0]


cdef inline bint open_for_orders(Core *e) noexcept nogil:
    """What stops every message to the exchange, cancels included."""
    if e.link != UP:
        e.c.reject_closed += 1
        return False
    if e.backlog_size:
        e.c.reject_backlog += 1
        return False
    if e.journal_full:
        e.c.reject_journal += 1
        return False
    return True


cdef inline bint price_of(Core *e, const agent_order *order, uint64_t *price) noexcept nogil:
    cdef double scaled = order.price * 1e4, grid
    # Written so that a NaN fails it.
    if not (scaled > 0.5 and scaled < ouch.MAX_PRICE + 0.5):
        e.c.reject_price += 1
        return False
    grid = floor(scaled + 0.5)
    if fabs(scaled - grid) > 1e-3:
        e.c.reject_price += 1
        return False
    price[0] = <uint64_t> grid
    return True


cdef inline bint gate(Core *e, const agent_order *order, uint32_t symbol, int32_t side,
                      const Open *replaced, uint64_t *price) noexcept nogil:
    """True if a new order, or one in the place of `replaced` (else NULL), may go out; its price with 4
    decimals."""
    cdef agent_symbol *row
    cdef int64_t bound, room, size = order.size
    cdef uint64_t key, far
    if limit(&e.limits.kill):
        e.c.reject_killed += 1
        return False
    if not open_for_orders(e):
        return False
    if side != AGENT_BUY and side != AGENT_SELL:
        e.c.reject_side += 1
        return False
    if symbol >= e.symbols or not e.traded[symbol]:
        e.c.reject_symbol += 1
        return False
    row = &e.rows[symbol]
    if row.stale:
        e.c.reject_stale += 1
        return False
    if size <= 0 or size > limit(&e.limits.max_size) or size > ouch.MAX_QUANTITY:
        e.c.reject_size += 1
        return False
    if not price_of(e, order, price):
        return False
    bound = limit(&e.limits.max_notional)
    if bound and price[0] * <uint64_t> size > <uint64_t> bound:
        e.c.reject_notional += 1
        return False
    bound = limit(&e.limits.collar_ppm)
    if bound:
        # Beyond the far side only: a passive order cannot trade at a bad price.
        far = row.ask if side == AGENT_BUY else row.bid
        if far == 0 or (
                <double> price[0] * PRICE_UNIT > <double> far * (1.0 + 1e-6 * <double> bound) if side == AGENT_BUY
                else <double> price[0] * PRICE_UNIT < <double> far * (1.0 - 1e-6 * <double> bound)):
            e.c.reject_collar += 1
            return False
    bound = limit(&e.limits.max_position)
    if bound:
        if side == AGENT_BUY:
            room = bound - <int64_t> row.position - <int64_t> row.open_buy
        else:
            room = bound + <int64_t> row.position - <int64_t> row.open_sell
        if replaced != NULL:
            room += replaced.leaves
        if size > room:
            e.c.reject_position += 1
            return False
    bound = limit(&e.limits.max_open_orders)
    # The slot of the order that used this reference 65,536 orders ago may be taken still.
    if (bound and replaced == NULL and e.open_orders >= <uint64_t> bound) \
            or e.open[(e.reference + 1) & (SLOTS - 1)].id != 0:
        e.c.reject_open_orders += 1
        return False
    bound = limit(&e.limits.duplicate_ns)
    key = (price[0] << 32) ^ (<uint64_t> size << 1) ^ <uint64_t> (side == AGENT_BUY)
    if bound and e.last_key[symbol] == key and e.received - e.last_at[symbol] < bound:
        e.c.reject_duplicate += 1
        return False
    # Token bucket as a virtual schedule (GCRA): an order costs the interval, the burst may be ahead.
    bound = limit(&e.limits.rate_interval_ns)
    if bound:
        if e.allowed - e.received > limit(&e.limits.rate_burst_ns) - bound:
            e.c.reject_rate += 1
            return False
        e.allowed = (e.allowed if e.allowed > e.received else e.received) + bound
    e.last_key[symbol] = key
    e.last_at[symbol] = e.received
    return True
