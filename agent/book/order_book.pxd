# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Order books by order, for all symbols of an engine, in one block of memory that the caller gives.

Orders are in an open-addressing table by order reference number, with linear probing and deletion by
shifting back, so that a table in use all day does not fill with tombstones. The prices of a side are a sorted array with
the best at its end: most changes are near it, and the best is always at hand. What rests at a price stays in one place
as long as anything does, which its orders know: only a price that comes or goes is looked for. These places are
shared by all symbols, so that those in use lie together; each has an order at least, so there are as many as orders.

What cannot be held is not half held: the symbol becomes stale, its levels are gone at once, and its messages
change no book until it is cleared. Its orders stay in the table, where nobody waits for it to be searched, and leave
as the exchange deletes them; only when it is the table that is full are they taken out then, for the others' sake.

The work of one message is bounded by the longest run of the table (at most half full) and by the levels between the
price and the best, which are moved by one.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memmove, memset

cdef extern from * nogil:
    """
    /* Of the 8 ranks before `end`, in the upper 8 bits, the last in the highest: which are not below this one, which are
     * of this level. Without a branch for each: how far the price is from the best is what a CPU cannot predict. */
    #ifdef __AVX2__
    #include <immintrin.h>
    static inline uint32_t book_not_below(const int64_t *end, int64_t rank)
    {
        __m256i r = _mm256_set1_epi64x(rank);
        __m256d low = _mm256_castsi256_pd(_mm256_cmpgt_epi64(r, _mm256_loadu_si256((const __m256i *)(end - 8))));
        __m256d high = _mm256_castsi256_pd(_mm256_cmpgt_epi64(r, _mm256_loadu_si256((const __m256i *)(end - 4))));
        return ~(uint32_t)(_mm256_movemask_pd(low) | _mm256_movemask_pd(high) << 4) << 24;
    }
    static inline uint32_t book_of_level(const int64_t *end, uint32_t level)
    {
        __m256i l = _mm256_set1_epi64x(level), m = _mm256_set1_epi64x(0xffffffff);
        __m256i a = _mm256_and_si256(m, _mm256_loadu_si256((const __m256i *)(end - 8)));
        __m256i b = _mm256_and_si256(m, _mm256_loadu_si256((const __m256i *)(end - 4)));
        return (uint32_t)(_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a, l)))
                          | _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(b, l))) << 4) << 24;
    }
    #else
    static inline uint32_t book_not_below(const int64_t *end, int64_t rank)
    {
        uint32_t mask = 0;
        for (int i = 0; i < 8; i++)
            mask |= (uint32_t)(end[i - 8] >= rank) << (24 + i);
        return mask;
    }
    static inline uint32_t book_of_level(const int64_t *end, uint32_t level)
    {
        uint32_t mask = 0;
        for (int i = 0; i < 8; i++)
            mask |= (uint32_t)((uint32_t)end[i - 8] == level) << (24 + i);
        return mask;
    }
    #endif
    /* Eight ranks, at once; the two may overlap. */
    static inline void book_move(int64_t *to, const int64_t *from)
    {
        struct { int64_t ranks[8]; } eight;
        __builtin_memcpy(&eight, from, sizeof eight);
        __builtin_memcpy(to, &eight, sizeof eight);
    }
    """
    void prefetch "__builtin_prefetch" (const void *, int)
    int leading_zeros "__builtin_clz" (uint32_t)
    uint32_t book_not_below(const int64_t *, int64_t)
    uint32_t book_of_level(const int64_t *, uint32_t)
    void book_move(int64_t *, const int64_t *)


