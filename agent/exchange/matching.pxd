# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Open orders, and when they execute.

The fill rule, a simple one on purpose. The feed's best bid and offer of a symbol is the whole market:

- An order that crosses it executes at the feed's price, never at its own, at once and without a queue in front of it:
  up to the shares that are shown there.
- Shares that were executed against are gone until the feed shows the symbol's prices again.
- What is left of the order rests. Whenever the feed shows the symbol's prices, the resting orders that cross them
  execute by the same rule, the newest order first.
- Orders of the agent never meet one another, and the feed does not change for them.
- An order of a symbol that the feed does not have rests for ever.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from agent.exchange.answers cimport append_executed
from agent.exchange.log cimport allocate_log, free_log
from agent.exchange.state cimport MAX_OPEN_ORDERS, BestPrices, Market, Order


cdef inline bint allocate_market(Market *market, uint64_t log_capacity, int32_t symbols,
                                 const uint64_t *symbol_names) noexcept nogil:
    """Make a market without orders and prices; symbol_names must outlive it. Returns False when there is no memory;
    free_market() is due in any case."""
    market.symbols = symbols
    market.symbol_names = symbol_names
    market.orders = <Order *> calloc(MAX_OPEN_ORDERS, sizeof(Order))
    market.best = <BestPrices *> calloc(<size_t> symbols + 1, sizeof(BestPrices))
    return allocate_log(&market.log, log_capacity) and market.orders != NULL and market.best != NULL


cdef inline void free_market(Market *market) noexcept nogil:
    free_log(&market.log)
    free(market.orders)
    free(market.best)
    market.orders = NULL
    market.best = NULL


cdef inline int32_t find_symbol(const Market *market, const uint8_t *name) noexcept nogil:
    """Returns the index of the symbol with the name of 8 characters, or -1."""
    cdef uint64_t key
    cdef int32_t i
    memcpy(&key, name, 8)
    for i in range(market.symbols):
        if market.symbol_names[i] == key:
            return i
    return -1


cdef inline Order *get_slot(Market *market, uint32_t user_ref_num) noexcept nogil:
    """Returns the place of an order with that UserRefNum; another one can be in it."""
    return &market.orders[user_ref_num & (MAX_OPEN_ORDERS - 1)]


cdef inline Order *find_order(Market *market, uint32_t user_ref_num) noexcept nogil:
    """Returns the open order, or NULL."""
    cdef Order *o = get_slot(market, user_ref_num)
    return o if user_ref_num and o.user_ref_num == user_ref_num else NULL


cdef inline void widen_bounds(BestPrices *best, const Order *o) noexcept nogil:
    """Let highest_buy and lowest_sell hold for a resting order, too."""
    if o.side == c'B':
        if o.price > best.highest_buy:
            best.highest_buy = o.price
    elif o.price < best.lowest_sell or best.lowest_sell == 0:
        best.lowest_sell = o.price


cdef inline void add_resting(Market *market, Order *o) noexcept nogil:
    """Put an open order among the resting orders of its symbol, as the newest."""
    cdef BestPrices *best
    cdef uint32_t slot = <uint32_t> (o - market.orders) + 1
    o.next = o.previous = 0
    if o.symbol < 0:
        return
    best = &market.best[o.symbol]
    o.next = best.first_resting
    if best.first_resting:
        market.orders[best.first_resting - 1].previous = slot
    best.first_resting = slot
    widen_bounds(best, o)


cdef inline void remove_order(Market *market, Order *o) noexcept nogil:
    """Take an order off its symbol's resting orders, and free its slot."""
    cdef uint32_t slot = <uint32_t> (o - market.orders) + 1
    if o.symbol >= 0:
        if o.previous:
            market.orders[o.previous - 1].next = o.next
        elif market.best[o.symbol].first_resting == slot:
            market.best[o.symbol].first_resting = o.next
        if o.next:
            market.orders[o.next - 1].previous = o.previous
    o.user_ref_num = 0


cdef inline void execute_order(Market *market, Order *o, int64_t at) noexcept nogil:
    """Execute an open order against the feed's prices, by the fill rule. Removes it when nothing is left of it."""
    cdef BestPrices *best
    cdef uint64_t price
    cdef uint32_t *available
    cdef uint32_t shares = o.total - o.executed
    if not market.executes or o.symbol < 0:
        return
    best = &market.best[o.symbol]
    if o.side == c'B':
        if best.ask == 0 or o.price < best.ask:
            return
        price = best.ask
        available = &best.ask_size
    else:
        if best.bid == 0 or o.price > best.bid:
            return
        price = best.bid
        available = &best.bid_size
    if shares > available[0]:
        shares = available[0]
    if shares == 0:
        return
    available[0] -= shares
    o.executed += shares
    append_executed(market, at, o.user_ref_num, shares, price)
    if o.executed == o.total:
        remove_order(market, o)


cdef inline void set_best_prices(Market *market, int32_t symbol, const uint64_t *mark, int64_t at) noexcept nogil:
    """The feed shows prices of a symbol: execute the resting orders that cross them. mark: bid, ask, bid size, ask
    size."""
    cdef BestPrices *best = &market.best[symbol]
    cdef Order *o
    cdef uint32_t slot, next
    best.bid = mark[0]
    best.ask = mark[1]
    best.bid_size = <uint32_t> mark[2]
    best.ask_size = <uint32_t> mark[3]
    if not market.executes or best.first_resting == 0:
        return
    if not ((best.ask and best.highest_buy >= best.ask)
            or (best.bid and best.lowest_sell and best.lowest_sell <= best.bid)):
        return
    slot = best.first_resting
    best.highest_buy = best.lowest_sell = 0
    while slot:
        o = &market.orders[slot - 1]
        next = o.next
        execute_order(market, o, at)
        if o.user_ref_num:
            widen_bounds(best, o)
        slot = next
