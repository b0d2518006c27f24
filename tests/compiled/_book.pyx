# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""order_book.pxd for Python: order books driven by hand, or by recorded ITCH messages."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cimport agent.book.order_book as book
cimport agent.protocols.itch as itch
from agent.book.order_table cimport PLACE, RestingOrder
from agent.protocols.wire cimport load16
from agent.shm.clock cimport monotonic_ns

GAP = book.GAP
EXHAUSTED_ORDERS = book.EXHAUSTED_ORDERS
EXHAUSTED_LEVELS = book.EXHAUSTED_LEVELS
INCONSISTENT = book.INCONSISTENT
UNKNOWN = book.UNKNOWN
STALE = book.STALE


cdef inline int apply(book.Books *b, const itch.Message *m, int symbol) noexcept nogil:
    if m.type == c'A' or m.type == c'F':
        return book.book_add(b, <uint32_t> symbol, m.reference, m.side, <uint32_t> m.shares, m.price)
    if m.type == c'E' or m.type == c'C':
        return book.book_execute(b, m.reference, <uint32_t> m.shares)
    if m.type == c'X':
        return book.book_cancel(b, m.reference, <uint32_t> m.shares)
    if m.type == c'D':
        return book.book_delete(b, m.reference)
    return book.book_replace(b, m.reference, m.new_reference, <uint32_t> m.shares, m.price)


