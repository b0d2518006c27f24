# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From a message to an order: parse -> book -> strategy -> gate -> socket, one call, no waiting."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cimport agent.protocols.binance as binance
cimport agent.protocols.csv_ticks as csvtick
cimport agent.shm.histogram as histogram
cimport agent.protocols.itch as itch
cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport AGENT_BOOK, AGENT_TRADE
from agent.book.order_book cimport (INCONSISTENT, Level, book_add, book_best, book_cancel, book_delete, book_execute, book_mark_stale, book_replace)
from agent.engine.state cimport *
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
    if e.rows[e.last_symbol].name == key:
        return <int> e.last_symbol
    for i in range(e.symbols):
        if e.rows[i].name == key:
            e.last_symbol = i
            return <int> i
    if e.symbols == e.room:
        return NOT_OURS
    # Replay: a symbol the recording brings.
    i = e.symbols
    e.symbols += 1
    e.rows[i].name = key
    e.traded[i] = True
    ouch.order_template(e.frames + 64 * i, <const char *> &key, 8)
    return <int> i


cdef inline bint decide(Core *e, uint32_t symbol, uint64_t sequence) noexcept nogil:
    """The event is complete: remember the trade, ask the strategy. False: the link is gone."""
    cdef int32_t n
    e.event.sequence = sequence
    e.event.received_ns = e.received
    e.event.symbol = symbol
    if e.series != NULL and e.event.kind & AGENT_TRADE:
        series_push(e.series, symbol, e.received, e.event.price, e.event.size)
    stage(e, &e.h.book)
    if e.late or e.stop != RUN or not e.traded[symbol]:
        return True
    e.c.events += 1
    n = e.strategy.on_event(e.state, &e.event, e.orders)
    stage(e, &e.h.strategy)
    return submit_all(e, n)


# ---------------------------------------------------------------------------------- quotes: Binance, CSV

cdef inline bint quote(Core *e, int symbol, bint book, uint64_t sequence) noexcept nogil:
    """An event that a feed of best bids and offers brought."""
    cdef agent_symbol *row
    if symbol < 0:
        e.c.other_symbol += 1
        return True
    row = &e.rows[symbol]
    if book:
        row.bid = <uint64_t> e.event.bid
        row.bid_size = <uint64_t> e.event.bid_size
        row.ask = <uint64_t> e.event.ask
        row.ask_size = <uint64_t> e.event.ask_size
    else:
        e.event.bid = <int64_t> row.bid
        e.event.bid_size = <int64_t> row.bid_size
        e.event.ask = <int64_t> row.ask
        e.event.ask_size = <int64_t> row.ask_size
    return decide(e, <uint32_t> symbol, sequence)


cdef inline void malformed(Core *e, int reason) noexcept nogil:
    if reason == binance.TRUNCATED:
        e.c.malformed_truncated += 1
    elif reason == binance.BAD_JSON:
        e.c.malformed_json += 1
    elif reason == binance.BAD_NUMBER:
        e.c.malformed_number += 1
    else:
        e.c.malformed_field += 1


cdef inline bint binance_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    cdef binance.Span symbol
    cdef int kind = binance.parse(data, size, &e.event, &symbol)
    stage(e, &e.h.parse)
    e.event.exchange_ns = 0
    if kind == binance.BOOK:
        e.c.book_ticker += 1
        return quote(e, symbol_of(e, symbol.at, symbol.size), True, sequence)
    if kind == binance.TRADE:
        e.c.trade += 1
        return quote(e, symbol_of(e, symbol.at, symbol.size), False, sequence)
    if kind == binance.DEPTH:
        e.c.depth_update += 1
    elif kind == binance.OTHER:
        e.c.other += 1
    else:
        malformed(e, kind)
    return True


cdef inline bint csv_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    cdef binance.Span symbol
    cdef int kind = csvtick.parse(data, size, &e.event, &symbol)
    stage(e, &e.h.parse)
    if kind == csvtick.HEADER or kind == csvtick.EMPTY:
        e.c.other += 1
        return True
    if kind > 0:
        if kind & AGENT_BOOK:
            e.c.book_ticker += 1
        else:
            e.c.trade += 1
        return quote(e, symbol_of(e, symbol.at, symbol.size), kind & AGENT_BOOK, sequence)
    if kind == csvtick.OVERSIZED:
        e.c.malformed_oversized += 1
    elif kind == csvtick.TRUNCATED:
        e.c.malformed_truncated += 1
    elif kind == csvtick.BAD_NUMBER:
        e.c.malformed_number += 1
    else:
        e.c.malformed_field += 1
    return True


# ---------------------------------------------------------------------------------- ITCH

