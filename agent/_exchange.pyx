# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The referee: one thread that sends the feed, takes the orders and stamps both.

It shares no code with the agent but the byte-order helpers, so that a mistake in the agent's encoder
is not repeated here. Sources: Nasdaq "MoldUDP64 Protocol Specification" 1.00, "SoupBinTCP" 3.00,
"O*U*C*H Version 5.0".
"""

from libc.signal cimport SIGINT, SIGTERM, sig_atomic_t
from libc.stdlib cimport calloc, free
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset
from posix.signal cimport sigaction, sigaction_t
from posix.time cimport timespec

from agent.wire cimport load16, load32, load64, now, store16, store32, store64


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int ppoll(pollfd *, unsigned long, const timespec *, const void *)
    short POLLIN

cdef extern from "<sys/socket.h>" nogil:
    Py_ssize_t recv(int, void *, size_t, int)
    Py_ssize_t send(int, const void *, size_t, int)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL


cdef enum:
    STREAM = 65536
    ANSWERS = 1048576
    MOLD_HEADER = 22            # of the packet (20) and its one message's length (2)
    MAX_MESSAGE = 65485         # what is left of UDP's 65,507 bytes

    # the end of a run
    COMPLETE = 0
    TIMED_OUT = 1
    DISCONNECTED = 2
    PROTOCOL = 3
    INTERRUPTED = 4

cdef int64_t SECOND = 1000000000

cdef volatile sig_atomic_t interrupted = 0


cdef void on_signal(int number) noexcept nogil:
    global interrupted
    interrupted = number


cdef struct Run:
    int feed
    int link
    uint8_t packet[65536]
    uint8_t *stream
    uint32_t stream_size
    uint8_t *answers
    uint32_t answers_at
    uint32_t answers_size
    int64_t last_answer             # or heartbeat, sent
    uint64_t midnight               # CLOCK_MONOTONIC of UTC midnight, as a (wrapping) offset

    # samples
    int64_t *sent                   # by tick
    int64_t *order_tick             # by order: index of the tick, or -1
    int64_t *order_at
    uint32_t *order_reference
    uint64_t order_room
    uint64_t orders
    uint64_t ticks
    uint64_t first                  # sequence number of tick 0

    uint64_t acknowledged
    uint64_t order_overflow
    uint64_t unmatched              # ClOrdID is no tick of this run, or one not yet sent
    uint64_t invalid                # Enter Orders a real exchange would reject; answered Rejected
    uint64_t out_of_order           # UserRefNum not above the last one
    uint64_t other_messages
    uint64_t heartbeats
    uint64_t send_retries
    uint64_t feed_refused           # ICMP port unreachable came back: nobody listens
    uint64_t next_reference_number
    uint32_t last_reference
    int64_t last_order_at
    bint logged_out
    int ended


cdef inline void answer(Run *r, const uint8_t *data, uint32_t size) noexcept nogil:
    memcpy(r.answers + r.answers_size, data, size)
    r.answers_size += size


cdef void enter_order(Run *r, const uint8_t *m, uint32_t size, int64_t at) noexcept nogil:
    """One Enter Order: stamp it, match it to its tick, acknowledge it."""
    cdef uint8_t a[67]
    cdef uint64_t sequence = 0, price
    cdef uint32_t reference, quantity
    cdef int i
    cdef bint valid = True
    cdef int64_t tick = -1
    reference = load32(m + 1)
    quantity = load32(m + 6)
    price = load64(m + 18)
    for i in range(14):
        if m[31 + i] < c'0' or m[31 + i] > c'9':
            sequence = 0
            break
        sequence = sequence * 10 + (m[31 + i] - c'0')
    if sequence >= r.first and sequence - r.first < r.ticks and r.sent[sequence - r.first] != 0:
        tick = <int64_t> (sequence - r.first)
    else:
        r.unmatched += 1
    if reference <= r.last_reference:
        r.out_of_order += 1
    else:
        r.last_reference = reference
    if r.orders < r.order_room:
        r.order_tick[r.orders] = tick
        r.order_at[r.orders] = at
        r.order_reference[r.orders] = reference
        r.orders += 1
    else:
        r.order_overflow += 1
    r.last_order_at = at
    if not (m[5] == c'B' or m[5] == c'S' or m[5] == c'T' or m[5] == c'E'):
        valid = False
    if quantity == 0 or quantity > 999999 or price == 0 or price > 1999999900:
        valid = False
    if size != 47u + load16(m + 45):
        valid = False
    if not valid:
        r.invalid += 1
        store16(a, 32)
        a[2] = c'S'
        a[3] = c'J'
        store64(a + 4, <uint64_t> at - r.midnight)
        store32(a + 12, reference)
        store16(a + 16, 0x000F)             # Other
        memcpy(a + 18, m + 31, 14)
        store16(a + 32, 0)
        answer(r, a, 34)
        return
    store16(a, 65)
    a[2] = c'S'
    a[3] = c'A'
    store64(a + 4, <uint64_t> at - r.midnight)
    store32(a + 12, reference)
    memcpy(a + 16, m + 5, 23)               # Side, Quantity, Symbol, Price, Time In Force, Display
    r.next_reference_number += 1
    store64(a + 39, r.next_reference_number)
    memcpy(a + 47, m + 28, 3)               # Capacity, InterMarket Sweep, CrossType
    a[50] = c'L'
    memcpy(a + 51, m + 31, 14)              # ClOrdID
    store16(a + 65, 0)
    answer(r, a, 67)
    r.acknowledged += 1


cdef bint flush(Run *r) noexcept nogil:
    cdef Py_ssize_t n
    if r.answers_at == r.answers_size:
        return True
    n = send(r.link, r.answers + r.answers_at, r.answers_size - r.answers_at, MSG_DONTWAIT | MSG_NOSIGNAL)
    if n < 0:
        return errno == EAGAIN or errno == EINTR
    r.last_answer = now()
    r.answers_at += <uint32_t> n
    if r.answers_at == r.answers_size:
        r.answers_at = r.answers_size = 0
    elif r.answers_at > ANSWERS // 2:
        memmove(r.answers, r.answers + r.answers_at, r.answers_size - r.answers_at)
        r.answers_size -= r.answers_at
        r.answers_at = 0
    return True


cdef bint take(Run *r) noexcept nogil:
    """Read once, stamp, handle all whole packets, answer. False: the link has ended."""
    cdef Py_ssize_t n
    cdef uint32_t place = 0, size
    cdef uint8_t kind
    cdef int64_t at
    # An answer is larger than its order: read only when there is room for a whole buffer's.
    if ANSWERS - r.answers_size > 2 * STREAM:
        n = recv(r.link, r.stream + r.stream_size, STREAM - r.stream_size, MSG_DONTWAIT)
        if n == 0 or (n < 0 and errno != EAGAIN and errno != EINTR):
            r.ended = DISCONNECTED
            return False
        if n > 0:
            at = now()
            r.stream_size += <uint32_t> n
            while r.stream_size - place >= 2:
                size = load16(r.stream + place)
                if size == 0 or size > STREAM // 2:
                    r.ended = PROTOCOL
                    return False
                if r.stream_size - place < 2 + size:
                    break
                kind = r.stream[place + 2]
                if kind == c'U' and size >= 48 and r.stream[place + 3] == c'O':
                    enter_order(r, r.stream + place + 3, size - 1, at)
                elif kind == c'R':
                    r.heartbeats += 1
                elif kind == c'O':
                    r.logged_out = True
                else:
                    r.other_messages += 1
                place += 2 + size
            r.stream_size -= place
            if place and r.stream_size:
                memmove(r.stream, r.stream + place, r.stream_size)
    if r.answers_size and not flush(r):
        r.ended = DISCONNECTED
        return False
    return True


cdef bint publish(Run *r, uint32_t size) noexcept nogil:
    """Send the packet, retrying while the kernel has no room. True: sent."""
    cdef Py_ssize_t n = send(r.feed, r.packet, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if n == <Py_ssize_t> size:
        return True
    if errno == ECONNREFUSED:
        # The answer to an earlier datagram; this one was not sent.
        r.feed_refused += 1
    elif errno != EAGAIN and errno != ENOBUFS and errno != EINTR:
        r.feed_refused += 1
    r.send_retries += 1
    return False


cdef void rest(Run *r, int64_t nanoseconds) noexcept nogil:
    cdef pollfd p
    cdef timespec t
    p.fd = r.link
    p.events = POLLIN
    p.revents = 0
    t.tv_sec = nanoseconds // SECOND
    t.tv_nsec = nanoseconds % SECOND
    ppoll(&p, 1, &t, NULL)


cdef void heartbeat(Run *r, int64_t at) noexcept nogil:
    cdef uint8_t soup[3]
    if at - r.last_answer > SECOND and r.answers_size == 0:
        store16(soup, 1)
        soup[2] = c'H'
        answer(r, soup, 3)
        r.last_answer = at


cdef void control(Run *r, const char *session, uint64_t sequence, uint16_t count) noexcept nogil:
    """A heartbeat (count 0) or end of session (0xFFFF) packet of the feed."""
    memcpy(r.packet, session, 10)
    store64(r.packet + 10, sequence)
    store16(r.packet + 18, count)
    publish(r, 20)


def run(int feed, int link, bytes session not None, bytes text not None, const int64_t[::1] offsets,
        const int64_t[::1] due, const uint64_t[::1] watched, int64_t[::1] intended, int64_t[::1] sent,
        int64_t[::1] order_tick, int64_t[::1] order_at, const uint8_t[::1] residue, *, bint lockstep,
        bint spin, double linger, double timeout, uint64_t first, int64_t midnight):
    """Send every message, take every order; returns a dict of counts and how it ended.

    text: all messages; message i is text[offsets[i]:offsets[i+1]] (n + 1 offsets).
    due: n times in ns after the start. watched: one word, the agent's count of messages (lockstep:
    the next message goes out when the last was counted), or empty.
    intended, sent: n places, filled with CLOCK_MONOTONIC ns. order_tick, order_at: filled by order
    in the order of arrival: index of the tick (-1: no such tick), CLOCK_MONOTONIC ns.
    residue: bytes of the link already read. linger, timeout: seconds to wait for more orders
    after the last one, and for the whole run. No error is raised; see "ended".
    """
    global interrupted
    cdef Run *r = <Run *> calloc(1, sizeof(Run))
    cdef uint64_t n = due.shape[0], i = 0, base = 0
    cdef int64_t at, start, limit, quiet, wait, last_feed, stalled
    cdef int64_t linger_ns = <int64_t> (linger * 1e9)
    cdef const char *name = session
    cdef const uint8_t *source = <const uint8_t *> <const char *> text
    cdef const uint64_t *counter = &watched[0] if watched.shape[0] else NULL
    cdef uint32_t size
    cdef uint32_t[::1] references
    cdef int ends = 0
    cdef sigaction_t action
    cdef sigaction_t old_term
    cdef sigaction_t old_int
    if r == NULL:
        raise MemoryError
    if len(session) != 10 or offsets.shape[0] != due.shape[0] + 1 or residue.shape[0] > STREAM:
        raise ValueError("run: arguments do not fit together")
    import array
    references = array.array("I", bytes(4 * order_tick.shape[0]))
    r.stream = <uint8_t *> calloc(1, STREAM)
    r.answers = <uint8_t *> calloc(1, ANSWERS)
    if r.stream == NULL or r.answers == NULL:
        raise MemoryError
    memset(r.answers, 0, ANSWERS)
    r.feed = feed
    r.link = link
    if residue.shape[0]:
        memcpy(r.stream, &residue[0], residue.shape[0])
        r.stream_size = <uint32_t> residue.shape[0]
    r.order_room = order_tick.shape[0]
    if n:
        r.sent = &sent[0]
    r.order_tick = &order_tick[0]
    r.order_at = &order_at[0]
    r.order_reference = &references[0]
    r.ticks = n
    r.first = first
    r.midnight = <uint64_t> midnight
    memset(&action, 0, sizeof(action))
    action.sa_handler = on_signal
    interrupted = 0
    sigaction(SIGTERM, &action, &old_term)
    sigaction(SIGINT, &action, &old_int)
    with nogil:
        if counter != NULL:
            base = (<volatile uint64_t *> counter)[0]
        start = now() + 20000000
        limit = start + <int64_t> (timeout * 1e9)
        quiet = last_feed = start
        while True:
            at = now()
            if interrupted:
                r.ended = INTERRUPTED
                break
            if at > limit:
                r.ended = TIMED_OUT
                break
            if i < n:
                wait = start + due[i] - at
                if lockstep:
                    wait = 0
                    if counter != NULL and (<volatile uint64_t *> counter)[0] - base < i:
                        wait = 1
                if wait <= 0:
                    intended[i] = start + due[i] if not lockstep else at
                    size = <uint32_t> (offsets[i + 1] - offsets[i])
                    memcpy(r.packet, name, 10)
                    store64(r.packet + 10, first + i)
                    store16(r.packet + 18, 1)
                    store16(r.packet + 20, <uint16_t> size)
                    memcpy(r.packet + MOLD_HEADER, source + offsets[i], size)
                    # Stamped before the send: an order can arrive before the call returns.
                    sent[i] = now()
                    if publish(r, MOLD_HEADER + size):
                        i += 1
                        quiet = last_feed = at
                    else:
                        sent[i] = 0
                    wait = 0
            else:
                # Linger for late orders, with MoldUDP64's end of session meanwhile, three times.
                if ends < 3 and at - quiet >= linger_ns * ends // 3:
                    control(r, name, first + n, 0xFFFF)
                    ends += 1
                if r.last_order_at > quiet:
                    quiet = r.last_order_at
                if at - quiet > linger_ns and r.answers_size == 0 and ends == 3:
                    break
                wait = 1000000
            if i and i < n and at - last_feed > SECOND:
                control(r, name, first + i, 0)
                last_feed = at
            if not spin and wait > 200000:
                rest(r, wait - 100000 if wait < 50000000 else 50000000)
            if not take(r):
                break
            heartbeat(r, at)
            if r.logged_out:
                r.ended = DISCONNECTED
                break
        if r.ended == COMPLETE:
            # SoupBinTCP: end of session.
            store16(r.packet, 1)
            r.packet[2] = c'Z'
            answer(r, r.packet, 3)
            flush(r)
        stalled = now()
    sigaction(SIGTERM, &old_term, NULL)
    sigaction(SIGINT, &old_int, NULL)
    result = {
        "ended": ("complete", "timeout", "disconnected", "protocol", "interrupted")[r.ended],
        "ticks_sent": i, "orders": r.orders, "acknowledged": r.acknowledged, "invalid": r.invalid,
        "unmatched": r.unmatched, "out_of_order": r.out_of_order, "order_overflow": r.order_overflow,
        "other_messages": r.other_messages, "heartbeats": r.heartbeats, "send_retries": r.send_retries,
        "feed_refused": r.feed_refused, "unsent_answer_bytes": r.answers_size - r.answers_at,
        "seconds": (stalled - start) / 1e9,
        "duplicates": r.orders - len(set(references[:r.orders])),
    }
    free(r.stream)
    free(r.answers)
    free(r)
    return result
