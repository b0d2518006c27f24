# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The data plane: one thread, run to completion, without the GIL from start to stop.

    UDP (MoldUDP64) -> binance.parse -> strategy (C function) -> risk gate -> OUCH frame -> TCP

Nothing is allocated while the loop runs, and no system call is made per tick but the receive and,
for an order, the send. Source of the feed framing: Nasdaq "MoldUDP64 Protocol Specification",
version 1.00.
"""

from libc.signal cimport SIGINT, SIGTERM, sig_atomic_t
from libc.stdlib cimport calloc, free
from libc.errno cimport EAGAIN, EINTR, errno
from libc.math cimport fabs, floor
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy, memmove, memset
from posix.signal cimport sigaction, sigaction_t
from posix.time cimport nanosleep, timespec

from agent cimport binance, histogram, ouch
from agent.abi cimport *
from agent.wire cimport load16, load32, load64, now, store16


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
    Py_ssize_t send(int, const void *, size_t, int)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int AF_INET
    int SOCK_STREAM
    int SOCK_NONBLOCK
    int SOCK_CLOEXEC
    int SOL_SOCKET
    int SO_ERROR

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "<unistd.h>" nogil:
    int close(int)

cdef extern from *:
    """
    #include <stddef.h>
    #include "agent_strategy.h"
    #ifndef SO_MEMINFO
    #define SO_MEMINFO 55
    #endif
    """
    int SO_MEMINFO
    int EINPROGRESS


cdef enum:
    DATAGRAM = 65536            # the largest UDP payload is 65,507
    STREAM = 65536
    OPEN_ORDERS = 65536         # orders in flight that can be matched; a power of two
    BACKLOG = 1024              # bytes of unsent order entry: room for one order and a heartbeat
    MOLD_HEADER = 20
    MOLD_END = 0xFFFF
    LOGIN = 49

    # the link to the exchange
    DOWN = 0
    CONNECTING = 1
    LOGGING_IN = 2
    UP = 3

    # why the loop ends
    RUN = 0
    STOP_SIGNAL = 1
    STOP_LOST = 2
    STOP_REFUSED = 3
    STOP_SESSION = 4
    STOP_STRATEGY = 5

cdef int64_t SECOND = 1000000000
cdef int64_t HOUSEKEEPING = 5000000         # between looks at heartbeats and drops: 5 ms
cdef int64_t SERVER_SILENT = 15 * SECOND    # SoupBinTCP: the link is dead
cdef int64_t CONNECT_LIMIT = 5 * SECOND
cdef int64_t DRAIN_LIMIT = SECOND           # at the end: wait for answers to open orders


cdef struct Engine_:
    agent_shm *shm
    agent_counters *c

    # feed
    int feed
    uint8_t *datagram
    char session[10]
    bint joined
    uint64_t expected
    bint feed_ended
    int64_t received
    uint32_t handled                # since the last look at the exchange

    # strategy
    agent_on_event_fn on_event
    void *state
    agent_tick tick
    agent_order orders[8]           # AGENT_MAX_ORDERS
    char symbol[8]
    uint32_t symbol_size

    # risk gate
    int64_t max_size
    double max_notional             # 0: no limit
    int64_t interval                # ns of the token bucket an order costs
    int64_t burst                   # ns it holds
    int64_t allowed                 # theoretical arrival time of the next order

    # orders
    uint8_t frame[50]
    uint32_t reference
    int64_t *sent_at                # by reference modulo OPEN_ORDERS; 0: not open
    uint64_t open_orders
    uint8_t backlog[BACKLOG]
    uint32_t backlog_at
    uint32_t backlog_size

    # link
    int link
    int exchange
    sockaddr_in address
    uint8_t login[LOGIN]
    uint8_t *stream
    uint32_t stream_size
    int64_t link_since
    int64_t retry_at
    int64_t last_sent
    int64_t last_received
    char login_reason

    int64_t housekept
    int64_t yielded
    int64_t yield_every             # ns; 0: never
    timespec yield_for
    bint once
    int stop


cdef volatile sig_atomic_t stop_requested = 0


cdef void on_signal(int number) noexcept nogil:
    global stop_requested
    stop_requested = number


# ---------------------------------------------------------------------------------- order entry

cdef void link_down(Engine_ *e, int64_t at) noexcept nogil:
    """Forget everything that belonged to the connection. The exchange cancels on disconnect."""
    if e.exchange >= 0:
        close(e.exchange)
    e.exchange = -1
    e.link = DOWN
    e.retry_at = at + SECOND
    e.stream_size = 0
    e.backlog_at = e.backlog_size = 0
    e.c.orders_unanswered += e.open_orders
    e.open_orders = 0
    memset(e.sent_at, 0, OPEN_ORDERS * sizeof(int64_t))
    e.shm.state = AGENT_CONNECTING


cdef void link_lost(Engine_ *e, int64_t at) noexcept nogil:
    cdef bint was_up = e.link == UP
    link_down(e, at)
    if was_up:
        e.c.connection_lost += 1
        e.stop = STOP_LOST


cdef bint link_send(Engine_ *e, const uint8_t *data, uint32_t size) noexcept nogil:
    """Give bytes to the socket; what it does not take is kept, in order. Only called when nothing
    waits already. False: the link is gone."""
    cdef Py_ssize_t n = send(e.exchange, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if n == <Py_ssize_t> size:
        return True
    if n < 0:
        if errno != EAGAIN and errno != EINTR:
            return False
        e.c.send_refused += 1
        n = 0
    else:
        e.c.send_short += 1
    memcpy(e.backlog, data + n, size - n)
    e.backlog_at = 0
    e.backlog_size = size - <uint32_t> n
    return True


cdef bint link_flush(Engine_ *e) noexcept nogil:
    cdef Py_ssize_t n = send(e.exchange, e.backlog + e.backlog_at, e.backlog_size - e.backlog_at,
                             MSG_DONTWAIT | MSG_NOSIGNAL)
    if n < 0:
        return errno == EAGAIN or errno == EINTR
    e.backlog_at += <uint32_t> n
    if e.backlog_at == e.backlog_size:
        e.backlog_at = e.backlog_size = 0
    return True


cdef void link_open(Engine_ *e, int64_t at) noexcept nogil:
    cdef int one = 1
    e.link_since = at
    e.exchange = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if e.exchange < 0:
        link_down(e, at)
        return
    setsockopt(e.exchange, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if connect(e.exchange, <const sockaddr *> &e.address, sizeof(e.address)) == 0 or errno == EINPROGRESS:
        e.link = CONNECTING
    else:
        link_down(e, at)


cdef void link_connected(Engine_ *e, int64_t at) noexcept nogil:
    cdef pollfd p
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    p.fd = e.exchange
    p.events = POLLOUT
    p.revents = 0
    if poll(&p, 1, 0) <= 0:
        if at - e.link_since > CONNECT_LIMIT:
            link_down(e, at)
        return
    getsockopt(e.exchange, SOL_SOCKET, SO_ERROR, &error, &size)
    if error != 0 or not link_send(e, e.login, LOGIN):
        link_down(e, at)
        return
    e.link = LOGGING_IN
    e.link_since = e.last_sent = e.last_received = at


cdef void answered(Engine_ *e, const uint8_t *message, bint accepted, int64_t at) noexcept nogil:
    cdef uint32_t reference = load32(message + 9)
    cdef int64_t *sent = &e.sent_at[reference & (OPEN_ORDERS - 1)]
    # References ascend, so an open slot is this order's unless the reference is out of the window.
    if sent[0] == 0 or e.reference - reference >= OPEN_ORDERS:
        e.c.answers_unmatched += 1
        return
    if accepted:
        e.c.accepted += 1
        histogram.record(&e.shm.histograms.order_ack, at - sent[0])
    else:
        e.c.rejected += 1
    sent[0] = 0
    e.open_orders -= 1


cdef bint packet(Engine_ *e, uint8_t kind, const uint8_t *body, uint32_t size, int64_t at) noexcept nogil:
    """One SoupBinTCP packet from the exchange. False: the link has ended."""
    if kind == c'S' and e.link == UP:
        if size >= ouch.ACCEPTED and body[0] == c'A':
            answered(e, body, True, at)
        elif size >= ouch.REJECTED and body[0] == c'J':
            answered(e, body, False, at)
        elif size == 0 or body[0] == c'A' or body[0] == c'J':
            e.c.exchange_malformed += 1
            link_lost(e, at)
            return False
        else:
            e.c.exchange_other += 1
    elif kind == c'H':
        e.c.exchange_heartbeats += 1
    elif kind == c'+':
        e.c.exchange_other += 1
    elif kind == c'A' and e.link == LOGGING_IN and size == 30:
        e.link = UP
        e.c.logins += 1
        e.shm.state = AGENT_RUNNING
    elif kind == c'J' and e.link == LOGGING_IN and size == 1:
        e.login_reason = <char> body[0]
        link_down(e, at)
        e.stop = STOP_REFUSED
        return False
    elif kind == c'Z':
        link_down(e, at)
        if e.once:
            e.stop = STOP_SESSION
        return False
    else:
        e.c.exchange_malformed += 1
        link_lost(e, at)
        return False
    return True


cdef void link_read(Engine_ *e, int64_t at) noexcept nogil:
    """Read what the exchange sent, once, and handle every whole packet of it."""
    cdef Py_ssize_t n
    cdef uint32_t place = 0, size
    n = recv(e.exchange, e.stream + e.stream_size, STREAM - e.stream_size, MSG_DONTWAIT)
    if n <= 0:
        if n == 0 or (errno != EAGAIN and errno != EINTR):
            link_lost(e, at)
        return
    at = now()
    e.last_received = at
    e.stream_size += <uint32_t> n
    while e.stream_size - place >= 2:
        size = load16(e.stream + place)
        # No packet of the protocol comes near the buffer's size: a longer one is not the protocol.
        if size == 0 or size > STREAM // 2:
            e.c.exchange_malformed += 1
            link_lost(e, at)
            return
        if e.stream_size - place < 2 + size:
            break
        if not packet(e, e.stream[place + 2], e.stream + place + 3, size - 1, at):
            return
        place += 2 + size
    e.stream_size -= place
    if place and e.stream_size:
        memmove(e.stream, e.stream + place, e.stream_size)


cdef void look_at_exchange(Engine_ *e) noexcept nogil:
    cdef int64_t at
    if e.link == UP or e.link == LOGGING_IN:
        if e.backlog_size and not link_flush(e):
            link_lost(e, now())
            return
        link_read(e, e.received)
        return
    at = now()
    if e.link == CONNECTING:
        link_connected(e, at)
    elif at >= e.retry_at and not stop_requested:
        link_open(e, at)


# ---------------------------------------------------------------------------------- orders

cdef inline bint gate(Engine_ *e, const agent_order *order, uint64_t *price) noexcept nogil:
    """The risk gate: True if the order may go out, with its price in OUCH's 4 decimals. Every
    refusal is counted by its reason; the first that applies."""
    cdef double scaled, grid
    if e.link != UP:
        e.c.reject_closed += 1
        return False
    if e.backlog_size:
        e.c.reject_backlog += 1
        return False
    if order.side != AGENT_BUY and order.side != AGENT_SELL:
        e.c.reject_side += 1
        return False
    if order.symbol != 0:
        e.c.reject_symbol += 1
        return False
    if order.size <= 0 or order.size > e.max_size or order.size > ouch.MAX_QUANTITY:
        e.c.reject_size += 1
        return False
    scaled = order.price * 1e4
    # Written so that a NaN fails it.
    if not (scaled > 0.5 and scaled < ouch.MAX_PRICE + 0.5):
        e.c.reject_price += 1
        return False
    grid = floor(scaled + 0.5)
    if fabs(scaled - grid) > 1e-3:
        e.c.reject_price += 1
        return False
    if e.max_notional > 0 and order.price * <double> order.size > e.max_notional:
        e.c.reject_notional += 1
        return False
    # Token bucket as a virtual schedule (GCRA): an order costs `interval`, `burst` may be ahead.
    if e.allowed - e.received > e.burst - e.interval:
        e.c.reject_rate += 1
        return False
    e.allowed = (e.allowed if e.allowed > e.received else e.received) + e.interval
    price[0] = <uint64_t> grid
    return True


cdef inline void submit(Engine_ *e, const agent_order *order) noexcept nogil:
    cdef uint64_t price = 0
    cdef int64_t entered, left
    if not gate(e, order, &price):
        return
    e.reference += 1
    ouch.order_patch(e.frame, e.reference, c'B' if order.side == AGENT_BUY else c'S',
                     <uint32_t> order.size, price, e.tick.sequence)
    if e.sent_at[e.reference & (OPEN_ORDERS - 1)] != 0:
        # The order that used this slot 65,536 orders ago was never answered.
        e.c.orders_unanswered += 1
        e.open_orders -= 1
    entered = now()
    if not link_send(e, e.frame, ouch.ORDER_FRAME):
        e.sent_at[e.reference & (OPEN_ORDERS - 1)] = entered
        e.open_orders += 1
        e.c.orders_sent += 1
        link_lost(e, entered)
        return
    left = now()
    e.sent_at[e.reference & (OPEN_ORDERS - 1)] = entered
    e.open_orders += 1
    e.c.orders_sent += 1
    e.last_sent = left
    histogram.record(&e.shm.histograms.own_code, entered - e.received)
    histogram.record(&e.shm.histograms.send, left - entered)


cdef inline void decide(Engine_ *e) noexcept nogil:
    cdef int32_t i, n
    e.c.events += 1
    n = e.on_event(e.state, &e.tick, e.orders)
    if n == 0:
        return
    if n < 0:
        e.c.strategy_errors += 1
        return
    e.c.orders_wanted += <uint64_t> n
    if n > AGENT_MAX_ORDERS:
        # It wrote beyond its buffer or lies: none of them can be trusted.
        e.c.reject_count += <uint64_t> n
        return
    for i in range(n):
        submit(e, &e.orders[i])


# ---------------------------------------------------------------------------------- feed

cdef inline void message(Engine_ *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    cdef binance.Span symbol
    cdef int kind
    e.c.messages += 1
    kind = binance.parse(data, size, &e.tick, &symbol)
    if kind == binance.BOOK:
        e.c.book_ticker += 1
    elif kind == binance.TRADE:
        e.c.trade += 1
    elif kind == binance.DEPTH:
        e.c.depth_update += 1
        return
    elif kind == binance.OTHER:
        e.c.other += 1
        return
    else:
        if kind == binance.TRUNCATED:
            e.c.malformed_truncated += 1
        elif kind == binance.BAD_JSON:
            e.c.malformed_json += 1
        elif kind == binance.BAD_NUMBER:
            e.c.malformed_number += 1
        else:
            e.c.malformed_field += 1
        return
    if symbol.size != e.symbol_size or memcmp(symbol.at, e.symbol, e.symbol_size) != 0:
        e.c.other_symbol += 1
        return
    e.tick.sequence = sequence
    e.tick.received_ns = e.received
    e.tick.symbol = 0
    if e.stop == RUN:
        decide(e)


cdef void datagram(Engine_ *e, const uint8_t *data, uint32_t size) noexcept nogil:
    """One MoldUDP64 downstream packet."""
    cdef uint64_t sequence, place = MOLD_HEADER
    cdef uint32_t count, i, length
    e.c.datagrams += 1
    e.c.datagram_bytes += size
    if size < MOLD_HEADER:
        e.c.malformed_datagram += 1
        return
    sequence = load64(data + 10)
    count = load16(data + 18)
    if sequence == 0 or sequence >= (1ULL << 62):
        e.c.malformed_datagram += 1
        return
    if not e.joined or memcmp(data, e.session, 10) != 0:
        memcpy(e.session, data, 10)
        e.joined = True
        e.feed_ended = False
        e.expected = sequence
        e.c.sessions += 1
    if sequence > e.expected:
        e.c.gaps += 1
        e.c.lost += sequence - e.expected
        e.expected = sequence
    if count == 0:
        e.c.heartbeats += 1
    elif count == MOLD_END:
        e.c.end_of_session += 1
        e.feed_ended = True
        count = 0
    for i in range(count):
        if size - place < 2:
            e.c.malformed_datagram += 1
            break
        length = load16(data + place)
        place += 2
        if size - place < length:
            e.c.malformed_datagram += 1
            break
        if sequence + i < e.expected:
            e.c.duplicates += 1
        else:
            e.expected = sequence + i + 1
            message(e, data + place, length, sequence + i)
        place += length
    else:
        if place != size:
            e.c.malformed_datagram += 1


cdef void housekeeping(Engine_ *e, int64_t at) noexcept nogil:
    cdef uint32_t memory[16]
    cdef socklen_t size = sizeof(memory)
    cdef uint8_t[3] heartbeat
    e.housekept = at
    e.shm.heartbeat_ns = at
    # SO_MEMINFO (sk_diag's SK_MEMINFO_DROPS, index 8) also counts drops after the last datagram
    # that was read, which the SO_RXQ_OVFL control message cannot.
    if e.feed >= 0 and getsockopt(e.feed, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 and size > 32:
        e.c.kernel_drops = memory[8]
    if e.link != UP and e.link != LOGGING_IN:
        return
    if at - e.last_received > SERVER_SILENT:
        link_lost(e, at)
        return
    if e.link == UP and at - e.last_sent > SECOND and e.backlog_size == 0:
        store16(heartbeat, 1)
        heartbeat[2] = c'R'
        if not link_send(e, heartbeat, 3):
            link_lost(e, at)
            return
        e.c.heartbeats_sent += 1
        e.last_sent = at


cdef void give_way(Engine_ *e) noexcept nogil:
    """Sleep for a moment while nothing is due. A SCHED_FIFO thread that never sleeps starves the
    kernel's own threads of its CPU (kworker, ksoftirqd), and with them whoever waits for these."""
    nanosleep(&e.yield_for, NULL)
    e.yielded = now()
    e.c.yields += 1


