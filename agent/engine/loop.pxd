# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The loop: feed in, orders out, and between them what is due now and then.

    UDP (MoldUDP64, lines A and B) or a ring -> market.pxd -> TCP (SoupBinTCP, OUCH)

Nothing is allocated while the loop runs, and no system call is made per tick but the receive and, for an order, the
send.
"""

from libc.errno cimport EAGAIN, errno
from libc.signal cimport sig_atomic_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport nanosleep, timespec

cimport agent.protocols.ouch as ouch
cimport agent.shm.histogram as histogram
from agent.book.order_book cimport GAP, books_mark_stale
from agent.engine.age cimport Backlog, date_record, find_arrival, find_empty, was_set
from agent.engine.conditions cimport read_choices
from agent.engine.contradictions cimport settle_contradiction
from agent.engine.decide cimport clear_quotes
from agent.engine.decisions cimport answer_request, watch_limits
from agent.engine.itch_feed cimport show_stale_book
from agent.engine.losses cimport keep_losses
from agent.engine.market cimport handle_message
from agent.engine.open_orders cimport next_slot
from agent.engine.orders cimport submit_all
from agent.engine.receive cimport STRIDE, Receiver, comes_from_source, receive_datagrams, receive_stamp
from agent.engine.session cimport SECOND, check_heartbeats, lose_connection, step_session
from agent.engine.state cimport READY, RUNNING, STOP_SIGNAL, Core, QuoteOrder
from agent.engine.trading_state cimport begin_day, forget_states, tell_all_states
from agent.protocols.moldudp64 cimport (LINE_A, LINE_B, LOST, NEW_SESSION, REQUEST, RETRANSMISSION, mold_arrive,
                                        mold_contested, mold_next, mold_timer)
from agent.shm.clock cimport monotonic_ns, realtime_ns
from agent.shm.ring cimport Ring, ring_peek, ring_pop
from agent.shm.segment cimport read_word
from agent.strategy.abi cimport AGENT_UNKNOWN, AGENT_UNTOLD
from agent.system cimport (MSG_DONTWAIT, MSG_NOSIGNAL, RUSAGE_THREAD, SO_MEMINFO, SO_TIMESTAMPING,
                           SOF_TIMESTAMPING_RX_SOFTWARE, SOF_TIMESTAMPING_SOFTWARE, SOL_SOCKET, getrusage, getsockopt,
                           rusage, send, setsockopt, socklen_t)


cdef enum:
    FEEDS = 3                   # lines A and B, and the request server's answers
    REQUESTS = 2                # the index of the last one
    HOUSEKEEPING = 5000000      # ns from one housekeeping to the next
    BUSY = 32                   # datagrams after which a loaded loop looks at the exchange and at the clock
    SCRATCH = 512               # bytes


cdef struct Loop:
    Core core
    int feeds[FEEDS]            # sockets, -1 for none
    Receiver receivers[FEEDS]   # of each socket
    Ring *ring                  # the feed, instead of sockets; NULL: none
    const volatile sig_atomic_t *stop_requested     # number of the signal that asked the loop to end; 0: none
    uint32_t handled            # datagrams since the last look at the exchange
    int64_t housekept           # when the last housekeeping was, CLOCK_MONOTONIC ns
    int64_t yielded             # when the loop last slept
    int64_t yield_every         # ns; 0: never
    timespec yield_for          # how long the loop sleeps
    int64_t timer_every         # ns from one call of on_timer to the next; 0: it is never called
    int64_t timer_at            # when it is due
    int64_t warm_every          # ns; 0: the caches are not kept warm
    int64_t warmed              # when they last were
    uint8_t scratch[SCRATCH]    # a message that is never sent
    int64_t stepped_at          # when CLOCK_REALTIME was last seen to have been set, CLOCK_MONOTONIC ns
    Backlog backlog             # of the ring
    rusage begun                # faults and switches of the thread before the loop


# ---------------------------------------------------------------------------------- feed

cdef inline void distrust_books(Core *e) noexcept nogil:
    """Messages are lost for good: whatever they said, no book is to be trusted until the next session."""
    cdef uint32_t i
    if e.feed.format.parse == NULL:
        books_mark_stale(&e.feed.books, GAP)
        for i in range(e.feed.symbols):
            show_stale_book(e, i)
        forget_states(e)


cdef inline void begin_feed_session(Core *e) noexcept nogil:
    """Books begin empty, and none is stale any more; there are no quotes, and update ids begin anew. What messages
    before the first one that is read would have told of states is unknown."""
    cdef uint32_t i
    if e.feed.format.parse != NULL:
        memset(e.feed.last_quotes, 0, e.feed.symbols * sizeof(QuoteOrder))
        for i in range(e.feed.symbols):
            clear_quotes(e, i)
        return
    begin_day(e, AGENT_UNKNOWN if e.feed.mold.joined_at > 1 else AGENT_UNTOLD)
    e.feed.changes_untold = e.counters.day_starts > 1


cdef inline void copy_feed_counters(Core *e) noexcept nogil:
    """Show the counters of MoldUDP64 in the segment."""
    e.counters.gaps = e.feed.mold.c.gaps
    e.counters.healed = e.feed.mold.c.healed
    e.counters.lost = e.feed.mold.c.lost
    e.counters.duplicates = e.feed.mold.c.duplicates
    e.counters.heartbeats = e.feed.mold.c.heartbeats
    e.counters.end_of_session = e.feed.mold.c.end_of_session
    e.counters.sessions = e.feed.mold.c.sessions
    e.counters.wrong_session = e.feed.mold.c.wrong_session
    e.counters.far_ahead = e.feed.mold.c.far_ahead
    e.counters.feed_contested = mold_contested(&e.feed.mold)
    memcpy(e.shm.feed_session, e.feed.mold.session, 10)
    e.counters.malformed_datagram = e.feed.mold.c.malformed_datagram
    e.counters.held_dropped = e.feed.mold.c.held_dropped
    e.counters.requests = e.feed.mold.c.requests
    e.counters.packets_first = e.feed.mold.c.packets[LINE_A]
    e.counters.packets_second = e.feed.mold.c.packets[LINE_B]
    e.counters.packets_retransmitted = e.feed.mold.c.packets[RETRANSMISSION]


cdef inline void handle_messages(Core *e) noexcept nogil:
    """Handle all messages that are in order now. Those of a packet that was held are as old as it is."""
    cdef const uint8_t *data = NULL
    cdef uint32_t size = 0
    cdef uint64_t sequence = 0
    while mold_next(&e.feed.mold, &data, &size, &sequence):
        e.cause_at = e.feed.mold.came
        if not handle_message(e, data, size, sequence):
            lose_connection(e, e.received)


cdef inline void serve_gap(Loop *loop, int64_t at) noexcept nogil:
    """Do what the open gap needs now: ask for its messages, or give them up."""
    cdef Core *e = &loop.core
    cdef int due = mold_timer(&e.feed.mold, at)
    if due == REQUEST:
        send(loop.feeds[REQUESTS], e.feed.mold.request, 20, MSG_DONTWAIT | MSG_NOSIGNAL)
    elif due == LOST:
        distrust_books(e)
        e.received = e.mark = at
        handle_messages(e)


cdef inline void handle_datagram(Loop *loop, const uint8_t *data, uint32_t size, int line,
                                 int64_t arrived) noexcept nogil:
    """Handle one MoldUDP64 downstream packet of line A, line B, or the request server. arrived: when it came to this
    host, CLOCK_MONOTONIC ns."""
    cdef Core *e = &loop.core
    cdef int kind
    e.counters.datagrams += 1
    e.counters.datagram_bytes += size
    e.mark = e.received
    e.feed.mold.arrived = arrived
    kind = mold_arrive(&e.feed.mold, data, size, line, e.received)
    if kind > 0 and kind & NEW_SESSION:
        begin_feed_session(e)
    e.feed.retransmitted = line == RETRANSMISSION
    if kind > 0:
        handle_messages(e)
    e.feed.retransmitted = False
    while e.feed.mold.gap and e.feed.mold.wait_ns == 0 and not e.feed.mold.can_request:
        # There is no other way to get the messages.
        serve_gap(loop, e.received)


cdef inline int read_socket(Loop *loop, int line) noexcept nogil:
    """Look at one socket once. Returns how many datagrams it brought."""
    cdef Core *e = &loop.core
    cdef Receiver *r = &loop.receivers[line]
    cdef int64_t begun = monotonic_ns() if e.stamps else 0, stamp, arrived
    cdef int64_t limit = read_word(&e.risk.limits.max_tick_age_ns)
    cdef int i, n
    if limit and e.received - r.empty_at > limit // 2:
        r.batch = True              # with stamps
    n = receive_datagrams(r, loop.feeds[line])
    if n <= 0:
        if n < 0:
            e.counters.receive_errors += 1
        elif errno == EAGAIN:
            r.empty_at = e.received
        return 0
    e.received = monotonic_ns()
    e.counters.receive_calls += 1
    if e.stamps:
        histogram.record(&e.histograms.receive, e.received - begun)
    for i in range(n):
        if i:
            e.received = monotonic_ns()
        if r.source_count and not comes_from_source(r, i):
            e.counters.wrong_source += 1
            continue
        if r.stamped:
            stamp = receive_stamp(r, i, True)
            if stamp:
                histogram.record(&e.histograms.kernel, realtime_ns() - stamp)
        arrived = e.received
        if limit and arrived - r.empty_at > limit:
            arrived = find_arrival(arrived, r.empty_at, receive_stamp(r, i, False) if r.has_stamps else 0,
                                   realtime_ns(), e.journal.realtime_offset, loop.stepped_at)
        handle_datagram(loop, r.buffers + i * STRIDE, r.headers[i].msg_len, line, arrived)
    return n


cdef inline int read_ring(Loop *loop) noexcept nogil:
    """Look at the feed's ring once: a record is a packet, which stays in the ring until it is handled. Returns how many
    it brought."""
    cdef Core *e = &loop.core
    cdef uint32_t size = 0
    cdef const void *packet = ring_peek(loop.ring, &size)
    if packet == NULL:
        e.counters.ring_damaged = loop.ring.damaged
        find_empty(&loop.backlog, e.received)
        return 0
    e.received = monotonic_ns()
    handle_datagram(loop, <const uint8_t *> packet, size, LINE_A,
                    date_record(&loop.backlog, loop.ring, e.received, read_word(&e.risk.limits.max_tick_age_ns)))
    ring_pop(loop.ring)
    return 1


cdef inline int read_feed(Loop *loop, int lines) noexcept nogil:
    """Look at the ring and the request server's socket, or at each of the first `lines` sockets. Returns how many
    packets were handled."""
    cdef int line, n = 0
    if loop.ring != NULL:
        n = read_ring(loop)
        return n + read_socket(loop, REQUESTS) if loop.feeds[REQUESTS] >= 0 else n
    for line in range(lines):
        if loop.feeds[line] >= 0:
            n += read_socket(loop, line)
    return n


# ---------------------------------------------------------------------------------- now and then

cdef inline void count_faults(Loop *loop) noexcept nogil:
    """Show the thread's page faults and involuntary switches since the loop began."""
    cdef rusage used
    if getrusage(RUSAGE_THREAD, &used) == 0:
        loop.core.counters.minor_faults = <uint64_t> (used.ru_minflt - loop.begun.ru_minflt)
        loop.core.counters.major_faults = <uint64_t> (used.ru_majflt - loop.begun.ru_majflt)
        loop.core.counters.involuntary_switches = <uint64_t> (used.ru_nivcsw - loop.begun.ru_nivcsw)


