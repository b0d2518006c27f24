# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What an ITCH feed tells of the market and of its symbols: the day, halts, auctions, short sale restrictions. It
becomes the state that each event carries and the gate looks at (conditions.pxd).

Source: "Nasdaq TotalView-ITCH 5.0": System Event, Stock Trading Action, Operational Halt, Reg SHO Short Sale Price Test
Restricted Indicator, MWCB Status, LULD Auction Collar, NOII, Cross Trade. Before the system hours the exchange sends a
Trading Action of each symbol that may be traded; one that is left out is to be treated as halted.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from agent.book.order_book cimport books_clear
from agent.engine.decide cimport clear_quotes, decide_on_event, show_quotes
from agent.engine.setup cimport show_state
from agent.engine.state cimport BEFORE_FIRST, LOCATES, NOT_SEEN, Core, SymbolState, Told
from agent.engine.unlikely cimport unlikely
from agent.shm.segment cimport agent_symbol
from agent.strategy.abi cimport (AGENT_CLOSED, AGENT_ENDED, AGENT_HALTED, AGENT_HALTED_HERE, AGENT_OPEN, AGENT_PAUSED,
                                 AGENT_POST_MARKET, AGENT_PRE_MARKET, AGENT_QUOTING, AGENT_SHORT_FREE,
                                 AGENT_SHORT_RESTRICTED, AGENT_STATE, AGENT_TRADE, AGENT_TRADING, AGENT_UNKNOWN,
                                 AGENT_UNTOLD, agent_event)

cdef enum:
    ITCH_UNIT = 10000           # of 1e-8 in ITCH's 4 decimals
    SHARE = 100000000           # of 1e-8 in a share

cdef extern from *:
    """
    #define BACK_NS 3600000000000LL     /* a message so much before its predecessor is of another day */
    #define DAY_NS 86400000000000LL     /* no time of the day is as late */
    #define MOST_SHARES 92233720368ULL  /* of a cross, whose field has 64 bits: what an event can say in 1e-8 */
    """
    const int64_t BACK_NS
    const int64_t DAY_NS
    const uint64_t MOST_SHARES


# ---------------------------------------------------------------------------------- what is known

cdef inline void set_action(Core *e, uint32_t symbol, uint32_t action) noexcept nogil:
    """Set what the symbol's Trading Action says: AGENT_UNTOLD to AGENT_HALTED."""
    e.feed.states[symbol].action = <uint8_t> action
    show_state(e, symbol)


cdef inline void set_all_actions(Core *e, uint32_t action) noexcept nogil:
    """Set the same for all symbols, those included that a recording is yet to bring."""
    cdef uint32_t i
    e.feed.first_action = action
    for i in range(e.feed.symbols):
        set_action(e, i, action)


cdef inline void set_market(Core *e, uint32_t market) noexcept nogil:
    """Set the state of the market: AGENT_UNTOLD to AGENT_ENDED."""
    cdef uint32_t i
    e.feed.market = market
    e.counters.market = market
    for i in range(e.feed.symbols):
        e.feed.states[i].told.market = market
        show_state(e, i)


cdef inline void set_breached(Core *e, uint32_t level) noexcept nogil:
    e.strategy.event.breached = level
    e.counters.market_breached = level


cdef inline void begin_day(Core *e, uint32_t state) noexcept nogil:
    """Begin anew: empty books, no codes, and every symbol and the market in a state, AGENT_UNTOLD or AGENT_UNKNOWN;
    with that a short sale restriction, which nobody has lifted, stays."""
    cdef uint32_t i
    cdef bint restricted
    books_clear(&e.feed.books)
    for i in range(<uint32_t> LOCATES):
        e.feed.by_locate[i] = NOT_SEEN
    for i in range(e.feed.symbols):
        e.feed.rows[i].stale = 0
        clear_quotes(e, i)
        restricted = state == AGENT_UNKNOWN and e.feed.states[i].told.short_sale == AGENT_SHORT_RESTRICTED
        memset(&e.feed.states[i], 0, sizeof(SymbolState))
        if restricted:
            e.feed.states[i].told.short_sale = AGENT_SHORT_RESTRICTED
    set_all_actions(e, state)
    set_market(e, state)
    set_breached(e, 0)
    e.feed.day_clock = BEFORE_FIRST
    e.counters.day_starts += 1
    e.strategy.event.day = <uint32_t> e.counters.day_starts


cdef inline void forget_states(Core *e) noexcept nogil:
    """Messages are lost: a halt may have been among them."""
    set_all_actions(e, AGENT_UNKNOWN)
    set_market(e, AGENT_UNKNOWN)
    e.feed.changes_untold = True


cdef inline bint is_time_back(const Core *e, int64_t timestamp) noexcept nogil:
    """Whether the time of a message says that another day has begun. A time that no day has says nothing."""
    return timestamp + BACK_NS < e.feed.day_clock and e.feed.day_clock < DAY_NS


