# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The exchange's end of SoupBinTCP: logins, the link, heartbeats.

One link at a time. A client that connects is a candidate until its Login Request is judged; a login takes over from the
link that is there, which is one whose end was not noticed.

Source: Nasdaq "SoupBinTCP Version 3.00".
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memmove, memset

from agent.exchange.log cimport find_offset, write_state_file
from agent.exchange.order_entry cimport cancel_open_orders, handle_message
from agent.exchange.state cimport LOG_FULL, LOGIN_REFUSED, LOGIN_REQUEST, PROTOCOL_ERROR, SECOND, \
    STATE_FILE_ERROR, STREAM_CAPACITY, Run, SequencedLog, Session
from agent.protocols.wire cimport load16, store16
from agent.shm.clock cimport monotonic_ns
from agent.system cimport IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_NONBLOCK, TCP_NODELAY, accept4, \
    close, recv, send, setsockopt

cdef enum:
    LOGIN_ACCEPTED = 33         # bytes of the packet
    NUMBER = 20                 # characters of a sequence number
    HEARTBEAT = 1               # seconds: a side that sent nothing for so long sends a heartbeat
    SILENCE = 15                # seconds: a link that nothing was read of for so long is closed
    LOGIN = 5                   # seconds: and so is a candidate without a Login Request


cdef inline bint allocate_session(Session *session) noexcept nogil:
    """Make a session without a link. Returns False when there is no memory; free_session() is due in any case."""
    session.candidate = session.link = -1
    session.stream = <uint8_t *> calloc(1, STREAM_CAPACITY)
    return session.stream != NULL


cdef inline void free_session(Session *session) noexcept nogil:
    """Close its connections, and free what allocate_session() made. The listening socket is its opener's."""
    if session.link >= 0:
        close(session.link)
    if session.candidate >= 0:
        close(session.candidate)
    session.link = session.candidate = -1
    free(session.stream)
    session.stream = NULL


cdef inline void end_run(Run *r, int reason) noexcept nogil:
    r.ended = reason
    r.finished = True


cdef inline void queue_control(Session *session, const uint8_t *packet, uint32_t size) noexcept nogil:
    """Queue a packet that is not in the log. There is room for one of each kind."""
    memcpy(session.control + session.control_size, packet, size)
    session.control_size += size


cdef inline void queue_empty_packet(Session *session, uint8_t type) noexcept nogil:
    """Queue a packet without a payload: Server Heartbeat, End of Session."""
    cdef uint8_t[3] packet
    store16(packet, 1)
    packet[2] = type
    queue_control(session, packet, 3)


cdef inline bint all_sent(const Session *session, const SequencedLog *log) noexcept nogil:
    """Whether nothing waits for the link."""
    return session.control_size == 0 and session.log_position == log.size


cdef inline bint send_waiting(Session *session, const SequencedLog *log) noexcept nogil:
    """Send what waits: control packets, then the log. Returns False when the link is lost."""
    cdef Py_ssize_t n
    while session.control_at < session.control_size:
        n = send(session.link, session.control + session.control_at, session.control_size - session.control_at,
                 MSG_DONTWAIT | MSG_NOSIGNAL)
        if n < 0:
            return errno == EAGAIN or errno == EINTR
        session.control_at += <uint32_t> n
        session.last_sent_at = monotonic_ns()
    session.control_at = session.control_size = 0
    if session.log_position == log.size:
        return True
    n = send(session.link, log.data + session.log_position, log.size - session.log_position,
             MSG_DONTWAIT | MSG_NOSIGNAL)
    if n < 0:
        return errno == EAGAIN or errno == EINTR
    session.log_position += <uint64_t> n
    session.last_sent_at = monotonic_ns()
    return True


cdef inline void write_state(Run *r) noexcept nogil:
    """Bring the state file up to the log; the run ends when it cannot be written."""
    if not write_state_file(&r.market.log):
        end_run(r, STATE_FILE_ERROR)


cdef inline void close_link(Run *r, int64_t at) noexcept nogil:
    """Close the link, if there is one, and cancel the open orders."""
    cdef Session *session = &r.session
    if session.link < 0:
        return
    close(session.link)
    session.link = -1
    session.stream_size = 0
    session.control_at = session.control_size = 0
    if session.looking:
        session.looks += 1
        session.logins -= 1
    else:
        session.disconnects += 1
    session.looked = session.looking
    session.looking = False
    session.down_at = at
    cancel_open_orders(&r.market, at)
    write_state(r)


cdef inline void close_candidate(Session *session) noexcept nogil:
    close(session.candidate)
    session.candidate = -1


cdef inline void reject_login(Session *session, uint8_t reason) noexcept nogil:
    """Send Login Rejected to the candidate: A (not authorized) or S (session not available)."""
    cdef uint8_t[4] packet
    store16(packet, 2)
    packet[2] = c'J'
    packet[3] = reason
    send(session.candidate, packet, 4, MSG_DONTWAIT | MSG_NOSIGNAL)
    close_candidate(session)
    session.logins_refused += 1


cdef inline bint read_number(const uint8_t *text, uint64_t *number) noexcept nogil:
    """Read a sequence number of 20 characters, padded with blanks. Returns False when it has no digit."""
    cdef bint found = False
    cdef int i
    number[0] = 0
    for i in range(NUMBER):
        if text[i] >= c'0' and text[i] <= c'9' and number[0] < (1ULL << 59):
            number[0] = number[0] * 10 + (text[i] - c'0')
            found = True
    return found


cdef inline void write_number(uint8_t *text, uint64_t number) noexcept nogil:
    """Write a sequence number as 20 characters, padded with blanks on the left."""
    cdef int i = NUMBER
    memset(text, c' ', NUMBER)
    while True:
        i -= 1
        text[i] = c'0' + <uint8_t> (number % 10)
        number //= 10
        if number == 0:
            return


