# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The link to the exchange: SoupBinTCP session, login, replay, heartbeats, reconnect.

After a login the exchange replays every sequenced message from the number asked for. An OUCH Account
Query, sent at once, is answered behind them: only then is the gate opened, and what the exchange had
not seen is known. The answer to a query of an earlier connection may come first, in the replay; how many
of these are possible is in the journal. Then the last of them counts, or the first heartbeat behind one,
for the exchange sends none while it has something else to send.

Sources: Nasdaq "SoupBinTCP", "OUCH 5.0" (Account Query).
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

cimport agent.journal.record as record
cimport agent.protocols.ouch as ouch
cimport agent.protocols.soupbintcp as soupbintcp
from agent.engine.state cimport (CATCHING_UP, CONNECTING, DISCONNECTED, LOGGING_IN, READY, RUNNING, SLOTS, STOP_LOST,
                                 STOP_REFUSED, STOP_SESSION, STREAM, Core)
from agent.engine.orders cimport (answered, cancel_some, journal_query, journal_session, link_flush, link_send,
                                  never_reached)
from agent.shm.segment cimport AGENT_CONNECTING, AGENT_RUNNING
from agent.protocols.wire cimport now


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int)
    short POLLOUT

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    int socket(int, int, int)
    int connect(int, const sockaddr *, socklen_t)
    int getsockopt(int, int, int, void *, socklen_t *)
    int setsockopt(int, int, int, const void *, socklen_t)
    Py_ssize_t recv(int, void *, size_t, int)
    int MSG_DONTWAIT
    int AF_INET
    int SOCK_STREAM
    int SOCK_NONBLOCK
    int SOCK_CLOEXEC
    int SOL_SOCKET
    int SO_ERROR

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY
    int TCP_QUICKACK

cdef extern from "<unistd.h>" nogil:
    int close(int)

cdef extern from "<errno.h>" nogil:
    int EINPROGRESS

# ns. SERVER_SILENT: SoupBinTCP's limit for a link that is dead. CONNECT_LIMIT: also for the login, and for the
# answer to the Account Query.
cdef extern from *:
    """
    #define LINK_SECOND INT64_C(1000000000)
    #define LINK_SERVER_SILENT INT64_C(15000000000)
    #define LINK_CONNECT_LIMIT INT64_C(5000000000)
    """
    int64_t SECOND "LINK_SECOND"
    int64_t SERVER_SILENT "LINK_SERVER_SILENT"
    int64_t CONNECT_LIMIT "LINK_CONNECT_LIMIT"


cdef inline void link_down(Core *e, int64_t at) noexcept nogil:
    """Forget the connection. What is open stays known until the exchange has said what became of it."""
    if e.session.socket >= 0:
        close(e.session.socket)
    e.session.socket = -1
    e.session.state = DISCONNECTED
    e.session.retry_at = at + SECOND
    e.session.stream_size = 0
    e.outbox.begin = e.outbox.end = 0
    e.shm.state = AGENT_CONNECTING


cdef inline void link_lost(Core *e, int64_t at) noexcept nogil:
    cdef bint was_up = e.session.state == READY or e.session.state == CATCHING_UP
    link_down(e, at)
    if was_up:
        e.counters.connection_lost += 1
        if e.session.lost_at == 0:
            e.session.lost_at = at
        # At once the first time: the exchange cancels on disconnect, and we want to know.
        e.session.retry_at = at
    if e.session.lost_at and at - e.session.lost_at >= e.session.give_up_after:
        e.stop = STOP_LOST


