# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From a message to an order: parse -> book -> strategy -> gate -> socket, one call, no waiting."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport agent.protocols.binance as binance
cimport agent.protocols.csv_ticks as csvtick
cimport agent.shm.histogram as histogram
cimport agent.protocols.itch as itch
cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport AGENT_BOOK, AGENT_TRADE
from agent.book.order_book cimport (INCONSISTENT, Level, book_add, book_best, book_cancel, book_delete, book_execute,
                                    book_mark_stale, book_replace)
from agent.engine.state cimport BINANCE, ITCH, NOT_OURS, NOT_SEEN, RUNNING, Core
from agent.engine.orders cimport submit_all
from agent.shm.series cimport series_push
from agent.shm.segment cimport agent_histogram, agent_symbol
from agent.protocols.wire cimport now

cdef enum:
    ITCH_UNIT = 10000           # of 1e-8 in ITCH's 4 decimals
    SHARE = 100000000           # of 1e-8 in a share


cdef inline void stage(Core *e, agent_histogram *h) noexcept nogil:
    cdef int64_t at
    if e.stamps:
        at = now()
        histogram.record(h, at - e.mark)
        e.mark = at


cdef inline int symbol_of(Core *e, const uint8_t *name, uint32_t size) noexcept nogil:
    """The index of a symbol by its text (at most 8 characters), or NOT_OURS."""
    cdef uint64_t key = 0x2020202020202020
    cdef uint32_t i
    if size > 8:
        return NOT_OURS
    memcpy(&key, name, size)
    if e.feed.rows[e.feed.last_symbol].name == key:
        return <int> e.feed.last_symbol
    for i in range(e.feed.symbols):
        if e.feed.rows[i].name == key:
            e.feed.last_symbol = i
            return <int> i
    if e.feed.symbols == e.feed.capacity:
        return NOT_OURS
    # Replay: a symbol the recording brings.
    i = e.feed.symbols
    e.feed.symbols += 1
    e.feed.rows[i].name = key
    e.feed.traded[i] = True
    ouch.order_template(e.orders.enter_frames + 64 * i, <const char *> &key, 8)
    return <int> i


cdef inline bint decide(Core *e, uint32_t symbol, uint64_t sequence) noexcept nogil:
    """The event is complete: remember the trade, ask the strategy. False: the link is gone."""
    cdef int32_t n
    e.strategy.event.sequence = sequence
    e.strategy.event.received_ns = e.received
    e.strategy.event.symbol = symbol
    if e.feed.series != NULL and e.strategy.event.kind & AGENT_TRADE:
        series_push(e.feed.series, symbol, e.received, e.strategy.event.price, e.strategy.event.size)
    stage(e, &e.histograms.book)
    if e.feed.retransmitted or e.stop != RUNNING or not e.feed.traded[symbol]:
        return True
    e.counters.events += 1
    n = e.strategy.table.on_event(e.strategy.state, &e.strategy.event, e.strategy.orders)
    stage(e, &e.histograms.strategy)
    return submit_all(e, n)


# ---------------------------------------------------------------------------------- quotes: Binance, CSV

cdef inline bint quote(Core *e, int symbol, bint book, uint64_t sequence) noexcept nogil:
    """An event that a feed of best bids and offers brought."""
    cdef agent_symbol *row
    if symbol < 0:
        e.counters.other_symbol += 1
        return True
    row = &e.feed.rows[symbol]
    if book:
        row.bid = <uint64_t> e.strategy.event.bid
        row.bid_size = <uint64_t> e.strategy.event.bid_size
        row.ask = <uint64_t> e.strategy.event.ask
        row.ask_size = <uint64_t> e.strategy.event.ask_size
    else:
        e.strategy.event.bid = <int64_t> row.bid
        e.strategy.event.bid_size = <int64_t> row.bid_size
        e.strategy.event.ask = <int64_t> row.ask
        e.strategy.event.ask_size = <int64_t> row.ask_size
    return decide(e, <uint32_t> symbol, sequence)


cdef inline void malformed(Core *e, int reason) noexcept nogil:
    if reason == binance.TRUNCATED:
        e.counters.malformed_truncated += 1
    elif reason == binance.BAD_JSON:
        e.counters.malformed_json += 1
    elif reason == binance.BAD_NUMBER:
        e.counters.malformed_number += 1
    else:
        e.counters.malformed_field += 1


cdef inline bint binance_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    cdef binance.Span symbol
    cdef int kind = binance.parse(data, size, &e.strategy.event, &symbol)
    stage(e, &e.histograms.parse)
    e.strategy.event.exchange_ns = 0
    if kind == binance.BOOK:
        e.counters.book_ticker += 1
        return quote(e, symbol_of(e, symbol.at, symbol.size), True, sequence)
    if kind == binance.TRADE:
        e.counters.trade += 1
        return quote(e, symbol_of(e, symbol.at, symbol.size), False, sequence)
    if kind == binance.DEPTH:
        e.counters.depth_update += 1
    elif kind == binance.OTHER:
        e.counters.other += 1
    else:
        malformed(e, kind)
    return True


cdef inline bint csv_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    cdef binance.Span symbol
    cdef int kind = csvtick.parse(data, size, &e.strategy.event, &symbol)
    stage(e, &e.histograms.parse)
    if kind == csvtick.HEADER or kind == csvtick.EMPTY:
        e.counters.other += 1
        return True
    if kind > 0:
        if kind & AGENT_BOOK:
            e.counters.book_ticker += 1
        else:
            e.counters.trade += 1
        return quote(e, symbol_of(e, symbol.at, symbol.size), kind & AGENT_BOOK, sequence)
    if kind == csvtick.OVERSIZED:
        e.counters.malformed_oversized += 1
    elif kind == csvtick.TRUNCATED:
        e.counters.malformed_truncated += 1
    elif kind == csvtick.BAD_NUMBER:
        e.counters.malformed_number += 1
    else:
        e.counters.malformed_field += 1
    return True


