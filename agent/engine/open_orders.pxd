# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The table of open orders, by UserRefNum modulo SLOTS.

Invariants: a slot with an id other than 0 holds an order with leaves above 0; Orders.open_count counts these slots; a
symbol's row holds the sum of their leaves in open_buy and open_sell. A free slot says what its last order was.
"""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from agent.engine.own_prices cimport forget_own, remember_own
from agent.engine.state cimport SENT, SLOTS, Core, OpenOrder
from agent.shm.segment cimport agent_symbol
from agent.strategy.abi cimport AGENT_BUY


cdef extern from * nogil:
    void prefetch "__builtin_prefetch"(const void *, int)


cdef inline OpenOrder *find_open(Core *e, uint32_t id) noexcept nogil:
    """Returns the open order with this UserRefNum, or NULL."""
    cdef OpenOrder *o = &e.orders.open[id & (SLOTS - 1)]
    return o if o.id == id and id != 0 else NULL


cdef inline OpenOrder *find_closed(Core *e, uint32_t id) noexcept nogil:
    """Returns what is known of the order with this UserRefNum, which is closed, or NULL: another order has its slot, or
    an earlier process closed it long ago."""
    cdef OpenOrder *o = &e.orders.open[id & (SLOTS - 1)]
    return o if o.id == 0 and o.original == id and id != 0 else NULL


cdef inline void add_closed(Core *e, uint32_t id, uint32_t symbol, int32_t side, uint32_t filled, uint64_t price,
                            uint8_t state) noexcept nogil:
    """Enter what is known of an order that is closed in its slot, which must be free."""
    cdef OpenOrder *o = &e.orders.open[id & (SLOTS - 1)]
    o.original = id
    o.symbol = symbol
    o.side = <int8_t> side
    o.filled = filled
    o.price = o.limit = price
    o.state = state


cdef inline void forget_closed(Core *e) noexcept nogil:
    """Forget the orders that are closed: another session may use their numbers again."""
    cdef uint32_t i
    for i in range(<uint32_t> SLOTS):
        if e.orders.open[i].id == 0:
            e.orders.open[i].original = 0


cdef inline OpenOrder *next_slot(Core *e) noexcept nogil:
    """Returns the slot of the next order, which the order of 65,536 orders ago may still hold."""
    return &e.orders.open[(e.orders.reference + 1) & (SLOTS - 1)]


cdef inline void add_exposure(Core *e, const OpenOrder *o, int64_t units) noexcept nogil:
    """Add units, which may be negative, to what is open of the order's symbol and side."""
    cdef agent_symbol *row = &e.feed.rows[o.symbol]
    if o.side == AGENT_BUY:
        row.open_buy += <uint64_t> units
    else:
        row.open_sell += <uint64_t> units


cdef inline void reduce_open(Core *e, OpenOrder *o, uint32_t units) noexcept nogil:
    """Take units off what is open of an order; with none left the slot is free."""
    if units > o.leaves:
        units = o.leaves
    o.leaves -= units
    add_exposure(e, o, -<int64_t> units)
    if o.leaves == 0:
        forget_own(e, o)
        o.original = o.id
        o.id = 0
        e.orders.open_count -= 1
        e.counters.orders_open = e.orders.open_count


cdef inline OpenOrder *add_open(Core *e, uint32_t id, uint32_t symbol, int32_t side, uint32_t units, uint64_t price,
                                uint64_t tag) noexcept nogil:
    """Enter an order in its slot, which must be free. Returns the slot."""
    cdef OpenOrder *o = &e.orders.open[id & (SLOTS - 1)]
    o.id = id
    o.original = o.replacement = 0
    o.symbol = symbol
    o.side = <int8_t> side
    o.leaves = units
    o.filled = 0
    o.price = price
    o.tag = tag
    o.state = SENT
    o.sent_at = 0
    o.limit = price
    add_exposure(e, o, units)
    remember_own(e, o)
    e.orders.open_count += 1
    e.counters.orders_open = e.orders.open_count
    return o
