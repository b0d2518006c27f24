# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The data plane, for Python: one thread, run to completion, without the GIL from start to stop (loop.pxd)."""

from libc.signal cimport SIGINT, SIGTERM, sig_atomic_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.mman cimport MCL_CURRENT, MCL_FUTURE, mlockall
from posix.signal cimport sigaction, sigaction_t

from agent.book.order_book cimport books_init, books_size
from agent.engine.arguments cimport check_count, check_strategy, check_symbols, pad_exchange_name
from agent.engine.conditions cimport read_choices
from agent.engine.contradictions cimport remember_contradiction
from agent.engine.decisions cimport note_limit
from agent.engine.executions cimport remember_execution
from agent.engine.loop cimport FEEDS, REQUESTS, Loop, copy_feed_counters, do_housekeeping, handle_datagram, run_loop
from agent.engine.losses cimport DAY, set_profit
from agent.engine.open_orders cimport add_closed, add_open, find_open
from agent.engine.receive cimport BATCH, SOURCES, STRIDE, init_receiver, set_sources
from agent.engine.session cimport drop_connection, step_session
from agent.engine.setup cimport add_symbol, init_core, next_part, tables_size, write_name
from agent.engine.state cimport (CATCHING_UP, LIVE, READY, RUNNING, SENT, SLOTS, STOP_BEHIND, STOP_LOST,
                                 STOP_NO_PAST, STOP_REFUSED, STOP_SIGNAL, Core, Name, OpenOrder, SymbolRisk, product,
                                 wide, UNSEEN)
from agent.protocols.formats cimport FeedFormat, require_feed_format
from agent.protocols.moldudp64 cimport mold_init
from agent.protocols.stamps cimport init_clock, require_unit
from agent.protocols.wire cimport store16
from agent.shm.blocks cimport Block, block_free, block_map
from agent.shm.clock cimport monotonic_ns, realtime_ns
from agent.shm.ring cimport Ring
from agent.shm.segment cimport AGENT_CONNECTING, AGENT_STOPPED, agent_shm, agent_shm_size, set_limits
from agent.shm.series cimport Series
from agent.strategy.abi cimport AGENT_ABI, agent_strategy
from agent.system cimport AF_INET, MSG_DONTWAIT, MSG_NOSIGNAL, close, send

from agent import errors
from hosttune import _build


cdef volatile sig_atomic_t stop_requested = 0      # number of the signal; 0: none


cdef void request_stop(int number) noexcept nogil:
    """The handler of SIGTERM and SIGINT."""
    global stop_requested
    stop_requested = number


