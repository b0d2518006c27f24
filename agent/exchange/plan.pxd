# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A PreparedPlan (plan.py) copied into the simulator's state."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from agent.exchange.matching cimport allocate_market, free_market
from agent.exchange.session cimport allocate_session, free_session
from agent.exchange.state cimport FEED_LINES, STREAM_CAPACITY, Publisher, Run, Session

cdef enum:
    WARM_LOG = 1 << 24          # bytes of the log that have their pages before the run


cdef inline int copy_text(uint8_t *to, bytes text, Py_ssize_t size, str name) except -1:
    """Copy a text of exactly `size` bytes. Raises ValueError."""
    if text is None or len(text) != size:
        raise ValueError(f"{name}: found {text!r}, expected {size} bytes")
    memcpy(to, <const char *> text, <size_t> size)
    return 0


cdef inline int check_length(Py_ssize_t found, Py_ssize_t expected, str name) except -1:
    """Raises ValueError when an array has not as many values as the others call for."""
    if found != expected:
        raise ValueError(f"{name}: found {found} values, expected {expected}")
    return 0


cdef inline const uint64_t *watch_word(object view, list views) except NULL:
    """Returns the address of a counter of the agent's. Raises ValueError."""
    cdef const uint64_t[::1] word = view
    check_length(word.shape[0], 1, "settling")
    views.append(word)
    return &word[0]


cdef inline int copy_feed(Publisher *p, object plan, list views) except -1:
    """The packets, their fates and when each is due."""
    cdef const uint8_t[::1] data = plan.packets.data
    cdef const int64_t[::1] starts = plan.packets.starts, firsts = plan.packets.firsts, blocks = plan.packets.blocks
    cdef const int64_t[::1] due = plan.due
    cdef const int32_t[::1] mark_symbol = plan.plan.feed.mark_symbol
    cdef const uint64_t[::1] marks = plan.plan.feed.marks
    cdef const uint64_t[::1] watched
    cdef const uint8_t[::1] fates
    cdef int64_t[::1] intended = plan.samples.intended, sent = plan.samples.sent
    cdef Py_ssize_t n = due.shape[0], messages = blocks.shape[0]
    cdef int line
    if not n or not messages:
        raise ValueError("packets: found none, expected at least one")
    check_length(starts.shape[0], n + 1, "packets.starts")
    check_length(firsts.shape[0], n + 1, "packets.firsts")
    check_length(firsts[n], messages, "packets.firsts: messages")
    check_length(starts[n], data.shape[0], "packets.starts: bytes")
    check_length(mark_symbol.shape[0], messages, "mark_symbol")
    check_length(marks.shape[0], 4 * messages, "marks")
    check_length(intended.shape[0], n, "samples.intended")
    check_length(sent.shape[0], n, "samples.sent")
    views += [data, starts, firsts, blocks, due, mark_symbol, marks, intended, sent]
    p.data = &data[0]
    p.starts = &starts[0]
    p.firsts = &firsts[0]
    p.blocks = &blocks[0]
    p.due = &due[0]
    p.mark_symbol = &mark_symbol[0]
    p.marks = &marks[0]
    p.intended = &intended[0]
    p.sent = &sent[0]
    p.packets = n
    p.messages = messages
    p.first_sequence = plan.packets.first_sequence
    p.lockstep = plan.plan.lockstep
    copy_text(p.session, plan.feed_session, 10, "feed_session")
    p.request_socket = plan.request_socket
    for line in range(FEED_LINES):
        p.lines[line] = plan.lines[line]
        p.held[line] = -1
        if plan.fates[line] is not None:
            fates = plan.fates[line]
            check_length(fates.shape[0], n, "fates")
            views.append(fates)
            p.fates[line] = &fates[0]
    if plan.watched is not None:
        watched = plan.watched
        check_length(watched.shape[0], 1, "watched")
        views.append(watched)
        p.counter = &watched[0]
    if plan.settling is not None:
        check_length(len(plan.settling), 5, "settling")
        p.polls = watch_word(plan.settling[0], views)
        p.answers_read = watch_word(plan.settling[1], views)
        for line in range(3):
            p.sent_counts[line] = watch_word(plan.settling[2 + line], views)
    return 0


cdef inline int copy_session(Session *session, object plan) except -1:
    """Who may log in, and where."""
    session.server = plan.server
    copy_text(session.name, plan.session, 10, "session")
    session.any_login = plan.login is None
    if not session.any_login:
        copy_text(session.user, plan.login[0], 6, "login: user")
        copy_text(session.password, plan.login[1], 10, "login: password")
    session.disconnect_after = plan.plan.disconnect_after
    return 0


cdef inline int copy_samples(Run *r, object plan, list views) except -1:
    """Where the arrivals of orders go."""
    cdef int64_t[::1] message = plan.samples.message, at = plan.samples.at
    cdef uint32_t[::1] user_ref_num = plan.samples.user_ref_num
    if not message.shape[0]:
        raise ValueError("samples.message: found no values, expected at least one")
    check_length(at.shape[0], message.shape[0], "samples.at")
    check_length(user_ref_num.shape[0], message.shape[0], "samples.user_ref_num")
    views += [message, at, user_ref_num]
    r.arrivals.message = &message[0]
    r.arrivals.at = &at[0]
    r.arrivals.user_ref_num = &user_ref_num[0]
    r.arrivals.capacity = <uint64_t> message.shape[0]
    r.arrivals.first_sequence = plan.packets.first_sequence
    return 0


cdef inline int copy_market(Run *r, object plan, list views) except -1:
    """What orders execute against, and the log."""
    cdef const uint64_t[::1] names = plan.symbol_names
    cdef uint64_t log_capacity = plan.log_capacity
    views.append(names)
    r.market.executes = plan.plan.match
    r.market.reject_every = plan.plan.reject
    r.market.midnight = <uint64_t> <int64_t> plan.midnight
    if not allocate_market(&r.market, log_capacity, <int32_t> names.shape[0], &names[0] if names.shape[0] else NULL):
        raise MemoryError
    r.market.log.state_file = plan.state_file
    # Their pages are there before the loop, not in it.
    memset(r.session.stream, 1, STREAM_CAPACITY)
    memset(r.market.log.data, 1, log_capacity if log_capacity < WARM_LOG else WARM_LOG)
    return 0


cdef inline Run *allocate_run() except NULL:
    """Returns an empty state, without descriptors. Raises MemoryError."""
    cdef Run *r = <Run *> calloc(1, sizeof(Run))
    if r == NULL:
        raise MemoryError
    if not allocate_session(&r.session):
        free_run(r)
        raise MemoryError
    return r


cdef inline void free_run(Run *r) noexcept:
    """Close the connections of a run, and free it."""
    free_session(&r.session)
    free_market(&r.market)
    free(r)


cdef inline int copy_plan(Run *r, object plan, list views) except -1:
    """Fill an empty state from a PreparedPlan. views: receives the buffers that the state points into, to be held for
    as long as it is used. Raises ValueError, TypeError, OverflowError, IndexError or BufferError where the parts of
    the plan do not fit together, and MemoryError."""
    copy_feed(&r.publisher, plan, views)
    copy_session(&r.session, plan)
    copy_samples(r, plan, views)
    copy_market(r, plan, views)
    r.spin = plan.plan.spin
    r.linger = <int64_t> (<double> plan.plan.linger * 1e9)
    r.login_wait = <int64_t> (<double> plan.plan.login * 1e9)
    r.reconnect = <int64_t> (<double> plan.plan.reconnect * 1e9)
    r.timeout = <int64_t> (<double> plan.plan.timeout * 1e9)
    return 0