cdef enum:
    # stale
    GAP = 1                     # messages were lost
    EXHAUSTED_ORDERS = 2        # the table of open orders is full
    EXHAUSTED_LEVELS = 3        # more price levels on a side than were provided for
    INCONSISTENT = 4            # a message contradicted it: zero shares or price, a reference twice, more
                                # executed or cancelled than there was

    # results below 0
    UNKNOWN = -1                # no such order: it may be another symbol's
    STALE = -2                  # ignored, the book is stale

    NEIGHBOURS = 256            # a power of two: so many orders fill a page of 4 KiB
    AHEAD = 32                  # references from a new order to the one that memory is fetched for

    # Space between two sides' arrays. A power of two from one to the next would put all of them into the same sets of
    # the cache; and the 8 ranks that are looked at or moved at once may reach into it.
    APART = 5 * 64              # bytes

    CROSSED = 0x80000000u
    PLACE = 0x7FFFFFFF


cdef struct Resting:
    uint64_t reference          # 0: the slot is free
    uint32_t shares
    uint32_t place              # its level; and CROSSED, if an order lies behind this slot that looked here first


cdef struct Level:
    uint64_t shares
    uint32_t price              # 4 decimals
    uint32_t orders
    uint32_t side               # twice the symbol, one more for asks
    uint32_t next               # free level, one more; 0: none


cdef struct Side:
    int64_t *ranks              # ascending, the best last: in the lower half the level, above it its price so that the
                                # better one is the greater, also with a sign
    uint32_t count


cdef struct Books:
    uint32_t symbols
    uint32_t levels             # a side
    uint64_t room               # for orders
    uint64_t mask
    int shift
    uint64_t used
    uint64_t high_water
    Resting *orders             # [mask + 1]
    Level *pool                 # [room]
    uint32_t pool_used          # from there on they never were
    uint32_t pool_free          # the first free one below that, one more; 0: none
    Side *sides                 # [symbols x 2]: bids, asks
    uint8_t *stale              # [symbols]: 0, or why
    uint32_t last_price         # of the resting order that was last executed, cancelled, deleted or replaced
    uint8_t last_side           # 'B' or 'S', the same order's
    uint64_t unknown_reference
    uint64_t duplicate_reference
    uint64_t over_execution     # more shares than the order had
    uint64_t zero_shares        # an order of none, or at no price
    uint64_t ignored            # messages of stale books
    uint64_t marked             # times that a book became stale


cdef inline uint64_t _table(uint64_t orders) noexcept nogil:
    """Slots for so many orders: a power of two, at most half full."""
    cdef uint64_t slots = NEIGHBOURS
    while slots < 2 * orders:
        slots *= 2
    return slots


cdef inline size_t books_table(uint64_t orders) noexcept nogil:
    """Bytes of the table of orders, with which the block begins."""
    return _table(orders) * sizeof(Resting)


cdef inline size_t books_size(uint32_t symbols, uint64_t orders, uint32_t levels) noexcept nogil:
    """Bytes of the block for so many symbols, open orders of all of them (below 2^31), and price levels on a side."""
    return (_table(orders) * sizeof(Resting) + orders * sizeof(Level)
            + <size_t> symbols * (2 * sizeof(Side) + 64)
            + <size_t> symbols * 2 * (levels * sizeof(uint64_t) + APART) + 256)


cdef inline void books_init(Books *b, void *block, uint32_t symbols, uint64_t orders, uint32_t levels) noexcept nogil:
    """Lay the books out in books_size() zeroed bytes."""
    cdef uint64_t slots = _table(orders)
    cdef uint8_t *at = <uint8_t *> block
    cdef size_t apart = levels * sizeof(uint64_t) + APART
    cdef uint32_t i
    memset(b, 0, sizeof(Books))
    b.symbols = symbols
    b.levels = levels
    b.room = orders
    b.mask = slots - 1
    b.shift = 64
    while slots > 1:
        slots //= 2
        b.shift -= 1
    b.orders = <Resting *> at
    at += (b.mask + 1) * sizeof(Resting)
    b.pool = <Level *> at
    at += orders * sizeof(Level)
    b.sides = <Side *> at
    at += <size_t> symbols * 2 * sizeof(Side)
    for i in range(2 * symbols):
        b.sides[i].ranks = <int64_t *> (at + i * apart)
    b.stale = at + 2 * symbols * apart