cdef inline bint is_blank(const uint8_t *text, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        if text[i] != c' ':
            return False
    return True


cdef inline void accept_login(Run *r, uint64_t sequence, int64_t at) noexcept nogil:
    """Make the candidate the link, which is sent the log from a sequence number on; 0: only what comes."""
    cdef Session *session = &r.session
    cdef SequencedLog *log = &r.market.log
    cdef uint8_t[LOGIN_ACCEPTED] packet
    close_link(r, at)
    session.looking = sequence == 0
    if sequence == 0:
        sequence = log.count + 1
    session.link = session.candidate
    session.candidate = -1
    session.down_at = 0
    session.login_at = session.last_received_at = session.last_sent_at = at
    session.logins += 1
    session.log_position = find_offset(log, sequence)
    session.replayed += log.count + 1 - sequence
    store16(packet, LOGIN_ACCEPTED - 2)
    packet[2] = c'A'
    memcpy(<uint8_t *> packet + 3, session.name, 10)
    write_number(<uint8_t *> packet + 13, sequence)
    queue_control(session, packet, LOGIN_ACCEPTED)


cdef inline void judge_login(Run *r, int64_t at) noexcept nogil:
    """Accept or reject the candidate, whose whole Login Request was read. A wrong user or password ends the run."""
    cdef Session *session = &r.session
    cdef uint64_t sequence
    if not session.any_login and (memcmp(session.request + 3, session.user, 6) != 0
                                  or memcmp(session.request + 9, session.password, 10) != 0):
        reject_login(session, c'A')
        end_run(r, LOGIN_REFUSED)
    elif not is_blank(session.request + 19, 10) and memcmp(session.request + 19, session.name, 10) != 0:
        reject_login(session, c'S')
    elif not read_number(session.request + 29, &sequence) or sequence > r.market.log.count + 1:
        reject_login(session, c'S')
    else:
        accept_login(r, sequence, at)


cdef inline void serve_candidate(Run *r, int64_t at) noexcept nogil:
    """Accept a connection if there is no candidate, and read what it sent of its Login Request."""
    cdef Session *session = &r.session
    cdef Py_ssize_t n
    cdef int one = 1
    if session.candidate < 0:
        session.candidate = accept4(session.server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if session.candidate < 0:
            return
        setsockopt(session.candidate, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        session.request_size = 0
        session.connected_at = at
    n = recv(session.candidate, session.request + session.request_size, LOGIN_REQUEST - session.request_size,
             MSG_DONTWAIT)
    if n > 0:
        session.request_size += <uint32_t> n
        if session.request_size >= 3 and (load16(session.request) != LOGIN_REQUEST - 2 or session.request[2] != c'L'):
            n = 0
        elif session.request_size == LOGIN_REQUEST:
            judge_login(r, at)
            return
    if n == 0 or (n < 0 and errno != EAGAIN and errno != EINTR) or at - session.connected_at > LOGIN * SECOND:
        close_candidate(session)


cdef inline bint handle_packets(Run *r, int64_t at) noexcept nogil:
    """Handle all whole packets that were read. Returns False when they are not the protocol: the run has ended."""
    cdef Session *session = &r.session
    cdef uint32_t place = 0, size
    cdef uint8_t type
    while session.stream_size - place >= 2:
        size = load16(session.stream + place)
        if size == 0 or size > STREAM_CAPACITY // 2:
            end_run(r, PROTOCOL_ERROR)
            return False
        if session.stream_size - place < 2 + size:
            break
        type = session.stream[place + 2]
        if type == c'U':
            session.looking = False
            handle_message(&r.market, &r.arrivals, session.stream + place + 3, size - 1, at)
        elif type == c'R':
            session.heartbeats += 1
        elif type == c'O':
            session.logged_out = True
        else:
            session.other_packets += 1
        place += 2 + size
    session.stream_size -= place
    if place and session.stream_size:
        memmove(session.stream, session.stream + place, session.stream_size)
    return True


cdef inline bint read_link(Run *r) noexcept nogil:
    """Read once, stamp, handle all whole packets, and send their answers. Returns False when the link is lost or due to
    be closed, or the run has ended."""
    cdef Session *session = &r.session
    cdef int64_t at
    cdef Py_ssize_t n = recv(session.link, session.stream + session.stream_size,
                             STREAM_CAPACITY - session.stream_size, MSG_DONTWAIT)
    if n == 0 or (n < 0 and errno != EAGAIN and errno != EINTR):
        return False
    if n > 0:
        at = monotonic_ns()
        session.last_received_at = at
        session.stream_size += <uint32_t> n
        if not handle_packets(r, at):
            return False
        if r.market.log.full:
            end_run(r, LOG_FULL)
            return False
        write_state(r)
        if r.finished:
            return False
    if not all_sent(session, &r.market.log) and not session.hold_answers and not send_waiting(session, &r.market.log):
        return False
    if session.disconnect_after and r.arrivals.count >= session.disconnect_after:
        session.disconnect_after = 0
        return False
    return True


cdef inline void serve_link(Run *r, int64_t at) noexcept nogil:
    """Read the link and answer; close it when it is lost or silent, and send a heartbeat when one is due."""
    cdef Session *session = &r.session
    if not read_link(r) or at - session.last_received_at > SILENCE * SECOND:
        close_link(r, monotonic_ns())
    if session.link >= 0 and at - session.last_sent_at > HEARTBEAT * SECOND and all_sent(session, &r.market.log):
        queue_empty_packet(session, c'H')
        session.last_sent_at = at
