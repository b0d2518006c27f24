# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The feed: MoldUDP64 packets on two lines, each packet with its fate on each line, when they are due.

Source: Nasdaq "MoldUDP64 Protocol Specification" 1.00.
"""

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from agent.exchange.state cimport DUPLICATE, FEED_LINES, MOLD_HEADER, SEND, SWAP, Market, Publisher
from agent.protocols.wire cimport store16, store64
from agent.system cimport MSG_DONTWAIT, MSG_NOSIGNAL, send

cdef enum:
    HEARTBEAT = 0               # Message Count of a heartbeat
    END_OF_SESSION = 0xFFFF     # and of an End of Session


cdef inline bint send_datagram(Publisher *p, int line, const uint8_t *data, uint32_t size) noexcept nogil:
    """Send a packet on a line. Returns False when it was not sent."""
    cdef Py_ssize_t n = send(p.lines[line], data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if n == <Py_ssize_t> size:
        return True
    if errno != EAGAIN and errno != ENOBUFS and errno != EINTR:
        # ECONNREFUSED answers an earlier datagram; this one was not sent.
        p.refused += 1
    p.send_retries += 1
    return False


cdef inline bint send_packet(Publisher *p, int line, int64_t i) noexcept nogil:
    """Send packet i on a line. Returns False when it was not sent."""
    return send_datagram(p, line, p.data + p.starts[i], <uint32_t> (p.starts[i + 1] - p.starts[i]))


cdef inline bint publish_packet(Publisher *p, int64_t i) noexcept nogil:
    """Send packet i on every line, as its fates say. Returns False when nothing of it was sent: try again."""
    cdef int line, fate
    cdef int64_t held
    for line in range(FEED_LINES):
        if p.lines[line] < 0:
            continue
        fate = p.fates[line][i] if p.fates[line] != NULL else SEND
        if fate == SWAP and (p.held[line] >= 0 or i + 1 == p.packets):
            fate = SEND
        if fate == SEND or fate == DUPLICATE:
            # Of line A everything waits until the kernel has room; line B loses what does not fit, as networks do.
            if not send_packet(p, line, i) and line == 0:
                return False
        p.fate_counts[fate] += 1
        if fate == DUPLICATE:
            send_packet(p, line, i)
        held = p.held[line]
        if held >= 0:
            p.held[line] = -1
            send_packet(p, line, held)
        elif fate == SWAP:
            p.held[line] = i
    return True


cdef inline void publish_header(Publisher *p, uint64_t sequence, uint16_t count) noexcept nogil:
    """Send a packet without messages on every line. count: HEARTBEAT or END_OF_SESSION."""
    cdef uint8_t[MOLD_HEADER] packet
    cdef int line
    memcpy(packet, p.session, 10)
    store64(<uint8_t *> packet + 10, sequence)
    store16(<uint8_t *> packet + 18, count)
    for line in range(FEED_LINES):
        if p.lines[line] >= 0:
            send_datagram(p, line, packet, MOLD_HEADER)


cdef inline uint64_t next_sequence(const Publisher *p) noexcept nogil:
    """Returns the sequence number of the first message that was not sent yet."""
    return p.first_sequence + <uint64_t> p.firsts[p.next]


cdef inline uint64_t read_counter(const Publisher *p) noexcept nogil:
    """Returns how many messages the agent has counted in this run."""
    return (<volatile uint64_t *> p.counter)[0] - p.counter_base


cdef inline uint64_t read_sent(const Publisher *p) noexcept nogil:
    """Returns how many Enter, Replace and Cancel messages the agent has counted in this run."""
    cdef uint64_t sent = 0
    cdef int i
    for i in range(3):
        sent += (<volatile uint64_t *> p.sent_counts[i])[0]
    return sent - p.sent_base


cdef inline bint is_idle(Publisher *p, bint quiet) noexcept nogil:
    """Whether the agent has looked at the feed twice since all was quiet: then what it was doing is done. quiet: all is
    quiet now."""
    cdef uint64_t polls = (<volatile uint64_t *> p.polls)[0]
    if quiet and p.quiet:
        return polls - p.polls_at >= 2
    p.quiet = quiet
    p.polls_at = polls
    return False


cdef inline bint is_settled(Publisher *p, const Market *market, bint all_sent) noexcept nogil:
    """In lockstep, whether the agent has done with all that it was sent, answers included, and all that it has sent was
    read. Until it has done with the message, the answers wait: so what an agent does first does not depend on its
    host. all_sent: no answer waits for the link."""
    cdef bint quiet = <int64_t> read_counter(p) >= p.firsts[p.next]
    if p.holding:
        if is_idle(p, quiet):
            p.holding = p.quiet = False
        return False
    return is_idle(p, quiet and all_sent and (<volatile uint64_t *> p.answers_read)[0] == market.log.count
                   and read_sent(p) == market.order_messages)


cdef inline int64_t time_until_due(const Publisher *p, int64_t at) noexcept nogil:
    """Returns the ns until the next packet is due; not above 0: it is due."""
    if not p.lockstep:
        return p.started_at + p.due[p.next] - at
    if p.counter != NULL and <int64_t> read_counter(p) < p.firsts[p.next]:
        return 1
    return 0
