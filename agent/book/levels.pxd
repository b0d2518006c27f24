# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The price levels of all symbols. The prices of a side are a sorted array with the best at its end: most changes are
near it, and the best is always at hand. What rests at a price stays in one place as long as anything does, which its
orders know: only a price that comes or goes is looked for. These places, the pool, are shared by all symbols, so that
those in use lie together; each has an order at least, so there are as many as orders.

Invariants: a level of the pool that a side's rank names has orders and shares above 0; the ranks of a side ascend.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memmove, memset

cdef extern from * nogil:
    """
    /* Of the 8 ranks before `end`, in the upper 8 bits, the last in the highest: which are not below this one, which
     * are of this level. Without a branch for each: how far the price is from the best is what a CPU cannot predict. */
    #ifdef __AVX2__
    #include <immintrin.h>
    static inline uint32_t ranks_not_below(const int64_t *end, int64_t rank)
    {
        __m256i r = _mm256_set1_epi64x(rank);
        __m256d low = _mm256_castsi256_pd(_mm256_cmpgt_epi64(r, _mm256_loadu_si256((const __m256i *)(end - 8))));
        __m256d high = _mm256_castsi256_pd(_mm256_cmpgt_epi64(r, _mm256_loadu_si256((const __m256i *)(end - 4))));
        return ~(uint32_t)(_mm256_movemask_pd(low) | _mm256_movemask_pd(high) << 4) << 24;
    }
    static inline uint32_t ranks_of_level(const int64_t *end, uint32_t level)
    {
        __m256i l = _mm256_set1_epi64x(level), m = _mm256_set1_epi64x(0xffffffff);
        __m256i a = _mm256_and_si256(m, _mm256_loadu_si256((const __m256i *)(end - 8)));
        __m256i b = _mm256_and_si256(m, _mm256_loadu_si256((const __m256i *)(end - 4)));
        return (uint32_t)(_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a, l)))
                          | _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(b, l))) << 4) << 24;
    }
    #else
    static inline uint32_t ranks_not_below(const int64_t *end, int64_t rank)
    {
        uint32_t mask = 0;
        for (int i = 0; i < 8; i++)
            mask |= (uint32_t)(end[i - 8] >= rank) << (24 + i);
        return mask;
    }
    static inline uint32_t ranks_of_level(const int64_t *end, uint32_t level)
    {
        uint32_t mask = 0;
        for (int i = 0; i < 8; i++)
            mask |= (uint32_t)((uint32_t)end[i - 8] == level) << (24 + i);
        return mask;
    }
    #endif
    /* Eight ranks, at once; the two may overlap. */
    static inline void move_ranks(int64_t *to, const int64_t *from)
    {
        struct { int64_t ranks[8]; } eight;
        __builtin_memcpy(&eight, from, sizeof eight);
        __builtin_memcpy(to, &eight, sizeof eight);
    }
    """
    int leading_zeros "__builtin_clz" (uint32_t)
    uint32_t ranks_not_below(const int64_t *, int64_t)
    uint32_t ranks_of_level(const int64_t *, uint32_t)
    void move_ranks(int64_t *, const int64_t *)


cdef enum:
    # Space between two sides' arrays. A power of two from one to the next would put all of them into the same sets of
    # the cache; and the 8 ranks that are looked at or moved at once may reach into it.
    APART = 5 * 64              # bytes


cdef struct Level:
    uint64_t shares             # of all its orders
    uint32_t price              # 4 decimals
    uint32_t orders             # how many; 0: the level is free
    uint32_t side               # twice the symbol, one more for asks
    uint32_t next               # index of the next free level, one more; 0: none


cdef struct Side:
    # Ascending, the best last: in the lower half the index of the level, above it its price so that the better one is
    # the greater, also with a sign.
    int64_t *ranks
    uint32_t count              # ranks


cdef struct Levels:
    uint32_t limit              # levels that a side may have
    Level *pool                 # as many as orders
    uint32_t used               # from this index on they never were
    uint32_t free               # index of the first free one below that, one more; 0: none
    Side *sides                 # [symbols x 2]: bids, asks


