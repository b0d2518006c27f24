# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A recording in the engine's hands: what a replay holds, and what it looks at behind each message.

A few comparisons of counters say that a message did what it should. All else is rare, and its place is noted.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from agent.engine.state cimport NOT_OURS, NOT_SEEN, Core
from agent.engine.unlikely cimport unlikely
from agent.protocols.wire cimport load16
from agent.replay.watch cimport Record, Watch, look_at_words
from agent.strategy.abi cimport (AGENT_BUY, AGENT_CANCEL, AGENT_ENTER, AGENT_MAX_ORDERS, AGENT_REPLACE, AGENT_SELL,
                                 agent_order)


cdef struct Tape:
    Core core
    Watch watch
    Record record               # in hand; its number and byte count from the begin of the file and of the content
    uint64_t sequence           # of the message in hand, as the feed would number it: from 1
    uint64_t lines              # read so far, empty ones too
    uint64_t by_type[256]       # well-formed ITCH messages by type letter
    uint64_t *unnamed           # [LOCATES]: messages about orders of a stock that no message had named yet
    uint8_t *seen               # [symbols + 1]: 1 when the symbol had an event; the last one is no symbol's
    bint all_symbols            # those of the recording are wanted, not some
    # counts of the replay's own
    uint64_t unnamed_orders     # sum of `unnamed`
    uint64_t no_room            # messages of a symbol that there was no room for
    uint64_t bad_orders         # refused orders that are none on any exchange
    uint64_t unsettled          # orders and answers that did not reach the other side, or were refused by the engine
    # counters as they were behind the last message
    uint64_t itch, events, other_symbol, passed_by, failures, wanted, unsent


cdef inline bint is_left_out(const uint8_t *message, uint32_t size) noexcept nogil:
    """Whether a line is none of the feed's messages: an empty one, or the REST snapshot that a recording of Binance's
    streams begins with."""
    return size == 0 or (size >= 15 and memcmp(message, <const char *> b'{"lastUpdateId"', 15) == 0)


cdef inline bint is_bad_order(const Core *e, const agent_order *o) noexcept nogil:
    """Whether the order is none on any exchange: an action, side or symbol that there is not, a size below 1, a price
    that is no number or negative. A price of 0 is what a book without orders has, and one off the grid is for the gate
    to refuse."""
    if o.action == AGENT_CANCEL:
        return o.size < 0
    if o.action == AGENT_ENTER:
        if (o.side != AGENT_BUY and o.side != AGENT_SELL) or o.symbol >= e.feed.symbols or not e.feed.traded[o.symbol]:
            return True
    elif o.action != AGENT_REPLACE:
        return True
    return o.size <= 0 or not (0 <= o.price < 1e300)        # written so that a NaN fails it


cdef inline bint count_refused(Tape *t) noexcept nogil:
    """The strategy's last call wanted orders. Returns whether one was refused; those that are no orders are counted.
    More than there is room for are counted by the gate, and lie nowhere."""
    cdef Core *e = &t.core
    cdef uint64_t i, n = e.counters.orders_wanted - t.wanted
    cdef uint64_t unsent = (e.counters.orders_wanted - e.counters.orders_sent - e.counters.replaces_sent
                            - e.counters.cancels_sent)
    t.wanted = e.counters.orders_wanted
    if unsent == t.unsent:
        return False
    t.unsent = unsent
    if n <= <uint64_t> AGENT_MAX_ORDERS:
        for i in range(n):
            t.bad_orders += is_bad_order(e, &e.strategy.orders[i])
    return True


cdef inline bint count_passed_over(Tape *t) noexcept nogil:
    """A well-formed message was of no symbol of the engine. Returns whether it should have been of one."""
    cdef const uint8_t *data = t.record.data
    cdef uint16_t locate
    if t.core.feed.format.parse != NULL:
        t.no_room += t.all_symbols
        return t.all_symbols
    locate = load16(data + 1)
    if t.core.feed.by_locate[locate] == NOT_OURS:
        t.no_room += t.all_symbols
        return t.all_symbols
    # The types that are about an order and name no stock.
    if t.core.feed.by_locate[locate] == NOT_SEEN and (
            data[0] == c'D' or data[0] == c'E' or data[0] == c'U' or data[0] == c'X' or data[0] == c'C'):
        t.unnamed[locate] += 1
        t.unnamed_orders += 1
        return True
    return False


cdef inline uint64_t count_failures(const Core *e) noexcept nogil:
    """Returns the sum of what seldom happens to a message that was read; of a quote or trade that is refused, what else
    the message had may be an event all the same."""
    return (e.counters.strategy_errors + e.counters.books_stale + e.feed.unknown_orders
            + e.counters.refused_crossed + e.counters.refused_zero_size + e.counters.refused_zero_price
            + e.counters.refused_repeated + e.counters.refused_backward + e.counters.refused_time_backward
            + e.counters.refused_zero_trade + e.counters.refused_repeated_trade + e.counters.refused_backward_trade)


cdef inline void look_closer(Tape *t, bint fine) noexcept nogil:
    """Note the place of the record in hand if something should not be."""
    cdef Core *e = &t.core
    cdef uint64_t failures = count_failures(e)
    if e.counters.other_symbol != t.other_symbol:
        t.other_symbol = e.counters.other_symbol
        fine = not count_passed_over(t)
    if e.counters.orders_wanted != t.wanted and count_refused(t):
        fine = False
    if fine and failures == t.failures:
        return
    t.failures = failures
    look_at_words(&t.watch, &t.record)


cdef inline void look_at_message(Tape *t, bint fine) noexcept nogil:
    """Behind each message, answer and call of the timer: note the place of what should not be. fine: it was read."""
    cdef Core *e = &t.core
    # Each of them only grows: so does their sum.
    if unlikely(not fine or e.counters.orders_wanted + e.counters.other_symbol + count_failures(e)
                != t.wanted + t.other_symbol + t.failures):
        look_closer(t, fine)


cdef inline bint was_read(Tape *t) noexcept nogil:
    """Returns whether the last message was well-formed and used, or is one that is passed by."""
    cdef Core *e = &t.core
    cdef uint64_t itch = e.counters.itch, events = e.counters.events
    cdef uint64_t passed_by
    if e.feed.format.parse == NULL:     # events say nothing: what is malformed may change a state
        if itch == t.itch:
            return False
        t.itch = itch
        t.by_type[t.record.data[0]] += 1
        return True
    if events != t.events:
        t.events = events
        t.seen[e.strategy.event.symbol] = 1
        return True
    passed_by = e.counters.depth_update + e.counters.other
    if passed_by != t.passed_by:
        t.passed_by = passed_by
        return True
    return e.counters.other_symbol != t.other_symbol
