# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Order books by order, for all symbols of an engine, in one block of memory that the caller gives: the table of open
orders (order_table.pxd), and the price levels of each symbol (levels.pxd).

What cannot be held is not half held: the symbol becomes stale, its levels are gone at once, and its messages change no
book until it is cleared. Its orders stay in the table, where nobody waits for it to be searched, and leave as the
exchange deletes them; only when it is the table that is full are they taken out then, for the others' sake.

The work of one message is bounded by the longest run of the table (at most half full) and by the levels between the
price and the best, which are moved by one.

Invariants: an order of the table names a level of the pool with its side and price, and the level's orders and shares
are the sums over the orders that name it, while the symbol is not stale; a stale symbol has no ranks.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from agent.book.levels cimport (Level, Levels, Side, add_to_level, free_level, init_levels, levels_size,
                                remove_from_level)
from agent.book.order_table cimport (AHEAD, CROSSED, PLACE, OrderTable, RestingOrder, clear_order_table, find_order,
                                     free_slot, home_slot, init_order_table, order_table_size, prefetch)


cdef enum:                      # Books.stale; in words: stale.py
    GAP = 1                     # messages were lost
    EXHAUSTED_ORDERS = 2        # the table of open orders is full
    EXHAUSTED_LEVELS = 3        # more price levels on a side than were provided for
    INCONSISTENT = 4            # a message contradicted it: zero shares or price, a reference twice, more
    #                             executed or cancelled than there was

cdef enum:                      # results below 0
    UNKNOWN = -1                # no such order: it may be another symbol's
    STALE = -2                  # ignored, the book is stale


cdef struct Books:
    uint32_t symbols            # how many
    OrderTable table            # the open orders of all symbols
    Levels levels               # the price levels of all symbols
    uint8_t *stale              # [symbols]: 0, or why
    uint32_t last_price         # of the resting order that was last executed, cancelled, deleted or replaced
    uint8_t last_side           # 'B' or 'S', the same order's
    uint64_t unknown_reference  # messages about an order that is not in the table
    uint64_t duplicate_reference    # new orders with the reference of an open one
    uint64_t over_execution     # messages that took more shares than the order had
    uint64_t zero_shares        # new orders of no shares, or at no price
    uint64_t ignored            # messages of stale books
    uint64_t marked             # times that a book became stale


cdef inline size_t books_table(uint64_t orders) noexcept nogil:
    """Bytes of the table of orders, with which the block begins."""
    return order_table_size(orders)


cdef inline size_t books_size(uint32_t symbols, uint64_t orders, uint32_t levels) noexcept nogil:
    """Bytes of the block for so many symbols, open orders of all of them (below 2^31), and price levels on a side."""
    return order_table_size(orders) + levels_size(symbols, orders, levels) + symbols + 64


cdef inline void books_init(Books *b, void *block, uint32_t symbols, uint64_t orders, uint32_t levels) noexcept nogil:
    """Begin with empty books in books_size() zeroed bytes."""
    cdef uint8_t *at = <uint8_t *> block
    memset(b, 0, sizeof(Books))
    b.symbols = symbols
    init_order_table(&b.table, at, orders)
    at += order_table_size(orders)
    init_levels(&b.levels, at, symbols, orders, levels)
    b.stale = at + levels_size(symbols, orders, levels)


cdef inline void books_likely(const Books *b, uint64_t reference) noexcept nogil:
    """A message is about to come for this order: have its slot on the way into the cache. Any number will do."""
    prefetch(&b.table.slots[home_slot(&b.table, reference)], 1)


cdef inline void remove_stale_order(Books *b, RestingOrder *o) noexcept nogil:
    """An order of a stale book goes: there are no ranks any more, but its level is held."""
    cdef uint32_t level = o.place & PLACE
    b.levels.pool[level].orders -= 1
    if b.levels.pool[level].orders == 0:
        free_level(&b.levels, level)
    free_slot(&b.table, o)


cdef inline void remove_orders(Books *b, uint32_t symbol) noexcept nogil:
    """Take all orders of a symbol out: the whole table is looked through."""
    cdef uint64_t i = 0
    while i <= b.table.mask:
        if b.table.slots[i].reference != 0 and b.levels.pool[b.table.slots[i].place & PLACE].side >> 1 == symbol:
            remove_stale_order(b, &b.table.slots[i])     # another may have moved here: look again
        else:
            i += 1
    # Where a run wraps, what moves is from the table's beginning, and was looked at.


cdef inline void clear_levels(Books *b, uint32_t symbol) noexcept nogil:
    """Drop both sides of a symbol; its orders still hold their levels of the pool."""
    b.levels.sides[2 * symbol].count = b.levels.sides[2 * symbol + 1].count = 0


cdef inline void clear_orders(Books *b) noexcept nogil:
    """Take all orders of all symbols out, and free all levels."""
    # Not before the first order: the whole table is a millisecond, and a day's first tick comes after it.
    if b.levels.used:
        clear_order_table(&b.table)
    b.levels.used = b.levels.free = 0


cdef inline void book_mark_stale(Books *b, uint32_t symbol, uint8_t reason) noexcept nogil:
    """The book is not to be trusted; the first reason stays."""
    if b.stale[symbol] == 0:
        b.stale[symbol] = reason
        b.marked += 1
        clear_levels(b, symbol)
    if reason == EXHAUSTED_ORDERS:
        remove_orders(b, symbol)


cdef inline void books_mark_stale(Books *b, uint8_t reason) noexcept nogil:
    """None of the books is to be trusted; the first reason of each stays."""
    cdef uint32_t i
    clear_orders(b)
    for i in range(b.symbols):
        book_mark_stale(b, i, reason)