cdef inline bint has_told(const Core *e) noexcept nogil:
    """Whether the feed has told a state of the market or of a symbol."""
    cdef uint32_t i
    if e.feed.market != AGENT_UNTOLD or e.feed.first_action != AGENT_UNTOLD:
        return True
    for i in range(e.feed.symbols):
        if e.feed.states[i].told.state != AGENT_UNTOLD or e.feed.states[i].told.short_sale:
            return True
    return False


cdef inline void begin_day_unsaid(Core *e) noexcept nogil:
    """Begin the day that the time of a message alone speaks of: a wrong time must not end a halt. Of a feed that tells
    states, all is unknown until it is told again."""
    begin_day(e, AGENT_UNKNOWN if has_told(e) else AGENT_UNTOLD)


cdef inline void follow_clock(Core *e, int64_t timestamp) noexcept nogil:
    """Begin another day where the time of a message goes back to it, of a recording that does not have its begin."""
    if unlikely(timestamp + BACK_NS < e.feed.day_clock) and is_time_back(e, timestamp):
        begin_day_unsaid(e)
        e.feed.changes_untold = True
    e.feed.day_clock = timestamp


# ---------------------------------------------------------------------------------- telling the strategy

cdef inline bint tell_event(Core *e, uint32_t symbol, uint32_t kind, int64_t exchange_ns,
                            uint64_t sequence) noexcept nogil:
    """Make an event of a symbol as it is now, whose price and size, for AGENT_TRADE, are set; of a stale book, which is
    not traded, there is none. Returns False when the connection to the exchange is lost."""
    cdef agent_symbol *row = &e.feed.rows[symbol]
    cdef agent_event *event = &e.strategy.event
    if row.stale:
        return True
    event.kind = kind
    event.exchange_ns = exchange_ns
    show_quotes(event, row)
    return decide_on_event(e, symbol, sequence)


cdef inline bint tell_state(Core *e, uint32_t symbol, int64_t exchange_ns, uint64_t sequence) noexcept nogil:
    """Tell the strategy that the state of a symbol changed. Returns False when the connection to the exchange is
    lost."""
    e.strategy.event.price = e.strategy.event.size = e.strategy.event.exchange_id = 0
    return tell_event(e, symbol, AGENT_STATE, exchange_ns, sequence)


cdef inline bint tell_all_states(Core *e, int64_t exchange_ns, uint64_t sequence) noexcept nogil:
    """Tell the strategy that the state of all symbols changed, or of the market. Returns False when the connection to
    the exchange is lost."""
    cdef uint32_t i
    cdef bint connected = True
    e.feed.changes_untold = False
    for i in range(e.feed.symbols):
        connected = tell_state(e, i, exchange_ns, sequence) and connected
    return connected


# ---------------------------------------------------------------------------------- messages of the market

cdef inline bint handle_system_event(Core *e, uint8_t code, int64_t timestamp, uint64_t sequence) noexcept nogil:
    """A System Event, of a code of the specification. Returns False when the connection to the exchange is lost."""
    cdef uint32_t market = AGENT_CLOSED         # 'O', 'E' and 'C': before and after the system hours
    cdef uint32_t i
    # The first message of a new MoldUDP64 session, which has begun the day.
    cdef bint first = e.feed.day_clock == BEFORE_FIRST and e.counters.day_starts != 0
    if code == c'O' and not first:
        begin_day(e, AGENT_UNTOLD)
    elif is_time_back(e, timestamp):
        begin_day_unsaid(e)
    e.feed.day_clock = timestamp
    if code == c'S' or code == c'Q' or code == c'M':
        market = AGENT_PRE_MARKET if code == c'S' else AGENT_OPEN if code == c'Q' else AGENT_POST_MARKET
        if e.strategy.event.breached == 3:
            market = AGENT_ENDED
        # The Trading Actions of all symbols have come before.
        if e.feed.first_action == AGENT_UNTOLD:
            e.feed.first_action = AGENT_UNKNOWN
        for i in range(e.feed.symbols):
            if e.feed.states[i].action == AGENT_UNTOLD:
                set_action(e, i, AGENT_UNKNOWN)
    set_market(e, market)
    return tell_all_states(e, timestamp, sequence)


cdef inline bint handle_breach(Core *e, uint32_t level, int64_t timestamp, uint64_t sequence) noexcept nogil:
    """A level of the market-wide circuit breaker was breached: all symbols are halted, each until its own Trading
    Action says otherwise; after level 3 for the day. Returns False when the connection to the exchange is lost."""
    if level > e.strategy.event.breached:
        set_breached(e, level)
    set_all_actions(e, AGENT_HALTED)
    if level == 3:
        set_market(e, AGENT_ENDED)
    return tell_all_states(e, timestamp, sequence)


cdef inline bint handle_market_message(Core *e, int type, uint8_t code, int64_t timestamp,
                                       uint64_t sequence) noexcept nogil:
    """A System Event or an MWCB Status. Returns False when the connection to the exchange is lost."""
    if type == c'S':
        return handle_system_event(e, code, timestamp, sequence)
    return handle_breach(e, code - c'0', timestamp, sequence)


