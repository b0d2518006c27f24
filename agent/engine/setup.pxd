# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The first state of a Core, for the engine and for a replay: its tables laid out in one block of memory that the
caller gives, its symbols, and the prepared messages."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cimport agent.protocols.ouch as ouch
from agent.engine.conditions cimport read_choices
from agent.engine.state cimport (BEFORE_FIRST, EXECUTIONS, LOCATES, NAME_SLOTS, NOT_SEEN, OF_MARKET, RESTRICTED,
                                 SLOTS, STREAM, Core, Execution, Name, OpenOrder, QuoteOrder, SymbolRisk, SymbolState)
from agent.protocols.formats cimport FeedFormat
from agent.protocols.stamps cimport NO_UNIT, init_clock
from agent.shm.clock cimport monotonic_ns
from agent.shm.segment cimport agent_shm, agent_shm_init, agent_symbol
from agent.strategy.abi cimport AGENT_HALTED, AGENT_HALTED_HERE, AGENT_SHORT_RESTRICTED, agent_strategy


cdef inline size_t part_size(size_t size) noexcept nogil:
    """Bytes of a part of a block: each part begins on a cache line of its own."""
    return (size + 63) & ~<size_t> 63


cdef inline uint8_t *next_part(uint8_t **at, size_t size) noexcept nogil:
    """Returns the part of a block that begins at at[0], and moves at[0] behind it."""
    cdef uint8_t *begin = at[0]
    at[0] += part_size(size)
    return begin


cdef inline size_t tables_size(uint32_t capacity) noexcept nogil:
    """Bytes of the tables of a Core with so many symbols."""
    return (part_size(SLOTS * sizeof(OpenOrder)) + part_size(STREAM) + part_size(LOCATES * sizeof(int16_t))
            + part_size(NAME_SLOTS * sizeof(uint16_t)) + part_size(EXECUTIONS * sizeof(Execution))
            + part_size(<size_t> capacity * 64) + part_size(capacity)
            + part_size(capacity * sizeof(SymbolRisk)) + part_size(<size_t> capacity * sizeof(QuoteOrder))
            + part_size(<size_t> capacity * sizeof(SymbolState)))


cdef inline void write_name(Name *name, const char *text, uint32_t size) noexcept nogil:
    """Write a symbol's name of size characters, at most SYMBOL of protocols/text.pxd, padded with spaces."""
    name.word = name.word_8 = name.word_16 = 0x2020202020202020
    memcpy(name, text, size)


cdef inline bint has_name(const Core *e, uint32_t symbol, const Name *name) noexcept nogil:
    """Returns whether that is the name of the symbol with this index."""
    cdef const agent_symbol *row = &e.feed.rows[symbol]
    return row.name == name.word and row.name_8 == name.word_8 and row.name_16 == name.word_16


cdef inline uint64_t name_bit(uint64_t word) noexcept nogil:
    """Returns the bit of Feed.name_bits of a name whose first 8 characters are in this word."""
    return <uint64_t> 1 << (word * <uint64_t> 0x9E3779B97F4A7C15 >> 58)


cdef inline uint16_t *find_name_slot(const Core *e, const Name *name) noexcept nogil:
    """Returns the place of a symbol's name in Feed.by_name, or the free one where it belongs."""
    cdef uint64_t at = (name.word ^ e.feed.name_seed) * <uint64_t> 0x9E3779B97F4A7C15
    at = (at ^ (at >> 32) ^ name.word_8) * <uint64_t> 0xD6E8FEB86659FD93
    at = (at ^ (at >> 32) ^ name.word_16) * <uint64_t> 0xD6E8FEB86659FD93
    at ^= at >> 32
    while True:
        at &= NAME_SLOTS - 1
        if e.feed.by_name[at] == 0 or has_name(e, e.feed.by_name[at] - 1, name):
            return &e.feed.by_name[at]
        at += 1


