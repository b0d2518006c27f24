# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The data plane: one thread, run to completion, without the GIL from start to stop.

    UDP (MoldUDP64, lines A and B) or a ring -> path.pxd -> TCP (SoupBinTCP, OUCH)

Nothing is allocated while the loop runs, and no system call is made per tick but the receive and,
for an order, the send.
"""

from libc.signal cimport SIGINT, SIGTERM, sig_atomic_t
from libc.stdlib cimport calloc, free
from libc.errno cimport errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from posix.mman cimport MCL_CURRENT, MCL_FUTURE, mlockall
from posix.signal cimport sigaction, sigaction_t
from posix.time cimport nanosleep, timespec

cimport agent.protocols.binance as binance
cimport agent.shm.histogram as histogram
cimport agent.protocols.ouch as ouch
from agent.strategy.abi cimport agent_strategy
from agent.book.order_book cimport GAP, books_clear, books_init, books_mark_stale, books_size
from agent.engine.state cimport (BINANCE, CATCHING_UP, CSV, ITCH, LIVE, LOCATES, NOT_SEEN, READY, RUNNING, SENT, SLOTS,
                                 STOP_LOST, STOP_REFUSED, STOP_SIGNAL, STREAM, Core, OpenOrder)
from agent.shm.blocks cimport Block, block_give, block_take
from agent.engine.session cimport SECOND, link_down, link_heartbeat, link_lost, look_at_exchange
from agent.protocols.moldudp64 cimport (LINE_A, LINE_B, LOST, NEW_SESSION, REQUEST, RETRANSMISSION,
                                       mold_arrive, mold_init, mold_next, mold_timer)
from agent.engine.orders cimport cancel_some, occupy, slot as find_open, submit_all
from agent.engine.market cimport message, show_stale
from agent.engine.receive cimport BATCH, DATAGRAM, STRIDE, Receiver, receive, receiver_init, stamp_of
from agent.shm.ring cimport Ring, ring_peek, ring_pop
from agent.engine.gate cimport limit
from agent.shm.segment cimport AGENT_CONNECTING, AGENT_STOPPED, agent_shm, agent_shm_init, agent_shm_size
from agent.shm.series cimport Series
from agent.protocols.wire cimport load16, load32, load64, now, now_real, store16


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    int getsockopt(int, int, int, void *, socklen_t *)
    Py_ssize_t send(int, const void *, size_t, int)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int AF_INET
    int SOL_SOCKET

cdef extern from "<unistd.h>" nogil:
    int close(int)

cdef extern from "<sys/resource.h>" nogil:
    struct rusage:
        long ru_minflt
        long ru_majflt
        long ru_nivcsw
    int getrusage(int, rusage *)

cdef extern from *:
    """
    #ifndef SO_MEMINFO
    #define SO_MEMINFO 55
    #endif
    #ifndef RUSAGE_THREAD
    #define RUSAGE_THREAD 1
    #endif
    """
    int SO_MEMINFO
    int RUSAGE_THREAD


cdef enum:
    FEEDS = 3                   # lines A and B, and the request server's answers

cdef int64_t HOUSEKEEPING = 5000000         # ns between looks at heartbeats and drops
cdef int64_t DRAIN_LIMIT = SECOND           # at the end: wait for what becomes of open orders


cdef struct Loop:
    Core core
    int feeds[FEEDS]            # sockets, -1 for none
    Receiver receivers[FEEDS]
    Ring *ring                  # instead of sockets
    uint32_t handled            # since the last look at the exchange
    int64_t housekept
    int64_t yielded
    int64_t yield_every         # ns; 0: never
    timespec yield_for
    int64_t timer_every
    int64_t timer_at
    int64_t warm_every
    int64_t warmed
    uint8_t scratch[512]
    rusage begun


cdef volatile sig_atomic_t stop_requested = 0


cdef void on_signal(int number) noexcept nogil:
    global stop_requested
    stop_requested = number


# ---------------------------------------------------------------------------------- feed

cdef void gone(Core *e) noexcept nogil:
    """Messages are lost for good: whatever they said, no book is to be trusted until the next session."""
    cdef uint32_t i
    if e.feed.format == ITCH:
        books_mark_stale(&e.feed.books, GAP)
        for i in range(e.feed.symbols):
            show_stale(e, i)


cdef void new_session(Core *e) noexcept nogil:
    """Books begin empty; nothing that was stale is so any more."""
    cdef uint32_t i
    if e.feed.format != ITCH:
        return
    books_clear(&e.feed.books)
    for i in range(LOCATES):
        e.feed.by_locate[i] = NOT_SEEN
    for i in range(e.feed.symbols):
        e.feed.rows[i].stale = 0
        e.feed.rows[i].bid = e.feed.rows[i].bid_size = 0
        e.feed.rows[i].ask = e.feed.rows[i].ask_size = 0


cdef inline void mold_counters(Core *e) noexcept nogil:
    e.counters.gaps = e.feed.mold.c.gaps
    e.counters.healed = e.feed.mold.c.healed
    e.counters.lost = e.feed.mold.c.lost
    e.counters.duplicates = e.feed.mold.c.duplicates
    e.counters.heartbeats = e.feed.mold.c.heartbeats
    e.counters.end_of_session = e.feed.mold.c.end_of_session
    e.counters.sessions = e.feed.mold.c.sessions
    e.counters.wrong_session = e.feed.mold.c.wrong_session
    e.counters.malformed_datagram = e.feed.mold.c.malformed_datagram
    e.counters.held_dropped = e.feed.mold.c.held_dropped
    e.counters.requests = e.feed.mold.c.requests
    e.counters.packets_a = e.feed.mold.c.packets[LINE_A]
    e.counters.packets_b = e.feed.mold.c.packets[LINE_B]
    e.counters.packets_retransmitted = e.feed.mold.c.packets[RETRANSMISSION]


cdef inline void deliver(Core *e) noexcept nogil:
    """All messages that are now in order."""
    cdef const uint8_t *data = NULL
    cdef uint32_t size = 0
    cdef uint64_t sequence = 0
    while mold_next(&e.feed.mold, &data, &size, &sequence):
        if not message(e, data, size, sequence):
            link_lost(e, e.received)


cdef void gap(Loop *l, int64_t at) noexcept nogil:
    """Do what the open gap needs now."""
    cdef Core *e = &l.core
    cdef int due = mold_timer(&e.feed.mold, at)
    if due == REQUEST:
        send(l.feeds[2], e.feed.mold.request, 20, MSG_DONTWAIT | MSG_NOSIGNAL)
    elif due == LOST:
        gone(e)
        e.received = e.mark = at
        deliver(e)


cdef inline void datagram(Loop *l, const uint8_t *data, uint32_t size, int line) noexcept nogil:
    """One MoldUDP64 downstream packet of line A, line B, or the request server."""
    cdef Core *e = &l.core
    cdef int kind
    e.counters.datagrams += 1
    e.counters.datagram_bytes += size
    e.mark = e.received
    kind = mold_arrive(&e.feed.mold, data, size, line, e.received)
    if kind > 0 and kind & NEW_SESSION:
        new_session(e)
    e.feed.retransmitted = line == RETRANSMISSION
    if kind > 0:
        deliver(e)
    e.feed.retransmitted = False
    while e.feed.mold.gap and e.feed.mold.wait_ns == 0 and not e.feed.mold.can_request:
        # There is no other way to get them.
        gap(l, e.received)


cdef inline int read_feed(Loop *l, int line) noexcept nogil:
    """One look at one socket; how many datagrams it brought."""
    cdef Core *e = &l.core
    cdef Receiver *r = &l.receivers[line]
    cdef int64_t begun = now() if e.stamps else 0, stamp
    cdef int i, n = receive(r, l.feeds[line])
    if n <= 0:
        if n < 0:
            e.counters.receive_errors += 1
        return 0
    e.received = now()
    e.counters.receive_calls += 1
    if e.stamps:
        histogram.record(&e.histograms.receive, e.received - begun)
    for i in range(n):
        if i:
            e.received = now()
        if r.stamped:
            stamp = stamp_of(r, i)
            if stamp:
                histogram.record(&e.histograms.kernel, now_real() - stamp)
        datagram(l, r.buffers + i * STRIDE, r.headers[i].msg_len, line)
    return n


cdef inline int read_ring(Loop *l) noexcept nogil:
    """One record of the feed's ring: a packet, in the ring's own memory until it is popped."""
    cdef Core *e = &l.core
    cdef uint32_t size = 0
    cdef const void *record = ring_peek(l.ring, &size)
    if record == NULL:
        e.counters.ring_damaged = l.ring.damaged
        return 0
    e.received = now()
    datagram(l, <const uint8_t *> record, size, LINE_A)
    ring_pop(l.ring)
    return 1


# ---------------------------------------------------------------------------------- now and then

cdef void faults(Loop *l) noexcept nogil:
    cdef rusage used
    if getrusage(RUSAGE_THREAD, &used) == 0:
        l.core.counters.minor_faults = <uint64_t> (used.ru_minflt - l.begun.ru_minflt)
        l.core.counters.major_faults = <uint64_t> (used.ru_majflt - l.begun.ru_majflt)
        l.core.counters.involuntary_switches = <uint64_t> (used.ru_nivcsw - l.begun.ru_nivcsw)


cdef void housekeeping(Loop *l, int64_t at) noexcept nogil:
    cdef Core *e = &l.core
    cdef uint32_t memory[16]
    cdef socklen_t size
    cdef uint64_t drops = 0
    cdef int i
    l.housekept = at
    e.shm.heartbeat_ns = at
    e.journal.realtime_offset = now_real() - now()
    # SO_MEMINFO (sk_diag's SK_MEMINFO_DROPS, index 8) also counts drops after the last datagram
    # that was read, which the SO_RXQ_OVFL control message cannot.
    for i in range(FEEDS):
        size = sizeof(memory)
        if l.feeds[i] >= 0 and getsockopt(l.feeds[i], SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 and size > 32:
            drops += memory[8]
    e.counters.kernel_drops = drops
    faults(l)
    gap(l, at)
    mold_counters(e)
    link_heartbeat(e, at)
    if limit(&e.risk.limits.kill):
        if not e.orders.killed:
            e.orders.killed = True
            e.orders.cancel_at = 0
    else:
        e.orders.killed = False


cdef void timer(Loop *l, int64_t at) noexcept nogil:
    cdef Core *e = &l.core
    l.timer_at = at + l.timer_every
    e.received = e.mark = at
    e.counters.timers += 1
    if not submit_all(e, e.strategy.table.on_timer(e.strategy.state, at, e.strategy.orders)):
        link_lost(e, at)


cdef void warm(Loop *l, int64_t at) noexcept nogil:
    """Keep code and data of the path in the caches while there are no ticks: parse and encode into scratch
    memory, and touch what only the strategy may change."""
    cdef Core *e = &l.core
    cdef uint32_t i, touched = 0
    cdef const volatile uint8_t *code = <const volatile uint8_t *> <void *> e.strategy.table.on_event
    cdef const volatile uint8_t *state = <const volatile uint8_t *> e.strategy.state
    l.warmed = at
    for i in range(0, 1024, 64):
        touched += code[i]
    for i in range(0, <uint32_t> (4096 if e.strategy.table.state_size > 4096 else e.strategy.table.state_size), 64):
        touched += state[i]
    memcpy(l.scratch, e.orders.enter_frames, 64)
    ouch.order_patch(l.scratch, touched, c'B', 1, 1, at)
    for i in range(e.feed.symbols if e.feed.symbols < 16 else 16):
        touched += <uint32_t> (<volatile uint64_t *> &e.feed.rows[i].bid)[0]
    touched += <uint32_t> (<volatile uint32_t *> &e.orders.open[(e.orders.reference + 1) & (SLOTS - 1)].id)[0]
    l.scratch[511] = <uint8_t> touched
    e.counters.warmed += 1


cdef void give_way(Loop *l) noexcept nogil:
    """Sleep for a moment while nothing is due. A SCHED_FIFO thread that never sleeps starves the
    kernel's own threads of its CPU (kworker, ksoftirqd), and with them whoever waits for these."""
    nanosleep(&l.yield_for, NULL)
    l.yielded = now()
    l.core.counters.yields += 1


