# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""ITCH feeds: each message changes the book of one symbol, order by order, or prints a trade.

Source: agent/protocols/itch.pxd names the specification. A symbol is known by its Stock Locate code once a message
has named it.
"""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cimport agent.protocols.itch as itch
from agent.book.order_book cimport (INCONSISTENT, UNKNOWN, Level, book_add, book_best, book_cancel, book_delete,
                                    book_execute, book_mark_stale, book_replace)
from agent.engine.decide cimport clear_quotes, decide_on_event, show_quotes
from agent.engine.measure cimport count_malformed, record_stage
from agent.engine.setup cimport name_bit
from agent.engine.state cimport NOT_SEEN, Core
from agent.engine.symbols cimport find_symbol
from agent.engine.trading_state cimport (ITCH_UNIT, SHARE, distrust_message, follow_clock, handle_cross,
                                         handle_market_message, handle_state_message)
from agent.engine.unlikely cimport unlikely
from agent.protocols.verdict cimport BAD_FIELD, BAD_SYMBOL, OVERSIZED, TRUNCATED
from agent.protocols.wire cimport load16
from agent.shm.segment cimport agent_symbol
from agent.strategy.abi cimport AGENT_BOOK, AGENT_TRADE


cdef inline void show_stale_book(Core *e, uint32_t symbol) noexcept nogil:
    """Write into the symbol's row that its book is stale, and no quotes."""
    cdef agent_symbol *row = &e.feed.rows[symbol]
    if row.stale == 0:
        row.stale = e.feed.books.stale[symbol]
        clear_quotes(e, symbol)
        e.counters.books_stale += 1


cdef inline void mark_inconsistent(Core *e, uint32_t symbol) noexcept nogil:
    """Mark the book of a symbol stale: a message does not fit it, so it is not what the exchange has."""
    e.counters.book_inconsistent += 1
    book_mark_stale(&e.feed.books, symbol, INCONSISTENT)
    show_stale_book(e, symbol)


cdef inline int list_symbol(Core *e, uint16_t code, const uint8_t *stock) noexcept nogil:
    """Record the symbol of a stock by its locate code. Either is of the other alone as long as the day lasts: else
    messages about the symbol's orders may be taken for another's, and its book is stale, and that of whose code it was.

    Returns its index, or NOT_OURS."""
    cdef int before = e.feed.by_locate[code]
    cdef int symbol = find_symbol(e, stock, 8)
    cdef bint moved = before != NOT_SEEN and before != symbol
    e.feed.by_locate[code] = <int16_t> symbol
    if symbol >= 0:
        if e.feed.states[symbol].code == 0:
            e.feed.states[symbol].code = code
        if moved or e.feed.states[symbol].code != code:
            mark_inconsistent(e, <uint32_t> symbol)
    if moved and before >= 0:
        mark_inconsistent(e, <uint32_t> before)
    return symbol


cdef inline int find_listed_symbol(Core *e, const itch.Message *m) noexcept nogil:
    """Find the symbol of a message that names its stock. Returns its index, or NOT_OURS."""
    cdef int symbol = e.feed.by_locate[m.locate]
    if m.type == c'K':          # whose code is always 0
        return find_symbol(e, m.stock, 8)
    if symbol == NOT_SEEN or m.type == c'R':
        return list_symbol(e, m.locate, m.stock)
    return symbol


cdef inline bint is_ours(Core *e, const uint8_t *stock) noexcept nogil:
    """Whether a message's stock is one of the symbols."""
    cdef uint64_t word
    memcpy(&word, stock, 8)
    return e.feed.name_bits & name_bit(word) and find_symbol(e, stock, 8) >= 0


cdef inline bint handle_bad_message(Core *e, int reason, const uint8_t *data, uint32_t size,
                                    uint64_t sequence) noexcept nogil:
    """A message with a code that does not exist, or longer or shorter than its type. Returns False when the connection
    to the exchange is lost."""
    cdef int symbol
    if (reason != BAD_FIELD and reason != TRUNCATED and reason != OVERSIZED) or size < 3:
        return True
    symbol = e.feed.by_locate[load16(data + 1)]
    if symbol == NOT_SEEN and size >= 19 and (data[0] == c'H' or data[0] == c'h' or data[0] == c'Y'):
        symbol = find_symbol(e, data + 11, 8)
    return distrust_message(e, symbol, data[0], data[19] if size > 19 else e.feed.market_code, sequence)


cdef inline bint has_its_name(const Core *e, uint32_t symbol, const uint8_t *stock) noexcept nogil:
    """Returns whether a message's stock is the symbol that its Stock Locate code stands for."""
    return memcmp(&e.feed.rows[symbol].name, stock, 8) == 0