cdef inline void link_open(Core *e, int64_t at) noexcept nogil:
    cdef int one = 1
    e.session.since = at
    e.session.socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if e.session.socket < 0:
        link_lost(e, at)
        return
    setsockopt(e.session.socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if connect(e.session.socket, <const sockaddr *> &e.session.address, sizeof(e.session.address)) == 0 \
            or errno == EINPROGRESS:
        e.session.state = CONNECTING
    else:
        link_lost(e, at)


cdef inline void link_connected(Core *e, int64_t at) noexcept nogil:
    cdef pollfd p
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    cdef uint8_t[soupbintcp.LOGIN_REQUEST] frame
    p.fd = e.session.socket
    p.events = POLLOUT
    p.revents = 0
    if poll(&p, 1, 0) <= 0:
        if at - e.session.since > CONNECT_LIMIT:
            link_lost(e, at)
        return
    getsockopt(e.session.socket, SOL_SOCKET, SO_ERROR, &error, &size)
    # The session we know and its next sequence number, or blank and 1.
    soupbintcp.build_login_request(frame, e.session.user, 6, e.session.password, 10, e.session.id, 10,
                                   e.session.sequence + 1)
    if error != 0 or not link_send(e, frame, soupbintcp.LOGIN_REQUEST):
        link_lost(e, at)
        return
    e.session.state = LOGGING_IN
    e.session.since = e.session.last_sent = e.session.last_received = at


cdef inline bint logged_in(Core *e, const uint8_t *body, int64_t at) noexcept nogil:
    """Login Accepted: session and the number of the next sequenced message. False: the link has ended."""
    cdef uint64_t number = 0
    cdef uint8_t[64] query
    if not soupbintcp.parse_number(body + soupbintcp.SESSION, soupbintcp.SEQUENCE, &number):
        e.counters.exchange_malformed += 1
        link_lost(e, at)
        return False
    e.counters.logins += 1
    if memcmp(e.session.id, body, 10) != 0:
        # Another session: its orders are not ours, and its numbers begin anew.
        memcpy(e.session.id, body, 10)
        e.session.sequence = number - 1 if number else 0
        e.session.queries = 0
        journal_session(e)
    elif number != e.session.sequence + 1:
        # It cannot give what we missed: the state of our orders would be a guess.
        e.counters.exchange_malformed += 1
        link_lost(e, at)
        return False
    e.session.state = CATCHING_UP
    e.session.since = at
    e.session.next_reference = 0
    e.session.queries += 1
    journal_query(e, record.QUERIED, 0)
    ouch.account_query(query)
    if not link_send(e, query, ouch.ACCOUNT_QUERY_FRAME):
        link_lost(e, at)
        return False
    return True


cdef inline void caught_up(Core *e) noexcept nogil:
    """Every answer of the past is read: what the exchange expects next, it has not seen."""
    e.session.queries = 0
    never_reached(e, e.session.next_reference)
    e.session.state = READY
    e.session.lost_at = 0
    e.shm.state = AGENT_RUNNING
    if e.orders.killed or e.stop != RUNNING:
        e.orders.cancel_at = 0


cdef inline bint packet(Core *e, uint8_t kind, const uint8_t *body, uint32_t size, int64_t at) noexcept nogil:
    """One SoupBinTCP packet from the exchange. False: the link has ended."""
    cdef ouch.Answer a
    if kind == c'S' and e.session.state >= CATCHING_UP:
        e.session.sequence += 1
        e.counters.exchange_sequence = e.session.sequence
        if ouch.parse(body, size, &a) <= 0:
            e.counters.exchange_malformed += 1
            link_lost(e, at)
            return False
        if a.type == c'Q':
            e.session.next_reference = a.id
            e.session.queries -= e.session.queries > 0
            journal_query(e, record.CAUGHT_UP, a.id)
            if e.session.state == CATCHING_UP and e.session.queries == 0:
                caught_up(e)
        elif a.type == c'B':
            e.counters.broken_trades += 1
        elif a.type == c'I' or a.type == c'P':
            e.counters.cancel_rejected += 1
        elif a.type == c'S' or a.type == c'T' or a.type == c'X' or a.type == c'G':
            e.counters.exchange_other += 1
        elif not answered(e, &a):
            link_lost(e, at)
            return False
    elif kind == c'H':
        e.counters.exchange_heartbeats += 1
        if e.session.state == CATCHING_UP and e.session.next_reference:
            caught_up(e)
    elif kind == c'+':
        e.counters.exchange_other += 1
    elif kind == c'A' and e.session.state == LOGGING_IN and size == 30:
        return logged_in(e, body, at)
    elif kind == c'J' and e.session.state == LOGGING_IN and size == 1:
        if body[0] == c'S' and e.session.sequence:
            # The session we know is over: begin with the one that is on.
            memset(e.session.id, c' ', 10)
            e.session.sequence = 0
            link_down(e, at)
            e.session.retry_at = at
            return False
        e.session.login_reason = <char> body[0]
        link_down(e, at)
        e.stop = STOP_REFUSED
        return False
    elif kind == c'Z':
        link_down(e, at)
        e.session.lost_at = 0
        if e.session.once:
            e.stop = STOP_SESSION
        return False
    else:
        e.counters.exchange_malformed += 1
        link_lost(e, at)
        return False
    return True


cdef inline void link_read(Core *e, int64_t at) noexcept nogil:
    """Read what the exchange sent, once, and handle every whole packet of it."""
    cdef Py_ssize_t n
    cdef soupbintcp.Packet p
    cdef uint32_t place = 0
    cdef int taken
    n = recv(e.session.socket, e.session.stream + e.session.stream_size, STREAM - e.session.stream_size, MSG_DONTWAIT)
    if n <= 0:
        if n == 0 or (errno != EAGAIN and errno != EINTR):
            link_lost(e, at)
        elif e.session.state != READY and (at - e.session.since > CONNECT_LIMIT
                               or (e.session.lost_at and at - e.session.lost_at >= e.session.give_up_after)):
            link_lost(e, at)
        return
    at = now()
    e.received = at
    e.mark = at
    e.session.last_received = at
    e.session.stream_size += <uint32_t> n
    while True:
        # No packet of the protocol comes near the buffer's size: a longer one is not the protocol.
        taken = soupbintcp.split(e.session.stream + place, e.session.stream_size - place, STREAM // 2, &p)
        if taken < 0:
            e.counters.exchange_malformed += 1
            link_lost(e, at)
            return
        if taken == 0:
            break
        if not packet(e, p.type, p.body, p.size, at):
            return
        place += <uint32_t> taken
    e.session.stream_size -= place
    if place and e.session.stream_size:
        memmove(e.session.stream, e.session.stream + place, e.session.stream_size)


cdef inline void look_at_exchange(Core *e, bint wanted) noexcept nogil:
    """One step of the link. wanted: open it again when it is down."""
    cdef int64_t at
    if e.session.state >= LOGGING_IN:
        if e.outbox.end and not link_flush(e):
            link_lost(e, now())
            return
        link_read(e, e.received)
        if e.orders.cancel_at < SLOTS and e.session.state == READY and not cancel_some(e):
            link_lost(e, now())
        return
    at = now()
    if e.session.state == CONNECTING:
        link_connected(e, at)
    elif at >= e.session.retry_at and wanted:
        link_open(e, at)
    if e.session.lost_at and e.session.state == DISCONNECTED and at - e.session.lost_at >= e.session.give_up_after \
            and e.stop == RUNNING:
        e.stop = STOP_LOST


cdef inline void link_heartbeat(Core *e, int64_t at) noexcept nogil:
    """Once in a while: is the exchange there, and does it know that we are?"""
    cdef uint8_t[3] heartbeat
    if e.session.state < LOGGING_IN:
        return
    if at - e.session.last_received > SERVER_SILENT:
        link_lost(e, at)
        return
    if e.session.state >= CATCHING_UP and at - e.session.last_sent > SECOND and e.outbox.end == 0:
        soupbintcp.build_header(heartbeat, c'R', 0)
        if not link_send(e, heartbeat, 3):
            link_lost(e, at)
            return
        e.counters.heartbeats_sent += 1
        e.session.last_sent = at