cdef class Engine:
    """The loop and its memory. Errors of arguments raise ValueError; nothing raises in the loop.

    segment: writable buffer of exactly agent.shm._segment.size(symbols) bytes, zeroed here.
    strategy, state: addresses of a struct agent_strategy with no NULL in it, and of its initialised state.
    symbols: at most 20 characters each (ITCH: 8); traded: for each, whether this shard trades it; exchange_names: for
    each, its name in orders, at most 8 characters; default: the same.
    feed_format: one of agent.protocols.formats.NAMES. time_unit: of the exchange's times in quotes and trades, ms, us,
    ns, or auto: told by their size.
    feeds: file descriptors of line A, line B and the request socket, -1 for none. sources: of each, the IPv4 addresses
    that datagrams may come from, 4 bytes each, at most 8; none: any.
    address, port: of the exchange, IPv4. user, password: at most 6 and 10 characters.
    orders, levels: capacity of the books (ITCH): open orders of all symbols, price levels on a side of each.
    store: bytes for packets after a gap.
    wait_ns, limit_ns: before a retransmission is asked for, and before messages are given up.
    start: the first sequence number that is wanted; 0: from wherever the feed is.
    feed_session: the MoldUDP64 session to read, at most 10 characters; b"": any. silence_ns: after which another
    session may take the place of one that did not end. max_jump: messages that a packet may be ahead and be believed.
    once: the end of the exchange's session ends the loop.
    stamps: time each stage of the path. receive_stamps: the feeds' sockets have SO_TIMESTAMPING set.
    give_up_after_ns: without a connection, after which the loop ends.
    yield_every_ns, yield_ns: how often the loop sleeps while nothing is due, and for how long
    (less than a second); 0: it never does.
    timer_ns: from one call of on_timer to the next; 0: it is never called.
    warm_ns: how often code and data are read while there are no ticks; 0: never.
    market_code: of the market whose operational halts stop orders (ITCH): b"Q", b"B" or b"X".

    Raises ValueError for an argument that is out of range, and MemoryError, which names the setting that takes so much.
    """

    cdef Loop *loop
    cdef object held            # what the loop uses and does not own: segment, rings, series
    cdef Block books
    cdef Block memory           # all else that the loop writes, but for the segment

    def __cinit__(self, segment, *, uintptr_t strategy, uintptr_t state, symbols, traded=None,
                  exchange_names=None, str feed_format="binance", str time_unit="auto", feeds=(-1, -1, -1),
                  bytes address=b"\x7f\0\0\1", int port=1,
                  bytes user=b"", bytes password=b"", uint64_t orders=0, uint32_t levels=0, uint64_t store=1 << 20,
                  int64_t wait_ns=0, int64_t limit_ns=1000000000, uint64_t start=0, sources=(b"", b"", b""),
                  bytes feed_session=b"", int64_t silence_ns=3000000000, uint64_t max_jump=1000, bint once=False,
                  bint stamps=False, bint receive_stamps=False, int64_t give_up_after_ns=0,
                  int64_t yield_every_ns=0, int64_t yield_ns=0, int64_t timer_ns=0, int64_t warm_ns=0,
                  bytes market_code=b"Q"):
        cdef uint8_t[::1] shm = segment
        cdef Core *e
        cdef uint8_t *at
        cdef size_t size, tables, buffers
        cdef int i, unit = require_unit(time_unit)
        cdef Name name
        cdef FeedFormat format
        require_feed_format(feed_format, &format)
        check_strategy(strategy)
        check_symbols(symbols, &format)
        exchange_names = [pad_exchange_name(text) for text in exchange_names or symbols]
        check_count("symbols", len(symbols))
        if len(user) > 6 or len(password) > 10 or len(address) != 4:
            raise ValueError("user: at most 6 bytes, password: at most 10, address: 4")
        if len(feed_session) > 10 or any(len(part) % 4 or len(part) > 4 * SOURCES for part in sources):
            raise ValueError("feed_session: at most 10 bytes, sources: 4 bytes each, at most 8")
        if market_code not in (b"Q", b"B", b"X"):
            raise ValueError(f"market_code: {market_code!r}, allowed: b'Q', b'B', b'X'")
        if <uint64_t> shm.shape[0] != agent_shm_size(len(symbols)):
            raise ValueError(f"segment: {shm.shape[0]} bytes, expected {agent_shm_size(len(symbols))}")
        self.loop = <Loop *> calloc(1, sizeof(Loop))
        if self.loop == NULL:
            raise MemoryError
        self.held = segment
        e = &self.loop.core
        e.session.socket = -1       # __dealloc__ closes it, also of an object that is not complete
        size = books_size(len(symbols), orders, levels)
        if format.parse == NULL and not block_map(&self.books, size):
            raise MemoryError(f"book.orders: {orders} with {levels} levels take {size} bytes")
        tables = tables_size(len(symbols))
        buffers = sum(1 for descriptor in feeds if descriptor >= 0) * BATCH * STRIDE
        if not block_map(&self.memory, tables + buffers + store):
            raise MemoryError(f"feed.store: {store} and the engine's own tables take {tables + buffers + store} bytes")
        at = <uint8_t *> self.memory.at
        init_core(e, <agent_shm *> &shm[0], at, len(symbols), &format, <agent_strategy *> strategy, <void *> state)
        for i, symbol in enumerate(symbols):
            write_name(&name, symbol, len(symbol))
            add_symbol(e, &name, <const char *> <bytes> exchange_names[i], traded is None or bool(traded[i]))
        init_clock(&e.feed.clock, unit, &e.counters.stamps_mixed, &e.counters.stamps_implausible)
        at += tables
        for i in range(FEEDS):
            self.loop.feeds[i] = feeds[i]
            if feeds[i] >= 0:
                init_receiver(&self.loop.receivers[i], next_part(&at, BATCH * STRIDE), receive_stamps)
                set_sources(&self.loop.receivers[i], <const char *> <bytes> sources[i], len(sources[i]) // 4)
        mold_init(&e.feed.mold, at, store, wait_ns, limit_ns, self.loop.feeds[REQUESTS] >= 0, start)
        self.set_session(feed_session, silence_ns, max_jump)
        if format.parse == NULL:
            e.counters.book_huge_pages = self.books.huge
            books_init(&e.feed.books, self.books.at, e.feed.symbols, orders, levels)
        e.feed.market_code = market_code[0]
        e.stamps = stamps
        e.journal.realtime_offset = realtime_ns() - monotonic_ns()
        e.risk.day = realtime_ns() // DAY
        self.loop.stepped_at = -1
        self.set_exchange(address, port, user, password)
        e.session.give_up_after = give_up_after_ns
        e.session.once = once
        self.loop.stop_requested = &stop_requested
        self.loop.yield_every = yield_every_ns
        self.loop.yield_for.tv_nsec = yield_ns
        self.loop.timer_every = timer_ns
        self.loop.warm_every = warm_ns

    cdef void set_session(self, bytes session, int64_t silence_ns, uint64_t max_jump):
        """Which session of the feed is read, and what is believed of it."""
        cdef Core *e = &self.loop.core
        e.feed.mold.quiet_ns = silence_ns
        e.feed.mold.reach = max_jump
        if session:
            memset(e.feed.session, c' ', 10)
            memcpy(e.feed.session, <const char *> session, len(session))
            e.feed.mold.wanted = e.feed.session

    cdef void set_exchange(self, bytes address, int port, bytes user, bytes password):
        """Whom to connect to, and as whom to log in; the exchange's session is not known yet."""
        cdef Core *e = &self.loop.core
        e.session.address.sin_family = <unsigned short> AF_INET
        memcpy(&e.session.address.sin_addr.s_addr, <const char *> address, 4)
        store16(<uint8_t *> &e.session.address.sin_port, <uint16_t> port)
        memset(e.session.user, c' ', 6)
        memset(e.session.password, c' ', 10)
        memset(e.session.id, c' ', 10)
        memset(e.session.former, c' ', 10)
        memcpy(e.session.user, <const char *> user, len(user))
        memcpy(e.session.password, <const char *> password, len(password))

    def __dealloc__(self):
        if self.loop != NULL:
            if self.loop.core.session.socket >= 0:
                close(self.loop.core.session.socket)
            free(self.loop)
        block_free(&self.memory)
        block_free(&self.books)

    def identify(self, int pid, uint64_t start_time, int64_t started_ns, bytes boot_id, int receive_buffer):
        """Write who owns the segment: pid, its start time, CLOCK_REALTIME ns, the boot's id; and this build."""
        cdef agent_shm *shm = self.loop.core.shm
        shm.pid = pid
        shm.start_time = start_time
        shm.started_ns = started_ns
        memcpy(shm.boot_id, <const char *> boot_id, min(<int> len(boot_id), 39))
        build = _build.VERSION.encode()
        memcpy(shm.build, <const char *> build, min(<int> len(build), <int> sizeof(shm.build) - 1))
        shm.abi = AGENT_ABI
        self.loop.core.counters.receive_buffer = receive_buffer
        shm.heartbeat_ns = monotonic_ns()

    def limits(self, **values):
        """Set limits by the names of AGENT_LIMITS, in their units, as agent.toml has them. Raises ValueError for an
        unknown one."""
        cdef Core *e = &self.loop.core
        set_limits(&e.shm.limits, values)
        set_limits(&e.shm.configured, values)
        set_limits(&e.decisions.known, values)
        read_choices(e)

    def restore_limits(self, *, bint killed, uint32_t uid, uint32_t login, **values):
        """Put the journal's decisions in force, behind restore(): limits by the names of AGENT_LIMITS, in their units.
        killed: the kill switch was on in the segment of an engine that ended, whatever the journal says; uid, login:
        who did that, for the journal. A switch that is on stays so. Raises ValueError for an unknown limit."""
        cdef Core *e = &self.loop.core
        set_limits(&e.decisions.known, values)
        set_limits(&e.decisions.apart, dict.fromkeys(values, 1))
        set_limits(&e.shm.limits, {name: value for name, value in values.items() if name != "kill"})
        if killed or e.decisions.known.kill:
            e.shm.limits.kill = 1
        if killed and not e.decisions.known.kill:
            note_limit(e, <uint32_t> (&e.shm.limits.kill - <uint64_t *> &e.shm.limits), 1, uid, login)
        read_choices(e)

    def attach_memory(self, *, journal=None, feed=None, series=None):
        """Use what other objects map, which are held as long as the engine lives. journal, feed: agent.shm.ring.Ring,
        to write and to read. series: agent.shm._series.Writer with the engine's symbols."""
        self.held = (self.held, journal, feed, series)
        if series is not None:
            self.loop.core.feed.series = <Series *> <uintptr_t> series.address
        if journal is not None:
            self.loop.core.journal.ring = <Ring *> <uintptr_t> journal.address
        if feed is not None:
            self.loop.ring = <Ring *> <uintptr_t> feed.address

    def restore(self, *, uint32_t reference, positions, open_orders, bytes session, uint64_t sequence,
                bint over, executions, uint32_t contradicted, uint64_t records, today=None, done=()):
        """What the journal says: the last UserRefNum; (symbol index, units) of positions; (id, symbol index,
        side, leaves, price with 4 decimals, tag, original, filled, accepted) of open orders; the exchange's session,
        the sequenced messages read in it, and whether it is over; (id, match number, symbol index, side, units,
        price) of the last executions, 0 units for one that was taken back; why the gate is shut; records so far;
        the last day (agent.journal.rebuild.Today); (id, symbol index, side, price, filled, accepted, whether the
        exchange has not seen it) of orders that are done. Raises ValueError for an order or a position that the engine
        has no place for; then it may have some of them."""
        cdef Core *e = &self.loop.core
        cdef OpenOrder *o
        e.orders.reference = reference
        for symbol, units in positions:
            if not 0 <= symbol < e.feed.capacity:
                raise ValueError(f"position of symbol {symbol}, allowed: below {e.feed.capacity}")
            e.feed.rows[symbol].position = <uint64_t> <int64_t> units
        for id, symbol, side, price, filled, accepted, unseen in done:
            if not 0 <= symbol < e.feed.capacity or side not in (1, -1):
                raise ValueError(f"order {id} of symbol {symbol}, side {side}: none that the engine has a place for")
            add_closed(e, id, symbol, side, filled, price, UNSEEN if unseen else LIVE if accepted else SENT)
            if accepted and not unseen:
                e.orders.confirmed = max(e.orders.confirmed, <uint32_t> id)
        for id, symbol, side, leaves, price, tag, original, filled, accepted in open_orders:
            if not 0 <= symbol < e.feed.capacity or side not in (1, -1) or not 0 < leaves < 1 << 32 \
                    or not 0 < id < 1 << 32 or e.orders.open[id & (SLOTS - 1)].id != 0:
                raise ValueError(f"open order {id} of symbol {symbol}, side {side}, {leaves} units: "
                                 "no order that the engine has a place for")
            o = add_open(e, id, symbol, side, leaves, price, tag)
            o.original = original
            o.filled = filled
            o.state = LIVE if accepted else SENT
            if accepted:
                e.orders.confirmed = max(e.orders.confirmed, <uint32_t> id)
        for id, _, _, _, _, _, original, _, accepted in open_orders:
            o = find_open(e, original)
            if o != NULL and not accepted:
                o.replacement = id
        memset(e.session.id, c' ', 10)
        memcpy(e.session.id, <const char *> session, min(len(session), 10))
        e.session.sequence = sequence
        e.session.over = over
        for id, match, symbol, side, units, price in executions:
            if not 0 <= symbol < e.feed.capacity:
                raise ValueError(f"execution of symbol {symbol}, allowed: below {e.feed.capacity}")
            remember_execution(e, match, id, symbol, side, units, price)
        if contradicted:
            remember_contradiction(e, contradicted)
            snprintf(e.shm.tripped, sizeof(e.shm.tripped), "contradicted before the start: the journal says what")
        e.journal.records = records
        if today is not None:
            self.restore_day(today)

    cdef wide to_wide(self, value) except? -1:
        """Returns a number of Python's. Raises OverflowError for one of more than 127 bits."""
        cdef int64_t high = value >> 64
        cdef uint64_t low = value & 0xFFFFFFFFFFFFFFFF
        return product(high, 1ULL << 63) * 2 + <wide> low

    cdef int restore_day(self, today) except -1:
        """Orders, profit and loss of the day that the journal ends in; positions are there already."""
        cdef Core *e = &self.loop.core
        cdef SymbolRisk *s
        e.risk.day = today.day
        e.risk.orders_today = today.orders
        for symbol, money in today.symbols.items():
            if not 0 <= symbol < e.feed.capacity:
                raise ValueError(f"profit of symbol {symbol}, allowed: below {e.feed.capacity}")
            s = &e.risk.symbols[symbol]
            s.cash = self.to_wide(money.cash)
            s.mark = s.last = money.last
            set_profit(e, symbol)
            s.peak = max(s.peak, self.to_wide(money.peak))
        e.risk.peak = max(e.risk.profit, self.to_wide(today.peak))

    def handle_datagram(self, bytes data not None, int64_t received=0, int line=0):
        """Handle one datagram as if it had been received at `received` (CLOCK_MONOTONIC, ns)."""
        self.loop.core.received = received or monotonic_ns()
        handle_datagram(self.loop, <const uint8_t *> <const char *> data, <uint32_t> len(data), line,
                        self.loop.core.received)
        copy_feed_counters(&self.loop.core)

    def do_housekeeping(self, int64_t at=0):
        """What the loop does every 5 ms, at `at` (CLOCK_MONOTONIC, ns)."""
        do_housekeeping(self.loop, at or monotonic_ns())

    def attach_socket(self, int descriptor):
        """Trade over a connected, non-blocking TCP socket that is logged in; takes it over."""
        cdef Core *e = &self.loop.core
        e.session.socket = descriptor
        e.session.state = READY
        e.session.last_sent = e.session.last_received = monotonic_ns()

    def step_session(self):
        """Look at the exchange once: send what was kept, read what came."""
        self.loop.core.received = monotonic_ns()
        step_session(&self.loop.core, False)

    cdef tuple end_reason(self):
        """Returns why the loop ended, one line, and the exit code of `agent run`."""
        cdef Core *e = &self.loop.core
        if e.stop == STOP_SIGNAL:
            return f"stopped by signal {int(stop_requested)}", errors.OK
        if e.stop == STOP_LOST:
            return "the connection to the exchange was lost", errors.CONNECTION_LOST
        if e.stop == STOP_REFUSED:
            letter = chr(e.session.login_reason)
            why = {"A": "not authorised", "S": "session not available"}.get(letter, "unknown reason")
            return f"the exchange refused the login: {letter} ({why})", errors.FAILED
        if e.stop == STOP_NO_PAST:
            return "the exchange does not send again what was missed, so positions are unknown: see docs/journal.md", \
                errors.FAILED
        if e.stop == STOP_BEHIND:
            return "the exchange's session has fewer messages than the journal: see docs/journal.md", errors.FAILED
        return "the exchange ended the session", errors.OK

    def run(self, announce=None):
        """Run the loop without the GIL until it ends; SIGTERM and SIGINT end it. Returns the reason, one line, and the
        exit code: OK asked to end, FAILED login refused, CONNECTION_LOST (agent.errors). announce: called when these
        signals are the loop's already, just before the loop begins; what it raises ends the run."""
        global stop_requested
        cdef sigaction_t action
        cdef sigaction_t old_term
        cdef sigaction_t old_int
        cdef Loop *loop = self.loop
        cdef Core *e = &loop.core
        if loop.feeds[0] < 0 and loop.ring == NULL:
            raise ValueError("feed: no socket and no ring")
        memset(&action, 0, sizeof(action))
        action.sa_handler = request_stop
        stop_requested = 0
        e.stop = RUNNING
        sigaction(SIGTERM, &action, &old_term)
        sigaction(SIGINT, &action, &old_int)
        try:
            if announce is not None:
                announce()
            e.shm.heartbeat_ns = monotonic_ns()
            e.shm.state = AGENT_CONNECTING
            with nogil:
                run_loop(loop)
                do_housekeeping(loop, monotonic_ns())
        finally:
            sigaction(SIGTERM, &old_term, NULL)
            sigaction(SIGINT, &old_int, NULL)
        reason, code = self.end_reason()
        if e.session.state >= CATCHING_UP:
            send(e.session.socket, <const char *> b"\x00\x01O", 3, MSG_DONTWAIT | MSG_NOSIGNAL)
            drop_connection(e, monotonic_ns())
        text = reason.encode()
        memcpy(e.shm.ended, <const char *> text, len(text))
        e.strategy.table.fini(e.strategy.state)
        e.shm.state = AGENT_STOPPED
        return reason, code


def lock_memory():
    """Lock the memory of the process, now and for later mappings: mlockall(2). Returns False if it was refused."""
    return mlockall(MCL_CURRENT | MCL_FUTURE) == 0