cdef inline void count_drops(Loop *loop) noexcept nogil:
    """Show what the kernel dropped of the feed. SO_MEMINFO (sk_diag's SK_MEMINFO_DROPS, index 8) also counts drops
    after the last datagram that was read, which the SO_RXQ_OVFL control message cannot."""
    cdef uint32_t memory[16]
    cdef socklen_t size
    cdef uint64_t drops = 0
    cdef int i
    for i in range(FEEDS):
        size = sizeof(memory)
        if loop.feeds[i] >= 0 and getsockopt(loop.feeds[i], SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 and size > 32:
            drops += memory[8]
    loop.core.counters.kernel_drops = drops


cdef inline void watch_clock(Loop *loop, int64_t at) noexcept nogil:
    """Compare CLOCK_REALTIME with CLOCK_MONOTONIC: receive stamps of before it was set say nothing."""
    cdef Core *e = &loop.core
    cdef int64_t offset = realtime_ns() - monotonic_ns()
    if was_set(offset, e.journal.realtime_offset):
        loop.stepped_at = at
    e.journal.realtime_offset = offset


cdef inline void ask_for_stamps(Loop *loop) noexcept nogil:
    """Have the kernel keep the time at which it received each datagram, once there is a limit on its age. Without (the
    call fails) what waited for longer than that limit is old."""
    cdef int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
    cdef int i
    cdef Receiver *r
    if not read_word(&loop.core.risk.limits.max_tick_age_ns):
        return
    for i in range(FEEDS):
        r = &loop.receivers[i]
        if loop.feeds[i] >= 0 and not r.stamped and not r.dated:
            r.dated = setsockopt(loop.feeds[i], SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags)) == 0


