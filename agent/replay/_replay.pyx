# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A recording through the engine's own path, as fast as memory gives it: parse -> book -> strategy -> gate -> order.

No sockets: an order that passes the gate is encoded, counted and done with. Time is the recording's, so that the
rate limit means what it means live.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

cimport agent.protocols.binaryfile as binaryfile
cimport agent.protocols.text as lines
from agent.book.order_book cimport books_init, books_likely, books_size, books_table
from agent.engine.arguments cimport MOST_SYMBOLS, check_count, check_strategy, check_symbols
from agent.engine.market cimport handle_message
from agent.engine.setup cimport add_symbol, init_core, next_part, padded_name, tables_size
from agent.engine.state cimport READY, Core
from agent.protocols.formats cimport BINARYFILE, STAMPED_LINES, FeedFormat, require_feed_format
from agent.protocols.wire cimport load48, load64
from agent.shm.blocks cimport Block, block_free, block_reserve
from agent.shm.clock cimport monotonic_ns
from agent.shm.segment cimport agent_shm, agent_shm_size, set_limits
from agent.strategy.abi cimport agent_strategy


cdef class Replay:
    """The path and its memory, without a connection. Raises ValueError for arguments that are out of range, and
    MemoryError.

    strategy, state: addresses of a struct agent_strategy with no NULL in it, and of its initialised state.
    symbols: those wanted, at most 8 characters each; none: all that the recording has, up to `capacity`.
    feed_format: one of agent.protocols.formats.NAMES.
    orders, levels: capacity of the books (ITCH): open orders of all symbols, price levels on a side of each.
    limits: as of limits(). owner: of the memory at strategy and state; it is held as long as the replay lives.
    """

    cdef Core core
    cdef Block memory           # the segment, and behind it the tables of the core
    cdef Block books
    cdef object held
    cdef readonly uint32_t capacity
    cdef uint64_t by_type[256]

    def __cinit__(self, *, uintptr_t strategy, uintptr_t state, symbols=(), uint32_t capacity=MOST_SYMBOLS,
                  str feed_format="itch", uint64_t orders=1 << 22, uint32_t levels=4096, limits=None, owner=None):
        cdef Core *e = &self.core
        cdef uint8_t *at
        cdef size_t size
        cdef FeedFormat format
        require_feed_format(feed_format, &format)
        check_strategy(strategy)
        check_symbols(symbols)
        check_count("symbols" if symbols else "capacity", len(symbols) or capacity)
        self.held = owner
        memset(self.by_type, 0, sizeof(self.by_type))
        self.capacity = <uint32_t> len(symbols) or capacity
        # Not block_map(): a replay leaves the host's huge pages to engines.
        size = agent_shm_size(self.capacity) + 64 + tables_size(self.capacity)
        if not block_reserve(&self.memory, size, size):
            raise MemoryError(f"capacity: {self.capacity} symbols take {size} bytes")
        at = <uint8_t *> self.memory.at
        e.shm = <agent_shm *> next_part(&at, agent_shm_size(self.capacity))
        init_core(e, e.shm, at, self.capacity, &format, <agent_strategy *> strategy, <void *> state)
        e.orders.simulated = True
        e.session.state = READY
        for symbol in symbols:
            add_symbol(e, padded_name(symbol, len(symbol)), True)
        if format.parse == NULL:
            # The orders are all over their table from the first messages on; of the levels a few are used.
            size = books_size(self.capacity, orders, levels)
            if not block_reserve(&self.books, size, books_table(orders)):
                raise MemoryError(f"orders: {orders} with {levels} levels take {size} bytes")
            books_init(&e.feed.books, self.books.at, self.capacity, orders, levels)
        self.limits(**(limits or {}))

    def __dealloc__(self):
        block_free(&self.books)
        block_free(&self.memory)

    def limits(self, **values):
        """Set limits by the names of AGENT_LIMITS, in their units. Raises ValueError for an unknown one."""
        set_limits(self.core.shm, values)

    def run(self, const uint8_t[::1] chunk):
        """Handle all whole records in chunk (BinaryFILE records, or lines). Returns the nanoseconds that took."""
        cdef Core *e = &self.core
        cdef const uint8_t *at = &chunk[0] if chunk.shape[0] else NULL
        cdef const uint8_t *end = at + chunk.shape[0]
        cdef const uint8_t *data = NULL
        cdef uint32_t size = 0
        cdef int64_t begun
        cdef int kind
        cdef uint64_t sequence = e.counters.messages, good
        with nogil:
            begun = monotonic_ns()
            if e.feed.format.framing == BINARYFILE:
                while binaryfile.next_record(&at, end, &data, &size) == binaryfile.RECORD:
                    sequence += 1
                    if end - at >= 21:
                        # Of what comes next: the order reference number that most types have there.
                        books_likely(&e.feed.books, load64(at + 13))
                    if size >= 11:
                        e.received = <int64_t> load48(data + 5)     # the recording's time
                    good = e.counters.itch
                    handle_message(e, data, size, sequence)
                    if e.counters.itch != good:
                        self.by_type[data[0]] += 1
            else:
                while lines.next_line(&at, end, &data, &size):
                    if e.feed.format.framing == STAMPED_LINES:
                        kind = lines.split_stamp(data, size, &e.received, &data, &size)
                        if kind == lines.NO_LINE:
                            continue
                        if kind < 0:
                            e.counters.malformed_field += 1
                            continue
                    sequence += 1
                    handle_message(e, data, size, sequence)
            begun = monotonic_ns() - begun
        return begun

    @property
    def segment_bytes(self):
        """The counters, histograms, limits and symbols, as agent.shm.segment.decode() reads them."""
        cdef agent_shm *shm = self.core.shm
        shm.symbols_count = self.core.feed.symbols
        return (<const char *> shm)[:agent_shm_size(self.capacity)]

    @property
    def types(self):
        """Well-formed ITCH messages by type letter."""
        return {chr(i): int(self.by_type[i]) for i in range(256) if self.by_type[i]}