# ---------------------------------------------------------------------------------- messages of a symbol

cdef inline bint handle_cross(Core *e, uint32_t symbol, uint8_t cross, uint64_t shares, uint32_t price, uint64_t match,
                              int64_t timestamp, uint64_t sequence) noexcept nogil:
    """A Cross Trade: an auction is over, and one trade is all that it brought; no shares: none. Returns False when the
    connection to the exchange is lost."""
    cdef agent_event *event = &e.strategy.event
    cdef bint connected, traded = shares > 0 and price > 0
    e.counters.refused_zero_trade += shares > 0 and price == 0
    e.feed.states[symbol].told.auction = cross
    event.price = <int64_t> price * ITCH_UNIT if traded else 0
    event.size = <int64_t> ((shares if shares < MOST_SHARES else MOST_SHARES) * SHARE) if traded else 0
    event.exchange_id = <int64_t> match
    connected = tell_event(e, symbol, AGENT_STATE | (AGENT_TRADE if traded else 0), timestamp, sequence)
    e.feed.states[symbol].told.auction = 0
    show_state(e, symbol)
    return connected


cdef inline void apply_trading_action(Core *e, uint32_t symbol, uint8_t code) noexcept nogil:
    """A Stock Trading Action, of a code of the specification."""
    cdef Told *told = &e.feed.states[symbol].told
    if code == c'T':
        told.collar_low = told.collar_high = 0
        if told.auction == c'H':
            told.auction = 0
    set_action(e, symbol, AGENT_TRADING if code == c'T' else AGENT_QUOTING if code == c'Q'
               else AGENT_PAUSED if code == c'P' else AGENT_HALTED)


cdef inline void apply_operational_halt(Core *e, uint32_t symbol, uint8_t market, uint8_t code) noexcept nogil:
    """An Operational Halt, which is of one market: the others go on."""
    if market == e.feed.market_code:
        e.feed.states[symbol].stopped = code != c'T'


cdef inline void apply_restriction(Core *e, uint32_t symbol, bint restricted) noexcept nogil:
    """A Reg SHO Short Sale Price Test Restricted Indicator."""
    e.feed.states[symbol].told.short_sale = AGENT_SHORT_RESTRICTED if restricted else AGENT_SHORT_FREE


cdef inline void apply_collar(Core *e, uint32_t symbol, uint32_t lower, uint32_t upper) noexcept nogil:
    """A LULD Auction Collar, of the auction that ends a pause."""
    cdef Told *told = &e.feed.states[symbol].told
    told.auction = c'H'
    told.collar_low = <int64_t> lower * ITCH_UNIT
    told.collar_high = <int64_t> upper * ITCH_UNIT


cdef inline bint tell_change(Core *e, uint32_t symbol, const Told *before, int64_t timestamp,
                             uint64_t sequence) noexcept nogil:
    """Show what is known of a symbol now, and tell the strategy where it is not as before. Returns False when the
    connection to the exchange is lost."""
    show_state(e, symbol)
    if memcmp(before, &e.feed.states[symbol].told, sizeof(Told)) == 0:
        return True
    return tell_state(e, symbol, timestamp, sequence)


cdef inline bint handle_state_message(Core *e, uint32_t symbol, int type, uint8_t code, uint8_t market, uint32_t lower,
                                      uint32_t upper, int64_t timestamp, uint64_t sequence) noexcept nogil:
    """A message of a symbol that changes no book, and is no trade. Returns False when the connection to the exchange is
    lost."""
    cdef Told before = e.feed.states[symbol].told
    if type == c'H':
        apply_trading_action(e, symbol, code)
    elif type == c'h':
        apply_operational_halt(e, symbol, market, code)
    elif type == c'Y':
        apply_restriction(e, symbol, code != c'0')
    elif type == c'J':
        apply_collar(e, symbol, lower, upper)
    elif type == c'I':
        e.feed.states[symbol].told.auction = code
    elif type == c'B':
        e.counters.trades_broken += 1
    return tell_change(e, symbol, &before, timestamp, sequence)


cdef inline bint distrust_message(Core *e, int symbol, uint8_t type, uint8_t market, uint64_t sequence) noexcept nogil:
    """A message that cannot be believed, of a code that is none of the specification's, say: what it is about is not
    known any more, and taken for the worst where the gate has to decide. symbol: of which it may be; market: of an
    Operational Halt. Returns False when the connection to the exchange is lost."""
    cdef Told before
    if type == c'S':
        set_market(e, AGENT_UNKNOWN)
        return tell_all_states(e, 0, sequence)
    if type == c'W':
        return handle_breach(e, 1, 0, sequence)
    if symbol < 0:
        return True
    before = e.feed.states[symbol].told
    if type == c'H':
        set_action(e, <uint32_t> symbol, AGENT_UNKNOWN)
    elif type == c'h':
        apply_operational_halt(e, <uint32_t> symbol, market, c'H')
    elif type == c'Y':
        apply_restriction(e, <uint32_t> symbol, True)
    return tell_change(e, <uint32_t> symbol, &before, 0, sequence)
