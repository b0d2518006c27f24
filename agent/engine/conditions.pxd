# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The part of the gate that asks in which condition a symbol, its book and the market are, and in which of these
conditions the desk lets orders pass (the limits allow_...).
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from agent.engine.state cimport CROSSED, LOCKED, OF_MARKET, RESTRICTED, Core, OpenOrder
from agent.shm.segment cimport agent_limits, agent_symbol, read_word
from agent.strategy.abi cimport (AGENT_CLOSED, AGENT_ENDED, AGENT_HALTED, AGENT_HALTED_HERE, AGENT_PAUSED,
                                 AGENT_POST_MARKET, AGENT_PRE_MARKET, AGENT_QUOTING, AGENT_SELL, AGENT_UNKNOWN)

cdef enum:
    OF_SYMBOL_BITS = (1 << OF_MARKET) - 1
    OF_MARKET_BITS = OF_SYMBOL_BITS << OF_MARKET


cdef inline uint32_t refuse_unless(const uint64_t *allowed, uint32_t conditions) noexcept nogil:
    """Returns the conditions, or none where the word, which another process may be writing, allows them."""
    return 0 if read_word(allowed) else conditions


cdef inline void read_choices(Core *e) noexcept nogil:
    """Read from the limits in which conditions no order passes. What no feed has told refuses none."""
    cdef const agent_limits *limits = e.risk.limits
    e.risk.refused = (
        refuse_unless(&limits.allow_unknown, 1 << AGENT_UNKNOWN | 1 << (OF_MARKET + AGENT_UNKNOWN))
        | refuse_unless(&limits.allow_quoting, 1 << AGENT_QUOTING)
        | refuse_unless(&limits.allow_paused, 1 << AGENT_PAUSED)
        | refuse_unless(&limits.allow_halted, 1 << AGENT_HALTED)
        | refuse_unless(&limits.allow_halted_here, 1 << AGENT_HALTED_HERE)
        | refuse_unless(&limits.allow_closed, 1 << (OF_MARKET + AGENT_CLOSED) | 1 << (OF_MARKET + AGENT_ENDED))
        | refuse_unless(&limits.allow_pre_market, 1 << (OF_MARKET + AGENT_PRE_MARKET))
        | refuse_unless(&limits.allow_post_market, 1 << (OF_MARKET + AGENT_POST_MARKET))
        | refuse_unless(&limits.allow_locked, LOCKED)
        | refuse_unless(&limits.allow_crossed, CROSSED)
        | refuse_unless(&limits.allow_short, RESTRICTED))


cdef inline bint is_plain(const Core *e, uint32_t symbol, const agent_symbol *row) noexcept nogil:
    """Whether nothing has to be looked at more closely: no condition that is refused, and a bid below the offer."""
    return ((e.feed.states[symbol].conditions & e.risk.refused) == 0) & (row.bid < row.ask)


cdef inline bint check_conditions(Core *e, uint32_t symbol, int32_t side, int64_t size,
                                  const OpenOrder *replaced) noexcept nogil:
    """Returns True if an order may be sent in the conditions that there are; replaced: the order in whose place it is,
    else NULL."""
    cdef agent_symbol *row = &e.feed.rows[symbol]
    cdef uint32_t found = e.feed.states[symbol].conditions
    cdef int64_t held
    if row.ask and row.bid >= row.ask:
        found |= CROSSED if row.bid > row.ask else LOCKED
    found &= e.risk.refused
    if found & OF_MARKET_BITS:
        e.counters.reject_closed_market += 1
        return False
    if found & OF_SYMBOL_BITS:
        e.counters.reject_halted += 1
        return False
    if found & (LOCKED | CROSSED):
        e.counters.reject_crossed += 1
        return False
    if found & RESTRICTED and side == AGENT_SELL:
        # What is sold beyond what is held is sold short; the order entry marks each sale as a long one.
        held = <int64_t> row.position - <int64_t> row.open_sell
        if replaced != NULL:
            held += replaced.leaves
        if size > held:
            e.counters.reject_short += 1
            return False
    return True