cdef inline void do_housekeeping(Loop *loop, int64_t at) noexcept nogil:
    """What is due every HOUSEKEEPING ns: counters, the gap, heartbeats, changes of the limits."""
    cdef Core *e = &loop.core
    loop.housekept = at
    e.shm.heartbeat_ns = at
    watch_clock(loop, at)
    ask_for_stamps(loop)
    count_drops(loop)
    count_faults(loop)
    serve_gap(loop, at)
    copy_feed_counters(e)
    check_heartbeats(e, at)
    watch_limits(e)
    keep_losses(e, at)
    answer_request(e)
    read_choices(e)
    if e.feed.changes_untold and e.stop == RUNNING:
        e.received = e.mark = at
        e.cause_at = 0
        if not tell_all_states(e, 0, e.strategy.event.sequence):
            lose_connection(e, at)
    if read_word(&e.risk.limits.kill):
        if not e.orders.killed:
            e.orders.killed = True
            e.orders.cancel_at = 0
    else:
        e.orders.killed = False
        if e.orders.contradicted:
            settle_contradiction(e)


cdef inline void call_timer(Loop *loop, int64_t at) noexcept nogil:
    """Call the strategy's on_timer, and submit the orders that it returns."""
    cdef Core *e = &loop.core
    loop.timer_at = at + loop.timer_every
    e.received = e.mark = at
    e.cause_at = 0
    e.counters.timers += 1
    if not submit_all(e, e.strategy.table.on_timer(e.strategy.state, at, e.strategy.orders)):
        lose_connection(e, at)