cdef inline void show_state(Core *e, uint32_t symbol) noexcept nogil:
    """Work out the state of a symbol for strategies, readers and the gate, of what its messages said."""
    cdef SymbolState *s = &e.feed.states[symbol]
    cdef agent_symbol *row = &e.feed.rows[symbol]
    s.told.state = AGENT_HALTED_HERE if s.stopped and s.action != AGENT_HALTED else s.action
    s.conditions = 1 << s.told.state | 1 << (OF_MARKET + s.told.market)
    if s.told.short_sale == AGENT_SHORT_RESTRICTED:
        s.conditions |= RESTRICTED
    row.state = s.told.state
    row.short_sale = s.told.short_sale
    row.auction = s.told.auction
    row.collar_low = <uint64_t> s.told.collar_low
    row.collar_high = <uint64_t> s.told.collar_high


cdef inline uint32_t add_symbol(Core *e, const Name *name, const char *exchange_name, bint traded) noexcept nogil:
    """Add a symbol, for which there must be room (Feed.capacity). exchange_name: 8 characters, as orders have it.
    Returns its index."""
    cdef uint32_t i = e.feed.symbols
    e.feed.symbols += 1
    e.feed.rows[i].name = name.word
    e.feed.rows[i].name_8 = name.word_8
    e.feed.rows[i].name_16 = name.word_16
    e.feed.name_bits |= name_bit(name.word)
    e.feed.traded[i] = traded
    e.feed.states[i].action = <uint8_t> e.feed.first_action
    e.feed.states[i].told.market = e.feed.market
    show_state(e, i)
    find_name_slot(e, name)[0] = <uint16_t> (i + 1)
    ouch.build_order_template(e.orders.enter_frames + 64 * <size_t> i, exchange_name, ouch.SYMBOL_SIZE)
    return i


cdef inline const uint8_t *get_exchange_name(const Core *e, uint32_t symbol) noexcept nogil:
    """Returns the name that the exchange has for a symbol, OUCH's 8 characters, padded with spaces."""
    return e.orders.enter_frames + 64 * <size_t> symbol + ouch.SYMBOL_AT


cdef inline void init_core(Core *e, agent_shm *shm, uint8_t *memory, uint32_t capacity,
                           const FeedFormat *format, agent_strategy *strategy, void *state) noexcept nogil:
    """Begin without symbols and without a connection. shm: agent_shm_size(capacity) writable bytes. memory:
    tables_size(capacity) zeroed bytes, aligned to a cache line."""
    cdef int i
    memset(e, 0, sizeof(e[0]))
    agent_shm_init(shm, capacity)
    e.shm = shm
    e.counters = &shm.counters
    e.histograms = &shm.histograms
    e.risk.limits = &shm.limits
    e.feed.rows = shm.symbols
    e.feed.capacity = capacity
    e.feed.format = format[0]
    e.orders.open = <OpenOrder *> next_part(&memory, SLOTS * sizeof(OpenOrder))
    e.session.stream = next_part(&memory, STREAM)
    e.feed.by_locate = <int16_t *> next_part(&memory, LOCATES * sizeof(int16_t))
    e.feed.by_name = <uint16_t *> next_part(&memory, NAME_SLOTS * sizeof(uint16_t))
    e.feed.name_seed = <uint64_t> monotonic_ns()
    e.orders.enter_frames = next_part(&memory, <size_t> capacity * 64)
    e.orders.executions = <Execution *> next_part(&memory, EXECUTIONS * sizeof(Execution))
    e.feed.traded = next_part(&memory, capacity)
    e.risk.symbols = <SymbolRisk *> next_part(&memory, capacity * sizeof(SymbolRisk))
    e.feed.last_quotes = <QuoteOrder *> next_part(&memory, <size_t> capacity * sizeof(QuoteOrder))
    init_clock(&e.feed.clock, NO_UNIT, &e.counters.stamps_mixed, &e.counters.stamps_implausible)
    e.feed.states = <SymbolState *> next_part(&memory, capacity * sizeof(SymbolState))
    e.feed.market_code = c'Q'
    e.feed.day_clock = BEFORE_FIRST
    read_choices(e)
    for i in range(LOCATES):
        e.feed.by_locate[i] = NOT_SEEN
    ouch.build_replace_template(e.orders.replace_frame)
    ouch.build_cancel_template(e.orders.cancel_frame)
    e.orders.cancel_at = SLOTS
    e.strategy.table = strategy
    e.strategy.state = state
    e.session.socket = -1