cdef void loop(Engine_ *e) noexcept nogil:
    """Until a signal, a lost or refused connection, or (once) the end of the session."""
    cdef Py_ssize_t n
    cdef uint32_t spins = 0
    cdef int64_t at, drain_until = 0
    e.received = now()
    housekeeping(e, e.received)
    while True:
        n = recv(e.feed, e.datagram, DATAGRAM, MSG_DONTWAIT)
        if n >= 0:
            e.received = now()
            datagram(e, e.datagram, <uint32_t> n)
            e.handled += 1
            # Under load, too, acknowledgements are read and the clock is looked at.
            if e.handled & 31 == 0:
                look_at_exchange(e)
                if e.received - e.housekept > HOUSEKEEPING:
                    housekeeping(e, e.received)
        else:
            if errno != EAGAIN and errno != EINTR:
                e.c.receive_errors += 1
            e.c.empty_polls += 1
            spins += 1
            # A look at the exchange costs as much as a look at the feed: one in four, unless
            # an answer is due.
            if spins & 3 == 0 or e.open_orders:
                look_at_exchange(e)
            if spins & 15 == 0:
                at = now()
                e.received = at
                if at - e.housekept > HOUSEKEEPING:
                    housekeeping(e, at)
                # An answer that is due is waited for, but not for ever.
                if e.yield_every and at - e.yielded > (e.yield_every << (e.open_orders > 0)):
                    give_way(e)
        if stop_requested and e.stop == RUN:
            e.stop = STOP_SIGNAL
        if e.stop != RUN:
            # No new orders; the answers to open ones are waited for, with a bound.
            at = now()
            if drain_until == 0:
                drain_until = at + DRAIN_LIMIT
            if e.link != UP or (e.open_orders == 0 and e.backlog_size == 0) or at > drain_until:
                break


