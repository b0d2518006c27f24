# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A recording through the engine's own path, as fast as memory gives it: parse -> book -> strategy -> gate -> order.

No sockets: an order that passes the gate is encoded, counted and done with, or goes to the simulated exchange in memory
(desk.pxd). Time is the recording's, so that the rate limit means what it means live.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cimport agent.protocols.binaryfile as binaryfile
cimport agent.protocols.text as lines
from agent.book.order_book cimport books_init, books_likely, books_size, books_table
from agent.engine.arguments cimport MOST_SYMBOLS, check_count, check_strategy, check_symbols, pad_exchange_name
from agent.engine.conditions cimport read_choices
from agent.engine.market cimport handle_message
from agent.engine.setup cimport add_symbol, init_core, next_part, tables_size, write_name
from agent.engine.state cimport LOCATES, READY, Core, Name
from agent.engine.unlikely cimport unlikely
from agent.protocols.formats cimport BINARYFILE, LINES, STAMPED_LINES, FeedFormat, require_feed_format
from agent.protocols.stamps cimport MS, NS, US, Clock, init_clock, peek_stamp, read_stamp, require_unit
from agent.protocols.wire cimport load48, load64
from agent.replay.desk cimport (Desk, advance_clock, close_desk, open_desk, settle_orders, show_message)
from agent.replay.tape cimport Tape, is_left_out, look_at_message, was_read
from agent.replay.watch cimport MOST_WATCHED, place_of, watch_word
from agent.shm.blocks cimport Block, block_free, block_reserve
from agent.shm.clock cimport monotonic_ns
from agent.shm.segment cimport agent_shm, agent_shm_size, find_counter, set_limits
from agent.strategy.abi cimport agent_strategy

#: Words of the replay's own that are watched beside the counters.
OWN_WORDS = ("unknown_orders", "unnamed_orders", "no_room", "bad_orders", "unsettled")


