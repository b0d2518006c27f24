# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The simulated exchange in a replay: its order entry and matching, with the bytes handed over in memory.

In lockstep: the engine handles a message; then the exchange has the message's prices, and after them the engine's
orders; its answers are handled, and the orders that come of them go back, until neither has more to say. Only then
comes the next message. Between the two go whole packets of SoupBinTCP, as on a connection.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from agent.engine.losses cimport keep_losses
from agent.engine.orders cimport cancel_open_orders, submit_all
from agent.engine.session cimport handle_packet
from agent.engine.setup cimport get_exchange_name
from agent.engine.state cimport READY, SLOTS, Core, Wire
from agent.engine.symbols cimport find_symbol
from agent.exchange.matching cimport allocate_market, free_market, set_best_prices
from agent.exchange.order_entry cimport handle_message
from agent.exchange.state cimport Arrivals, Market
from agent.protocols.text cimport Tick
from agent.protocols.verdict cimport QUOTE
from agent.protocols.wire cimport load16
from agent.replay.tape cimport Tape, look_at_message
from agent.shm.segment cimport read_word

cdef extern from *:
    """
    #define DESK_PAUSE INT64_C(3600000000000)
    #define DESK_HOUSEKEEPING INT64_C(5000000)
    #define DESK_MOST_UNITS UINT64_C(4294967295)
    """
    uint64_t MOST_UNITS "DESK_MOST_UNITS"
    int64_t PAUSE "DESK_PAUSE"      # ns: of a longer pause of the recording the timer is called for the first part
    int64_t HOUSEKEEPING "DESK_HOUSEKEEPING"    # ns, as of the engine's loop

cdef enum:
    WIRE = 1 << 20              # bytes that the engine may send at once
    LOG = 16 << 20              # bytes of answers to them


cdef struct SentOrder:
    uint64_t sequence           # of the message that the order names in its ClOrdID
    int64_t time_ns
    uint32_t size               # bytes of the OUCH message
    uint8_t message[64]


cdef struct Desk:
    Market market
    Arrivals arrivals
    Wire wire
    uint64_t *names             # [symbols]: as orders have them
    uint64_t answered           # bytes of the market's log that the engine has read
    SentOrder *sent             # what the engine sent since it was last taken away
    uint64_t sent_count
    uint64_t sent_capacity
    bint keeps                  # what is sent is wanted
    int64_t timer_every         # ns from one call of on_timer to the next; 0: it is never called
    int64_t timer_at
    int64_t housekept           # when the engine last kept its house, as the loop does now and then
    int64_t shift               # ns that the recording's clock was set back by so far
    bint begun                  # a message was read


cdef inline bint open_desk(Desk *d, Core *e, int64_t timer_every) noexcept nogil:
    """Trade with an exchange in memory from here on. Returns False when there is no memory; close_desk() is due in any
    case."""
    cdef uint32_t i
    d.names = <uint64_t *> calloc(e.feed.symbols + 1, sizeof(uint64_t))
    d.wire.bytes = <uint8_t *> calloc(1, WIRE)
    if d.names == NULL or d.wire.bytes == NULL:
        return False
    d.wire.capacity = WIRE
    d.timer_every = timer_every
    for i in range(e.feed.symbols):
        memcpy(&d.names[i], get_exchange_name(e, i), 8)
    d.market.executes = True
    if not allocate_market(&d.market, LOG, <int> e.feed.symbols, d.names):
        return False
    e.outbox.wire = &d.wire
    return True


cdef inline void close_desk(Desk *d) noexcept nogil:
    free_market(&d.market)
    free(d.names)
    free(d.wire.bytes)
    free(d.sent)


cdef inline void keep_sent(Desk *d, Tape *t, const uint8_t *message, uint32_t size) noexcept nogil:
    """Keep a message of the engine, until it is taken away."""
    cdef SentOrder *grown
    cdef SentOrder *o
    if not d.keeps or size > sizeof(o.message):
        return
    if d.sent_count == d.sent_capacity:
        grown = <SentOrder *> realloc(d.sent, (2 * d.sent_capacity + 1024) * sizeof(SentOrder))
        if grown == NULL:
            t.unsettled += 1
            return
        d.sent = grown
        d.sent_capacity = 2 * d.sent_capacity + 1024
    o = &d.sent[d.sent_count]
    d.sent_count += 1
    o.sequence = t.core.strategy.event.sequence
    o.time_ns = t.core.received - d.shift
    o.size = size
    memcpy(o.message, message, size)


cdef inline void read_orders(Desk *d, Tape *t) noexcept nogil:
    """The exchange reads all that the engine has sent."""
    cdef const uint8_t *p = d.wire.bytes
    cdef const uint8_t *end = p + d.wire.size
    cdef uint32_t size
    while p < end:
        size = load16(p)
        if p[2] == c'U':
            keep_sent(d, t, p + 3, size - 1)
            handle_message(&d.market, &d.arrivals, p + 3, size - 1, t.core.received)
        p += 2 + size
    d.wire.size = 0


