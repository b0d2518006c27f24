# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The session with the exchange: connection, login, replay, heartbeats, reconnect.

A login first asks for no message of the past (sequence number 0), and is told which number the next one has. Where the
engine has read all messages before that one, it stays. Else it logs in again, from the first one that it has not read:
with no journal, or with one of an earlier moment, that is how it learns what became of the session meanwhile, orders
that another process sent included. Only the answer to an Account Query with a number that no message had when the first
login was accepted opens the gate: whatever the exchange replays is older. (Where the exchange takes 0 for its last
message, that answer may be that last message, behind which there is nothing: then, too, all is read.) An exchange that
says that there is no message may all the same begin with the first one: then the gate opens when nothing has followed
the answer for a while, and where messages of the past came, it is asked once more behind them.

Where the past cannot be had the loop ends, and says so: the exchange gives another first message, or has fewer messages
than were read. An order of a session that ended without a word on it is a contradiction.

Sources: Nasdaq "SoupBinTCP" (Login Request, Login Accepted); "OUCH 5.0" (Account Query).
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

cimport agent.journal.record as record
cimport agent.protocols.ouch as ouch
cimport agent.protocols.soupbintcp as soupbintcp
from agent.engine.answers cimport close_day_orders, close_unseen_orders, handle_answer, handle_broken
from agent.engine.contradictions cimport contradict
from agent.engine.journal cimport has_journal_room, write_over_record, write_query_record, write_session_record
from agent.engine.open_orders cimport forget_closed
from agent.engine.orders cimport cancel_open_orders
from agent.engine.outbox cimport flush_outbox, send_bytes
from agent.engine.state cimport (CATCHING_UP, CONNECTING, DISCONNECTED, LOGGING_IN, READY, RUNNING, SLOTS, STOP_BEHIND,
                                 STOP_LOST, STOP_NO_PAST, STOP_REFUSED, STOP_SESSION, STREAM, Core)
from agent.shm.clock cimport monotonic_ns
from agent.shm.segment cimport AGENT_CONNECTING, AGENT_RUNNING
from agent.system cimport (AF_INET, EINPROGRESS, IPPROTO_TCP, MSG_DONTWAIT, POLLOUT, SO_ERROR, SOCK_CLOEXEC,
                           SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, TCP_NODELAY, close, connect, getsockopt, poll,
                           pollfd, recv, setsockopt, sockaddr, socket, socklen_t)

# ns. SECOND: between heartbeats of ours, and between two tries to connect. SERVER_SILENT: SoupBinTCP's limit for a
# connection that is dead. CONNECT_LIMIT: for the connection, for the login, and for the answer to the Account Query.
# QUIET: without a message behind that answer, of a session that has no message as the exchange says.
cdef extern from *:
    """
    #define LINK_SECOND INT64_C(1000000000)
    #define LINK_SERVER_SILENT INT64_C(15000000000)
    #define LINK_CONNECT_LIMIT INT64_C(5000000000)
    #define LINK_QUIET INT64_C(50000000)
    """
    int64_t SECOND "LINK_SECOND"
    int64_t SERVER_SILENT "LINK_SERVER_SILENT"
    int64_t CONNECT_LIMIT "LINK_CONNECT_LIMIT"
    int64_t QUIET "LINK_QUIET"


cdef inline bint gave_up(const Core *e, int64_t at) noexcept nogil:
    """Returns True if the connection is lost for longer than the user wants to wait."""
    return e.session.lost_at != 0 and at - e.session.lost_at >= e.session.give_up_after


cdef inline void drop_connection(Core *e, int64_t at) noexcept nogil:
    """Close the connection. What is open stays known until the exchange has said what became of it."""
    if e.session.socket >= 0:
        close(e.session.socket)
    e.session.socket = -1
    e.session.state = DISCONNECTED
    e.session.retry_at = at + SECOND
    e.session.stream_size = 0
    e.session.end = 0
    e.session.answered_at = 0
    e.session.replays = False
    e.outbox.begin = e.outbox.end = 0
    e.shm.state = AGENT_CONNECTING