cdef void idle(Loop *l, uint32_t spins) noexcept nogil:
    cdef Core *e = &l.core
    cdef int64_t at
    # A look at the exchange costs as much as a look at the feed: one in eight, one in two when an
    # answer is due.
    if spins & (1 if e.orders.open_count else 7) == 0:
        look_at_exchange(e, not stop_requested)
    if spins & 15:
        return
    at = now()
    e.received = at
    if e.feed.mold.gap:
        gap(l, at)
    if at - l.housekept > HOUSEKEEPING:
        housekeeping(l, at)
    if l.timer_every and at >= l.timer_at and e.stop == RUNNING:
        timer(l, at)
    if l.warm_every and at - l.warmed > l.warm_every:
        warm(l, at)
    # An answer that is due is waited for, but not for ever.
    if l.yield_every and at - l.yielded > (l.yield_every << (e.orders.open_count > 0)):
        give_way(l)


cdef void loop(Loop *l) noexcept nogil:
    """Until a signal, a lost or refused connection, or (once) the end of the session."""
    cdef Core *e = &l.core
    cdef uint32_t spins = 0
    cdef int n, line, lines = 1
    cdef int64_t at, drain_until = 0
    if l.feeds[1] >= 0:
        lines = 2
    if l.feeds[2] >= 0:
        lines = 3
    getrusage(RUSAGE_THREAD, &l.begun)
    e.received = now()
    l.timer_at = e.received + l.timer_every
    housekeeping(l, e.received)
    while True:
        n = 0
        if l.ring != NULL:
            n = read_ring(l)
        else:
            for line in range(lines):
                if l.feeds[line] >= 0:
                    n += read_feed(l, line)
        if n:
            l.handled += <uint32_t> n
            # Under load, too, answers are read and the clock is looked at.
            if l.handled >= 32:
                l.handled = 0
                look_at_exchange(e, not stop_requested)
                if e.received - l.housekept > HOUSEKEEPING:
                    housekeeping(l, e.received)
                if l.timer_every and e.received >= l.timer_at and e.stop == RUNNING:
                    timer(l, e.received)
        else:
            e.counters.empty_polls += 1
            spins += 1
            idle(l, spins)
        if stop_requested and e.stop == RUNNING:
            e.stop = STOP_SIGNAL
            e.orders.cancel_at = 0
        if e.stop != RUNNING:
            # No new orders; what becomes of the open ones is waited for, with a bound.
            at = now()
            if drain_until == 0:
                drain_until = at + DRAIN_LIMIT
            if e.session.state != READY or (e.orders.open_count == 0 and e.outbox.end == 0) or at > drain_until:
                break


