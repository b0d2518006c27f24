# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From an event to orders: the strategy is asked, and what it wants goes to the gate."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from agent.engine.losses cimport mark_position
from agent.engine.measure cimport record_stage
from agent.engine.orders cimport submit_all
from agent.engine.state cimport RUNNING, Core
from agent.shm.series cimport series_push
from agent.strategy.abi cimport AGENT_TRADE


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
    if e.feed.retransmitted or e.stop != RUNNING or not e.feed.traded[symbol]:
        return True
    e.feed.rows[symbol].tick_ns = <uint64_t> e.cause_at
    e.counters.events += 1
    n = e.strategy.table.on_event(e.strategy.state, &e.strategy.event, e.strategy.orders)
    record_stage(e, &e.histograms.strategy)
    return submit_all(e, n)