cdef inline void lose_connection(Core *e, int64_t at) noexcept nogil:
    """Close a connection that failed, and end the loop if there was none for too long."""
    cdef bint was_up = e.session.state == READY or e.session.state == CATCHING_UP
    drop_connection(e, at)
    if was_up:
        e.counters.connection_lost += 1
        if e.session.lost_at == 0:
            e.session.lost_at = at
        # At once the first time: the exchange cancels on disconnect, and we want to know.
        e.session.retry_at = at
    if gave_up(e, at):
        e.stop = STOP_LOST


cdef inline void open_connection(Core *e, int64_t at) noexcept nogil:
    """Begin to connect."""
    cdef int one = 1
    e.session.since = at
    e.session.socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if e.session.socket < 0:
        lose_connection(e, at)
        return
    setsockopt(e.session.socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if connect(e.session.socket, <const sockaddr *> &e.session.address, sizeof(e.session.address)) == 0 \
            or errno == EINPROGRESS:
        e.session.state = CONNECTING
    else:
        lose_connection(e, at)


cdef inline void finish_connecting(Core *e, int64_t at) noexcept nogil:
    """Log in when the connection is there."""
    cdef pollfd p
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    cdef uint8_t[soupbintcp.LOGIN_REQUEST] frame
    p.fd = e.session.socket
    p.events = POLLOUT
    p.revents = 0
    if poll(&p, 1, 0) <= 0:
        if at - e.session.since > CONNECT_LIMIT:
            lose_connection(e, at)
        return
    getsockopt(e.session.socket, SOL_SOCKET, SO_ERROR, &error, &size)
    # The session we know, or blank for the one that there is.
    soupbintcp.build_login_request(frame, e.session.user, 6, e.session.password, 10, e.session.id, 10,
                                   e.session.sequence + 1 if e.session.end else 0)
    if error != 0 or not send_bytes(e, frame, soupbintcp.LOGIN_REQUEST):
        lose_connection(e, at)
        return
    e.session.state = LOGGING_IN
    e.session.since = e.session.last_sent = e.session.last_received = at


cdef inline bint is_blank(const char *id) noexcept nogil:
    """Whether a session is none."""
    return memcmp(id, <const char *> b"          ", 10) == 0


cdef inline void end_loop(Core *e, int why, int64_t at) noexcept nogil:
    """End the loop, and the connection with it. why: STOP_NO_PAST or STOP_BEHIND."""
    drop_connection(e, at)
    e.stop = why


cdef inline void begin_session(Core *e, const uint8_t *id) noexcept nogil:
    """The exchange has another session than the one that is known: no order outlives that one, and the new one's
    numbers begin anew. The engine's UserRefNums go on while there are enough of them."""
    if e.orders.open_count:
        if not e.session.over:
            contradict(e, record.LOST_SESSION, NULL, NULL, False)
        close_day_orders(e)
    forget_closed(e)
    if e.orders.reference > record.HALF_OF_REFERENCES:
        e.orders.reference = 0
    memcpy(e.session.id, id, 10)
    memset(e.session.former, c' ', 10)
    e.session.sequence = 0
    e.session.over = False
    e.orders.confirmed = 0
    write_session_record(e)


cdef inline bint query_account(Core *e, int64_t at) noexcept nogil:
    """Ask which number the exchange expects next; its answer is behind everything that it sends now. Returns False if
    the connection is closed."""
    cdef uint8_t[64] query
    e.session.state = CATCHING_UP
    e.session.since = at
    e.session.over = False
    write_query_record(e, record.QUERIED, 0)
    ouch.build_account_query(query)
    if not send_bytes(e, query, ouch.ACCOUNT_QUERY_FRAME):
        lose_connection(e, at)
        return False
    return True


cdef inline bint accept_login(Core *e, const uint8_t *body, int64_t at) noexcept nogil:
    """Login Accepted: body holds the session and the number of the next sequenced message. Returns False if the
    connection is closed."""
    cdef uint64_t number = 0
    cdef bint asked = e.session.end != 0
    if not soupbintcp.parse_number(body + soupbintcp.SESSION, soupbintcp.SEQUENCE, &number) \
            or (number == 0 and not asked) or number >= (1ULL << 62):
        e.counters.exchange_malformed += 1
        lose_connection(e, at)
        return False
    if memcmp(e.session.id, body, 10) != 0:
        if asked:
            # It changed since it was asked: ask again.
            drop_connection(e, at)
            return False
        if memcmp(e.session.former, body, 10) == 0 and not is_blank(e.session.former):
            # It has refused the session that it now has.
            end_loop(e, STOP_BEHIND, at)
            return False
        begin_session(e, body)
    if asked:
        if number != e.session.sequence + 1:
            # It cannot give what we missed: the state of our orders would be a guess.
            e.counters.exchange_malformed += 1
            end_loop(e, STOP_NO_PAST, at)
            return False
        e.counters.logins += 1
        return query_account(e, at)
    if number == e.session.sequence + 1:
        e.session.end = number
        e.counters.logins += 1
        return query_account(e, at)
    if number < e.session.sequence:
        e.counters.exchange_malformed += 1
        end_loop(e, STOP_BEHIND, at)
        return False
    # There is more than we have read: again, from there. With the number of the last message we have read all.
    drop_connection(e, at)
    e.session.end = number if number > e.session.sequence else number + 1
    e.session.retry_at = at
    return False


cdef inline void end_catching_up(Core *e) noexcept nogil:
    """Every answer of the past is read: what has none the exchange has not seen."""
    close_unseen_orders(e)
    e.session.state = READY
    e.session.lost_at = 0
    e.shm.state = AGENT_RUNNING
    if e.orders.killed or e.stop != RUNNING:
        e.orders.cancel_at = 0


cdef inline void handle_query_answer(Core *e, const ouch.Answer *a) noexcept nogil:
    """Account Query Response: the number that the exchange expects next. 0: the last one is used."""
    cdef uint32_t last = a.id - 1
    if last < e.orders.confirmed:
        # It has accepted an order with a higher one.
        contradict(e, record.LOST_SESSION, a, NULL, True)
    else:
        write_query_record(e, record.CAUGHT_UP, a.id)
        if last > e.orders.reference:
            e.orders.reference = last
    if e.session.state == CATCHING_UP and e.session.sequence >= e.session.end:
        if e.session.end == 1:
            e.session.answered_at = e.received
        else:
            end_catching_up(e)


cdef inline void wait_for_quiet(Core *e, int64_t at) noexcept nogil:
    """The query of a session without a message was answered: go on when nothing has followed for a while."""
    if at - e.session.answered_at < QUIET:
        return
    e.session.answered_at = 0
    if e.session.replays:
        e.session.replays = False
        query_account(e, at)
    else:
        end_catching_up(e)


cdef inline bint handle_sequenced(Core *e, const uint8_t *body, uint32_t size, int64_t at) noexcept nogil:
    """Handle one OUCH message of the exchange. Returns False if the connection is closed."""
    cdef ouch.Answer a
    e.session.sequence += 1
    e.counters.exchange_sequence = e.session.sequence
    if ouch.parse(body, size, &a) <= 0:
        e.counters.exchange_malformed += 1
        lose_connection(e, at)
        return False
    if e.session.state == CATCHING_UP:
        e.session.since = at
        e.session.replays |= a.type != c'Q' and a.type != c'S'
        if e.session.answered_at:
            e.session.answered_at = at
    if a.type == c'Q':
        handle_query_answer(e, &a)
    elif a.type == c'B':
        handle_broken(e, &a)
    elif a.type == c'S' or a.type == c'X' or a.type == c'G' or a.type == c'K':
        e.counters.exchange_other += 1
    elif not handle_answer(e, &a):
        lose_connection(e, at)
        return False
    return True


cdef inline bint handle_packet(Core *e, uint8_t kind, const uint8_t *body, uint32_t size, int64_t at) noexcept nogil:
    """Handle one SoupBinTCP packet from the exchange. Returns False if the connection is closed."""
    if kind == c'S' and e.session.state >= CATCHING_UP:
        return handle_sequenced(e, body, size, at)
    if kind == c'H':
        e.counters.exchange_heartbeats += 1
    elif kind == c'+':
        e.counters.exchange_other += 1
    elif kind == c'A' and e.session.state == LOGGING_IN and size == 30:
        return accept_login(e, body, at)
    elif kind == c'J' and e.session.state == LOGGING_IN and size == 1:
        if body[0] == c'S' and not is_blank(e.session.id):
            if e.session.end:
                # It has the session, and not its past.
                end_loop(e, STOP_NO_PAST, at)
                return False
            # The session we know is over: begin with the one that is on.
            memcpy(e.session.former, e.session.id, 10)
            memset(e.session.id, c' ', 10)
            drop_connection(e, at)
            e.session.retry_at = at
            return False
        e.session.login_reason = <char> body[0]
        drop_connection(e, at)
        e.stop = STOP_REFUSED
        return False
    elif kind == c'Z':
        if e.session.state >= CATCHING_UP:
            e.session.over = True
            write_over_record(e)
        drop_connection(e, at)
        e.session.lost_at = 0
        if e.session.once:
            e.stop = STOP_SESSION
        return False
    else:
        e.counters.exchange_malformed += 1
        lose_connection(e, at)
        return False
    return True


cdef inline void read_session(Core *e, int64_t at) noexcept nogil:
    """Read what the exchange sent, once, and handle every whole packet of it; of a replay, as much as the journal has
    room for."""
    cdef Py_ssize_t n = -1
    cdef soupbintcp.Packet p
    cdef uint32_t place = 0
    cdef int taken
    if e.session.state == CATCHING_UP and not has_journal_room(e):
        return
    if e.session.stream_size <= STREAM // 2:
        n = recv(e.session.socket, e.session.stream + e.session.stream_size, STREAM - e.session.stream_size,
                 MSG_DONTWAIT)
        if n == 0 or (n < 0 and errno != EAGAIN and errno != EINTR):
            lose_connection(e, at)
            return
        if n < 0 and e.session.state != READY and (at - e.session.since > CONNECT_LIMIT or gave_up(e, at)):
            lose_connection(e, at)
            return
    if n < 0 and (e.session.state != CATCHING_UP or e.session.stream_size == 0):
        return
    at = monotonic_ns()
    e.received = at
    e.mark = at
    if n > 0:
        e.session.last_received = at
        e.session.stream_size += <uint32_t> n
    while True:
        # No packet of the protocol comes near the buffer's size: a longer one is not the protocol.
        taken = soupbintcp.split(e.session.stream + place, e.session.stream_size - place, STREAM // 2, &p)
        if taken < 0:
            e.counters.exchange_malformed += 1
            lose_connection(e, at)
            return
        if taken == 0 or (e.session.state == CATCHING_UP and not has_journal_room(e)):
            break
        if not handle_packet(e, p.type, p.body, p.size, at):
            return
        place += <uint32_t> taken
    e.session.stream_size -= place
    if place and e.session.stream_size:
        memmove(e.session.stream, e.session.stream + place, e.session.stream_size)


cdef inline void step_session(Core *e, bint wanted) noexcept nogil:
    """Do what the session needs now: connect, log in, send what was kept, read. wanted: connect again when there is no
    connection."""
    cdef int64_t at
    if e.session.state >= LOGGING_IN:
        if e.outbox.end and not flush_outbox(e):
            lose_connection(e, monotonic_ns())
            return
        read_session(e, e.received)
        if e.session.answered_at and e.session.state == CATCHING_UP:
            wait_for_quiet(e, monotonic_ns())
        if e.orders.cancel_at < SLOTS and e.session.state == READY and not cancel_open_orders(e):
            lose_connection(e, monotonic_ns())
        return
    at = monotonic_ns()
    if e.session.state == CONNECTING:
        finish_connecting(e, at)
    elif at >= e.session.retry_at and wanted:
        open_connection(e, at)
    if e.session.state == DISCONNECTED and gave_up(e, at) and e.stop == RUNNING:
        e.stop = STOP_LOST


cdef inline void check_heartbeats(Core *e, int64_t at) noexcept nogil:
    """Close a connection on which the exchange was silent for too long; send a heartbeat when nothing else was sent."""
    cdef uint8_t[3] heartbeat
    if e.session.state < LOGGING_IN:
        return
    if at - e.session.last_received > SERVER_SILENT:
        lose_connection(e, at)
        return
    if e.session.state >= CATCHING_UP and at - e.session.last_sent > SECOND and e.outbox.end == 0:
        soupbintcp.build_header(heartbeat, c'R', 0)
        if not send_bytes(e, heartbeat, 3):
            lose_connection(e, at)
            return
        e.counters.heartbeats_sent += 1
        e.session.last_sent = at
