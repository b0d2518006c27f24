# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Feeds of quotes and trades: each message has a symbol's best bid and offer, a trade, or both."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from agent.engine.decide cimport decide_on_event, show_quotes
from agent.engine.measure cimport count_malformed, record_stage
from agent.engine.quote_order cimport accept_quote, accept_trade
from agent.engine.state cimport Core
from agent.engine.symbols cimport find_symbol
from agent.protocols.stamps cimport read_stamp
from agent.protocols.text cimport Tick
from agent.protocols.verdict cimport DEPTH, EMPTY, HEADER, OTHER, QUOTE, TRADE
from agent.shm.segment cimport agent_symbol
from agent.strategy.abi cimport AGENT_BOOK, AGENT_TRADE, agent_event


cdef inline bint apply_tick(Core *e, int symbol, int kind, Tick *tick, uint64_t sequence) noexcept nogil:
    """Make an event of a quote or a trade that is taken, or of both. The tick's time becomes nanoseconds.

    Returns False when the connection to the exchange is lost.
    """
    cdef agent_symbol *row
    cdef agent_event *event = &e.strategy.event
    if symbol < 0:
        e.counters.other_symbol += 1
        return True
    row = &e.feed.rows[symbol]
    if tick.exchange_ns:
        tick.exchange_ns = read_stamp(&e.feed.clock, tick.exchange_ns)
    if kind & TRADE and not accept_trade(e, <uint32_t> symbol, tick):
        kind ^= TRADE
        tick.price = tick.size = 0
    if kind & QUOTE and not accept_quote(e, <uint32_t> symbol, kind, tick):
        kind ^= QUOTE
    if kind == 0:
        return True
    if kind & QUOTE:
        row.bid = <uint64_t> tick.bid
        row.bid_size = <uint64_t> tick.bid_size
        row.ask = <uint64_t> tick.ask
        row.ask_size = <uint64_t> tick.ask_size
        e.risk.symbols[symbol].quoted_at = e.cause_at
    show_quotes(event, row)
    event.price = tick.price
    event.size = tick.size
    event.exchange_ns = tick.exchange_ns
    event.exchange_id = tick.exchange_id
    event.kind = (AGENT_BOOK if kind & QUOTE else 0) | (AGENT_TRADE if kind & TRADE else 0)
    return decide_on_event(e, <uint32_t> symbol, sequence)


cdef inline bint handle_tick_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    """Handle one message of a feed of quotes and trades. Returns False when the connection to the exchange is lost."""
    cdef Tick tick
    cdef int kind = e.feed.format.parse(data, size, &tick)
    record_stage(e, &e.histograms.parse)
    if kind < 0:
        count_malformed(e, kind)
    elif kind == DEPTH:
        e.counters.depth_update += 1
    elif kind == OTHER or kind == HEADER or kind == EMPTY:
        e.counters.other += 1
    else:
        if kind & QUOTE:
            e.counters.book_ticker += 1
        else:
            e.counters.trade += 1
        return apply_tick(e, find_symbol(e, tick.symbol.at, tick.symbol.size), kind, &tick, sequence)
    return True
