# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The referee: one thread that sends the feed, takes the orders, matches them and stamps both.

It shares no code with the agent but the byte-order helpers, so that a mistake in the agent's encoder
is not repeated here. Sources: Nasdaq "MoldUDP64 Protocol Specification" 1.00, "SoupBinTCP" 3.00,
"O*U*C*H Version 5.0".

Every Sequenced Data packet is appended to one log; the link is sent the log from where it has got to. So a
login that asks for an earlier sequence number is served by going back in it. With a state file the log is
appended to that before it is sent: a simulator that was killed knows everything that an agent can have read.
"""

from libc.signal cimport SIGINT, SIGTERM, sig_atomic_t
from libc.stdlib cimport calloc, free
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from posix.signal cimport sigaction, sigaction_t
from posix.time cimport timespec

from agent.protocols.wire cimport load16, load32, load64, now, store16, store32, store64


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int ppoll(pollfd *, unsigned long, const timespec *, const void *)
    short POLLIN

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    int accept4(int, sockaddr *, socklen_t *, int)
    int setsockopt(int, int, int, const void *, socklen_t)
    Py_ssize_t recv(int, void *, size_t, int)
    Py_ssize_t recvfrom(int, void *, size_t, int, sockaddr *, socklen_t *)
    Py_ssize_t send(int, const void *, size_t, int)
    Py_ssize_t sendto(int, const void *, size_t, int, const sockaddr *, socklen_t)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int SOCK_NONBLOCK
    int SOCK_CLOEXEC

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "<unistd.h>" nogil:
    int close(int)
    Py_ssize_t write(int, const void *, size_t)


cdef enum:
    STREAM = 65536
    LOGIN = 49
    SLOTS = 131072              # orders that can be open at once; a power of two
    LINES = 2
    ANSWER = 1400               # bytes of a retransmission packet
    TEXT = 8                    # a symbol
    PATIENCE = 100000           # ns that answers may wait while a tick is due

    # a packet's fate on one line
    SEND = 0
    DROP = 1
    DUPLICATE = 2
    SWAP = 3                    # with the next one

    # the end of a run
    COMPLETE = 0
    TIMED_OUT = 1
    DISCONNECTED = 2
    PROTOCOL = 3
    INTERRUPTED = 4
    NO_LOGIN = 5
    REFUSED = 6
    FULL = 7
    DISK = 8

cdef int64_t SECOND = 1000000000

cdef volatile sig_atomic_t interrupted = 0


cdef void on_signal(int number) noexcept nogil:
    global interrupted
    interrupted = number


cdef struct Order:
    uint32_t id                 # UserRefNum; 0: none
    int32_t symbol              # of the feed, -1: not in it
    uint32_t total              # shares of the chain
    uint32_t executed
    uint64_t price
    uint8_t side                # B or S
    uint8_t tail[32]            # of its Accepted, from Time In Force on: what Replaced repeats
    uint8_t name[8]
    uint32_t next               # resting orders of the symbol, by slot + 1; 0: the end
    uint32_t before


cdef struct Touch:
    uint64_t bid                # 4 decimals; 0: none
    uint64_t ask
    uint32_t bid_size
    uint32_t ask_size
    uint32_t first              # resting orders: slot + 1
    uint64_t highest            # no resting buy is above
    uint64_t lowest             # no resting sell is below


cdef struct Run:
    int feed[LINES]
    int server
    int candidate               # connected, not yet logged in
    int link
    int request
    int state                   # file, -1: none
    uint8_t hello[64]
    uint32_t hello_size
    int64_t hello_at
    uint8_t *stream
    uint32_t stream_size
    uint8_t control[64]         # packets that are not in the log; only at a boundary of it
    uint32_t control_at
    uint32_t control_size

    char session[10]            # of the orders
    char feed_session[10]
    char user[6]
    char password[10]
    bint any_login
    uint8_t *log                # every Sequenced Data packet
    uint64_t log_room
    uint64_t log_size
    uint64_t kept               # of it, in the state file
    uint64_t sent_to            # of it, by this link
    uint64_t *offsets           # of packet i
    uint64_t messages
    uint64_t messages_room
    bint full

    bint started                # the feed may begin
    bint ready                  # the agent has asked and been answered, or was given time to
    int64_t login_at
    int64_t ready_at
    int64_t down_at             # 0: up, or never was
    int64_t last_sent
    bint patient                # answers may wait
    int64_t last_heard
    uint64_t midnight           # CLOCK_MONOTONIC of UTC midnight, as a (wrapping) offset

    # feed: packet i is bytes[starts[i]:starts[i + 1]], its messages firsts[i] up to firsts[i + 1] (from 0)
    const uint8_t *bytes
    const int64_t *starts
    const int64_t *firsts
    const int64_t *blocks       # of message i: offset of its length in bytes
    const uint8_t *fates[LINES]
    int64_t packets
    int64_t total               # messages
    int64_t done                # packets sent
    int held[LINES]             # a packet that waits for the next one to overtake it, or -1
    uint64_t first              # sequence number of message 0

    # matching
    Order *orders
    bint match
    uint32_t reject_every
    uint64_t taken
    Touch *touches
    int32_t symbols
    const uint64_t *names
    const int32_t *mark_symbol  # by message: symbol, -1: none
    const uint64_t *marks       # by message: bid, ask, bid size, ask size

    # samples
    int64_t *sent               # by packet
    int64_t *order_tick         # by order: index of the message, or -1
    int64_t *order_at
    uint32_t *order_id
    uint64_t order_room
    uint64_t enters
    int64_t last_order_at

    uint64_t disconnect_after   # orders; 0: never
    uint64_t acknowledged
    uint64_t executions
    uint64_t canceled
    uint64_t replaced
    uint64_t replaces_ignored   # of orders that were gone
    uint64_t refused_orders     # by reject_every
    uint64_t order_overflow
    uint64_t unmatched          # ClOrdID is no message of this run, or one not yet sent
    uint64_t invalid            # orders a real exchange would reject; answered Rejected
    uint64_t out_of_order       # UserRefNum not above the last one; ignored, as OUCH says
    uint64_t duplicates         # of them: the same order came before
    uint64_t other_messages
    uint64_t heartbeats
    uint64_t send_retries
    uint64_t feed_refused       # ICMP port unreachable came back: nobody listens
    uint64_t logins
    uint64_t logins_refused
    uint64_t disconnects
    uint64_t replays            # sequenced messages sent again
    uint64_t queries
    uint64_t requests
    uint64_t retransmitted
    uint64_t fate_counts[4]
    uint64_t next_reference_number
    uint64_t next_match
    uint32_t last_id
    bint logged_out
    int ended


# ---------------------------------------------------------------------------------- the log

cdef uint8_t *room(Run *r, uint32_t size) noexcept nogil:
    """Place for one Sequenced Data packet with a payload of `size` bytes, its header written; NULL: full."""
    cdef uint8_t *at = r.log + r.log_size
    if r.log_size + size + 3 > r.log_room or r.messages == r.messages_room:
        r.full = True
        return NULL
    r.offsets[r.messages] = r.log_size
    r.messages += 1
    r.log_size += size + 3
    store16(at, <uint16_t> (size + 1))
    at[2] = c'S'
    return at + 3


cdef inline void say(uint8_t *a, uint8_t type, Run *r, int64_t at, uint32_t id) noexcept nogil:
    a[0] = type
    store64(a + 1, <uint64_t> at - r.midnight)
    store32(a + 9, id)


cdef void say_rejected(Run *r, int64_t at, uint32_t id, uint16_t reason, const uint8_t *clordid) noexcept nogil:
    cdef uint8_t *a = room(r, 31)
    if a != NULL:
        say(a, c'J', r, at, id)
        store16(a + 13, reason)
        memcpy(a + 15, clordid, 14)
        store16(a + 29, 0)


cdef void say_order(Run *r, int64_t at, Order *o, uint32_t original) noexcept nogil:
    """Accepted, or Replaced where there is an original."""
    cdef uint8_t *a = room(r, 68 if original else 64)
    if a == NULL:
        return
    if original:
        say(a, c'U', r, at, original)
        store32(a + 13, o.id)
        a += 4
    else:
        say(a, c'A', r, at, o.id)
    a[13] = o.side
    store32(a + 14, o.total - o.executed)
    memcpy(a + 18, o.name, 8)
    store64(a + 26, o.price)
    a[34] = o.tail[0]
    a[35] = o.tail[1]
    r.next_reference_number += 1
    store64(a + 36, r.next_reference_number)
    memcpy(a + 44, o.tail + 2, 3)               # Capacity, InterMarket Sweep, CrossType
    a[47] = c'L'
    memcpy(a + 48, o.tail + 5, 14)              # ClOrdID
    store16(a + 62, 0)


cdef void say_canceled(Run *r, int64_t at, uint32_t id, uint32_t quantity, uint8_t reason) noexcept nogil:
    cdef uint8_t *a = room(r, 18)
    if a != NULL:
        say(a, c'C', r, at, id)
        store32(a + 13, quantity)
        a[17] = reason
        r.canceled += 1


cdef void say_executed(Run *r, int64_t at, uint32_t id, uint32_t quantity, uint64_t price) noexcept nogil:
    cdef uint8_t *a = room(r, 36)
    if a != NULL:
        say(a, c'E', r, at, id)
        store32(a + 13, quantity)
        store64(a + 17, price)
        a[25] = c'A'
        r.next_match += 1
        store64(a + 26, r.next_match)
        store16(a + 34, 0)
        r.executions += 1


# ---------------------------------------------------------------------------------- orders

cdef Order *find(Run *r, uint32_t id) noexcept nogil:
    cdef Order *o = &r.orders[id & (SLOTS - 1)]
    return o if id and o.id == id else NULL


cdef void rest(Run *r, Order *o) noexcept nogil:
    """Among the resting orders of its symbol."""
    cdef Touch *t
    cdef uint32_t slot = <uint32_t> (o - r.orders) + 1
    o.next = o.before = 0
    if o.symbol < 0:
        return
    t = &r.touches[o.symbol]
    o.next = t.first
    if t.first:
        r.orders[t.first - 1].before = slot
    t.first = slot
    if o.side == c'B':
        if o.price > t.highest:
            t.highest = o.price
    elif o.price < t.lowest or t.lowest == 0:
        t.lowest = o.price


cdef void forget(Run *r, Order *o) noexcept nogil:
    """Not open any more."""
    cdef uint32_t slot = <uint32_t> (o - r.orders) + 1
    if o.symbol >= 0:
        if o.before:
            r.orders[o.before - 1].next = o.next
        elif r.touches[o.symbol].first == slot:
            r.touches[o.symbol].first = o.next
        if o.next:
            r.orders[o.next - 1].before = o.before
    o.id = 0


cdef void trade(Run *r, Order *o, int64_t at) noexcept nogil:
    """Execute what the touch crosses and has."""
    cdef Touch *t
    cdef uint64_t price
    cdef uint32_t *there
    cdef uint32_t units = o.total - o.executed
    if not r.match or o.symbol < 0:
        return
    t = &r.touches[o.symbol]
    if o.side == c'B':
        if t.ask == 0 or o.price < t.ask:
            return
        price = t.ask
        there = &t.ask_size
    else:
        if t.bid == 0 or o.price > t.bid:
            return
        price = t.bid
        there = &t.bid_size
    if units > there[0]:
        units = there[0]
    if units == 0:
        return
    there[0] -= units
    o.executed += units
    say_executed(r, at, o.id, units, price)
    if o.executed == o.total:
        forget(r, o)


cdef void touched(Run *r, int32_t symbol, const uint64_t *mark, int64_t at) noexcept nogil:
    """The feed has a new best bid and offer: resting orders that it crosses trade."""
    cdef Touch *t = &r.touches[symbol]
    cdef Order *o
    cdef uint32_t slot, next
    t.bid = mark[0]
    t.ask = mark[1]
    t.bid_size = <uint32_t> mark[2]
    t.ask_size = <uint32_t> mark[3]
    if not r.match or t.first == 0:
        return
    if not ((t.ask and t.highest >= t.ask) or (t.bid and t.lowest and t.lowest <= t.bid)):
        return
    slot = t.first
    t.highest = t.lowest = 0
    while slot:
        o = &r.orders[slot - 1]
        next = o.next
        trade(r, o, at)
        if o.id:
            if o.side == c'B':
                if o.price > t.highest:
                    t.highest = o.price
            elif o.price < t.lowest or t.lowest == 0:
                t.lowest = o.price
        slot = next


cdef int32_t symbol_of(Run *r, const uint8_t *name) noexcept nogil:
    cdef uint64_t key
    cdef int32_t i
    memcpy(&key, name, 8)
    for i in range(r.symbols):
        if r.names[i] == key:
            return i
    return -1


cdef bint fresh(Run *r, uint32_t id, const uint8_t *clordid, int64_t at, int64_t *tick) noexcept nogil:
    """Stamp an Enter Order, match it to its message. False: its UserRefNum is not above the last."""
    cdef uint64_t sequence = 0
    cdef int i
    cdef int64_t low, high, middle
    tick[0] = -1
    for i in range(14):
        if clordid[i] < c'0' or clordid[i] > c'9':
            sequence = 0
            break
        sequence = sequence * 10 + (clordid[i] - c'0')
    if sequence >= r.first and sequence - r.first < <uint64_t> r.total \
            and <int64_t> (sequence - r.first) < r.firsts[r.done]:
        tick[0] = <int64_t> (sequence - r.first)
    else:
        r.unmatched += 1
    if r.enters < r.order_room:
        r.order_tick[r.enters] = tick[0]
        r.order_at[r.enters] = at
        r.order_id[r.enters] = id
        r.enters += 1
    else:
        r.order_overflow += 1
    r.last_order_at = at
    if id <= r.last_id:
        r.out_of_order += 1
        return False
    r.last_id = id
    return True


cdef void enter_order(Run *r, const uint8_t *m, uint32_t size, int64_t at) noexcept nogil:
    """One Enter Order (at least 47 bytes)."""
    cdef uint32_t id = load32(m + 1), quantity = load32(m + 6)
    cdef uint64_t price = load64(m + 18)
    cdef int64_t tick
    cdef Order *o
    cdef Order copy
    if not fresh(r, id, m + 31, at, &tick):
        return
    if not (m[5] == c'B' or m[5] == c'S' or m[5] == c'T' or m[5] == c'E') or quantity == 0 or quantity > 999999 \
            or price == 0 or price > 1999999900 or size != 47u + load16(m + 45):
        r.invalid += 1
        say_rejected(r, at, id, 0x000F, m + 31)             # Other
        return
    o = &r.orders[id & (SLOTS - 1)]
    r.taken += 1
    if (r.reject_every and r.taken % r.reject_every == 0) or o.id != 0:
        r.refused_orders += 1
        say_rejected(r, at, id, 0x000F, m + 31)
        return
    memset(o, 0, sizeof(Order))
    o.id = id
    o.symbol = symbol_of(r, m + 10) if r.match else -1
    o.total = quantity
    o.price = price
    o.side = c'B' if m[5] == c'B' else c'S'
    memcpy(o.name, m + 10, 8)
    o.tail[0] = m[26]
    o.tail[1] = m[27]
    memcpy(o.tail + 2, m + 28, 3)
    memcpy(o.tail + 5, m + 31, 14)
    # The answer names the side as it was sent.
    copy = o[0]
    copy.side = m[5]
    say_order(r, at, &copy, 0)
    r.acknowledged += 1
    rest(r, o)
    trade(r, o, at)
    if o.id and m[26] == c'3':
        say_canceled(r, at, id, o.total - o.executed, c'I')
        forget(r, o)


cdef void replace_order(Run *r, const uint8_t *m, uint32_t size, int64_t at) noexcept nogil:
    """One Replace Order Request (at least 40 bytes). One for an order that is not open is ignored, and one with invalid
    details takes the order out of the book; neither uses up its UserRefNum."""
    cdef uint32_t original = load32(m + 1), id = load32(m + 5), quantity = load32(m + 9)
    cdef uint64_t price = load64(m + 13)
    cdef Order *old = find(r, original)
    cdef Order *o
    cdef Order copy
    if id <= r.last_id:
        r.out_of_order += 1
        return
    if old == NULL:
        r.replaces_ignored += 1
        return
    o = &r.orders[id & (SLOTS - 1)]
    if quantity == 0 or quantity > 999999 or price == 0 or price > 1999999900 or o.id != 0 \
            or size != 40u + load16(m + 38):
        r.invalid += 1
        say_canceled(r, at, original, old.total - old.executed, c'U')
        forget(r, old)
        return
    copy = old[0]
    if quantity <= copy.executed:
        say_canceled(r, at, original, copy.total - copy.executed, c'U')
        forget(r, old)
        return
    r.last_id = id
    forget(r, old)
    o[0] = copy
    o.id = id
    o.total = quantity
    o.price = price
    o.tail[0] = m[21]
    o.tail[1] = m[22]
    memcpy(o.tail + 5, m + 24, 14)
    say_order(r, at, o, original)
    r.replaced += 1
    rest(r, o)
    trade(r, o, at)


cdef void cancel_order(Run *r, const uint8_t *m, int64_t at) noexcept nogil:
    """One Cancel Order Request. One for an order that is not open is ignored, as OUCH says."""
    cdef Order *o = find(r, load32(m + 1))
    cdef uint32_t wanted = load32(m + 5)
    if o == NULL or wanted >= o.total:
        return
    if wanted > o.executed:
        say_canceled(r, at, o.id, o.total - wanted, c'U')
        o.total = wanted
        return
    say_canceled(r, at, o.id, o.total - o.executed, c'U')
    forget(r, o)


cdef void cancel_all(Run *r, int64_t at) noexcept nogil:
    """The exchange cancels on disconnect."""
    cdef uint32_t i
    for i in range(SLOTS):
        if r.orders[i].id:
            say_canceled(r, at, r.orders[i].id, r.orders[i].total - r.orders[i].executed, c'Z')
            forget(r, &r.orders[i])


# ---------------------------------------------------------------------------------- the link

cdef bint keep(Run *r) noexcept nogil:
    """The log so far into the state file. False: it cannot be written."""
    cdef Py_ssize_t n
    while r.state >= 0 and r.kept < r.log_size:
        n = write(r.state, r.log + r.kept, r.log_size - r.kept)
        if n < 0 and errno != EINTR:
            r.ended = DISK
            return False
        if n > 0:
            r.kept += <uint64_t> n
    return True


cdef bint flush(Run *r) noexcept nogil:
    """Send what waits: control packets, then the log. False: the link is gone."""
    cdef Py_ssize_t n
    while r.control_at < r.control_size:
        n = send(r.link, r.control + r.control_at, r.control_size - r.control_at, MSG_DONTWAIT | MSG_NOSIGNAL)
        if n < 0:
            return errno == EAGAIN or errno == EINTR
        r.control_at += <uint32_t> n
        r.last_sent = now()
    r.control_at = r.control_size = 0
    if r.sent_to == r.log_size:
        return True
    n = send(r.link, r.log + r.sent_to, r.log_size - r.sent_to, MSG_DONTWAIT | MSG_NOSIGNAL)
    if n < 0:
        return errno == EAGAIN or errno == EINTR
    r.sent_to += <uint64_t> n
    r.last_sent = now()
    return True


cdef void control(Run *r, const uint8_t *data, uint32_t size) noexcept nogil:
    memcpy(r.control + r.control_size, data, size)
    r.control_size += size


cdef void hang_up(Run *r, int64_t at) noexcept nogil:
    if r.link < 0:
        return
    close(r.link)
    r.link = -1
    r.stream_size = 0
    r.control_at = r.control_size = 0
    r.disconnects += 1
    r.down_at = at
    cancel_all(r, at)
    keep(r)


cdef void refuse(Run *r, uint8_t reason) noexcept nogil:
    cdef uint8_t[4] packet
    packet[0] = 0
    packet[1] = 2
    packet[2] = c'J'
    packet[3] = reason
    send(r.candidate, packet, 4, MSG_DONTWAIT | MSG_NOSIGNAL)
    close(r.candidate)
    r.candidate = -1
    r.logins_refused += 1


cdef void login(Run *r, int64_t at) noexcept nogil:
    """A whole Login Request is in r.hello: judge it."""
    cdef uint8_t packet[33]
    cdef uint64_t wanted = 0, number
    cdef int i
    cdef bint digits = False, blank = True
    if not r.any_login and (memcmp(r.hello + 3, r.user, 6) != 0 or memcmp(r.hello + 9, r.password, 10) != 0):
        refuse(r, c'A')
        r.ended = REFUSED
        return
    for i in range(10):
        if r.hello[19 + i] != c' ':
            blank = False
    if not blank and memcmp(r.hello + 19, r.session, 10) != 0:
        refuse(r, c'S')
        return
    for i in range(29, 49):
        if r.hello[i] >= c'0' and r.hello[i] <= c'9' and wanted < (1ULL << 59):
            wanted = wanted * 10 + (r.hello[i] - c'0')
            digits = True
    if not digits or wanted > r.messages + 1:
        refuse(r, c'S')
        return
    # One link at a time: an older one is the one whose end has not been noticed.
    hang_up(r, at)
    if wanted == 0:
        wanted = r.messages + 1
    r.link = r.candidate
    r.candidate = -1
    r.down_at = 0
    r.login_at = r.last_heard = r.last_sent = at
    r.logins += 1
    r.sent_to = r.offsets[wanted - 1] if wanted <= r.messages else r.log_size
    r.replays += r.messages + 1 - wanted
    packet[0] = 0
    packet[1] = 31
    packet[2] = c'A'
    memcpy(packet + 3, r.session, 10)
    memset(packet + 13, c' ', 20)
    number = wanted
    for i in range(32, 12, -1):
        packet[i] = c'0' + <uint8_t> (number % 10)
        number //= 10
        if number == 0:
            break
    control(r, packet, 33)
    r.started = True


cdef void greet(Run *r, int64_t at) noexcept nogil:
    """Take a connection, read its Login Request."""
    cdef Py_ssize_t n
    cdef int one = 1
    if r.candidate < 0:
        r.candidate = accept4(r.server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if r.candidate < 0:
            return
        setsockopt(r.candidate, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        r.hello_size = 0
        r.hello_at = at
    n = recv(r.candidate, r.hello + r.hello_size, LOGIN - r.hello_size, MSG_DONTWAIT)
    if n > 0:
        r.hello_size += <uint32_t> n
        if r.hello_size >= 3 and (r.hello[0] != 0 or r.hello[1] != 47 or r.hello[2] != c'L'):
            n = 0
        elif r.hello_size == LOGIN:
            login(r, at)
            return
    if n == 0 or (n < 0 and errno != EAGAIN and errno != EINTR) or at - r.hello_at > 5 * SECOND:
        close(r.candidate)
        r.candidate = -1


cdef void unsequenced(Run *r, const uint8_t *m, uint32_t size, int64_t at) noexcept nogil:
    cdef uint8_t *a
    if size >= 47 and m[0] == c'O':
        enter_order(r, m, size, at)
    elif size >= 40 and m[0] == c'U':
        replace_order(r, m, size, at)
    elif size >= 9 and m[0] == c'X':
        cancel_order(r, m, at)
    elif size >= 1 and m[0] == c'Q':
        r.queries += 1
        a = room(r, 13)
        if a != NULL:
            say(a, c'Q', r, at, r.last_id + 1)
        r.ready = True
        r.ready_at = at
    else:
        r.other_messages += 1


cdef bint take(Run *r) noexcept nogil:
    """Read once, stamp, handle all whole packets, answer. False: the link has ended, or the run."""
    cdef Py_ssize_t n
    cdef uint32_t place = 0, size
    cdef uint8_t kind
    cdef int64_t at
    n = recv(r.link, r.stream + r.stream_size, STREAM - r.stream_size, MSG_DONTWAIT)
    if n == 0 or (n < 0 and errno != EAGAIN and errno != EINTR):
        return False
    if n > 0:
        at = now()
        r.last_heard = at
        r.stream_size += <uint32_t> n
        while r.stream_size - place >= 2:
            size = load16(r.stream + place)
            if size == 0 or size > STREAM // 2:
                r.ended = PROTOCOL
                return False
            if r.stream_size - place < 2 + size:
                break
            kind = r.stream[place + 2]
            if kind == c'U':
                unsequenced(r, r.stream + place + 3, size - 1, at)
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
        if r.full:
            r.ended = FULL
            return False
        if not keep(r):
            return False
    if (r.control_size or r.sent_to != r.log_size) and not r.patient and not flush(r):
        return False
    if r.disconnect_after and r.enters >= r.disconnect_after:
        r.disconnect_after = 0
        return False
    return True


cdef void heartbeat(Run *r, int64_t at) noexcept nogil:
    cdef uint8_t[3] soup
    if r.link >= 0 and at - r.last_sent > SECOND and r.sent_to == r.log_size and r.control_size == 0:
        store16(soup, 1)
        soup[2] = c'H'
        control(r, soup, 3)
        r.last_sent = at


# ---------------------------------------------------------------------------------- the feed

cdef bint put(Run *r, int line, const uint8_t *data, uint32_t size) noexcept nogil:
    """Send a packet on a line. False: the kernel has no room now."""
    cdef Py_ssize_t n = send(r.feed[line], data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if n == <Py_ssize_t> size:
        return True
    if errno != EAGAIN and errno != ENOBUFS and errno != EINTR:
        # ECONNREFUSED answers an earlier datagram; this one was not sent.
        r.feed_refused += 1
    r.send_retries += 1
    return False


cdef bint publish(Run *r, int64_t i) noexcept nogil:
    """Packet i on every line, with its fates. False: nothing of it was sent, try again."""
    cdef const uint8_t *data = r.bytes + r.starts[i]
    cdef uint32_t size = <uint32_t> (r.starts[i + 1] - r.starts[i])
    cdef int line, fate
    cdef int64_t waiting
    for line in range(LINES):
        if r.feed[line] < 0:
            continue
        fate = r.fates[line][i] if r.fates[line] != NULL else SEND
        if fate == SWAP and (r.held[line] >= 0 or i + 1 == r.packets):
            fate = SEND
        if fate == SEND or fate == DUPLICATE:
            # Of line A everything waits for room; line B loses what does not fit, as networks do.
            if not put(r, line, data, size):
                if line == 0:
                    return False
        r.fate_counts[fate] += 1
        if fate == DUPLICATE:
            put(r, line, data, size)
        waiting = r.held[line]
        if waiting >= 0:
            r.held[line] = -1
            put(r, line, r.bytes + r.starts[waiting], <uint32_t> (r.starts[waiting + 1] - r.starts[waiting]))
        elif fate == SWAP:
            r.held[line] = <int> i
    return True


cdef void sign(Run *r, uint64_t sequence, uint16_t count) noexcept nogil:
    """A heartbeat (count 0) or end of session (0xFFFF) packet of the feed."""
    cdef uint8_t[20] packet
    cdef int line
    memcpy(packet, r.feed_session, 10)
    store64(packet + 10, sequence)
    store16(packet + 18, count)
    for line in range(LINES):
        if r.feed[line] >= 0:
            put(r, line, packet, 20)


cdef void retransmit(Run *r) noexcept nogil:
    """Answer one request for messages that were sent: as many as fit into a packet."""
    cdef uint8_t[64] asked
    cdef uint8_t[ANSWER] packet
    cdef uint8_t[128] peer
    cdef socklen_t peer_size = 128
    cdef Py_ssize_t n
    cdef uint64_t sequence
    cdef int64_t i, last
    cdef uint32_t size = 20, block, count
    n = recvfrom(r.request, asked, 64, MSG_DONTWAIT, <sockaddr *> peer, &peer_size)
    if n != 20 or memcmp(asked, r.feed_session, 10) != 0:
        return
    r.requests += 1
    sequence = load64(asked + 10)
    count = load16(asked + 18)
    last = r.firsts[r.done]
    if sequence < r.first or sequence - r.first >= <uint64_t> last:
        return
    i = <int64_t> (sequence - r.first)
    n = 0
    while i < last and <uint32_t> n < count:
        block = 2 + <uint32_t> load16(r.bytes + r.blocks[i])
        if size + block > ANSWER:
            break
        memcpy(<uint8_t *> packet + size, r.bytes + r.blocks[i], block)
        size += block
        n += 1
        i += 1
    if n == 0:
        return
    memcpy(packet, r.feed_session, 10)
    store64(<uint8_t *> packet + 10, sequence)
    store16(<uint8_t *> packet + 18, <uint16_t> n)
    r.retransmitted += <uint64_t> n
    sendto(r.request, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL, <sockaddr *> peer, peer_size)


cdef void wait_a_little(Run *r, int64_t nanoseconds) noexcept nogil:
    cdef pollfd p[3]
    cdef timespec t
    p[0].fd = r.link
    p[1].fd = r.candidate if r.candidate >= 0 else r.server
    p[2].fd = r.request
    p[0].events = p[1].events = p[2].events = POLLIN
    p[0].revents = p[1].revents = p[2].revents = 0
    t.tv_sec = nanoseconds // SECOND
    t.tv_nsec = nanoseconds % SECOND
    ppoll(p, 3, &t, NULL)


# ---------------------------------------------------------------------------------- Python side

cdef void recover(Run *r, const uint8_t *data, uint64_t size) noexcept nogil:
    """Take over the log of an earlier process: whole packets, from which open orders follow."""
    cdef uint64_t place = 0
    cdef uint32_t length
    cdef const uint8_t *m
    cdef Order *o
    cdef Order copy
    while place + 3 <= size:
        length = load16(data + place)
        if length < 10 or data[place + 2] != c'S' or place + 2 + length > size:
            break
        if r.log_size + length + 2 > r.log_room or r.messages == r.messages_room:
            r.full = True
            return
        memcpy(r.log + r.log_size, data + place, length + 2)
        r.offsets[r.messages] = r.log_size
        r.messages += 1
        r.log_size += length + 2
        m = data + place + 3
        place += length + 2
        if m[0] == c'Q' and length >= 14:
            if load32(m + 9) - 1 > r.last_id:
                r.last_id = load32(m + 9) - 1
            continue
        if m[0] == c'A' and length >= 65:
            o = &r.orders[load32(m + 9) & (SLOTS - 1)]
            memset(o, 0, sizeof(Order))
            o.id = load32(m + 9)
            o.symbol = -1
            o.total = load32(m + 14)
            o.price = load64(m + 26)
        elif m[0] == c'U' and length >= 69:
            o = find(r, load32(m + 9))
            if o != NULL:
                copy = o[0]
                o.id = 0
                o = &r.orders[load32(m + 13) & (SLOTS - 1)]
                o[0] = copy
                o.id = load32(m + 13)
                o.total = load32(m + 18) + o.executed
            if load32(m + 13) > r.last_id:
                r.last_id = load32(m + 13)
            continue
        elif m[0] == c'E' and length >= 35:
            o = find(r, load32(m + 9))
            if o != NULL:
                o.executed += load32(m + 13)
                if o.executed >= o.total:
                    o.id = 0
            if load64(m + 26) > r.next_match:
                r.next_match = load64(m + 26)
        elif m[0] == c'C' and length >= 19:
            o = find(r, load32(m + 9))
            if o != NULL:
                o.total -= load32(m + 13)
                if o.executed >= o.total:
                    o.id = 0
        if load32(m + 9) > r.last_id:
            r.last_id = load32(m + 9)
    r.kept = r.log_size


def run(*, feed, int server, int request, int state, bytes session not None, bytes feed_session not None, login, bytes recovered not None,
        const uint8_t[::1] packets, const int64_t[::1] starts, const int64_t[::1] firsts, const int64_t[::1] blocks,
        const int64_t[::1] due, fates, const uint64_t[::1] names, const int32_t[::1] mark_symbol,
        const uint64_t[::1] marks, const uint64_t[::1] watched, int64_t[::1] intended, int64_t[::1] sent,
        int64_t[::1] order_tick, int64_t[::1] order_at, uint32_t[::1] order_id, bint match, uint32_t reject_every,
        uint64_t disconnect_after, bint lockstep, bint spin, double linger, double wait, double reconnect,
        double timeout, uint64_t first, int64_t midnight, uint64_t log_room):
    """Serve the order entry, send every packet, take every order; returns a dict of counts and how it ended.

    feed: descriptors of line A and B (-1: none), connected. server: a listening, non-blocking socket. request:
    a bound UDP socket for retransmission requests, state: a file open for appending; -1: none. login: (user,
    password) that is accepted, padded, or None for any. recovered: the state file's packets.

    packets: MoldUDP64 packets, packet i is packets[starts[i]:starts[i + 1]] (n + 1 starts) and holds the messages
    firsts[i] up to firsts[i + 1], counted from 0; blocks: where the length of each message is. due: by packet, ns
    after the start. fates: for each line None or a byte per packet: send, drop, duplicate, swap with the next.
    names: symbols of the feed, 8 characters each; mark_symbol, marks: by message, the symbol whose best bid and
    offer it leaves as bid, ask (4 decimals), bid size, ask size; -1: none.
    watched: one word, the agent's count of messages (lockstep: the next packet goes out when the last was
    counted), or empty. intended, sent: by packet, filled with CLOCK_MONOTONIC ns. order_*: filled by Enter Order
    in the order of arrival: index of the message (-1: no such), CLOCK_MONOTONIC ns, UserRefNum.
    linger, wait, reconnect, timeout: seconds for more orders after the last one, for the first login, for another
    one after a disconnect (0: it ends the run), and for the whole run. No error is raised; see "ended".
    """
    global interrupted
    cdef Run *r
    cdef int64_t n = due.shape[0], i, at, start = 0, limit, quiet = 0, pause, last_feed = 0, base = 0, k, begun
    cdef int64_t linger_ns = <int64_t> (linger * 1e9), reconnect_ns = <int64_t> (reconnect * 1e9)
    cdef const uint64_t *counter = &watched[0] if watched.shape[0] else NULL
    cdef const uint8_t[::1] fate
    cdef const uint8_t[::1] log
    cdef int ends = 0, line
    cdef uint64_t spins = 0
    cdef bint running = False
    cdef uint8_t[3] soup
    cdef sigaction_t action
    cdef sigaction_t old_term
    cdef sigaction_t old_int
    if len(session) != 10 or len(feed_session) != 10 or starts.shape[0] != n + 1 or firsts.shape[0] != n + 1 or intended.shape[0] < n \
            or sent.shape[0] < n or mark_symbol.shape[0] != blocks.shape[0] or marks.shape[0] != 4 * blocks.shape[0] \
            or firsts[n] != blocks.shape[0] or not n:
        raise ValueError("run: arguments do not fit together")
    r = <Run *> calloc(1, sizeof(Run))
    if r == NULL:
        raise MemoryError
    kept = []
    r.candidate = r.link = -1
    for line in range(LINES):
        r.feed[line] = feed[line]
        r.held[line] = -1
        if fates[line] is not None:
            fate = fates[line]
            kept.append(fate)
            if fate.shape[0] != n:
                raise ValueError("run: arguments do not fit together")
            r.fates[line] = &fate[0]
    r.server = server
    r.request = request
    r.state = state
    memcpy(r.session, <const char *> session, 10)
    memcpy(r.feed_session, <const char *> feed_session, 10)
    r.any_login = login is None
    if login is not None:
        memcpy(r.user, <const char *> login[0], 6)
        memcpy(r.password, <const char *> login[1], 10)
    r.stream = <uint8_t *> calloc(1, STREAM)
    r.log_room = log_room
    r.log = <uint8_t *> calloc(1, log_room)
    r.messages_room = log_room // 20
    r.offsets = <uint64_t *> calloc(r.messages_room, 8)
    r.orders = <Order *> calloc(SLOTS, sizeof(Order))
    r.touches = <Touch *> calloc(names.shape[0] + 1, sizeof(Touch))
    if r.stream == NULL or r.log == NULL or r.offsets == NULL or r.orders == NULL or r.touches == NULL:
        raise MemoryError
    r.bytes = &packets[0]
    r.starts = &starts[0]
    r.firsts = &firsts[0]
    r.blocks = &blocks[0]
    r.packets = n
    r.total = blocks.shape[0]
    r.first = first
    r.match = match
    r.reject_every = reject_every
    r.disconnect_after = disconnect_after
    r.symbols = <int32_t> names.shape[0]
    r.names = &names[0] if r.symbols else NULL
    r.mark_symbol = &mark_symbol[0]
    r.marks = &marks[0]
    r.sent = &sent[0]
    r.order_room = order_tick.shape[0]
    r.order_tick = &order_tick[0]
    r.order_at = &order_at[0]
    r.order_id = &order_id[0]
    r.midnight = <uint64_t> midnight
    # Touched now, not in the loop.
    memset(r.stream, 1, STREAM)
    memset(r.log, 1, log_room if log_room < (1 << 24) else (1 << 24))
    if recovered:
        log = recovered
        recover(r, &log[0], log.shape[0])
        cancel_all(r, now())
    memset(&action, 0, sizeof(action))
    action.sa_handler = on_signal
    interrupted = 0
    sigaction(SIGTERM, &action, &old_term)
    sigaction(SIGINT, &action, &old_int)
    i = 0
    with nogil:
        if counter != NULL:
            base = <int64_t> (<volatile uint64_t *> counter)[0]
        begun = now()
        limit = begun + <int64_t> (timeout * 1e9)
        while r.ended == COMPLETE:
            at = now()
            spins += 1
            if interrupted:
                r.ended = INTERRUPTED
                break
            if at > limit:
                r.ended = TIMED_OUT
                break
            if r.full:
                r.ended = FULL
                break
            # Connections: often while there is none, else now and then.
            if r.link < 0 or r.candidate >= 0 or (spins & 1023) == 0:
                greet(r, at)
                if r.ended:
                    break
            if not running:
                if not r.started and at - begun > <int64_t> (wait * 1e9):
                    r.ended = NO_LOGIN
                    break
                # The gate of an agent opens when it has read the answer to its query; it may have to wait for a CPU.
                if r.link >= 0 and ((r.ready and r.sent_to == r.log_size and at - r.ready_at > SECOND // 10)
                                    or at - r.login_at > SECOND):
                    running = True
                    start = quiet = last_feed = now()
                    at = start
                pause = 1000000
            elif i < n:
                pause = start + due[i] - at
                if lockstep:
                    pause = 0
                    if counter != NULL and <int64_t> (<volatile uint64_t *> counter)[0] - base < firsts[i]:
                        pause = 1
                if pause <= 0:
                    intended[i] = start + due[i] if not lockstep else at
                    # Stamped before the send: an order can arrive before the call returns.
                    r.done = i + 1
                    sent[i] = now()
                    if publish(r, i):
                        for k in range(firsts[i], firsts[i + 1]):
                            if mark_symbol[k] >= 0:
                                touched(r, mark_symbol[k], &marks[4 * k], at)
                        i += 1
                        quiet = last_feed = at
                    else:
                        r.done = i
                        sent[i] = 0
                    pause = 0
            else:
                # Linger for late orders, with MoldUDP64's end of session meanwhile, three times.
                if ends < 3 and at - quiet >= linger_ns * ends // 3:
                    sign(r, first + <uint64_t> r.total, 0xFFFF)
                    ends += 1
                if r.last_order_at > quiet:
                    quiet = r.last_order_at
                if at - quiet > linger_ns and ends == 3 and r.link >= 0 and r.sent_to == r.log_size \
                        and r.control_size == 0:
                    break
                pause = 1000000
            if i and i < n and at - last_feed > SECOND:
                sign(r, first + <uint64_t> firsts[i], 0)
                last_feed = at
            if r.request >= 0 and (spins & 15 == 0 or not spin):
                retransmit(r)
            if not spin and pause > 200000:
                wait_a_little(r, pause - 100000 if pause < 50000000 else 50000000)
            if r.link >= 0:
                # Who is behind with its ticks answers several orders in one packet.
                r.patient = running and i < n and not lockstep and start + due[i] <= at \
                    and at - r.last_sent < PATIENCE
                if not take(r) or at - r.last_heard > 15 * SECOND:
                    hang_up(r, now())
                heartbeat(r, at)
            if r.ended == COMPLETE and r.link < 0 and r.started \
                    and (reconnect_ns == 0 or (r.down_at and at - r.down_at > reconnect_ns)):
                r.ended = DISCONNECTED
            if r.logged_out and r.ended == COMPLETE:
                r.logged_out = False
                hang_up(r, now())
                if reconnect_ns == 0:
                    r.ended = DISCONNECTED
        if r.ended == COMPLETE and r.link >= 0:
            # SoupBinTCP: end of session.
            store16(soup, 1)
            soup[2] = c'Z'
            control(r, soup, 3)
            flush(r)
        at = now()
    sigaction(SIGTERM, &old_term, NULL)
    sigaction(SIGINT, &old_int, NULL)
    result = {
        "ended": ("complete", "timeout", "disconnected", "protocol", "interrupted", "no login", "login refused",
                  "log full", "state file cannot be written")[r.ended],
        "login": bytes(r.hello[:LOGIN]), "packets_sent": i, "ticks_sent": firsts[i], "orders": r.enters,
        "acknowledged": r.acknowledged, "executions": r.executions, "canceled": r.canceled, "replaced": r.replaced, "replaces_ignored": r.replaces_ignored,
        "refused_orders": r.refused_orders, "invalid": r.invalid, "unmatched": r.unmatched,
        "out_of_order": r.out_of_order, "order_overflow": r.order_overflow, "other_messages": r.other_messages,
        "heartbeats": r.heartbeats, "send_retries": r.send_retries, "feed_refused": r.feed_refused,
        "unsent_answer_bytes": (r.log_size - r.sent_to) + (r.control_size - r.control_at) if r.link >= 0 else 0,
        "logins": r.logins, "logins_refused": r.logins_refused, "disconnects": r.disconnects,
        "replayed": r.replays, "queries": r.queries, "requests": r.requests, "retransmitted": r.retransmitted,
        "dropped": r.fate_counts[DROP], "duplicated": r.fate_counts[DUPLICATE], "swapped": r.fate_counts[SWAP],
        "sequenced": r.messages, "last_id": r.last_id, "seconds": (at - start) / 1e9 if running else 0.0,
    }
    if r.link >= 0:
        close(r.link)
    if r.candidate >= 0:
        close(r.candidate)
    free(r.stream)
    free(r.log)
    free(r.offsets)
    free(r.orders)
    free(r.touches)
    free(r)
    return result
