# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The session with the exchange: connection, login, replay, heartbeats, reconnect.

After a login the exchange replays every sequenced message from the number asked for. An OUCH Account Query, sent at
once, is answered behind them: only then is the gate opened, and what the exchange had not seen is known. The answer to
a query of an earlier connection may come first, in the replay; how many of these are possible is in the journal. Then
the last of them counts, or the first heartbeat behind one, for the exchange sends none while it has something else to
send.

Sources: Nasdaq "SoupBinTCP"; "OUCH 5.0" (Account Query).
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

cimport agent.journal.record as record
cimport agent.protocols.ouch as ouch
cimport agent.protocols.soupbintcp as soupbintcp
from agent.engine.answers cimport close_unseen_orders, handle_answer
from agent.engine.journal cimport write_query_record, write_session_record
from agent.engine.orders cimport cancel_open_orders
from agent.engine.outbox cimport flush_outbox, send_bytes
from agent.engine.state cimport (CATCHING_UP, CONNECTING, DISCONNECTED, LOGGING_IN, READY, RUNNING, SLOTS, STOP_LOST,
                                 STOP_REFUSED, STOP_SESSION, STREAM, Core)
from agent.shm.clock cimport monotonic_ns
from agent.shm.segment cimport AGENT_CONNECTING, AGENT_RUNNING
from agent.system cimport (AF_INET, EINPROGRESS, IPPROTO_TCP, MSG_DONTWAIT, POLLOUT, SO_ERROR, SOCK_CLOEXEC,
                           SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, TCP_NODELAY, close, connect, getsockopt, poll,
                           pollfd, recv, setsockopt, sockaddr, socket, socklen_t)

# ns. SECOND: between heartbeats of ours, and between two tries to connect. SERVER_SILENT: SoupBinTCP's limit for a
# connection that is dead. CONNECT_LIMIT: for the connection, for the login, and for the answer to the Account Query.
cdef extern from *:
    """
    #define LINK_SECOND INT64_C(1000000000)
    #define LINK_SERVER_SILENT INT64_C(15000000000)
    #define LINK_CONNECT_LIMIT INT64_C(5000000000)
    """
    int64_t SECOND "LINK_SECOND"
    int64_t SERVER_SILENT "LINK_SERVER_SILENT"
    int64_t CONNECT_LIMIT "LINK_CONNECT_LIMIT"


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
    # The session we know and its next sequence number, or blank and 1.
    soupbintcp.build_login_request(frame, e.session.user, 6, e.session.password, 10, e.session.id, 10,
                                   e.session.sequence + 1)
    if error != 0 or not send_bytes(e, frame, soupbintcp.LOGIN_REQUEST):
        lose_connection(e, at)
        return
    e.session.state = LOGGING_IN
    e.session.since = e.session.last_sent = e.session.last_received = at


cdef inline bint accept_login(Core *e, const uint8_t *body, int64_t at) noexcept nogil:
    """Login Accepted: body holds the session and the number of the next sequenced message. Returns False if the
    connection is closed."""
    cdef uint64_t number = 0
    cdef uint8_t[64] query
    if not soupbintcp.parse_number(body + soupbintcp.SESSION, soupbintcp.SEQUENCE, &number):
        e.counters.exchange_malformed += 1
        lose_connection(e, at)
        return False
    e.counters.logins += 1
    if memcmp(e.session.id, body, 10) != 0:
        # Another session: its orders are not ours, and its numbers begin anew.
        memcpy(e.session.id, body, 10)
        e.session.sequence = number - 1 if number else 0
        e.session.queries = 0
        write_session_record(e)
    elif number != e.session.sequence + 1:
        # It cannot give what we missed: the state of our orders would be a guess.
        e.counters.exchange_malformed += 1
        lose_connection(e, at)
        return False
    e.session.state = CATCHING_UP
    e.session.since = at
    e.session.next_reference = 0
    e.session.queries += 1
    write_query_record(e, record.QUERIED, 0)
    ouch.build_account_query(query)
    if not send_bytes(e, query, ouch.ACCOUNT_QUERY_FRAME):
        lose_connection(e, at)
        return False
    return True


cdef inline void end_catching_up(Core *e) noexcept nogil:
    """Every answer of the past is read: what the exchange expects next, it has not seen."""
    e.session.queries = 0
    close_unseen_orders(e, e.session.next_reference)
    e.session.state = READY
    e.session.lost_at = 0
    e.shm.state = AGENT_RUNNING
    if e.orders.killed or e.stop != RUNNING:
        e.orders.cancel_at = 0


cdef inline bint handle_sequenced(Core *e, const uint8_t *body, uint32_t size, int64_t at) noexcept nogil:
    """Handle one OUCH message of the exchange. Returns False if the connection is closed."""
    cdef ouch.Answer a
    e.session.sequence += 1
    e.counters.exchange_sequence = e.session.sequence
    if ouch.parse(body, size, &a) <= 0:
        e.counters.exchange_malformed += 1
        lose_connection(e, at)
        return False
    if a.type == c'Q':
        e.session.next_reference = a.id
        e.session.queries -= e.session.queries > 0
        write_query_record(e, record.CAUGHT_UP, a.id)
        if e.session.state == CATCHING_UP and e.session.queries == 0:
            end_catching_up(e)
    elif a.type == c'B':
        e.counters.broken_trades += 1
    elif a.type == c'I' or a.type == c'P':
        e.counters.cancel_rejected += 1
    elif a.type == c'S' or a.type == c'T' or a.type == c'X' or a.type == c'G':
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
        if e.session.state == CATCHING_UP and e.session.next_reference:
            end_catching_up(e)
    elif kind == c'+':
        e.counters.exchange_other += 1
    elif kind == c'A' and e.session.state == LOGGING_IN and size == 30:
        return accept_login(e, body, at)
    elif kind == c'J' and e.session.state == LOGGING_IN and size == 1:
        if body[0] == c'S' and e.session.sequence:
            # The session we know is over: begin with the one that is on.
            memset(e.session.id, c' ', 10)
            e.session.sequence = 0
            drop_connection(e, at)
            e.session.retry_at = at
            return False
        e.session.login_reason = <char> body[0]
        drop_connection(e, at)
        e.stop = STOP_REFUSED
        return False
    elif kind == c'Z':
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
    """Read what the exchange sent, once, and handle every whole packet of it."""
    cdef Py_ssize_t n
    cdef soupbintcp.Packet p
    cdef uint32_t place = 0
    cdef int taken
    n = recv(e.session.socket, e.session.stream + e.session.stream_size, STREAM - e.session.stream_size, MSG_DONTWAIT)
    if n <= 0:
        if n == 0 or (errno != EAGAIN and errno != EINTR):
            lose_connection(e, at)
        elif e.session.state != READY and (at - e.session.since > CONNECT_LIMIT or gave_up(e, at)):
            lose_connection(e, at)
        return
    at = monotonic_ns()
    e.received = at
    e.mark = at
    e.session.last_received = at
    e.session.stream_size += <uint32_t> n
    while True:
        # No packet of the protocol comes near the buffer's size: a longer one is not the protocol.
        taken = soupbintcp.split(e.session.stream + place, e.session.stream_size - place, STREAM // 2, &p)
        if taken < 0:
            e.counters.exchange_malformed += 1
            lose_connection(e, at)
            return
        if taken == 0:
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
