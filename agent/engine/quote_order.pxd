# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Which quotes of a feed are the book, and which trades are trades. Of one that cannot be, or that is not newer than
the last, nothing is taken.

A quote or a trade that is older than the last one is a late message; AGAIN of them in a row, each newer than the one
before, are a feed whose numbers or times began anew, and are believed from then on. A new MoldUDP64 session begins anew
at once.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from agent.engine.state cimport Core, QuoteOrder
from agent.protocols.text cimport Tick
from agent.protocols.verdict cimport TRADE
from agent.shm.segment cimport agent_symbol

cdef enum:
    AGAIN = 32                  # older quotes in a row after which a symbol's numbers and times have begun anew
    JITTER_NS = 10000000        # that times may step back where quotes are numbered: the numbers say what is newer

    # find_older
    NOT_OLDER = 0
    OLDER_NUMBER = 1
    OLDER_TIME = 2


cdef inline bint is_possible(Core *e, const Tick *tick) noexcept nogil:
    """Returns whether a quote can be a book. One that cannot is counted by the first reason that applies."""
    if (tick.bid == 0 and tick.bid_size) or (tick.ask == 0 and tick.ask_size):
        e.counters.refused_zero_price += 1
        return False
    if (tick.bid_size == 0 and tick.bid) or (tick.ask_size == 0 and tick.ask):
        e.counters.refused_zero_size += 1
        return False
    if tick.bid > tick.ask and tick.ask:
        e.counters.refused_crossed += 1
        return False
    return True


cdef inline bint is_repeated(const Core *e, const QuoteOrder *last, uint32_t symbol, int kind,
                             const Tick *tick) noexcept nogil:
    """Returns whether a quote is the last one again: its number; in a feed without numbers its time and all that it
    says, where no trade comes with it."""
    cdef const agent_symbol *row = &e.feed.rows[symbol]
    if e.feed.format.numbered:
        return tick.exchange_id == last.id
    return (kind & TRADE == 0 and tick.exchange_ns == last.exchange_ns
            and <uint64_t> tick.bid == row.bid and <uint64_t> tick.ask == row.ask
            and <uint64_t> tick.bid_size == row.bid_size and <uint64_t> tick.ask_size == row.ask_size)


cdef inline int find_older(const Core *e, const Tick *tick, int64_t id, int64_t exchange_ns,
                           int64_t received) noexcept nogil:
    """Returns by what a quote is older than one with this number, exchange's time (0: none) and time of receipt:
    OLDER_NUMBER, OLDER_TIME, or NOT_OLDER."""
    cdef int64_t jitter = 0
    if e.feed.format.numbered:
        if tick.exchange_id < id:
            return OLDER_NUMBER
        jitter = JITTER_NS
    if tick.exchange_ns and tick.exchange_ns < exchange_ns - jitter:
        return OLDER_TIME
    if e.feed.recorded and e.received < received - jitter:
        return OLDER_TIME
    return NOT_OLDER


cdef inline bint begins_anew(Core *e, QuoteOrder *last, const Tick *tick) noexcept nogil:
    """Returns whether this older quote is the last of AGAIN in a row."""
    if last.older and e.feed.format.numbered and tick.exchange_id == last.older_id:
        return False
    if last.older and find_older(e, tick, last.older_id, last.older_ns, last.older_received) == NOT_OLDER:
        last.older += 1
    else:
        last.older = 1
    last.older_id = tick.exchange_id
    last.older_ns = tick.exchange_ns
    last.older_received = e.received
    if last.older < AGAIN:
        return False
    last.exchange_ns = last.received = 0
    e.counters.quotes_restarted += 1
    return True


cdef inline bint accept_quote(Core *e, uint32_t symbol, int kind, const Tick *tick) noexcept nogil:
    """Returns whether a quote is the symbol's new book. One that is not is counted by its reason."""
    cdef QuoteOrder *last = &e.feed.last_quotes[symbol]
    cdef int older
    if not is_possible(e, tick):
        return False
    if last.seen:
        if is_repeated(e, last, symbol, kind, tick):
            e.counters.refused_repeated += 1
            return False
        older = find_older(e, tick, last.id, last.exchange_ns, last.received)
        if older != NOT_OLDER and not begins_anew(e, last, tick):
            if older == OLDER_NUMBER:
                e.counters.refused_backward += 1
            else:
                e.counters.refused_time_backward += 1
            return False
    last.seen = True
    last.older = 0
    last.id = tick.exchange_id
    if tick.exchange_ns > last.exchange_ns:
        last.exchange_ns = tick.exchange_ns
    if e.received > last.received:
        last.received = e.received
    return True


cdef inline bint is_older_trade(Core *e, QuoteOrder *last, int64_t id) noexcept nogil:
    """Returns whether a trade is the last one again, or before it, and not the last of AGAIN such in a row."""
    if id == last.trade_id or (last.older_trades and id == last.older_trade_id):
        e.counters.refused_repeated_trade += 1
        return True
    if id > last.trade_id:
        return False
    last.older_trades = last.older_trades + 1 if last.older_trades and id > last.older_trade_id else 1
    last.older_trade_id = id
    if last.older_trades == AGAIN:
        return False
    e.counters.refused_backward_trade += 1
    return True


cdef inline bint accept_trade(Core *e, uint32_t symbol, const Tick *tick) noexcept nogil:
    """Returns whether a trade is one, and a new one. One that is not is counted by its reason."""
    cdef QuoteOrder *last = &e.feed.last_quotes[symbol]
    if tick.price == 0 or tick.size == 0:
        e.counters.refused_zero_trade += 1
        return False
    if e.feed.format.numbered:
        if last.traded and is_older_trade(e, last, tick.exchange_id):
            return False
        last.traded = True
        last.older_trades = 0
        last.trade_id = tick.exchange_id
    return True