cdef class Books:
    """Order books of `symbols` symbols, with room for `orders` open orders of all of them together and `levels` price
    levels on a side of each. Prices have 4 decimals, sides are b"B" and b"S".

    Updates give the symbol whose book changed, UNKNOWN or STALE. IndexError: there is no such symbol.
    ValueError: a side, or a capacity that is out of range. MemoryError.
    """

    cdef book.Books b
    cdef void *block

    def __cinit__(self, uint32_t symbols, uint64_t orders, uint32_t levels):
        if not 0 < symbols <= 65536 or orders >= 1 << 31 or not 0 < levels <= 1 << 24:
            raise ValueError(f"symbols {symbols}, orders {orders}, levels {levels}: "
                             f"allowed: 1 to 65536, 0 to {(1 << 31) - 1}, 1 to {1 << 24}")
        self.block = calloc(1, book.books_size(symbols, orders, levels))
        if self.block == NULL:
            raise MemoryError
        book.books_init(&self.b, self.block, symbols, orders, levels)

    def __dealloc__(self):
        free(self.block)

    cdef uint32_t symbol(self, int64_t symbol) except? 0xFFFFFFFF:
        if not 0 <= symbol < self.b.symbols:
            raise IndexError(f"symbol {symbol}, allowed: 0 to {self.b.symbols - 1}")
        return <uint32_t> symbol

    cdef uint8_t side(self, bytes side) except 0:
        if side != b"B" and side != b"S":
            raise ValueError(f"side: {side!r}, allowed: b'B', b'S'")
        return side[0]

    def add(self, int64_t symbol, uint64_t reference, bytes side not None, uint32_t shares, uint32_t price):
        return book.book_add(&self.b, self.symbol(symbol), reference, self.side(side), shares, price)

    def execute(self, uint64_t reference, uint32_t shares):
        return book.book_execute(&self.b, reference, shares)

    def cancel(self, uint64_t reference, uint32_t shares):
        return book.book_cancel(&self.b, reference, shares)

    def delete(self, uint64_t reference):
        return book.book_delete(&self.b, reference)

    def replace(self, uint64_t old, uint64_t new, uint32_t shares, uint32_t price):
        return book.book_replace(&self.b, old, new, shares, price)

    def mark_stale(self, int64_t symbol, uint8_t reason):
        book.book_mark_stale(&self.b, self.symbol(symbol), reason)

    def mark_all_stale(self, uint8_t reason):
        book.books_mark_stale(&self.b, reason)

    def clear(self, int64_t symbol):
        book.book_clear(&self.b, self.symbol(symbol))

    def clear_all(self):
        book.books_clear(&self.b)

    def top(self, int64_t symbol):
        """(bid, bid size, orders at it, ask, ask size, orders at it); 0 for none."""
        return self.best(symbol, c'B') + self.best(symbol, c'S')

    cdef tuple best(self, int64_t symbol, uint8_t side):
        cdef const book.Level *level = book.book_best(&self.b, self.symbol(symbol), side)
        if level == NULL:
            return (0, 0, 0)
        return (level.price, level.shares, level.orders)

    def stale(self, int64_t symbol):
        """0, or why the book is not to be trusted."""
        return self.b.stale[self.symbol(symbol)]

    def depth(self, int64_t symbol, bytes side not None):
        """[(price, shares, orders)], best first."""
        cdef uint32_t i, n
        cdef book.Level *levels = <book.Level *> calloc(self.b.levels.limit, sizeof(book.Level))
        if levels == NULL:
            raise MemoryError
        try:
            n = book.book_depth(&self.b, self.symbol(symbol), self.side(side), levels, self.b.levels.limit)
            return [(levels[i].price, levels[i].shares, levels[i].orders) for i in range(n)]
        finally:
            free(levels)

    def orders(self):
        """{reference: (symbol, side, shares, price)} of all open orders. Those of stale books may be there still."""
        cdef uint64_t i
        cdef RestingOrder *o
        cdef book.Level *level
        found = {}
        for i in range(self.b.table.mask + 1):
            o = &self.b.table.slots[i]
            if o.reference != 0:
                level = &self.b.levels.pool[o.place & PLACE]
                side = b"S" if level.side & 1 else b"B"
                found[o.reference] = level.side >> 1, side, o.shares, level.price
        return found

    @property
    def last(self):
        """(price, side) of the resting order that was last executed, cancelled, deleted or replaced."""
        return self.b.last_price, (<const char *> &self.b.last_side)[:1]

    @property
    def counters(self):
        return {
            "used": self.b.table.used,
            "high_water": self.b.table.high_water,
            "unknown_reference": self.b.unknown_reference,
            "duplicate_reference": self.b.duplicate_reference,
            "over_execution": self.b.over_execution,
            "zero_shares": self.b.zero_shares,
            "ignored": self.b.ignored,
            "marked": self.b.marked,
        }

    @property
    def longest_run(self):
        """Slots of the longest run of the table: what looking an order up can cost."""
        cdef uint64_t i, run = 0, longest = 0
        # The table is at most half full: a run that wraps is seen whole in two rounds.
        for i in range(2 * (self.b.table.mask + 1)):
            run = run + 1 if self.b.table.slots[i & self.b.table.mask].reference != 0 else 0
            longest = max(longest, run)
        return longest

    def replay(self, const uint8_t[::1] data not None, locates):
        """Apply the messages of a BinaryFILE: (how many changed or should have changed a book, nanoseconds that these
        took). locates: the stock locate code of each symbol; messages of others are left out. The messages are parsed
        before the time is taken. ValueError: what is no ITCH message, or goes on behind the end."""
        cdef Py_ssize_t place = 0, size = data.shape[0]
        cdef uint64_t count = 0, i
        cdef uint32_t length
        cdef int64_t begun
        cdef int[65536] by_locate
        cdef itch.Message m
        cdef itch.Message *messages
        cdef int *symbols
        memset(by_locate, 0xFF, sizeof(by_locate))
        for k, locate in enumerate(locates):
            by_locate[<int> locate & 0xFFFF] = <int> self.symbol(k)
        # The shortest record of an order, D, has 21 bytes.
        messages = <itch.Message *> calloc(size // 21 + 1, sizeof(itch.Message))
        symbols = <int *> calloc(size // 21 + 1, sizeof(int))
        try:
            if messages == NULL or symbols == NULL:
                raise MemoryError
            while place < size:
                if size - place < 2:
                    raise ValueError(f"byte {place}: cut")
                length = load16(&data[place])
                if size - place - 2 < <Py_ssize_t> length:
                    raise ValueError(f"byte {place}: cut")
                if length and itch.parse(&data[place + 2], length, &m) < 0:
                    raise ValueError(f"byte {place}: not an ITCH message")
                place += 2 + <Py_ssize_t> length
                if length and m.type in b"AFECXDU" and by_locate[m.locate] >= 0:
                    messages[count] = m
                    symbols[count] = by_locate[m.locate]
                    count += 1
            with nogil:
                begun = monotonic_ns()
                for i in range(count):
                    apply(&self.b, &messages[i], symbols[i])
                begun = monotonic_ns() - begun
            return count, begun
        finally:
            free(messages)
            free(symbols)