cdef class Replay:
    """The path and its memory, without a connection. Raises ValueError for arguments that are out of range, and
    MemoryError.

    strategy, state: addresses of a struct agent_strategy with no NULL in it, and of its initialised state.
    symbols: those wanted, at most 20 characters each (ITCH: 8); none: all that the recording has, up to `capacity`.
    feed_format: one of agent.protocols.formats.NAMES. time_unit: of the recording's own times, which stand before each
    message or in its first column, ms, us, ns, or auto: told by their size.
    orders, levels: capacity of the books (ITCH): open orders of all symbols, price levels on a side of each.
    limits: as of limits(). owner: of the memory at strategy and state; it is held as long as the replay lives.
    watched: names of counters whose first places are wanted. unknown_orders: messages about orders that the books do
    not have are counted by symbol, and passed over; else they make the book stale.
    exchange: orders go to the simulated exchange, for which there have to be symbols; exchange_names: of each, in
    orders, at most 8 characters; default: the same. feed_time_unit: of the times in messages; timer_ns: from one call
    of on_timer to the next, of the recording's time; 0: it is never called. keep_orders: for take_orders().
    """

    cdef Tape tape
    cdef Block memory           # the segment, and behind it the tables of the core
    cdef Block books
    cdef Desk *desk             # NULL: there is no exchange
    cdef object held
    cdef readonly uint32_t capacity
    cdef tuple watched
    cdef Clock clock            # the times before each message, where the recording has them

    def __cinit__(self, *, uintptr_t strategy, uintptr_t state, symbols=(), uint32_t capacity=MOST_SYMBOLS,
                  str feed_format="itch", str time_unit="auto", uint64_t orders=1 << 22, uint32_t levels=4096,
                  limits=None, owner=None, watched=(), bint unknown_orders=False, bint exchange=False,
                  exchange_names=None, str feed_time_unit="auto", int64_t timer_ns=0, bint keep_orders=False):
        cdef Core *e = &self.tape.core
        cdef uint8_t *at
        cdef size_t size
        cdef int unit = require_unit(time_unit)
        cdef Name name
        cdef FeedFormat format
        require_feed_format(feed_format, &format)
        check_strategy(strategy)
        check_symbols(symbols, &format)
        check_count("symbols" if symbols else "capacity", len(symbols) or capacity)
        self.held = owner
        memset(&self.tape, 0, sizeof(self.tape))
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
        e.feed.recorded = True
        init_clock(&self.clock, unit, &e.counters.stamps_mixed, &e.counters.stamps_implausible)
        if format.framing == LINES:
            e.feed.clock = self.clock
        else:
            init_clock(&e.feed.clock, require_unit(feed_time_unit), &e.counters.stamps_mixed,
                       &e.counters.stamps_implausible)
        exchange_names = [pad_exchange_name(text) for text in exchange_names or ()]
        for i, symbol in enumerate(symbols):
            write_name(&name, symbol, len(symbol))
            add_symbol(e, &name, <const char *> <bytes> exchange_names[i] if exchange_names else <const char *> &name,
                       True)
        if format.parse == NULL:
            # The orders are all over their table from the first messages on; of the levels a few are used.
            size = books_size(self.capacity, orders, levels)
            if not block_reserve(&self.books, size, books_table(orders)):
                raise MemoryError(f"orders: {orders} with {levels} levels take {size} bytes")
            books_init(&e.feed.books, self.books.at, self.capacity, orders, levels)
        self.prepare_tape(not symbols, watched, unknown_orders)
        if exchange:
            self.desk = <Desk *> calloc(1, sizeof(Desk))
            if self.desk == NULL or not open_desk(self.desk, e, timer_ns):
                raise MemoryError("the exchange's orders and answers")
            self.desk.keeps = keep_orders
        self.limits(**(limits or {}))

    cdef int prepare_tape(self, bint all_symbols, object watched, bint unknown_orders) except -1:
        """Begin without a message. Raises ValueError for a counter that there is not, and MemoryError."""
        cdef Tape *t = &self.tape
        cdef const uint64_t *word
        t.all_symbols = all_symbols
        t.unnamed = <uint64_t *> calloc(LOCATES, sizeof(uint64_t))
        t.seen = <uint8_t *> calloc(self.capacity + 1, 1)
        if unknown_orders:
            t.core.feed.unknown_by_symbol = <uint64_t *> calloc(self.capacity, sizeof(uint64_t))
        if t.unnamed == NULL or t.seen == NULL or (unknown_orders and t.core.feed.unknown_by_symbol == NULL):
            raise MemoryError
        # No symbol's, until there is an event.
        t.core.strategy.event.symbol = self.capacity
        self.watched = (*watched, *OWN_WORDS)
        if len(self.watched) > MOST_WATCHED:
            raise ValueError(f"watched: {len(self.watched)} words, allowed: {MOST_WATCHED}")
        for name in watched:
            text = name.encode()
            word = find_counter(t.core.shm, text)
            if word == NULL:
                raise ValueError(f"watched: {name!r} is no counter")
            watch_word(&t.watch, word)
        watch_word(&t.watch, &t.core.feed.unknown_orders)
        watch_word(&t.watch, &t.unnamed_orders)
        watch_word(&t.watch, &t.no_room)
        watch_word(&t.watch, &t.bad_orders)
        watch_word(&t.watch, &t.unsettled)
        return 0

    def __dealloc__(self):
        if self.desk != NULL:
            close_desk(self.desk)
            free(self.desk)
        free(self.tape.core.feed.unknown_by_symbol)
        free(self.tape.seen)
        free(self.tape.unnamed)
        block_free(&self.books)
        block_free(&self.memory)

    def limits(self, **values):
        """Set limits by the names of AGENT_LIMITS, in their units. Raises ValueError for an unknown one."""
        set_limits(&self.tape.core.shm.limits, values)
        read_choices(&self.tape.core)

    def run(self, const uint8_t[::1] chunk, uint64_t byte=0, uint64_t lines_before=0):
        """Handle all whole records in chunk (BinaryFILE records, or lines). Returns the nanoseconds that took.

        byte: where the chunk begins in the content; lines_before: the lines of the file before it that no chunk had."""
        cdef Tape *t = &self.tape
        cdef const uint8_t *at = &chunk[0] if chunk.shape[0] else NULL
        cdef const uint8_t *end = at + chunk.shape[0]
        cdef int64_t begun
        with nogil:
            begun = monotonic_ns()
            if t.core.feed.format.framing == BINARYFILE:
                self.run_records(at, end, byte)
            else:
                self.run_lines(at, end, byte, lines_before)
            begun = monotonic_ns() - begun
        return begun

    cdef void run_records(self, const uint8_t *at, const uint8_t *end, uint64_t byte) noexcept nogil:
        cdef Tape *t = &self.tape
        cdef Core *e = &t.core
        cdef const uint8_t *begin = at
        cdef const uint8_t *data = NULL
        cdef uint32_t size = 0
        while binaryfile.next_record(&at, end, &data, &size) == binaryfile.RECORD:
            t.sequence += 1
            t.record.data = data
            t.record.size = size
            t.record.number = t.sequence
            t.record.byte = byte + <uint64_t> (data - 2 - begin)
            if end - at >= 21:
                # Of what comes next: the order reference number that most types have there.
                books_likely(&e.feed.books, load64(at + 13))
            if size >= 11:
                t.record.time_ns = <int64_t> load48(data + 5)
            self.handle_in_time(data, size)

    cdef void run_lines(self, const uint8_t *at, const uint8_t *end, uint64_t byte,
                        uint64_t lines_before) noexcept nogil:
        cdef Tape *t = &self.tape
        cdef const uint8_t *begin = at
        cdef const uint8_t *data = NULL
        cdef uint32_t size = 0
        cdef int kind
        while lines.next_line(&at, end, &data, &size):
            t.lines += 1
            t.record.data = data
            t.record.size = size
            t.record.number = lines_before + t.lines
            t.record.byte = byte + <uint64_t> (data - begin)
            if t.core.feed.format.framing == STAMPED_LINES:
                kind = lines.split_stamp(data, size, &t.record.time_ns, &data, &size)
                if kind == lines.NO_LINE:
                    continue
                if kind < 0:
                    t.core.counters.malformed_field += 1
                    look_at_message(t, False)
                    continue
                t.record.time_ns = read_stamp(&self.clock, t.record.time_ns)
            elif lines.parse_integer(data, data + size, &t.record.time_ns) != NULL:
                # The message's own time, which is counted with it.
                t.record.time_ns = peek_stamp(&t.core.feed.clock, t.record.time_ns)
            t.sequence += not is_left_out(data, size)
            self.handle_in_time(data, size)

    cdef inline void handle_in_time(self, const uint8_t *data, uint32_t size) noexcept nogil:
        """Handle the message in hand at the recording's time."""
        cdef Tape *t = &self.tape
        if unlikely(self.desk != NULL):
            self.handle_beside_exchange(data, size)
            return
        t.core.received = t.record.time_ns
        handle_message(&t.core, data, size, t.sequence)
        look_at_message(t, was_read(t))

    cdef void handle_beside_exchange(self, const uint8_t *data, uint32_t size) noexcept nogil:
        """Handle the message in hand, and what the exchange makes of it and of the orders."""
        cdef Tape *t = &self.tape
        advance_clock(self.desk, t, t.record.time_ns)
        handle_message(&t.core, data, size, t.sequence)
        look_at_message(t, was_read(t))
        show_message(self.desk, &t.core, data, size)
        settle_orders(self.desk, t)

    def take_orders(self):
        """Returns what was sent to the exchange since the last call: (sequence number of the message that the
        order names, the recording's time in ns, the OUCH message)."""
        cdef Desk *d = self.desk
        cdef uint64_t i
        if d == NULL:
            return []
        found = [(int(d.sent[i].sequence), int(d.sent[i].time_ns), (<const char *> d.sent[i].message)[:d.sent[i].size])
                 for i in range(d.sent_count)]
        d.sent_count = 0
        return found

    @property
    def segment_bytes(self):
        """The counters, histograms, limits and symbols, as agent.shm.segment.decode() reads them."""
        cdef agent_shm *shm = self.tape.core.shm
        shm.symbols_count = self.tape.core.feed.symbols
        return (<const char *> shm)[:agent_shm_size(self.capacity)]

    @property
    def time_unit(self):
        """The unit of the recording's own times, ms, us or ns; None where they have none, or none was read yet."""
        cdef const Core *e = &self.tape.core
        cdef const Clock *clock = &e.feed.clock if e.feed.format.framing == LINES else &self.clock
        return {MS: "ms", US: "us", NS: "ns"}.get(clock.unit)

    @property
    def types(self):
        """Well-formed ITCH messages by type letter."""
        return {chr(i): int(self.tape.by_type[i]) for i in range(256) if self.tape.by_type[i]}

    @property
    def first_places(self):
        """By the name of each watched counter, and of each of OWN_WORDS, that is above 0: how much it is, and the
        place where it was first counted: (count, number, byte, time in ns, bytes of the record, the first of these)."""
        cdef Tape *t = &self.tape
        return {name: (int(t.watch.seen[i]), *place_of(&t.watch, i)) for i, name in enumerate(self.watched)
                if t.watch.seen[i]}

    @property
    def failed_with(self):
        """What the strategy returned when it last failed; 0: it did not."""
        return int(self.tape.core.strategy.failed_with)

    @property
    def unknown_references(self):
        """Messages about orders that their book does not have, where the book was not stale before."""
        return int(self.tape.core.feed.unknown_orders)

    @property
    def unknown_by_symbol(self):
        """Messages about orders that the symbol's book did not have, by index; only where they are passed over. Those
        of a stock that no message had named before are `unnamed`."""
        cdef Tape *t = &self.tape
        if t.core.feed.unknown_by_symbol == NULL:
            return {}
        return {i: int(t.core.feed.unknown_by_symbol[i]) for i in range(t.core.feed.symbols)
                if t.core.feed.unknown_by_symbol[i]}

    @property
    def unnamed(self):
        """Of messages about orders of a stock that no message had named before: (locate code, index of its symbol if a
        later message named one, -1 one that is not wanted, -2 none did, messages)."""
        cdef Tape *t = &self.tape
        return [(i, int(t.core.feed.by_locate[i]), int(t.unnamed[i])) for i in range(LOCATES) if t.unnamed[i]]

    @property
    def seen_symbols(self):
        """Indices of the symbols that a message of the recording was of."""
        cdef Tape *t = &self.tape
        found = {i for i in range(t.core.feed.symbols) if t.seen[i]}
        return found | {int(t.core.feed.by_locate[i]) for i in range(LOCATES) if t.core.feed.by_locate[i] >= 0}