# ---------------------------------------------------------------------------------- Python side

cdef inline uint8_t *part(uint8_t **at, size_t size) noexcept nogil:
    """The next size bytes of a block, from a cache line of their own on."""
    cdef uint8_t *begin = at[0]
    at[0] += (size + 63) & ~<size_t> 63
    return begin


cdef class Engine:
    """The loop and its memory. Errors of arguments raise ValueError; nothing raises in the loop.

    segment: writable buffer of exactly shm_size(symbols) bytes, zeroed here.
    strategy, state: addresses of a struct agent_strategy with no NULL in it, and of its initialised state.
    symbols: at most 8 characters each; traded: for each, whether this shard trades it.
    feed_format: "binance", "itch" or "csv".
    feeds: file descriptors of line A, line B and the request socket, -1 for none.
    address, port: of the exchange, IPv4. user, password: at most 6 and 10 characters.
    orders, levels: capacity of the books (ITCH). store: bytes for packets after a gap.
    wait_ns, limit_ns: before a retransmission is asked for, and before messages are given up.
    start: the first sequence number that is wanted; 0: from wherever the feed is.
    yield_every_ns, yield_ns: how often the loop sleeps while nothing is due, and for how long
    (less than a second); 0: it never does.
    """

    cdef Loop *l
    cdef object keep
    cdef Block books
    cdef Block memory           # all else that the loop writes, but for the segment

    def __cinit__(self, segment, *, uintptr_t strategy, uintptr_t state, symbols, traded=None,
                  str feed_format="binance", feeds=(-1, -1, -1), bytes address=b"\x7f\0\0\1", int port=1,
                  bytes user=b"", bytes password=b"", uint64_t orders=0, uint32_t levels=0, uint64_t store=1 << 20,
                  int64_t wait_ns=0, int64_t limit_ns=1000000000, uint64_t start=0, bint once=False,
                  bint stamps=False, bint receive_stamps=False, int64_t give_up_after_ns=0,
                  int64_t yield_every_ns=0, int64_t yield_ns=0, int64_t timer_ns=0, int64_t warm_ns=0):
        cdef uint8_t[::1] memory = segment
        cdef Core *e
        cdef uint8_t *at
        cdef uint64_t key
        cdef size_t lines, size
        cdef int i
        if len(user) > 6 or len(password) > 10 or len(address) != 4:
            raise ValueError("user: at most 6 bytes, password: at most 10, address: 4")
        if not 1 <= len(symbols) <= MAX_SYMBOLS:
            raise ValueError(f"symbols: {len(symbols)}, allowed: 1 to {MAX_SYMBOLS}")
        if <uint64_t> memory.shape[0] != agent_shm_size(len(symbols)):
            raise ValueError(f"segment: {memory.shape[0]} bytes, expected {agent_shm_size(len(symbols))}")
        for symbol in symbols:
            if not 1 <= len(symbol) <= 8:
                raise ValueError(f"symbol: {symbol!r}, allowed: 1 to 8 characters (OUCH 5.0 Symbol)")
        if strategy == 0:
            raise ValueError("strategy: NULL")
        if feed_format not in ("binance", "itch", "csv"):
            raise ValueError(f"feed_format: {feed_format!r}, allowed: binance, itch, csv")
        self.l = <Loop *> calloc(1, sizeof(Loop))
        if self.l == NULL:
            raise MemoryError
        self.keep = segment
        e = &self.l.core
        e.session.socket = -1
        size = books_size(len(symbols), orders, levels)
        if feed_format == "itch" and not block_take(&self.books, size):
            raise MemoryError(f"book.orders: {orders} with {levels} levels take {size} bytes")
        lines = sum(1 for descriptor in feeds if descriptor >= 0)
        # Of a symbol 81 bytes, in four parts that each end with a cache line: 256 is enough from the first one on.
        size = (STREAM + SLOTS * sizeof(OpenOrder) + LOCATES * sizeof(int16_t) + len(symbols) * 256
                + lines * BATCH * STRIDE + store)
        if not block_take(&self.memory, size):
            raise MemoryError(f"feed.store: {store} and the engine's own tables take {size} bytes")
        at = <uint8_t *> self.memory.at
        e.orders.open = <OpenOrder *> part(&at, SLOTS * sizeof(OpenOrder))
        e.session.stream = part(&at, STREAM)
        e.feed.by_locate = <int16_t *> part(&at, LOCATES * sizeof(int16_t))
        e.orders.enter_frames = part(&at, len(symbols) * 64)
        e.feed.traded = part(&at, len(symbols))
        e.risk.last_key = <uint64_t *> part(&at, len(symbols) * 8)
        e.risk.last_key_at = <int64_t *> part(&at, len(symbols) * 8)
        for i in range(LOCATES):
            e.feed.by_locate[i] = NOT_SEEN
        for i in range(FEEDS):
            self.l.feeds[i] = feeds[i]
            if feeds[i] >= 0:
                receiver_init(&self.l.receivers[i], part(&at, BATCH * STRIDE), receive_stamps)
        e.shm = <agent_shm *> &memory[0]
        agent_shm_init(e.shm, len(symbols))
        e.counters = &e.shm.counters
        e.histograms = &e.shm.histograms
        e.risk.limits = &e.shm.limits
        e.stamps = stamps
        e.feed.format = {"binance": BINANCE, "itch": ITCH, "csv": CSV}[feed_format]
        e.feed.symbols = e.feed.capacity = <uint32_t> len(symbols)
        e.feed.rows = e.shm.symbols
        for i, symbol in enumerate(symbols):
            key = 0x2020202020202020
            memcpy(&key, <const char *> symbol, len(symbol))
            e.feed.rows[i].name = key
            e.feed.traded[i] = True if traded is None else bool(traded[i])
            ouch.order_template(e.orders.enter_frames + 64 * i, <const char *> symbol, <int> len(symbol))
        ouch.replace_template(e.orders.replace_frame)
        ouch.cancel_template(e.orders.cancel_frame)
        mold_init(&e.feed.mold, at, store, wait_ns, limit_ns, self.l.feeds[2] >= 0, start)
        if e.feed.format == ITCH:
            e.counters.book_huge_pages = self.books.huge
            books_init(&e.feed.books, self.books.at, e.feed.symbols, orders, levels)
        e.strategy.table = <agent_strategy *> strategy
        e.strategy.state = <void *> state
        e.session.address.sin_family = <unsigned short> AF_INET
        memcpy(&e.session.address.sin_addr.s_addr, <const char *> address, 4)
        store16(<uint8_t *> &e.session.address.sin_port, <uint16_t> port)
        memset(e.session.user, c' ', 6)
        memset(e.session.password, c' ', 10)
        memset(e.session.id, c' ', 10)
        memcpy(e.session.user, <const char *> user, len(user))
        memcpy(e.session.password, <const char *> password, len(password))
        e.orders.cancel_at = SLOTS
        e.journal.realtime_offset = now_real() - now()
        e.session.give_up_after = give_up_after_ns
        e.session.once = once
        self.l.yield_every = yield_every_ns
        self.l.yield_for.tv_nsec = yield_ns
        self.l.timer_every = timer_ns
        self.l.warm_every = warm_ns

    def __dealloc__(self):
        if self.l != NULL:
            if self.l.core.session.socket >= 0:
                close(self.l.core.session.socket)
            block_give(&self.memory)
            block_give(&self.books)
            free(self.l)

    def identify(self, int pid, uint64_t start_time, int64_t started_ns, bytes boot_id, int receive_buffer):
        """Write who owns the segment: pid, its start time, CLOCK_REALTIME ns, the boot's id."""
        cdef agent_shm *shm = self.l.core.shm
        shm.pid = pid
        shm.start_time = start_time
        shm.started_ns = started_ns
        memcpy(shm.boot_id, <const char *> boot_id, min(<int> len(boot_id), 39))
        self.l.core.counters.receive_buffer = receive_buffer
        shm.heartbeat_ns = now()

    def limits(self, **values):
        """Set limits by the names of AGENT_LIMITS, in their units; ValueError for an unknown one."""
        cdef uint64_t *words = <uint64_t *> &self.l.core.shm.limits
        for name, value in values.items():
            if name not in LIMITS:
                raise ValueError(f"limit: {name!r}, allowed: {', '.join(LIMITS)}")
            words[LIMITS.index(name)] = <uint64_t> <int64_t> value

    def use(self, *, journal=None, feed=None, series=None):
        """Kept: agent.ring.Ring objects, the journal to write and the feed to read; an agent._series.Writer with
        the engine's symbols."""
        self.keep = (self.keep, journal, feed, series)
        if series is not None:
            self.l.core.feed.series = <Series *> <uintptr_t> series.address
        if journal is not None:
            self.l.core.journal.ring = <Ring *> <uintptr_t> journal.address
        if feed is not None:
            self.l.ring = <Ring *> <uintptr_t> feed.address

    def restore(self, *, uint32_t reference, positions, open_orders, bytes session, uint64_t sequence,
                uint32_t queries, uint64_t entries):
        """What the journal says: the last UserRefNum; (symbol index, units) of positions; (id, symbol index,
        side, leaves, price with 4 decimals, tag, original, filled, accepted) of open orders; the exchange's session and
        the sequenced messages read in it, and its Account Queries without an answer; records so far."""
        cdef Core *e = &self.l.core
        cdef OpenOrder *o
        e.orders.reference = reference
        for symbol, units in positions:
            e.feed.rows[symbol].position = <uint64_t> <int64_t> units
        for id, symbol, side, leaves, price, tag, original, filled, accepted in open_orders:
            o = occupy(e, id, symbol, side, leaves, price, tag)
            o.original = original
            o.filled = filled
            o.state = LIVE if accepted else SENT
        for id, _, _, _, _, _, original, _, accepted in open_orders:
            o = find_open(e, original)
            if o != NULL and not accepted:
                o.replacement = id
        memset(e.session.id, c' ', 10)
        memcpy(e.session.id, <const char *> session, min(len(session), 10))
        e.session.sequence = sequence
        e.session.queries = queries
        e.journal.records = entries

    def handle(self, bytes data not None, int64_t received=0, int line=0):
        """Handle one datagram as if it had been received at `received` (CLOCK_MONOTONIC, ns)."""
        self.l.core.received = received or now()
        datagram(self.l, <const uint8_t *> <const char *> data, <uint32_t> len(data), line)
        mold_counters(&self.l.core)

    def tick(self, int64_t at=0):
        """What the loop does every 5 ms, at `at` (CLOCK_MONOTONIC, ns)."""
        housekeeping(self.l, at or now())

    def attach(self, int descriptor):
        """Trade over a connected, non-blocking TCP socket that is logged in; takes it over."""
        cdef Core *e = &self.l.core
        e.session.socket = descriptor
        e.session.state = READY
        e.session.last_sent = e.session.last_received = now()

    def look(self):
        """One look at the exchange: flush what waits, read what came."""
        self.l.core.received = now()
        look_at_exchange(&self.l.core, False)

    def run(self):
        """Run the loop without the GIL until it ends; returns the reason, one line, and the exit
        code: 0 asked to end, 1 login refused, 4 connection lost. SIGTERM and SIGINT end it."""
        global stop_requested
        cdef sigaction_t action
        cdef sigaction_t old_term
        cdef sigaction_t old_int
        cdef Loop *l = self.l
        cdef Core *e = &l.core
        if l.feeds[0] < 0 and l.ring == NULL:
            raise ValueError("feed: no socket and no ring")
        memset(&action, 0, sizeof(action))
        action.sa_handler = on_signal
        stop_requested = 0
        e.stop = RUNNING
        e.shm.state = AGENT_CONNECTING
        sigaction(SIGTERM, &action, &old_term)
        sigaction(SIGINT, &action, &old_int)
        with nogil:
            loop(l)
            housekeeping(l, now())
        sigaction(SIGTERM, &old_term, NULL)
        sigaction(SIGINT, &old_int, NULL)
        if e.stop == STOP_SIGNAL:
            number = int(stop_requested)
            reason, code = f"stopped by signal {number}", 0
        elif e.stop == STOP_LOST:
            reason, code = "the connection to the exchange was lost", 4
        elif e.stop == STOP_REFUSED:
            why = {"A": "not authorised", "S": "session not available"}.get(chr(e.session.login_reason),
                                                                           "unknown reason")
            reason, code = f"the exchange refused the login: {chr(e.session.login_reason)} ({why})", 1
        else:
            reason, code = "the exchange ended the session", 0
        if e.session.state >= CATCHING_UP:
            send(e.session.socket, <const char *> b"\x00\x01O", 3, MSG_DONTWAIT | MSG_NOSIGNAL)
            link_down(e, now())
        text = reason.encode()
        memcpy(e.shm.ended, <const char *> text, len(text))
        e.strategy.table.fini(e.strategy.state)
        e.shm.state = AGENT_STOPPED
        return reason, code


MAX_SYMBOLS = 16384


def shm_size(int symbols):
    """Bytes of the segment of an engine with so many symbols."""
    return agent_shm_size(symbols)


LIMITS = ("kill", "max_size", "max_notional", "collar_ppm", "max_position", "max_open_orders", "rate_interval_ns",
          "rate_burst_ns", "duplicate_ns")


def lock_memory():
    """mlockall(2), now and for later mappings. False: it was refused."""
    return mlockall(MCL_CURRENT | MCL_FUTURE) == 0


def bucket(uint64_t value):
    """The histogram bucket of a value in ns."""
    return histogram.bucket(value)
