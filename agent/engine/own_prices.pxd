# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The best price of this engine's own open orders, by symbol and side: whether an order could trade with one of them.

The open orders of a symbol and side are a list through their slots, the newest first. OwnSide.best is never worse than
their best price. It may be better after the order at it was closed; then the list is walked, once, when an order comes
that would cross it. Invariant: OwnSide.count is the length of the list.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from agent.engine.state cimport SLOTS, Core, OpenOrder, OwnSide
from agent.strategy.abi cimport AGENT_BUY


cdef inline OwnSide *own_side(Core *e, uint32_t symbol, int32_t side) noexcept nogil:
    """Returns what is known of a symbol's own open orders of one side."""
    return &e.risk.symbols[symbol].buy if side == AGENT_BUY else &e.risk.symbols[symbol].sell


cdef inline bint is_better(int32_t side, uint64_t price, uint64_t other) noexcept nogil:
    """Returns whether an order of this side at price trades before one at the other price."""
    return price > other if side == AGENT_BUY else price < other


cdef inline void remember_own(Core *e, OpenOrder *o) noexcept nogil:
    """An order was entered in its slot."""
    cdef OwnSide *own = own_side(e, o.symbol, o.side)
    cdef uint16_t slot = <uint16_t> (o.id & (SLOTS - 1))
    o.newer = o.older = slot
    if own.count == 0:
        own.best = o.price
        own.left = 0
    else:
        o.older = own.newest
        e.orders.open[own.newest].newer = slot
        if is_better(o.side, o.price, own.best):
            own.best = o.price
            own.left = 0
    own.newest = slot
    own.count += 1


cdef inline void forget_own(Core *e, const OpenOrder *o) noexcept nogil:
    """An order is about to leave its slot."""
    cdef OwnSide *own = own_side(e, o.symbol, o.side)
    cdef uint16_t slot = <uint16_t> (o.id & (SLOTS - 1))
    own.count -= 1
    own.left |= o.price == own.best
    if o.newer == slot:
        own.newest = o.older
        e.orders.open[o.older].newer = o.older
    else:
        e.orders.open[o.newer].older = o.older if o.older != slot else o.newer
        if o.older != slot:
            e.orders.open[o.older].newer = o.newer


cdef inline void find_best(Core *e, OwnSide *own) noexcept nogil:
    """Walk the list, which is not empty: best is the price of one of its orders then."""
    cdef const OpenOrder *o = &e.orders.open[own.newest]
    cdef uint32_t _
    own.best = o.price
    own.left = 0
    for _ in range(1, own.count):
        o = &e.orders.open[o.older]
        if is_better(o.side, o.price, own.best):
            own.best = o.price


cdef inline bint crosses_own(Core *e, uint32_t symbol, int32_t side, uint64_t price) noexcept nogil:
    """Returns whether an order could trade with an open one of this engine: of the other side, at the price or at a
    better one for the order."""
    cdef OwnSide *own = own_side(e, symbol, -side)
    if own.count == 0 or is_better(-side, price, own.best):
        return False
    if own.left:
        find_best(e, own)
    return not is_better(-side, price, own.best)