cdef inline void do_due(Loop *loop, int64_t at) noexcept nogil:
    """Housekeeping and the timer, each if it is due."""
    if at - loop.housekept > HOUSEKEEPING:
        do_housekeeping(loop, at)
    if loop.timer_every and at >= loop.timer_at and loop.core.stop == RUNNING:
        call_timer(loop, at)


cdef inline void warm_caches(Loop *loop, int64_t at) noexcept nogil:
    """Keep code and data of the path in the caches while there are no ticks: encode into scratch memory, and read what
    only the strategy may change."""
    cdef Core *e = &loop.core
    cdef uint32_t i, seen = 0
    cdef const volatile uint8_t *code = <const volatile uint8_t *> <void *> e.strategy.table.on_event
    cdef const volatile uint8_t *state = <const volatile uint8_t *> e.strategy.state
    cdef uint64_t size = e.strategy.table.state_size
    loop.warmed = at
    for i in range(0, 1024, 64):
        seen += code[i]
    for i in range(0, <uint32_t> (4096 if size > 4096 else size), 64):
        seen += state[i]
    memcpy(loop.scratch, e.orders.enter_frames, 64)
    ouch.patch_order(loop.scratch, seen, c'B', 1, 1, at)
    for i in range(e.feed.symbols if e.feed.symbols < 16 else 16):
        seen += <uint32_t> (<volatile uint64_t *> &e.feed.rows[i].bid)[0]
    seen += <uint32_t> (<volatile uint32_t *> &next_slot(e).id)[0]
    loop.scratch[SCRATCH - 1] = <uint8_t> seen
    e.counters.warmed += 1


