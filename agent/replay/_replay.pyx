# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A recording through the engine's own path, as fast as memory gives it: parse -> book -> strategy -> gate -> order.

No sockets: an order that passes the gate is encoded, counted and done with. Time is the recording's, so that the
rate limit means what it means live.
"""

from libc.stdlib cimport calloc, free
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

cimport agent.protocols.binaryfile as binaryfile
cimport agent.protocols.text as lines
cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport agent_strategy
from agent.book.order_book cimport books_init, books_likely, books_size, books_table
from agent.engine.state cimport BINANCE, CSV, ITCH, LOCATES, NOT_SEEN, READY, SLOTS, Core, OpenOrder
from agent.shm.blocks cimport Block, block_give, block_reserve
from agent.engine.market cimport message
from agent.shm.segment cimport agent_limits, agent_shm, agent_shm_init, agent_shm_size
from agent.protocols.wire cimport load48, load64, now


cdef class Replay:
    """The path and its memory, without a link. Errors of arguments raise ValueError.

    strategy, state: addresses of a struct agent_strategy with no NULL in it, and of its initialised state.
    symbols: those wanted, at most 8 characters each; none: all that the recording has, up to `room`.
    feed_format: "binance", "itch" or "csv". orders, levels: capacity of the books (ITCH).
    """

    cdef Core core
    cdef void *segment
    cdef Block books
    cdef object keep
    cdef readonly uint32_t room
    cdef uint64_t by_type[256]

    def __cinit__(self, *, uintptr_t strategy, uintptr_t state, symbols=(), uint32_t room=16384, str feed_format="itch",
                  uint64_t orders=1 << 22, uint32_t levels=4096, limits=None, keep=None):
        cdef Core *e = &self.core
        cdef uint64_t key
        cdef int i
        if strategy == 0:
            raise ValueError("strategy: NULL")
        if feed_format not in ("binance", "itch", "csv"):
            raise ValueError(f"feed_format: {feed_format!r}, allowed: binance, itch, csv")
        for symbol in symbols:
            if not 1 <= len(symbol) <= 8:
                raise ValueError(f"symbol: {symbol!r}, allowed: 1 to 8 characters")
        self.keep = keep
        memset(e, 0, sizeof(Core))
        memset(self.by_type, 0, sizeof(self.by_type))
        if symbols:
            room = <uint32_t> len(symbols)
        self.room = room
        self.segment = calloc(1, agent_shm_size(room))
        e.orders.open = <OpenOrder *> calloc(SLOTS, sizeof(OpenOrder))
        e.feed.by_locate = <int16_t *> calloc(LOCATES, sizeof(int16_t))
        e.orders.enter_frames = <uint8_t *> calloc(room, 64)
        e.feed.traded = <uint8_t *> calloc(room, 1)
        e.risk.last_key = <uint64_t *> calloc(room, 8)
        e.risk.last_key_at = <int64_t *> calloc(room, 8)
        if self.segment == NULL or e.orders.open == NULL or e.feed.by_locate == NULL or e.orders.enter_frames == NULL \
                or e.feed.traded == NULL or e.risk.last_key == NULL or e.risk.last_key_at == NULL:
            raise MemoryError
        e.shm = <agent_shm *> self.segment
        agent_shm_init(e.shm, room)
        e.counters = &e.shm.counters
        e.histograms = &e.shm.histograms
        e.risk.limits = &e.shm.limits
        e.feed.rows = e.shm.symbols
        e.feed.capacity = room
        e.orders.simulated = True
        e.session.state = READY
        e.feed.format = {"binance": BINANCE, "itch": ITCH, "csv": CSV}[feed_format]
        e.session.socket = -1
        for i in range(LOCATES):
            e.feed.by_locate[i] = NOT_SEEN
        for i, symbol in enumerate(symbols):
            key = 0x2020202020202020
            memcpy(&key, <const char *> symbol, len(symbol))
            e.feed.rows[i].name = key
            e.feed.traded[i] = True
            ouch.order_template(e.orders.enter_frames + 64 * i, <const char *> symbol, <int> len(symbol))
            e.feed.symbols += 1
        ouch.replace_template(e.orders.replace_frame)
        ouch.cancel_template(e.orders.cancel_frame)
        if e.feed.format == ITCH:
            # The orders are all over their table from the first messages on; of the levels a few are used.
            if not block_reserve(&self.books, books_size(room, orders, levels), books_table(orders)):
                raise MemoryError
            books_init(&e.feed.books, self.books.at, room, orders, levels)
        e.strategy.table = <agent_strategy *> strategy
        e.strategy.state = <void *> state
        e.orders.cancel_at = SLOTS
        self.limits(**(limits or {}))

    def __dealloc__(self):
        free(self.core.orders.open)
        free(self.core.feed.by_locate)
        free(self.core.orders.enter_frames)
        free(self.core.feed.traded)
        free(self.core.risk.last_key)
        free(self.core.risk.last_key_at)
        block_give(&self.books)
        free(self.segment)

    def limits(self, **values):
        """Set limits by the names of AGENT_LIMITS, in their units; ValueError for an unknown one."""
        cdef uint64_t *words = <uint64_t *> &self.core.shm.limits
        names = ("kill", "max_size", "max_notional", "collar_ppm", "max_position", "max_open_orders",
                 "rate_interval_ns", "rate_burst_ns", "duplicate_ns")
        for name, value in values.items():
            if name not in names:
                raise ValueError(f"limit: {name!r}, allowed: {', '.join(names)}")
            words[names.index(name)] = <uint64_t> <int64_t> value

    def run(self, const uint8_t[::1] chunk):
        """All whole records in chunk (BinaryFILE records, or lines); the nanoseconds it took."""
        cdef Core *e = &self.core
        cdef const uint8_t *at = &chunk[0] if chunk.shape[0] else NULL
        cdef const uint8_t *end = at + chunk.shape[0]
        cdef const uint8_t *data = NULL
        cdef uint32_t size = 0
        cdef int64_t begun
        cdef int kind
        cdef uint64_t sequence = e.counters.messages, good
        with nogil:
            begun = now()
            if e.feed.format == ITCH:
                while binaryfile.next_record(&at, end, &data, &size) == binaryfile.RECORD:
                    sequence += 1
                    if end - at >= 21:
                        # Of what comes next: the order reference number that most types have there.
                        books_likely(&e.feed.books, load64(at + 13))
                    if size >= 11:
                        e.received = <int64_t> load48(data + 5)     # the recording's time
                    good = e.counters.itch
                    message(e, data, size, sequence)
                    if e.counters.itch != good:
                        self.by_type[data[0]] += 1
            else:
                while lines.next_line(&at, end, &data, &size):
                    if e.feed.format == BINANCE:
                        kind = lines.stamped(data, size, &e.received, &data, &size)
                        if kind == lines.EMPTY:
                            continue
                        if kind < 0:
                            e.counters.malformed_field += 1
                            continue
                    sequence += 1
                    message(e, data, size, sequence)
            begun = now() - begun
        return begun

    @property
    def segment_bytes(self):
        """The counters, histograms, limits and symbols, as agent.shm.decode() reads them."""
        cdef agent_shm *shm = self.core.shm
        shm.symbols_count = self.core.feed.symbols
        return (<const char *> self.segment)[:agent_shm_size(self.room)]

    @property
    def types(self):
        """Well-formed ITCH messages by type letter."""
        return {chr(i): int(self.by_type[i]) for i in range(256) if self.by_type[i]}