# ---------------------------------------------------------------------------------- ITCH

cdef inline void show_stale(Core *e, uint32_t symbol) noexcept nogil:
    """The symbol's row says that its book is stale, and quotes nothing out of it."""
    cdef agent_symbol *row = &e.feed.rows[symbol]
    if row.stale == 0:
        row.stale = e.feed.books.stale[symbol]
        row.bid = row.bid_size = row.ask = row.ask_size = 0
        e.counters.books_stale += 1


cdef inline void contradicted(Core *e, uint32_t symbol) noexcept nogil:
    """A message does not fit the book: it is not what the exchange has."""
    e.counters.book_inconsistent += 1
    book_mark_stale(&e.feed.books, symbol, INCONSISTENT)
    show_stale(e, symbol)


cdef inline int listed(Core *e, const itch.Message *m) noexcept nogil:
    """The symbol of a message that names its stock; remembered by its locate code."""
    cdef int symbol = e.feed.by_locate[m.locate]
    if symbol == NOT_SEEN or m.type == c'R':
        symbol = symbol_of(e, m.stock, 8)
        e.feed.by_locate[m.locate] = <int16_t> symbol
    return symbol


cdef inline bint itch_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    cdef itch.Message m
    cdef const Level *best
    cdef agent_symbol *row
    cdef uint64_t *at
    cdef uint64_t *size_at
    cdef uint64_t price = 0, size_there = 0
    cdef int symbol, result, kind = itch.parse(data, size, &m)
    stage(e, &e.histograms.parse)
    if kind < 0:
        if kind == itch.TRUNCATED:
            e.counters.malformed_truncated += 1
        elif kind == itch.OVERSIZED:
            e.counters.malformed_oversized += 1
        elif kind == itch.UNKNOWN:
            e.counters.malformed_type += 1
        else:
            e.counters.malformed_field += 1
        return True
    e.counters.itch += 1
    symbol = listed(e, &m) if m.stock != NULL else e.feed.by_locate[m.locate]
    if symbol < 0:
        e.counters.other_symbol += 1
        return True
    e.strategy.event.kind = 0
    e.strategy.event.price = 0
    e.strategy.event.size = 0
    result = symbol
    if kind == c'A' or kind == c'F':
        result = book_add(&e.feed.books, <uint32_t> symbol, m.reference, m.side, <uint32_t> m.shares, m.price)
    elif kind == c'E' or kind == c'C':
        result = book_execute(&e.feed.books, m.reference, <uint32_t> m.shares)
        if kind == c'E':
            m.price = e.feed.books.last_price
        if kind == c'E' or m.printable == c'Y':
            e.strategy.event.kind = AGENT_TRADE
    elif kind == c'X':
        result = book_cancel(&e.feed.books, m.reference, <uint32_t> m.shares)
    elif kind == c'D':
        result = book_delete(&e.feed.books, m.reference)
    elif kind == c'U':
        result = book_replace(&e.feed.books, m.reference, m.new_reference, <uint32_t> m.shares, m.price)
    elif kind == c'P' or (kind == c'Q' and m.shares):
        e.strategy.event.kind = AGENT_TRADE
    else:
        return True
    row = &e.feed.rows[symbol]
    if e.feed.books.stale[symbol]:
        if row.stale == 0 and e.feed.books.stale[symbol] == INCONSISTENT:
            e.counters.book_inconsistent += 1
        show_stale(e, <uint32_t> symbol)
        return True
    if result != symbol:
        # An order that is not in the book of its own symbol.
        contradicted(e, <uint32_t> symbol)
        if result >= 0:
            contradicted(e, <uint32_t> result)
        return True
    if kind != c'P' and kind != c'Q':
        if kind != c'A' and kind != c'F':
            m.side = e.feed.books.last_side
        best = book_best(&e.feed.books, <uint32_t> symbol, m.side)
        if best != NULL:
            price = <uint64_t> best.price * ITCH_UNIT
            size_there = best.shares * SHARE
        at = &row.bid if m.side == c'B' else &row.ask
        size_at = &row.bid_size if m.side == c'B' else &row.ask_size
        if at[0] != price or size_at[0] != size_there:
            at[0] = price
            size_at[0] = size_there
            e.strategy.event.kind |= AGENT_BOOK
    if e.strategy.event.kind == 0:
        stage(e, &e.histograms.book)
        return True
    if e.strategy.event.kind & AGENT_TRADE:
        e.strategy.event.price = <int64_t> m.price * ITCH_UNIT
        e.strategy.event.size = <int64_t> m.shares * SHARE
    e.strategy.event.exchange_ns = <int64_t> m.timestamp
    e.strategy.event.exchange_id = <int64_t> (m.match if e.strategy.event.kind & AGENT_TRADE else m.reference)
    e.strategy.event.bid = <int64_t> row.bid
    e.strategy.event.bid_size = <int64_t> row.bid_size
    e.strategy.event.ask = <int64_t> row.ask
    e.strategy.event.ask_size = <int64_t> row.ask_size
    return decide(e, <uint32_t> symbol, sequence)


cdef inline bint message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    """One message of the feed. False: the link to the exchange is gone."""
    e.counters.messages += 1
    if e.feed.format == ITCH:
        return itch_message(e, data, size, sequence)
    if e.feed.format == BINANCE:
        return binance_message(e, data, size, sequence)
    return csv_message(e, data, size, sequence)