cdef inline void read_answers(Desk *d, Tape *t) noexcept nogil:
    """The engine reads all that the exchange has answered."""
    cdef const uint8_t *p
    cdef uint32_t size
    while d.answered < d.market.log.size:
        p = d.market.log.data + d.answered
        size = load16(p)
        d.answered += 2 + size
        if not handle_packet(&t.core, p[2], p + 3, size - 1, t.core.received):
            t.unsettled += 1
        look_at_message(t, True)
    d.answered = d.market.log.size = d.market.log.count = 0
    if d.market.log.full:
        d.market.log.full = False
        t.unsettled += 1


cdef inline void exchange_messages(Desk *d, Tape *t) noexcept nogil:
    """Orders and answers go to and fro until there are no more."""
    while d.wire.size or d.market.log.size:
        read_orders(d, t)
        read_answers(d, t)


cdef inline void obey_kill(Desk *d, Tape *t) noexcept nogil:
    """The limit `kill`, once a loss has set it, cancels what is open."""
    cdef Core *e = &t.core
    if e.orders.killed or not read_word(&e.risk.limits.kill):
        return
    e.orders.killed = True
    e.orders.cancel_at = 0
    while e.orders.cancel_at < SLOTS and e.session.state == READY:
        if not cancel_open_orders(e):
            t.unsettled += 1
            return
        exchange_messages(d, t)


cdef inline void settle_orders(Desk *d, Tape *t) noexcept nogil:
    """Orders and answers go to and fro until there are no more, and what is open is cancelled where `kill` is set."""
    exchange_messages(d, t)
    obey_kill(d, t)


cdef inline void show_prices(Desk *d, Core *e, int symbol, uint64_t bid, uint64_t ask, uint64_t bid_size,
                             uint64_t ask_size) noexcept nogil:
    """The exchange has these prices and sizes, units of 1e-8, of a symbol: with 4 decimals, never better than they are,
    and in whole units."""
    cdef uint64_t[4] mark
    mark[0] = bid // 10000
    mark[1] = (ask + 9999) // 10000
    mark[2] = bid_size // 100000000
    mark[3] = ask_size // 100000000
    if mark[2] > MOST_UNITS:
        mark[2] = MOST_UNITS
    if mark[3] > MOST_UNITS:
        mark[3] = MOST_UNITS
    set_best_prices(&d.market, symbol, mark, e.received)


cdef inline void show_message(Desk *d, Core *e, const uint8_t *data, uint32_t size) noexcept nogil:
    """The exchange has the prices that a message of the feed leaves: as the simulator, which reads each quote and each
    message about an order, whether the prices are others than before or not."""
    cdef Tick tick
    cdef int symbol, kind
    if e.feed.format.parse != NULL:
        kind = e.feed.format.parse(data, size, &tick)
        if kind <= 0 or kind > 3 or not kind & QUOTE:
            return
        symbol = find_symbol(e, tick.symbol.at, tick.symbol.size)
        if symbol >= 0:
            show_prices(d, e, symbol, <uint64_t> tick.bid, <uint64_t> tick.ask, <uint64_t> tick.bid_size,
                        <uint64_t> tick.ask_size)
    elif size >= 19 and (data[0] == c'A' or data[0] == c'F' or data[0] == c'E' or data[0] == c'C' or data[0] == c'X'
                         or data[0] == c'D' or data[0] == c'U'):
        symbol = e.feed.by_locate[load16(data + 1)]
        if symbol >= 0:
            show_prices(d, e, symbol, e.feed.rows[symbol].bid, e.feed.rows[symbol].ask, e.feed.rows[symbol].bid_size,
                        e.feed.rows[symbol].ask_size)


cdef inline void call_timer(Desk *d, Tape *t, int64_t at) noexcept nogil:
    """Call the strategy's on_timer at that time, and do what it wants."""
    cdef Core *e = &t.core
    e.received = at
    e.counters.timers += 1
    if not submit_all(e, e.strategy.table.on_timer(e.strategy.state, at, e.strategy.orders)):
        t.unsettled += 1
    look_at_message(t, True)
    settle_orders(d, t)


cdef inline void advance_clock(Desk *d, Tape *t, int64_t at) noexcept nogil:
    """A message of the recording's time `at` comes: call on_timer as often as it was due before. The clock never goes
    back: one that was set back by more than an hour goes on from where it was, one that steps back waits."""
    cdef Core *e = &t.core
    cdef int64_t last = e.received
    at += d.shift
    if not d.begun:
        d.begun = True
        d.timer_at = at + d.timer_every
        d.housekept = e.received = at
        keep_losses(e, at)
        return
    if at < last - PAUSE:
        d.shift += last - at
    if at < last:
        at = last
    while d.timer_every and d.timer_at <= at:
        if d.timer_at > last + PAUSE:
            d.timer_at = at + d.timer_every
            break
        call_timer(d, t, d.timer_at)
        d.timer_at += d.timer_every
    e.received = at
    if at - d.housekept > HOUSEKEEPING:
        d.housekept = at
        keep_losses(e, at)
