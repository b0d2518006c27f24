# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From an event to orders: the strategy is asked, and what it wants goes to the gate."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from agent.engine.losses cimport mark_position
from agent.engine.measure cimport record_stage
from agent.engine.orders cimport submit_all
from agent.engine.state cimport RUNNING, Core, Told
from agent.engine.unlikely cimport unlikely
from agent.shm.segment cimport agent_symbol, read_word
from agent.shm.series cimport series_push
from agent.strategy.abi cimport AGENT_STATE, AGENT_TRADE, agent_event

cdef extern from *:
    """
    /* Told is copied as a whole: where it ends, agent_event has `breached`. */
    _Static_assert(offsetof(struct agent_event, breached) - offsetof(struct agent_event, collar_low) == 32
                   && offsetof(struct agent_event, auction) - offsetof(struct agent_event, collar_low) == 28
                   && offsetof(struct agent_event, short_sale) - offsetof(struct agent_event, collar_low) == 24
                   && offsetof(struct agent_event, market) - offsetof(struct agent_event, collar_low) == 20
                   && offsetof(struct agent_event, state) - offsetof(struct agent_event, collar_low) == 16,
                   "Told is no part of struct agent_event");
    """


cdef inline void show_quotes(agent_event *event, const agent_symbol *row) noexcept nogil:
    """Write the best bid and offer of a symbol into an event."""
    event.bid = read_word(&row.bid)
    event.bid_size = read_word(&row.bid_size)
    event.ask = read_word(&row.ask)
    event.ask_size = read_word(&row.ask_size)


cdef inline void clear_quotes(Core *e, uint32_t symbol) noexcept nogil:
    """A symbol has no bid and no offer."""
    cdef agent_symbol *row = &e.feed.rows[symbol]
    row.bid = row.bid_size = row.ask = row.ask_size = 0
    e.risk.symbols[symbol].quoted_at = 0


cdef inline bint decide_on_event(Core *e, uint32_t symbol, uint64_t sequence) noexcept nogil:
    """Complete the event, record its trade in the series, ask the strategy, and submit its orders.

    symbol: index of the event's symbol; sequence: MoldUDP64 sequence number of its message. Returns False when the
    connection to the exchange is lost.
    """
    cdef int32_t n
    e.strategy.event.sequence = sequence
    e.strategy.event.received_ns = e.received
    e.strategy.event.symbol = symbol
    if e.feed.series != NULL and e.strategy.event.kind & AGENT_TRADE:
        series_push(e.feed.series, symbol, e.received, e.strategy.event.price, e.strategy.event.size)
    mark_position(e, symbol)
    record_stage(e, &e.histograms.book)
    if unlikely(e.feed.retransmitted or e.stop != RUNNING or not e.feed.traded[symbol]):
        if e.feed.retransmitted and e.strategy.event.kind & AGENT_STATE:
            e.feed.changes_untold = True
        return True
    if e.cause_at:
        e.feed.rows[symbol].tick_ns = <uint64_t> e.cause_at
    memcpy(&e.strategy.event.collar_low, &e.feed.states[symbol].told, sizeof(Told))
    e.counters.events += 1
    n = e.strategy.table.on_event(e.strategy.state, &e.strategy.event, e.strategy.orders)
    record_stage(e, &e.histograms.strategy)
    return submit_all(e, n)