cdef inline size_t levels_size(uint32_t symbols, uint64_t orders, uint32_t limit) noexcept nogil:
    """Bytes for so many symbols, open orders of all of them, and price levels on a side."""
    return (orders * sizeof(Level) + <size_t> symbols * 2 * sizeof(Side)
            + <size_t> symbols * 2 * (limit * sizeof(uint64_t) + APART))


cdef inline void init_levels(Levels *v, uint8_t *block, uint32_t symbols, uint64_t orders,
                             uint32_t limit) noexcept nogil:
    """Begin in levels_size() zeroed bytes."""
    cdef size_t apart = limit * sizeof(uint64_t) + APART
    cdef uint32_t i
    memset(v, 0, sizeof(v[0]))
    v.limit = limit
    v.pool = <Level *> block
    block += orders * sizeof(Level)
    v.sides = <Side *> block
    block += <size_t> symbols * 2 * sizeof(Side)
    for i in range(2 * symbols):
        v.sides[i].ranks = <int64_t *> (block + i * apart)


cdef inline uint32_t count_not_below(const Side *s, int64_t rank) noexcept nogil:
    """Returns how many levels, from the best, are not below this rank."""
    cdef uint32_t n, low, i, middle
    if s.count == 0 or s.ranks[s.count - 1] < rank:
        return 0
    n = leading_zeros(~ranks_not_below(s.ranks + s.count, rank))
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


cdef inline uint32_t allocate_level(Levels *v) noexcept nogil:
    """Returns a free level: there is one, as long as there is room for an order."""
    cdef uint32_t level = v.free
    if level == 0:
        v.used += 1
        return v.used - 1
    v.free = v.pool[level - 1].next
    return level - 1


cdef inline void free_level(Levels *v, uint32_t level) noexcept nogil:
    """Put a level without orders back into the pool."""
    v.pool[level].next = v.free
    v.free = level + 1


cdef inline int add_to_level(Levels *v, uint32_t side, uint32_t price, uint32_t shares) noexcept nogil:
    """Add an order to its level. Returns the level; -1: the side has no room for another."""
    cdef Side *s = &v.sides[side]
    cdef Level *at_price
    cdef int64_t rank = <int64_t> (<uint64_t> (price ^ (0x7FFFFFFFu if side & 1 else 0x80000000u)) << 32)
    cdef uint32_t behind = count_not_below(s, rank), level
    cdef int64_t *at = s.ranks + s.count - behind
    if behind and (at[0] ^ rank) >> 32 == 0:
        level = <uint32_t> at[0]
        at_price = &v.pool[level]
        at_price.orders += 1
        at_price.shares += shares
        return <int> level
    if s.count == v.limit:
        return -1
    level = allocate_level(v)
    s.count += 1
    # At the best, nothing is moved: a book that lives there would wait for its own stores.
    if behind > 8:
        memmove(at + 1, at, behind * sizeof(int64_t))
    elif behind:
        move_ranks(at + 1, at)   # what lies behind the best, of the space between sides, moves too
    at[0] = rank | level
    at_price = &v.pool[level]
    at_price.shares = shares
    at_price.price = price
    at_price.orders = 1
    at_price.side = side
    return <int> level


cdef inline void remove_from_level(Levels *v, uint32_t level, uint32_t shares, bint whole) noexcept nogil:
    """Take shares off a level, and with `whole` the order; a level without orders goes."""
    cdef Level *at_price = &v.pool[level]
    cdef Side *s
    cdef int64_t *at
    cdef uint32_t near, i
    at_price.shares -= shares
    at_price.orders -= whole
    if at_price.orders:
        return
    free_level(v, level)
    s = &v.sides[at_price.side]
    s.count -= 1
    if <uint32_t> s.ranks[s.count] == level:
        return
    near = ranks_of_level(s.ranks + s.count, level)
    if near:
        at = s.ranks + s.count - 1 - leading_zeros(near)
        move_ranks(at, at + 1)
    else:
        i = s.count - 9
        while <uint32_t> s.ranks[i] != level:
            i -= 1
        memmove(&s.ranks[i], &s.ranks[i + 1], (s.count - i) * sizeof(int64_t))
