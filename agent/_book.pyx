# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""book.pxd for Python, for tests and tools."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from agent.book cimport *

_STALE = {0: "", GAP: "gap", EXHAUSTED_ORDERS: "orders", EXHAUSTED_LEVELS: "levels", INCONSISTENT: "inconsistent"}


cdef class OrderBooks:
    """Books of so many symbols, open orders of all of them, and price levels on a side. Raises MemoryError."""

    cdef Books b
    cdef void *block

    def __cinit__(self, uint32_t symbols, uint64_t orders, uint32_t levels):
        self.block = calloc(1, books_size(symbols, orders, levels))
        if self.block == NULL:
            raise MemoryError
        books_init(&self.b, self.block, symbols, orders, levels)

    def __dealloc__(self):
        free(self.block)

    def add(self, uint32_t symbol, uint64_t reference, str side, uint32_t shares, uint32_t price):
        """The symbol whose book changed, or < 0: UNKNOWN (-1), STALE (-2). So for all that follow."""
        if symbol >= self.b.symbols:
            raise IndexError(symbol)
        return book_add(&self.b, symbol, reference, <uint8_t> ord(side), shares, price)

    def execute(self, uint64_t reference, uint32_t shares):
        return book_execute(&self.b, reference, shares)

    def cancel(self, uint64_t reference, uint32_t shares):
        return book_cancel(&self.b, reference, shares)

    def delete(self, uint64_t reference):
        return book_delete(&self.b, reference)

    def replace(self, uint64_t old, uint64_t new, uint32_t shares, uint32_t price):
        return book_replace(&self.b, old, new, shares, price)

    def mark_stale(self, uint32_t symbol):
        book_mark_stale(&self.b, symbol, GAP)

    def mark_all_stale(self):
        books_mark_stale(&self.b, GAP)

    def clear(self, symbol=None):
        """Begin again, one symbol or all."""
        if symbol is None:
            books_clear(&self.b)
        else:
            book_clear(&self.b, symbol)

    def top(self, uint32_t symbol):
        """(bid, shares, orders), (ask, shares, orders); a price of 0 for an empty side."""
        cdef Top *t = &self.b.tops[symbol]
        return (t.bid, t.bid_size, t.bid_orders), (t.ask, t.ask_size, t.ask_orders)

    def depth(self, uint32_t symbol, str side):
        """[(price, shares, orders)], best first."""
        cdef Side *s = &self.b.sides[2 * symbol + (side == "S")]
        return [(s.levels[i].price, s.levels[i].shares, s.levels[i].orders) for i in range(<int> s.count - 1, -1, -1)]

    def stale(self, uint32_t symbol):
        """"" or why: gap, orders, levels, inconsistent."""
        return _STALE[self.b.stale[symbol]]

    @property
    def used(self):
        return self.b.used

    @property
    def last_price(self):
        return self.b.last_price

    @property
    def counters(self):
        return {"high_water": self.b.high_water, "unknown_reference": self.b.unknown_reference,
                "duplicate_reference": self.b.duplicate_reference, "over_execution": self.b.over_execution,
                "zero_shares": self.b.zero_shares, "ignored": self.b.ignored}