# ---------------------------------------------------------------------------------- Python side

cdef class Engine:
    """The loop and its memory. Errors of arguments raise ValueError; nothing raises in the loop.

    segment: writable buffer of exactly SHM_SIZE bytes, zeroed here.
    feed: file descriptor of the bound UDP socket, or -1 for an engine that is only fed by hand.
    address, port: of the exchange, IPv4. login: the 49 bytes of a SoupBinTCP Login Request packet.
    symbol: at most 8 characters, the one instrument that is traded.
    on_event: address of an agent_on_event_fn; state: its zeroed, initialised state (a buffer).
    yield_every_ns, yield_ns: how often the loop sleeps while nothing is due, and for how long
    (less than a second); 0: it never does.
    """

    cdef Engine_ *e
    cdef object keep

    def __cinit__(self, segment, *, int feed, bytes address, int port, bytes login, bytes symbol,
                  uintptr_t on_event, state, int64_t max_size, double max_notional,
                  int64_t max_orders_per_second, int64_t burst, bint once,
                  int64_t yield_every_ns=0, int64_t yield_ns=0):
        cdef uint8_t[::1] memory = segment
        cdef uint8_t[::1] own_state = state
        if memory.shape[0] != sizeof(agent_shm):
            raise ValueError(f"segment: {memory.shape[0]} bytes, expected {sizeof(agent_shm)}")
        if len(login) != LOGIN or len(address) != 4:
            raise ValueError("login: 49 bytes, address: 4 bytes")
        if not 1 <= len(symbol) <= 8:
            raise ValueError(f"symbol: {symbol!r}, allowed: 1 to 8 characters (OUCH 5.0 Symbol)")
        if on_event == 0:
            raise ValueError("on_event: NULL")
        if max_orders_per_second < 1 or burst < 1:
            raise ValueError("max_orders_per_second, burst: at least 1")
        self.e = <Engine_ *> calloc(1, sizeof(Engine_))
        if self.e == NULL:
            raise MemoryError
        self.keep = (segment, state)
        e = self.e
        e.datagram = <uint8_t *> calloc(1, DATAGRAM)
        e.stream = <uint8_t *> calloc(1, STREAM)
        e.sent_at = <int64_t *> calloc(OPEN_ORDERS, sizeof(int64_t))
        if e.datagram == NULL or e.stream == NULL or e.sent_at == NULL:
            raise MemoryError
        # calloc's pages are only promised: touch them now, not in the loop.
        memset(e.datagram, 1, DATAGRAM)
        memset(e.stream, 1, STREAM)
        memset(e.sent_at, 1, OPEN_ORDERS * sizeof(int64_t))
        memset(e.sent_at, 0, OPEN_ORDERS * sizeof(int64_t))
        e.shm = <agent_shm *> &memory[0]
        agent_shm_init(e.shm)
        e.c = &e.shm.counters
        e.feed = feed
        e.exchange = -1
        e.address.sin_family = <unsigned short> AF_INET
        memcpy(&e.address.sin_addr.s_addr, <const char *> address, 4)
        store16(<uint8_t *> &e.address.sin_port, <uint16_t> port)
        memcpy(e.login, <const char *> login, LOGIN)
        memcpy(e.symbol, <const char *> symbol, len(symbol))
        e.symbol_size = <uint32_t> len(symbol)
        ouch.order_template(e.frame, e.symbol, <int> e.symbol_size)
        e.on_event = <agent_on_event_fn> on_event
        e.state = <void *> &own_state[0]
        e.max_size = max_size
        e.max_notional = max_notional
        e.interval = SECOND // max_orders_per_second
        e.burst = e.interval * burst
        e.once = once
        e.yield_every = yield_every_ns
        e.yield_for.tv_nsec = yield_ns

    def __dealloc__(self):
        if self.e != NULL:
            if self.e.exchange >= 0:
                close(self.e.exchange)
            free(self.e.datagram)
            free(self.e.stream)
            free(self.e.sent_at)
            free(self.e)

    def identify(self, int pid, uint64_t start_time, int64_t started_ns, bytes boot_id, int receive_buffer):
        """Write who owns the segment: pid, its start time, CLOCK_REALTIME ns, the boot's id."""
        self.e.shm.pid = pid
        self.e.shm.start_time = start_time
        self.e.shm.started_ns = started_ns
        memcpy(self.e.shm.boot_id, <const char *> boot_id, min(<int> len(boot_id), 39))
        self.e.c.receive_buffer = receive_buffer
        self.e.shm.heartbeat_ns = now()

    def handle(self, bytes data not None, int64_t received=0):
        """Handle one datagram as if it had been received at `received` (CLOCK_MONOTONIC, ns)."""
        self.e.received = received or now()
        datagram(self.e, <const uint8_t *> <const char *> data, <uint32_t> len(data))

    def attach(self, int descriptor):
        """Trade over a connected, non-blocking TCP socket that is logged in; takes it over."""
        self.e.exchange = descriptor
        self.e.link = UP
        self.e.last_sent = self.e.last_received = now()

    def look(self):
        """One look at the exchange: flush what waits, read what came."""
        self.e.received = now()
        look_at_exchange(self.e)

    def run(self):
        """Run the loop without the GIL until it ends; returns the reason, one line, and the exit
        code: 0 asked to end, 1 login refused, 4 connection lost. SIGTERM and SIGINT end it."""
        global stop_requested
        cdef sigaction_t action
        cdef sigaction_t old_term
        cdef sigaction_t old_int
        cdef Engine_ *e = self.e
        if e.feed < 0:
            raise ValueError("feed: no socket")
        memset(&action, 0, sizeof(action))
        action.sa_handler = on_signal
        stop_requested = 0
        e.stop = RUN
        e.shm.state = AGENT_CONNECTING
        sigaction(SIGTERM, &action, &old_term)
        sigaction(SIGINT, &action, &old_int)
        with nogil:
            loop(e)
            housekeeping(e, now())
        sigaction(SIGTERM, &old_term, NULL)
        sigaction(SIGINT, &old_int, NULL)
        if e.stop == STOP_SIGNAL:
            number = int(stop_requested)
            reason, code = f"stopped by signal {number}", 0
        elif e.stop == STOP_LOST:
            reason, code = "the connection to the exchange was lost", 4
        elif e.stop == STOP_REFUSED:
            why = {"A": "not authorised", "S": "session not available"}.get(chr(e.login_reason), "unknown reason")
            reason, code = f"the exchange refused the login: {chr(e.login_reason)} ({why})", 1
        else:
            reason, code = "the exchange ended the session", 0
        if e.link == UP:
            send(e.exchange, <const char *> b"\x00\x01O", 3, MSG_DONTWAIT | MSG_NOSIGNAL)
            link_down(e, now())
        text = reason.encode()
        memcpy(e.shm.ended, <const char *> text, len(text))
        e.shm.state = AGENT_STOPPED
        return reason, code