cdef inline void yield_cpu(Loop *loop) noexcept nogil:
    """Sleep for a moment while nothing is due. A SCHED_FIFO thread that never sleeps starves the kernel's own threads
    of its CPU (kworker, ksoftirqd), and with them whoever waits for these."""
    nanosleep(&loop.yield_for, NULL)
    loop.yielded = loop.core.received = monotonic_ns()
    loop.core.counters.yields += 1


cdef inline void spin_idle(Loop *loop, uint32_t spins) noexcept nogil:
    """One round without a packet; spins counts them."""
    cdef Core *e = &loop.core
    cdef int64_t at
    # A look at the exchange costs as much as a look at the feed: one in eight, one in two when an answer is due.
    if spins & (1 if e.orders.open_count else 7) == 0:
        step_session(e, not loop.stop_requested[0])
    if spins & 15:
        return
    at = monotonic_ns()
    e.received = at
    if e.feed.mold.gap:
        serve_gap(loop, at)
    do_due(loop, at)
    if loop.warm_every and at - loop.warmed > loop.warm_every:
        warm_caches(loop, at)
    # An answer that is due is waited for, but not for ever.
    if loop.yield_every and at - loop.yielded > (loop.yield_every << (e.orders.open_count > 0)):
        yield_cpu(loop)


cdef inline void run_loop(Loop *loop) noexcept nogil:
    """Run until a signal, a lost or refused connection, or (once) the end of the session. Then there are no new orders;
    what becomes of the open ones is waited for, at most a second."""
    cdef Core *e = &loop.core
    cdef uint32_t spins = 0
    cdef int n, lines = FEEDS if loop.feeds[REQUESTS] >= 0 else 2 if loop.feeds[1] >= 0 else 1
    cdef int64_t at, drain_until = 0
    getrusage(RUSAGE_THREAD, &loop.begun)
    e.received = monotonic_ns()
    loop.timer_at = e.received + loop.timer_every
    do_housekeeping(loop, e.received)
    while True:
        n = read_feed(loop, lines)
        if n:
            loop.handled += <uint32_t> n
            # Under load, too, answers are read and the clock is looked at.
            if loop.handled >= BUSY:
                loop.handled = 0
                step_session(e, not loop.stop_requested[0])
                do_due(loop, e.received)
        else:
            e.counters.empty_polls += 1
            spins += 1
            spin_idle(loop, spins)
        if loop.stop_requested[0] and e.stop == RUNNING:
            e.stop = STOP_SIGNAL
            e.orders.cancel_at = 0
        if e.stop != RUNNING:
            at = monotonic_ns()
            if drain_until == 0:
                drain_until = at + SECOND
            if e.session.state != READY or (e.orders.open_count == 0 and e.outbox.end == 0) or at > drain_until:
                break
