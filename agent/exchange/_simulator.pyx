# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The referee's loop: one thread that sends the feed, takes the orders, matches them and stamps both.

It shares no code with the agent but the byte-order helpers, so that a mistake in the agent's encoder is not repeated
here. Its parts: state, log, answers, matching, order_entry, session, publish, recover, plan.
"""

from libc.signal cimport SIGINT, SIGTERM, sig_atomic_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memset
from posix.signal cimport sigaction, sigaction_t
from posix.time cimport timespec

from agent.exchange.matching cimport set_best_prices
from agent.exchange.order_entry cimport cancel_open_orders
from agent.exchange.plan cimport allocate_run, copy_plan, free_run
from agent.exchange.publish cimport END_OF_SESSION, HEARTBEAT, is_settled, next_sequence, publish_header, \
    publish_packet, read_counter, read_sent, time_until_due
from agent.exchange.recover cimport answer_request, recover_market
from agent.exchange.session cimport all_sent, close_link, end_run, queue_empty_packet, send_waiting, serve_candidate, \
    serve_link
from agent.exchange.state cimport COMPLETE, DISCONNECTED, DROP, DUPLICATE, INTERRUPTED, LOG_FULL, LOGIN_REQUEST, \
    NO_LOGIN, SECOND, SWAP, TIMED_OUT, Publisher, Run, Session
from agent.shm.clock cimport monotonic_ns
from agent.system cimport POLLIN, pollfd, ppoll

cdef enum:
    IDLE = 1000000              # ns until the next look, when nothing is due
    WAKE_UP = 100000            # ns: how much earlier a sleep ends, since it can end late
    SHORTEST_SLEEP = 200000     # ns: a shorter pause is spun through
    LONGEST_SLEEP = 50000000    # ns
    LATENESS = 100000           # ns that answers may wait while a packet is due
    END_PACKETS = 3             # End of Session packets, over the time that the run lingers

#: By Run.ended.
ENDS = ("complete", "timeout", "disconnected", "protocol", "interrupted", "no login", "login refused", "log full",
        "state file cannot be written")

cdef volatile sig_atomic_t interrupted = 0


cdef void on_signal(int number) noexcept nogil:
    global interrupted
    interrupted = number


cdef void sleep_until_input(const Run *r, int64_t nanoseconds) noexcept nogil:
    """Sleep until a socket has something to read, but no longer than that."""
    cdef pollfd p[3]
    cdef timespec t
    cdef int i
    p[0].fd = r.session.link
    p[1].fd = r.session.candidate if r.session.candidate >= 0 else r.session.server
    p[2].fd = r.publisher.request_socket
    for i in range(3):
        p[i].events = POLLIN
        p[i].revents = 0
    t.tv_sec = nanoseconds // SECOND
    t.tv_nsec = nanoseconds % SECOND
    ppoll(p, 3, &t, NULL)


cdef bint may_publish(const Run *r, int64_t at) noexcept nogil:
    """Whether the feed may begin. An agent's gate opens when it has read the answer to its Account Query; for that it
    may have to wait for a CPU."""
    if r.session.link < 0:
        return False
    return at - r.session.login_at > SECOND or (
        r.market.queries and r.session.log_position == r.market.log.size
        and at - r.market.queried_at > SECOND // 10)


cdef void begin_publishing(Run *r) noexcept nogil:
    r.publishing = True
    r.publisher.started_at = r.publisher.last_packet_at = r.quiet_since = monotonic_ns()


cdef int64_t publish_next(Run *r, int64_t at) noexcept nogil:
    """Publish the next packet, if it is due, and let its messages set the prices. Returns ns until another look."""
    cdef Publisher *p = &r.publisher
    cdef int64_t i = p.next, k, pause = time_until_due(p, at)
    if pause > 0:
        return pause
    p.intended[i] = at if p.lockstep else p.started_at + p.due[i]
    # Stamped before the send: an order can arrive before the call returns.
    p.sent[i] = monotonic_ns()
    if not publish_packet(p, i):
        p.sent[i] = 0
        return 0
    p.next = i + 1
    p.holding = p.lockstep and p.polls != NULL
    p.quiet = False
    r.arrivals.messages_sent = <uint64_t> p.firsts[i + 1]
    for k in range(p.firsts[i], p.firsts[i + 1]):
        if p.mark_symbol[k] >= 0:
            set_best_prices(&r.market, p.mark_symbol[k], &p.marks[4 * k], at)
    r.quiet_since = p.last_packet_at = at
    return 0


cdef void finish_publishing(Run *r, int64_t at) noexcept nogil:
    """Linger for late orders behind the last packet, with MoldUDP64's End of Session meanwhile; then end the run."""
    cdef Publisher *p = &r.publisher
    if p.end_packets < END_PACKETS and at - r.quiet_since >= r.linger * p.end_packets // END_PACKETS:
        publish_header(p, next_sequence(p), END_OF_SESSION)
        p.end_packets += 1
    if r.arrivals.last_at > r.quiet_since:
        r.quiet_since = r.arrivals.last_at
    if at - r.quiet_since > r.linger and p.end_packets == END_PACKETS and r.session.link >= 0 \
            and all_sent(&r.session, &r.market.log):
        end_run(r, COMPLETE)