SHM_SIZE = sizeof(agent_shm)
MAX_ORDERS = AGENT_MAX_ORDERS
ABI = AGENT_ABI


cdef size_t _at(const void *base, const void *field) noexcept:
    return <size_t> (<const char *> field - <const char *> base)


def layouts():
    """The structures of agent_strategy.h as compiled: {name: (size, {field: offset})}."""
    cdef agent_tick t
    cdef agent_order o
    cdef agent_params p
    return {
        "tick": (sizeof(t), {
            "sequence": _at(&t, &t.sequence), "received_ns": _at(&t, &t.received_ns),
            "exchange_id": _at(&t, &t.exchange_id), "bid": _at(&t, &t.bid),
            "bid_size": _at(&t, &t.bid_size), "ask": _at(&t, &t.ask),
            "ask_size": _at(&t, &t.ask_size), "price": _at(&t, &t.price),
            "size": _at(&t, &t.size), "kind": _at(&t, &t.kind), "symbol": _at(&t, &t.symbol)}),
        "order": (sizeof(o), {
            "price": _at(&o, &o.price), "size": _at(&o, &o.size), "side": _at(&o, &o.side),
            "symbol": _at(&o, &o.symbol)}),
        "params": (sizeof(p), {
            "fast": _at(&p, &p.fast), "slow": _at(&p, &p.slow), "size": _at(&p, &p.size)}),
    }