cdef inline bint handle_other_name(Core *e, int symbol, const itch.Message *m, const uint8_t *data,
                                   uint64_t sequence) noexcept nogil:
    """A message that names another stock than the symbol of its Stock Locate code, or NOT_OURS: of which of the two it
    is cannot be told, and neither is as it was. Returns False when the connection to the exchange is lost."""
    cdef int other = find_symbol(e, m.stock, 8)
    cdef int which[2]
    cdef int i
    cdef bint connected = True
    which[0] = symbol
    which[1] = other
    count_malformed(e, BAD_SYMBOL)
    for i in range(2):
        if which[i] < 0:
            continue
        if data[0] == c'A' or data[0] == c'F':
            mark_inconsistent(e, <uint32_t> which[i])
        connected = distrust_message(e, which[i], data[0], data[19], sequence) and connected
    return connected


cdef inline bint show_best(Core *e, uint32_t symbol, uint8_t side) noexcept nogil:
    """Write the best price and size of a side of the book into the symbol's row. Returns whether they were others."""
    cdef agent_symbol *row = &e.feed.rows[symbol]
    cdef const Level *best = book_best(&e.feed.books, symbol, side)
    cdef uint64_t *at = &row.bid if side == c'B' else &row.ask
    cdef uint64_t *size_at = &row.bid_size if side == c'B' else &row.ask_size
    cdef uint64_t price = 0, size_there = 0
    if best != NULL:
        price = <uint64_t> best.price * ITCH_UNIT
        size_there = best.shares * SHARE
    if at[0] == price and size_at[0] == size_there:
        return False
    at[0] = price
    size_at[0] = size_there
    return True


cdef inline bint handle_itch_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    """Handle one ITCH message: apply it to the book, and make an event of a trade and of a changed best price.

    Returns False when the connection to the exchange is lost.
    """
    cdef itch.Message m
    cdef agent_symbol *row
    cdef int symbol, result, kind = itch.parse(data, size, &m)
    record_stage(e, &e.histograms.parse)
    if unlikely(kind < 0):
        count_malformed(e, kind)
        return handle_bad_message(e, kind, data, size, sequence)
    if unlikely(kind == c'S' or kind == c'W'):
        e.counters.itch += 1
        return handle_market_message(e, kind, m.event, <int64_t> m.timestamp, sequence)
    if m.stock != NULL:
        follow_clock(e, <int64_t> m.timestamp)
    symbol = find_listed_symbol(e, &m) if m.stock != NULL else e.feed.by_locate[m.locate]
    if unlikely(symbol < 0):
        if m.stock != NULL and is_ours(e, m.stock):
            return handle_other_name(e, symbol, &m, data, sequence)
        e.counters.itch += 1
        e.counters.other_symbol += 1
        return True
    if m.stock != NULL and not has_its_name(e, <uint32_t> symbol, m.stock):
        return handle_other_name(e, symbol, &m, data, sequence)
    e.counters.itch += 1
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
    elif kind == c'P':
        e.strategy.event.kind = AGENT_TRADE
    elif kind == c'Q':
        return handle_cross(e, <uint32_t> symbol, m.event, m.shares, m.price, m.match, <int64_t> m.timestamp, sequence)
    else:
        return handle_state_message(e, <uint32_t> symbol, kind, m.event, m.market, m.lower, m.upper,
                                    <int64_t> m.timestamp, sequence)
    row = &e.feed.rows[symbol]
    if unlikely(e.feed.books.stale[symbol]):
        if row.stale == 0 and e.feed.books.stale[symbol] == INCONSISTENT:
            e.counters.book_inconsistent += 1
        show_stale_book(e, <uint32_t> symbol)
        return True
    if unlikely(result != symbol):
        if result == UNKNOWN:
            e.feed.unknown_orders += 1
            if e.feed.unknown_by_symbol != NULL:
                e.feed.unknown_by_symbol[symbol] += 1
                return True
        # An order that is not in the book of its own symbol.
        mark_inconsistent(e, <uint32_t> symbol)
        if result >= 0:
            mark_inconsistent(e, <uint32_t> result)
        return True
    if kind != c'P':
        e.risk.symbols[symbol].quoted_at = e.cause_at
        if kind != c'A' and kind != c'F':
            m.side = e.feed.books.last_side
        if show_best(e, <uint32_t> symbol, m.side):
            e.strategy.event.kind |= AGENT_BOOK
    if e.strategy.event.kind & AGENT_TRADE and (m.price == 0 or m.shares == 0):
        e.counters.refused_zero_trade += 1
        e.strategy.event.kind &= ~(<uint32_t> AGENT_TRADE)
    if e.strategy.event.kind == 0:
        record_stage(e, &e.histograms.book)
        return True
    if e.strategy.event.kind & AGENT_TRADE:
        e.strategy.event.price = <int64_t> m.price * ITCH_UNIT
        e.strategy.event.size = <int64_t> m.shares * SHARE
    e.strategy.event.exchange_ns = <int64_t> m.timestamp
    e.strategy.event.exchange_id = <int64_t> (m.match if e.strategy.event.kind & AGENT_TRADE else m.reference)
    show_quotes(&e.strategy.event, row)
    return decide_on_event(e, <uint32_t> symbol, sequence)