cdef int64_t serve_feed(Run *r, int64_t *at) noexcept nogil:
    """What is due of the feed. at: now; it is set anew when the feed begins. Returns ns until another look."""
    cdef Publisher *p = &r.publisher
    cdef int64_t pause = IDLE
    cdef bint settled = True
    if r.publishing and p.lockstep and p.polls != NULL:
        settled = is_settled(p, &r.market, all_sent(&r.session, &r.market.log))
    if not r.publishing:
        if not r.session.logins and at[0] - r.begun_at > r.login_wait:
            end_run(r, NO_LOGIN)
        elif may_publish(r, at[0]):
            begin_publishing(r)
            at[0] = p.started_at
    elif not settled and p.next < p.packets:
        pause = 1
    elif p.next < p.packets:
        pause = publish_next(r, at[0])
    else:
        finish_publishing(r, at[0])
    if 0 < p.next < p.packets and at[0] - p.last_packet_at > SECOND:
        publish_header(p, next_sequence(p), HEARTBEAT)
        p.last_packet_at = at[0]
    return pause


cdef void serve_orders(Run *r, int64_t at) noexcept nogil:
    """Read the link and answer; see whether its loss ends the run."""
    cdef Session *session = &r.session
    cdef Publisher *p = &r.publisher
    if session.link >= 0:
        # Who is behind with its packets answers several orders in one.
        session.hold_answers = r.publishing and p.next < p.packets and not p.lockstep \
            and p.started_at + p.due[p.next] <= at and at - session.last_sent_at < LATENESS
        if p.holding:
            session.hold_answers = True
        serve_link(r, at)
    if not r.finished and session.link < 0 and session.logins \
            and ((r.reconnect == 0 and not session.looked)
                 or at - session.down_at > (r.reconnect if r.reconnect else SECOND)):
        end_run(r, DISCONNECTED)
    if session.logged_out and not r.finished:
        session.logged_out = False
        close_link(r, monotonic_ns())
        if r.reconnect == 0:
            end_run(r, DISCONNECTED)


cdef void run_loop(Run *r) noexcept nogil:
    """From the first connection to the end of the run."""
    cdef uint64_t turns = 0
    cdef int64_t at, pause
    if r.publisher.counter != NULL:
        r.publisher.counter_base = read_counter(&r.publisher)
    if r.publisher.polls != NULL:
        r.publisher.sent_base = read_sent(&r.publisher)
    r.begun_at = monotonic_ns()
    while True:
        at = monotonic_ns()
        turns += 1
        if interrupted:
            end_run(r, INTERRUPTED)
        elif at > r.begun_at + r.timeout:
            end_run(r, TIMED_OUT)
        elif r.market.log.full:
            end_run(r, LOG_FULL)
        elif r.session.link < 0 or r.session.candidate >= 0 or (turns & 1023) == 0:
            # Connections: at once while there is no link, else now and then.
            serve_candidate(r, at)
        if r.finished:
            break
        pause = serve_feed(r, &at)
        if r.finished:
            break
        if r.publisher.request_socket >= 0 and ((turns & 15) == 0 or not r.spin):
            answer_request(&r.publisher)
        if not r.spin and pause > SHORTEST_SLEEP:
            sleep_until_input(r, pause - WAKE_UP if pause < LONGEST_SLEEP else LONGEST_SLEEP)
        serve_orders(r, at)
        if r.finished:
            break
    if r.ended == COMPLETE and r.session.link >= 0:
        queue_empty_packet(&r.session, c'Z')                # End of Session
        send_waiting(&r.session, &r.market.log)


