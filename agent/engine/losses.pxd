# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Profit and loss of the day, by symbol and of all, and the limits that set `kill`.

A symbol's profit is what its sells brought less what its buys cost today, and its position at the price at which it
could be closed: the best bid for a long one, the best offer for a short one. Without that side of the book, or with a
stale book, the last price known counts: the one that it was marked to last, or of an execution since. A position that
the day began with counts as bought (or sold) then, at the price of the symbol's last execution before. A day is one of
UTC. Fees are not known. Everything is exact: units of 1e-8 of the currency, in 128 bits.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf

from agent.engine.decisions cimport decide_limit
from agent.engine.state cimport Core, SymbolRisk, product, wide
from agent.shm.segment cimport agent_symbol, read_word

cdef enum:
    TICK = 10000                # of 1e-8 in the 4 decimals of an execution's price, and of a limit


cdef extern from *:
    """
    #define LOSSES_DAY INT64_C(86400000000000)
    #define LOSSES_MOST INT64_MAX
    """
    int64_t DAY "LOSSES_DAY"    # ns
    int64_t MOST "LOSSES_MOST"


cdef inline void set_kill(Core *e, const char *limit, const agent_symbol *row, wide loss, int64_t bound) noexcept nogil:
    """Set the limit `kill`, if it is not, and say why. row: of the symbol whose loss it was, or NULL."""
    cdef char *text = e.shm.tripped
    cdef uint64_t name[3]
    cdef int at = 0, size = sizeof(name)
    if not read_word(&e.risk.limits.kill):
        text[0] = 0
        e.counters.loss_kills += 1
        e.risk.killed = True
        decide_limit(e, &e.risk.limits.kill, 1)
    if text[0]:
        return
    if row != NULL:
        name[0], name[1], name[2] = row.name, row.name_8, row.name_16
        while size and (<const char *> name)[size - 1] == c' ':
            size -= 1
        at = snprintf(text, 64, "%.*s: ", size, <const char *> name)
    snprintf(text + at, 128 - at, "%s: found %.4f, allowed: %.4f", limit, <double> loss * 1e-8, <double> bound * 1e-4)


cdef inline void check_symbol(Core *e, uint32_t symbol) noexcept nogil:
    """Hold a symbol's loss and drawdown against their limits."""
    cdef const SymbolRisk *s = &e.risk.symbols[symbol]
    cdef int64_t bound = read_word(&e.risk.limits.max_symbol_loss)
    if bound and -s.profit > product(TICK, bound):
        set_kill(e, "max_symbol_loss", &e.feed.rows[symbol], -s.profit, bound)
    bound = read_word(&e.risk.limits.max_symbol_drawdown)
    if bound and s.peak - s.profit > product(TICK, bound):
        set_kill(e, "max_symbol_drawdown", &e.feed.rows[symbol], s.peak - s.profit, bound)


cdef inline void check_all_symbols_together(Core *e) noexcept nogil:
    """Hold the loss and drawdown of all symbols together against their limits."""
    cdef int64_t bound = read_word(&e.risk.limits.max_loss)
    if bound and -e.risk.profit > product(TICK, bound):
        set_kill(e, "max_loss", NULL, -e.risk.profit, bound)
    bound = read_word(&e.risk.limits.max_drawdown)
    if bound and e.risk.peak - e.risk.profit > product(TICK, bound):
        set_kill(e, "max_drawdown", NULL, e.risk.peak - e.risk.profit, bound)


cdef inline void set_profit(Core *e, uint32_t symbol) noexcept nogil:
    """A symbol's cash, position or mark has changed."""
    cdef SymbolRisk *s = &e.risk.symbols[symbol]
    cdef agent_symbol *row = &e.feed.rows[symbol]
    cdef wide profit = s.cash + product(<int64_t> row.position, s.mark)
    if profit == s.profit:
        return
    e.risk.profit += profit - s.profit
    s.profit = profit
    if profit > s.peak:
        s.peak = profit
    if e.risk.profit > e.risk.peak:
        e.risk.peak = e.risk.profit
    row.profit = <uint64_t> <int64_t> (MOST if profit > MOST else -MOST if profit < -MOST else profit)


cdef inline void mark_to_book(Core *e, uint32_t symbol) noexcept nogil:
    """Mark a symbol's position, which is not 0, to the side of the book that would close it, if that is there."""
    cdef const agent_symbol *row = &e.feed.rows[symbol]
    cdef uint64_t price = row.bid if <int64_t> row.position > 0 else row.ask
    if price and not row.stale:
        e.risk.symbols[symbol].mark = price


cdef inline void follow_price(Core *e, uint32_t symbol) noexcept nogil:
    """The price or size of a symbol's position has changed: mark it, and hold what that gives against the limits."""
    if e.feed.rows[symbol].position:
        mark_to_book(e, symbol)
    set_profit(e, symbol)
    check_symbol(e, symbol)
    check_all_symbols_together(e)


cdef inline void mark_position(Core *e, uint32_t symbol) noexcept nogil:
    """A symbol's book may have changed: mark its position, if it has one."""
    if e.feed.rows[symbol].position:
        follow_price(e, symbol)


cdef inline void add_execution(Core *e, uint32_t symbol, int32_t side, int64_t units, uint64_t price) noexcept nogil:
    """Units were bought (side AGENT_BUY) or sold at price, 4 decimals: position, cash and profit follow."""
    cdef SymbolRisk *s = &e.risk.symbols[symbol]
    cdef agent_symbol *row = &e.feed.rows[symbol]
    row.position += <uint64_t> (side * units)
    s.cash -= product(side * units * TICK, price)
    s.mark = s.last = price * TICK
    follow_price(e, symbol)


cdef inline void begin_day(Core *e, int64_t day) noexcept nogil:
    """A day begins: no orders yet, and no loss but that of the positions since their last execution."""
    cdef uint32_t i
    cdef SymbolRisk *s
    e.risk.day = day
    e.risk.orders_today = 0
    e.risk.profit = e.risk.peak = 0
    for i in range(e.feed.symbols):
        s = &e.risk.symbols[i]
        s.cash = -product(<int64_t> e.feed.rows[i].position, s.last)
        s.profit = s.peak = 0
        e.feed.rows[i].profit = 0
        set_profit(e, i)
    e.risk.peak = e.risk.profit if e.risk.profit > 0 else 0


cdef inline void keep_losses(Core *e, int64_t at) noexcept nogil:
    """What is due now and then: the day, what no tick says (limits that were changed, a `kill` that was taken back
    although a loss is beyond its limit), and the counters."""
    cdef uint64_t bounds[2]
    cdef bint killed = read_word(&e.risk.limits.kill) != 0, resumed = e.risk.killed and not killed
    cdef int64_t day = (at + e.journal.realtime_offset) // DAY
    cdef uint32_t i
    bounds[0] = <uint64_t> read_word(&e.risk.limits.max_symbol_loss)
    bounds[1] = <uint64_t> read_word(&e.risk.limits.max_symbol_drawdown)
    e.risk.killed = killed
    if not killed:
        e.shm.tripped[0] = 0
    if day > e.risk.day:
        begin_day(e, day)
    if resumed or bounds[0] != e.risk.symbol_limits[0] or bounds[1] != e.risk.symbol_limits[1]:
        for i in range(e.feed.symbols):
            check_symbol(e, i)
        e.risk.symbol_limits[0] = bounds[0]
        e.risk.symbol_limits[1] = bounds[1]
    check_all_symbols_together(e)
    e.counters.orders_today = e.risk.orders_today