cdef inline uint64_t _home(const Books *b, uint64_t reference) noexcept nogil:
    """The slot to begin at. Neighbours stay together: the exchange counts references up, so a new order, and one that
    does not live long, is in memory whose page is at hand. The groups are spread by a multiplicative hash."""
    return ((((reference // NEIGHBOURS) * 0x9E3779B97F4A7C15ULL) >> b.shift & ~<uint64_t> (NEIGHBOURS - 1))
            | (reference & (NEIGHBOURS - 1)))


cdef inline Resting *_find(const Books *b, uint64_t reference) noexcept nogil:
    cdef uint64_t i = _home(b, reference)
    while b.orders[i].reference != reference:
        if b.orders[i].reference == 0:
            return NULL
        i = (i + 1) & b.mask
    return &b.orders[i] if reference != 0 else NULL


cdef inline void books_likely(const Books *b, uint64_t reference) noexcept nogil:
    """An order that a message is about to come for: have its slot on the way into the cache. Any number will do."""
    prefetch(&b.orders[_home(b, reference)], 1)


cdef inline void _free(Books *b, Resting *o) noexcept nogil:
    """Empty a slot, and move back what probing had put behind it."""
    cdef uint64_t hole = <uint64_t> (o - b.orders), i = hole, home
    while b.orders[hole].place & CROSSED:
        i = (i + 1) & b.mask
        if b.orders[i].reference == 0:
            break
        home = _home(b, b.orders[i].reference)
        # It may move when its home is not between the hole and itself.
        if ((i - home) & b.mask) >= ((i - hole) & b.mask):
            b.orders[hole] = b.orders[i]
            b.orders[hole].place |= CROSSED
            hole = i
    # No order is found by way of a free slot.
    b.orders[hole].reference = 0
    b.orders[hole].place = 0
    b.used -= 1


cdef inline uint32_t _behind(const Side *s, int64_t rank) noexcept nogil:
    """How many levels, from the best, are not below this rank."""
    cdef uint32_t n, low, i, middle
    if s.count == 0 or s.ranks[s.count - 1] < rank:
        return 0
    n = leading_zeros(~book_not_below(s.ranks + s.count, rank))
    if n < 8 or s.count <= 8:
        # What lies before the first is not looked at.
        return min(n, s.count)
    low = 0
    i = s.count - 8
    while low < i:
        middle = (low + i) // 2
        if s.ranks[middle] < rank:
            low = middle + 1
        else:
            i = middle
    return s.count - i


cdef inline uint32_t _level(Books *b) noexcept nogil:
    """A free level: there is one, as long as there is room for an order."""
    cdef uint32_t level = b.pool_free
    if level == 0:
        b.pool_used += 1
        return b.pool_used - 1
    b.pool_free = b.pool[level - 1].next
    return level - 1


cdef inline void _give_back(Books *b, uint32_t level) noexcept nogil:
    b.pool[level].next = b.pool_free
    b.pool_free = level + 1


cdef inline int _put(Books *b, uint32_t side, uint32_t price, uint32_t shares) noexcept nogil:
    """Add an order to its level. Which one that is; -1: the side has no room for another."""
    cdef Side *s = &b.sides[side]
    cdef Level *l
    cdef int64_t rank = <int64_t> (<uint64_t> (price ^ (0x7FFFFFFFu if side & 1 else 0x80000000u)) << 32)
    cdef uint32_t behind = _behind(s, rank), level
    cdef int64_t *at = s.ranks + s.count - behind
    if behind and (at[0] ^ rank) >> 32 == 0:
        level = <uint32_t> at[0]
        l = &b.pool[level]
        l.orders += 1
        l.shares += shares
        return <int> level
    if s.count == b.levels:
        return -1
    level = _level(b)
    s.count += 1
    # At the best, nothing is moved: a book that lives there would wait for its own stores.
    if behind > 8:
        memmove(at + 1, at, behind * sizeof(int64_t))
    elif behind:
        book_move(at + 1, at)   # what lies behind the best, of the space between sides, moves too
    at[0] = rank | level
    l = &b.pool[level]
    l.shares = shares
    l.price = price
    l.orders = 1
    l.side = side
    return <int> level


cdef inline void _take(Books *b, uint32_t level, uint32_t shares, bint whole) noexcept nogil:
    """Take shares off a level, and with `whole` the order."""
    cdef Level *l = &b.pool[level]
    cdef Side *s
    cdef int64_t *at
    cdef uint32_t near, i
    l.shares -= shares
    l.orders -= whole
    if l.orders:
        return
    _give_back(b, level)
    s = &b.sides[l.side]
    s.count -= 1
    if <uint32_t> s.ranks[s.count] == level:
        return
    near = book_of_level(s.ranks + s.count, level)
    if near:
        at = s.ranks + s.count - 1 - leading_zeros(near)
        book_move(at, at + 1)
    else:
        i = s.count - 9
        while <uint32_t> s.ranks[i] != level:
            i -= 1
        memmove(&s.ranks[i], &s.ranks[i + 1], (s.count - i) * sizeof(int64_t))


cdef inline void _leave(Books *b, Resting *o) noexcept nogil:
    """An order of a stale book goes: there are no ranks any more, but its level is held."""
    cdef uint32_t level = o.place & PLACE
    b.pool[level].orders -= 1
    if b.pool[level].orders == 0:
        _give_back(b, level)
    _free(b, o)


cdef inline void _empty(Books *b, uint32_t symbol) noexcept nogil:
    """Take all orders of a symbol out: the whole table is looked through."""
    cdef uint64_t i = 0
    while i <= b.mask:
        if b.orders[i].reference != 0 and b.pool[b.orders[i].place & PLACE].side >> 1 == symbol:
            _leave(b, &b.orders[i])     # another may have moved here: look again
        else:
            i += 1
    # Where a run wraps, what moves is from the table's beginning, and was looked at.


cdef inline void _no_levels(Books *b, uint32_t symbol) noexcept nogil:
    b.sides[2 * symbol].count = b.sides[2 * symbol + 1].count = 0


cdef inline void _no_orders(Books *b) noexcept nogil:
    # Not before the first order: the whole table is a millisecond, and a day's first tick comes after it.
    if b.pool_used:
        memset(b.orders, 0, (b.mask + 1) * sizeof(Resting))
    b.used = 0
    b.pool_used = b.pool_free = 0


cdef inline void book_mark_stale(Books *b, uint32_t symbol, uint8_t reason) noexcept nogil:
    """The book is not to be trusted; the first reason stays."""
    if b.stale[symbol] == 0:
        b.stale[symbol] = reason
        b.marked += 1
        _no_levels(b, symbol)
    if reason == EXHAUSTED_ORDERS:
        _empty(b, symbol)


cdef inline void books_mark_stale(Books *b, uint8_t reason) noexcept nogil:
    """None of the books is to be trusted; the first reason of each stays."""
    cdef uint32_t i
    _no_orders(b)
    for i in range(b.symbols):
        book_mark_stale(b, i, reason)


cdef inline void book_clear(Books *b, uint32_t symbol) noexcept nogil:
    """Begin again with an empty book. The whole table is looked through."""
    _empty(b, symbol)
    _no_levels(b, symbol)
    b.stale[symbol] = 0


cdef inline void books_clear(Books *b) noexcept nogil:
    """Begin again with empty books."""
    cdef uint32_t i
    _no_orders(b)
    memset(b.stale, 0, b.symbols)
    for i in range(b.symbols):
        _no_levels(b, i)


cdef inline int book_add(Books *b, uint32_t symbol, uint64_t reference, uint8_t side, uint32_t shares,
                         uint32_t price) noexcept nogil:
    """A new order. The symbol, or STALE."""
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
    prefetch(&b.orders[_home(b, reference + AHEAD)], 1)
    i = _home(b, reference)
    while b.orders[i].reference != 0:
        if b.orders[i].reference == reference:
            b.duplicate_reference += 1
            book_mark_stale(b, symbol, INCONSISTENT)
            return STALE
        b.orders[i].place |= CROSSED
        i = (i + 1) & b.mask
    if b.used == b.room:
        book_mark_stale(b, symbol, EXHAUSTED_ORDERS)
        return STALE
    level = _put(b, 2 * symbol + (side != c'B'), price, shares)
    if level < 0:
        book_mark_stale(b, symbol, EXHAUSTED_LEVELS)
        return STALE
    b.orders[i].reference = reference
    b.orders[i].shares = shares
    b.orders[i].place = <uint32_t> level
    b.used += 1
    if b.used > b.high_water:
        b.high_water = b.used
    return <int> symbol


cdef inline int _reduce(Books *b, Resting *o, uint32_t shares) noexcept nogil:
    cdef uint32_t level = o.place & PLACE, left = o.shares, side = b.pool[level].side
    cdef uint32_t symbol = side >> 1
    b.last_price = b.pool[level].price
    b.last_side = c'S' if side & 1 else c'B'
    if b.stale[symbol]:
        b.ignored += 1
        if shares >= left:
            _leave(b, o)
        else:
            o.shares = left - shares
        return STALE
    if shares > left:
        b.over_execution += 1
        book_mark_stale(b, symbol, INCONSISTENT)
        return STALE
    _take(b, level, shares, shares == left)
    if shares == left:
        _free(b, o)
    else:
        o.shares = left - shares
    return <int> symbol


cdef inline int book_execute(Books *b, uint64_t reference, uint32_t shares) noexcept nogil:
    """Shares of an order were executed. The symbol, UNKNOWN or STALE."""
    cdef Resting *o = _find(b, reference)
    if o == NULL:
        b.unknown_reference += 1
        return UNKNOWN
    return _reduce(b, o, shares)


cdef inline int book_cancel(Books *b, uint64_t reference, uint32_t shares) noexcept nogil:
    """Shares of an order were cancelled. The symbol, UNKNOWN or STALE."""
    cdef Resting *o = _find(b, reference)
    if o == NULL:
        b.unknown_reference += 1
        return UNKNOWN
    return _reduce(b, o, shares)


cdef inline int book_delete(Books *b, uint64_t reference) noexcept nogil:
    """An order is gone. The symbol, UNKNOWN or STALE."""
    cdef Resting *o = _find(b, reference)
    if o == NULL:
        b.unknown_reference += 1
        return UNKNOWN
    return _reduce(b, o, o.shares)


cdef inline int book_replace(Books *b, uint64_t old, uint64_t new, uint32_t shares, uint32_t price) noexcept nogil:
    """An order gives way to one of the same side at another price or size. The symbol, UNKNOWN or STALE."""
    cdef Resting *o = _find(b, old)
    cdef int symbol
    if o == NULL:
        b.unknown_reference += 1
        return UNKNOWN
    symbol = _reduce(b, o, o.shares)
    if symbol == STALE:
        return STALE
    return book_add(b, <uint32_t> symbol, new, b.last_side, shares, price)


cdef inline const Level *book_best(const Books *b, uint32_t symbol, uint8_t side) noexcept nogil:
    """The best level of a side, until the next change; NULL: it has none."""
    cdef const Side *s = &b.sides[2 * symbol + (side != c'B')]
    return &b.pool[<uint32_t> s.ranks[s.count - 1]] if s.count else NULL


cdef inline uint32_t book_depth(const Books *b, uint32_t symbol, uint8_t side, Level *out, uint32_t limit) noexcept nogil:
    """Copy up to `limit` levels of a side, the best first; how many."""
    cdef const Side *s = &b.sides[2 * symbol + (side != c'B')]
    cdef uint32_t i, n = s.count if s.count < limit else limit
    for i in range(n):
        out[i] = b.pool[<uint32_t> s.ranks[s.count - 1 - i]]
    return n