cdef inline void show_stale(Core *e, uint32_t symbol) noexcept nogil:
    """The symbol's row says that its book is stale, and quotes nothing out of it."""
    cdef agent_symbol *row = &e.rows[symbol]
    if row.stale == 0:
        row.stale = e.books.stale[symbol]
        row.bid = row.bid_size = row.ask = row.ask_size = 0
        e.c.books_stale += 1


cdef inline void contradicted(Core *e, uint32_t symbol) noexcept nogil:
    """A message does not fit the book: it is not what the exchange has."""
    e.c.book_inconsistent += 1
    book_mark_stale(&e.books, symbol, INCONSISTENT)
    show_stale(e, symbol)


cdef inline int listed(Core *e, const itch.Message *m) noexcept nogil:
    """The symbol of a message that names its stock; remembered by its locate code."""
    cdef int symbol = e.by_locate[m.locate]
    if symbol == NOT_SEEN or m.type == c'R':
        symbol = symbol_of(e, m.stock, 8)
        e.by_locate[m.locate] = <int16_t> symbol
    return symbol


cdef inline bint itch_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    cdef itch.Message m
    cdef const Level *best
    cdef agent_symbol *row
    cdef uint64_t *at
    cdef uint64_t *size_at
    cdef uint64_t price = 0, size_there = 0
    cdef int symbol, result, kind = itch.parse(data, size, &m)
    stage(e, &e.h.parse)
    if kind < 0:
        if kind == itch.TRUNCATED:
            e.c.malformed_truncated += 1
        elif kind == itch.OVERSIZED:
            e.c.malformed_oversized += 1
        elif kind == itch.UNKNOWN:
            e.c.malformed_type += 1
        else:
            e.c.malformed_field += 1
        return True
    e.c.itch += 1
    symbol = listed(e, &m) if m.stock != NULL else e.by_locate[m.locate]
    if symbol < 0:
        e.c.other_symbol += 1
        return True
    e.event.kind = 0
    e.event.price = 0
    e.event.size = 0
    result = symbol
    if kind == c'A' or kind == c'F':
        result = book_add(&e.books, <uint32_t> symbol, m.reference, m.side, <uint32_t> m.shares, m.price)
    elif kind == c'E' or kind == c'C':
        result = book_execute(&e.books, m.reference, <uint32_t> m.shares)
        if kind == c'E':
            m.price = e.books.last_price
        if kind == c'E' or m.printable == c'Y':
            e.event.kind = AGENT_TRADE
    elif kind == c'X':
        result = book_cancel(&e.books, m.reference, <uint32_t> m.shares)
    elif kind == c'D':
        result = book_delete(&e.books, m.reference)
    elif kind == c'U':
        result = book_replace(&e.books, m.reference, m.new_reference, <uint32_t> m.shares, m.price)
    elif kind == c'P' or (kind == c'Q' and m.shares):
        e.event.kind = AGENT_TRADE
    else:
        return True
    row = &e.rows[symbol]
    if e.books.stale[symbol]:
        if row.stale == 0 and e.books.stale[symbol] == INCONSISTENT:
            e.c.book_inconsistent += 1
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
            m.side = e.books.last_side
        best = book_best(&e.books, <uint32_t> symbol, m.side)
        if best != NULL:
            price = <uint64_t> best.price * ITCH_UNIT
            size_there = best.shares * SHARE
        at = &row.bid if m.side == c'B' else &row.ask
        size_at = &row.bid_size if m.side == c'B' else &row.ask_size
        if at[0] != price or size_at[0] != size_there:
            at[0] = price
            size_at[0] = size_there
            e.event.kind |= AGENT_BOOK
    if e.event.kind == 0:
        stage(e, &e.h.book)
        return True
    if e.event.kind & AGENT_TRADE:
        e.event.price = <int64_t> m.price * ITCH_UNIT
        e.event.size = <int64_t> m.shares * SHARE
    e.event.exchange_ns = <int64_t> m.timestamp
    e.event.exchange_id = <int64_t> (m.match if e.event.kind & AGENT_TRADE else m.reference)
    e.event.bid = <int64_t> row.bid
    e.event.bid_size = <int64_t> row.bid_size
    e.event.ask = <int64_t> row.ask
    e.event.ask_size = <int64_t> row.ask_size
    return decide(e, <uint32_t> symbol, sequence)


cdef inline bint message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    """One message of the feed. False: the link to the exchange is gone."""
    e.c.messages += 1
    if e.format == ITCH:
        return itch_message(e, data, size, sequence)
    if e.format == BINANCE:
        return binance_message(e, data, size, sequence)
    return csv_message(e, data, size, sequence)