def call_init(uintptr_t init, state, double fast, double slow, int64_t size):
    """Call an agent_init_fn on a zeroed state; returns its code."""
    cdef uint8_t[::1] memory = state
    cdef agent_params params
    params.fast = fast
    params.slow = slow
    params.size = size
    return (<agent_init_fn> init)(<void *> &memory[0], &params)


_KINDS = {binance.BOOK: "bookTicker", binance.TRADE: "trade", binance.DEPTH: "depthUpdate",
          binance.OTHER: "other", binance.TRUNCATED: "truncated", binance.BAD_JSON: "json",
          binance.BAD_FIELD: "field", binance.BAD_NUMBER: "number"}


def parse_message(bytes data not None):
    """One Binance message through the parser of the loop, for tests and tools.

    Returns (kind, fields): kind is bookTicker, trade, depthUpdate, other, or the reason it is
    malformed (truncated, json, field, number); fields is {} unless it is a tick.
    """
    cdef agent_tick t
    cdef binance.Span symbol
    cdef int kind = binance.parse(<const uint8_t *> <const char *> data, <uint32_t> len(data), &t, &symbol)
    if kind == binance.BOOK:
        fields = {"u": t.exchange_id, "b": t.bid, "B": t.bid_size, "a": t.ask, "A": t.ask_size}
    elif kind == binance.TRADE:
        fields = {"t": t.exchange_id, "p": t.price, "q": t.size}
    else:
        return _KINDS[kind], {}
    fields["s"] = (<const char *> symbol.at)[:symbol.size]
    return _KINDS[kind], fields


def time_parse(bytes data not None, int repeat):
    """Nanoseconds that `repeat` parses of one message take."""
    cdef agent_tick t
    cdef binance.Span symbol
    cdef const uint8_t *at = <const uint8_t *> <const char *> data
    cdef uint32_t size = <uint32_t> len(data)
    cdef int64_t begin
    cdef int i, kind = 0
    with nogil:
        begin = now()
        for i in range(repeat):
            kind += binance.parse(at, size, &t, &symbol)
        begin = now() - begin
    return begin if kind else 0


def encode_order(bytes symbol, uint32_t reference, bytes side, uint32_t quantity, uint64_t price,
                 uint64_t sequence):
    """The 50 bytes of one order as the loop sends it; price with 4 implied decimals."""
    cdef uint8_t frame[50]
    ouch.order_template(frame, symbol, <int> len(symbol))
    ouch.order_patch(frame, reference, side[0], quantity, price, sequence)
    return (<const char *> frame)[:ouch.ORDER_FRAME]


def bucket(uint64_t value):
    """The histogram bucket of a value in ns."""
    return histogram.bucket(value)