cdef inline void book_clear(Books *b, uint32_t symbol) noexcept nogil:
    """Begin again with an empty book. The whole table is looked through."""
    remove_orders(b, symbol)
    clear_levels(b, symbol)
    b.stale[symbol] = 0


cdef inline void books_clear(Books *b) noexcept nogil:
    """Begin again with empty books."""
    cdef uint32_t i
    clear_orders(b)
    memset(b.stale, 0, b.symbols)
    for i in range(b.symbols):
        clear_levels(b, i)


cdef inline int book_add(Books *b, uint32_t symbol, uint64_t reference, uint8_t side, uint32_t shares,
                         uint32_t price) noexcept nogil:
    """Add a new order. side: 'B' or 'S'; price: 4 decimals. Returns the symbol, or STALE."""
    cdef uint64_t i
    cdef int level
    if b.stale[symbol]:
        b.ignored += 1
        return STALE
    if shares == 0 or price == 0 or reference == 0:
        b.zero_shares += 1
        book_mark_stale(b, symbol, INCONSISTENT)
        return STALE
    # References are counted up: where the one that comes after some others will be.
    prefetch(&b.table.slots[home_slot(&b.table, reference + AHEAD)], 1)
    # Written out, not two functions of order_table.pxd: with these the compiler inlines book_add() into the path of
    # each message, which costs a replay 5 to 15 %.
    i = home_slot(&b.table, reference)
    while b.table.slots[i].reference != 0:
        if b.table.slots[i].reference == reference:
            b.duplicate_reference += 1
            book_mark_stale(b, symbol, INCONSISTENT)
            return STALE
        b.table.slots[i].place |= CROSSED
        i = (i + 1) & b.table.mask
    if b.table.used == b.table.limit:
        book_mark_stale(b, symbol, EXHAUSTED_ORDERS)
        return STALE
    level = add_to_level(&b.levels, 2 * symbol + (side != c'B'), price, shares)
    if level < 0:
        book_mark_stale(b, symbol, EXHAUSTED_LEVELS)
        return STALE
    b.table.slots[i].reference = reference
    b.table.slots[i].shares = shares
    b.table.slots[i].place = <uint32_t> level
    b.table.used += 1
    if b.table.used > b.table.high_water:
        b.table.high_water = b.table.used
    return <int> symbol


cdef inline int reduce_order(Books *b, RestingOrder *o, uint32_t shares) noexcept nogil:
    """Take shares off an order; with none left the order goes. Returns the symbol, or STALE."""
    cdef uint32_t level = o.place & PLACE, left = o.shares, side = b.levels.pool[level].side
    cdef uint32_t symbol = side >> 1
    b.last_price = b.levels.pool[level].price
    b.last_side = c'S' if side & 1 else c'B'
    if b.stale[symbol]:
        b.ignored += 1
        if shares >= left:
            remove_stale_order(b, o)
        else:
            o.shares = left - shares
        return STALE
    if shares > left:
        b.over_execution += 1
        book_mark_stale(b, symbol, INCONSISTENT)
        return STALE
    remove_from_level(&b.levels, level, shares, shares == left)
    if shares == left:
        free_slot(&b.table, o)
    else:
        o.shares = left - shares
    return <int> symbol


cdef inline int book_execute(Books *b, uint64_t reference, uint32_t shares) noexcept nogil:
    """Shares of an order were executed. Returns the symbol, UNKNOWN or STALE."""
    cdef RestingOrder *o = find_order(&b.table, reference)
    if o == NULL:
        b.unknown_reference += 1
        return UNKNOWN
    return reduce_order(b, o, shares)


cdef inline int book_cancel(Books *b, uint64_t reference, uint32_t shares) noexcept nogil:
    """Shares of an order were cancelled. Returns the symbol, UNKNOWN or STALE."""
    cdef RestingOrder *o = find_order(&b.table, reference)
    if o == NULL:
        b.unknown_reference += 1
        return UNKNOWN
    return reduce_order(b, o, shares)


cdef inline int book_delete(Books *b, uint64_t reference) noexcept nogil:
    """An order was deleted. Returns the symbol, UNKNOWN or STALE."""
    cdef RestingOrder *o = find_order(&b.table, reference)
    if o == NULL:
        b.unknown_reference += 1
        return UNKNOWN
    return reduce_order(b, o, o.shares)


cdef inline int book_replace(Books *b, uint64_t old, uint64_t new, uint32_t shares, uint32_t price) noexcept nogil:
    """An order was replaced by one of the same side at another price or size. Returns the symbol, UNKNOWN or STALE."""
    cdef RestingOrder *o = find_order(&b.table, old)
    cdef int symbol
    if o == NULL:
        b.unknown_reference += 1
        return UNKNOWN
    symbol = reduce_order(b, o, o.shares)
    if symbol == STALE:
        return STALE
    return book_add(b, <uint32_t> symbol, new, b.last_side, shares, price)


cdef inline const Level *book_best(const Books *b, uint32_t symbol, uint8_t side) noexcept nogil:
    """Returns the best level of a side, valid until the next change; NULL: the side has none."""
    cdef const Side *s = &b.levels.sides[2 * symbol + (side != c'B')]
    return &b.levels.pool[<uint32_t> s.ranks[s.count - 1]] if s.count else NULL


cdef inline uint32_t book_depth(const Books *b, uint32_t symbol, uint8_t side, Level *out,
                                uint32_t limit) noexcept nogil:
    """Copy up to `limit` levels of a side, the best first. Returns how many."""
    cdef const Side *s = &b.levels.sides[2 * symbol + (side != c'B')]
    cdef uint32_t i, n = s.count if s.count < limit else limit
    for i in range(n):
        out[i] = b.levels.pool[<uint32_t> s.ranks[s.count - 1 - i]]
    return n