cdef void recover_state(Run *r, const uint8_t *data, uint64_t size) noexcept nogil:
    """Take over what an earlier process wrote into the state file; its link is lost, so its orders are cancelled."""
    recover_market(&r.market, data, size)
    cancel_open_orders(&r.market, monotonic_ns())


cdef dict read_counts(Run *r, int64_t at):
    """Returns the counts of a run that ended `at`, and why."""
    m, a, p, s = r.market, r.arrivals, r.publisher, r.session
    waiting = (m.log.size - s.log_position) + (s.control_size - s.control_at) if s.link >= 0 else 0
    return {
        "ended": ENDS[r.ended], "login": bytes(s.request[:LOGIN_REQUEST]),
        "packets_sent": p.next, "ticks_sent": r.arrivals.messages_sent,
        "orders": a.count, "acknowledged": m.acknowledged, "executions": m.executions, "canceled": m.canceled,
        "replaced": m.replaced, "replaces_ignored": m.replaces_ignored, "refused_orders": m.rejected_on_purpose,
        "invalid": m.invalid, "unmatched": a.unmatched, "out_of_order": m.out_of_order, "order_overflow": a.overflow,
        "other_messages": m.other_messages + s.other_packets, "heartbeats": s.heartbeats,
        "send_retries": p.send_retries, "feed_refused": p.refused, "unsent_answer_bytes": waiting,
        "logins": s.logins, "looks": s.looks,
        "logins_refused": s.logins_refused, "disconnects": s.disconnects, "replayed": s.replayed,
        "queries": m.queries, "requests": p.requests, "retransmitted": p.retransmitted,
        "dropped": p.fate_counts[DROP], "duplicated": p.fate_counts[DUPLICATE], "swapped": p.fate_counts[SWAP],
        "sequenced": m.log.count, "last_id": m.last_user_ref_num,
        "seconds": (at - p.started_at) / 1e9 if r.publishing else 0.0,
    }


def run(plan):
    """Serve the order entry, send every packet, take every order.

    plan: a PreparedPlan; its samples are filled: by packet when it was due and when it was sent, by order when it
    came. SIGTERM and SIGINT end the run. Returns a dict of counts, with "ended": one of ENDS. The descriptors of the
    plan stay open; whatever else was opened is closed, also behind an error. Raises ValueError, TypeError,
    OverflowError, IndexError or BufferError where the parts of the plan do not fit together, and MemoryError.
    """
    global interrupted
    cdef Run *r = allocate_run()
    cdef list views = []
    cdef const uint8_t[::1] recovered
    cdef sigaction_t action, old_term, old_int
    cdef bint handling = False
    try:
        copy_plan(r, plan, views)
        recovered = plan.recovered
        if recovered.shape[0]:
            recover_state(r, &recovered[0], <uint64_t> recovered.shape[0])
        memset(&action, 0, sizeof(action))
        action.sa_handler = on_signal
        interrupted = 0
        sigaction(SIGTERM, &action, &old_term)
        sigaction(SIGINT, &action, &old_int)
        handling = True
        with nogil:
            run_loop(r)
        return read_counts(r, monotonic_ns())
    finally:
        if handling:
            sigaction(SIGTERM, &old_term, NULL)
            sigaction(SIGINT, &old_int, NULL)
        free_run(r)
