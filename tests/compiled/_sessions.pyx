# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The session protocols of the engine, from Python: MoldUDP64, SoupBinTCP and OUCH 5.0.

For tests and tools; the engine compiles the same functions in. The documents and their versions are
named in agent/protocols/moldudp64.pxd, agent/protocols/soupbintcp.pxd and agent/protocols/ouch.pxd.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cimport agent.protocols.moldudp64 as moldudp64
cimport agent.protocols.ouch as ouch
cimport agent.protocols.soupbintcp as soupbintcp

_MOLD = {
    moldudp64.PACKET: "packet", moldudp64.DUPLICATE: "duplicate", moldudp64.HELD: "held",
    moldudp64.HEARTBEAT: "heartbeat", moldudp64.END_OF_SESSION: "end_of_session", moldudp64.DROPPED: "dropped",
    moldudp64.WRONG_SESSION: "wrong_session", moldudp64.FAR: "far", moldudp64.SHORT: "short",
    moldudp64.OVERRUN: "overrun", moldudp64.TRAILING: "trailing", moldudp64.BAD_SEQUENCE: "bad_sequence",
}
_SOUP = {
    soupbintcp.ZERO_LENGTH: "zero_length", soupbintcp.OVERSIZED: "oversized",
    soupbintcp.BAD_TYPE: "bad_type", soupbintcp.BAD_LENGTH: "bad_length",
}
_OUCH = {
    ouch.TRUNCATED: "truncated", ouch.OVERSIZED: "oversized", ouch.UNKNOWN: "unknown",
    ouch.BAD_APPENDAGE: "bad_appendage",
}


# ------------------------------------------------------------------------------------------- MoldUDP64

cdef class Mold:
    """A MoldUDP64 receiver (agent/protocols/moldudp64.pxd) driven by hand. Times are in nanoseconds."""
    cdef moldudp64.Mold m
    cdef uint8_t *store
    cdef bytes datagram
    cdef bytes wanted

    def __cinit__(self, size_t store=1 << 20, *, int64_t wait_ns=0, int64_t limit_ns=0, bint can_request=False,
                  uint64_t start=0, int64_t retry_ns=1_000_000, int64_t quiet_ns=3_000_000_000, uint64_t reach=1000,
                  uint32_t request_limit=1000, bytes wanted=None):
        """store: bytes for packets ahead of their turn. start: 0 joins wherever the feed is. wanted: the only session
        that is read, 10 bytes. Raises MemoryError.
        """
        self.store = <uint8_t *> calloc(1, store if store else 1)
        if self.store == NULL:
            raise MemoryError
        moldudp64.mold_init(&self.m, self.store, store, wait_ns, limit_ns, can_request, start)
        self.m.retry_ns = retry_ns
        self.m.quiet_ns = quiet_ns
        self.m.reach = reach
        self.m.request_limit = <unsigned short> request_limit
        self.wanted = wanted
        self.m.wanted = NULL if wanted is None else <const uint8_t *> <const char *> wanted

    def __dealloc__(self):
        free(self.store)

    def arrive(self, bytes datagram not None, int line=0, int64_t now=0):
        """One datagram of line 0 (A), 1 (B) or 2 (retransmission): (what it was, new session?)."""
        cdef int code
        # The address of the bytes lives until the next arrival.
        self.datagram = datagram
        code = moldudp64.mold_arrive(&self.m, <const uint8_t *> <const char *> datagram,
                                     <uint32_t> len(datagram), line, now)
        if code < 0:
            return _MOLD[code], False
        return _MOLD[code & ~moldudp64.NEW_SESSION], bool(code & moldudp64.NEW_SESSION)

    def next(self):
        """(sequence number, message) or None."""
        cdef const uint8_t *message = NULL
        cdef uint32_t size = 0
        cdef uint64_t sequence = 0
        if not moldudp64.mold_next(&self.m, &message, &size, &sequence):
            return None
        return sequence, (<const char *> message)[:size]

    def drain(self):
        """All that is ready: a list of (sequence number, message)."""
        out = []
        while (message := self.next()) is not None:
            out.append(message)
        return out

    def timer(self, int64_t now):
        """None, ("request", the packet to send) or ("lost", first sequence number, count)."""
        cdef int code = moldudp64.mold_timer(&self.m, now)
        if code == moldudp64.REQUEST:
            return "request", (<const char *> self.m.request)[:20]
        if code == moldudp64.LOST:
            return "lost", self.m.lost_from, self.m.lost_count
        return None

    @property
    def expected(self):
        return self.m.expected

    @property
    def top(self):
        return self.m.top

    @property
    def session(self):
        return (<const char *> self.m.session)[:10] if self.m.joined else None

    @property
    def joined_at(self):
        return self.m.joined_at

    @property
    def gap(self):
        """(first, one after the last) of the first gap, or None."""
        return (self.m.gap_from, self.m.gap_end) if self.m.gap else None

    @property
    def contested(self):
        """Whether packets of another session are in sequence beside this one's."""
        return moldudp64.mold_contested(&self.m)

    @property
    def held_packets(self):
        return self.m.held_count

    @property
    def slots(self):
        """(in use, all) places of the store."""
        return self.m.slots_used, self.m.slots

    @property
    def counters(self):
        cdef moldudp64.MoldCounters c = self.m.counters
        return {
            "messages": c.messages, "duplicates": c.duplicates, "gaps": c.gaps, "missing": c.missing,
            "healed": c.healed, "lost": c.lost, "requests": c.requests, "requested": c.requested, "held": c.held,
            "held_dropped": c.held_dropped, "heartbeats": c.heartbeats, "end_of_session": c.end_of_session,
            "sessions": c.sessions, "wrong_session": c.wrong_session, "far_ahead": c.far_ahead,
            "malformed_datagram": c.malformed_datagram, "malformed_short": c.malformed_short,
            "malformed_overrun": c.malformed_overrun, "malformed_trailing": c.malformed_trailing,
            "malformed_sequence": c.malformed_sequence, "packets_a": c.packets[0], "packets_b": c.packets[1],
            "packets_retransmitted": c.packets[2],
        }


def mold_store_size(uint32_t packets):
    """Bytes of a store that holds so many packets of up to 2,048 bytes."""
    return moldudp64.mold_store_size(packets)


# ------------------------------------------------------------------------------------------- SoupBinTCP

class ProtocolError(ValueError):
    """Bytes that are not the protocol; the argument is the reason."""


def soup_split(bytes data not None, uint32_t limit=65535):
    """(packets, bytes taken, reason or None): every whole packet as (type, body); the reason why the
    bytes after them are not SoupBinTCP."""
    cdef soupbintcp.Packet p
    cdef const uint8_t *at = <const uint8_t *> <const char *> data
    cdef uint32_t place = 0, size = <uint32_t> len(data)
    cdef int n
    out = []
    while True:
        n = soupbintcp.split(at + place, size - place, limit, &p)
        if n <= 0:
            return out, place, _SOUP[n] if n < 0 else None
        out.append(((<const char *> &p.type)[:1], (<const char *> p.body)[:p.size]))
        place += <uint32_t> n


def soup_check(bytes kind not None, bytes body not None, bint from_server):
    """None when the type exists in this direction and can have this body; else the reason."""
    cdef soupbintcp.Packet p
    cdef int n
    if len(kind) != 1:
        raise ValueError(f"kind: {kind!r}, allowed: one byte")
    p.type = kind[0]
    p.body = <const uint8_t *> <const char *> body
    p.size = <uint32_t> len(body)
    n = soupbintcp.check(&p, from_server)
    return _SOUP[n] if n < 0 else None


cdef class Splitter:
    """A receive buffer that gives out whole packets."""
    cdef soupbintcp.Splitter s
    cdef uint8_t *memory

    def __cinit__(self, uint32_t capacity=65538, uint32_t limit=65535):
        """limit: the largest length field taken. Raises ValueError for a capacity below limit + 2."""
        if limit < 1 or limit > 65535 or capacity < limit + 2:
            raise ValueError(f"capacity {capacity}, limit {limit}: allowed: limit 1 to 65535, capacity limit + 2")
        self.memory = <uint8_t *> calloc(1, capacity)
        if self.memory == NULL:
            raise MemoryError
        soupbintcp.splitter_init(&self.s, self.memory, capacity, limit)

    def __dealloc__(self):
        free(self.memory)

    def feed(self, bytes data not None):
        """The packets, (type, body), that are whole with data. Raises ProtocolError."""
        cdef soupbintcp.Packet p
        cdef uint8_t *at = NULL
        cdef uint32_t room, place = 0, size = <uint32_t> len(data)
        cdef const uint8_t *source = <const uint8_t *> <const char *> data
        cdef int n
        out = []
        while True:
            room = soupbintcp.splitter_space(&self.s, &at)
            if room > size - place:
                room = size - place
            memcpy(at, source + place, room)
            soupbintcp.splitter_filled(&self.s, room)
            place += room
            while True:
                n = soupbintcp.splitter_next(&self.s, &p)
                if n <= 0:
                    break
                out.append(((<const char *> &p.type)[:1], (<const char *> p.body)[:p.size]))
            if n < 0:
                raise ProtocolError(_SOUP[n])
            if place == size:
                return out

    @property
    def pending(self):
        """Bytes of a packet that is not whole yet."""
        return self.s.tail - self.s.head


def soup_login_request(bytes username not None, bytes password not None, bytes session=b"", uint64_t sequence=1):
    """Login Request. Raises ValueError for a field that is too long."""
    cdef uint8_t out[49]
    for name, value, size in (("username", username, 6), ("password", password, 10), ("session", session, 10)):
        if len(value) > size:
            raise ValueError(f"{name}: {value!r}, allowed: at most {size} bytes")
    cdef uint32_t n = soupbintcp.build_login_request(
        out, username, <uint32_t> len(username), password, <uint32_t> len(password), session,
        <uint32_t> len(session), sequence)
    return (<const char *> out)[:n]


def soup_login_accepted(bytes session not None, uint64_t sequence):
    """Login Accepted. Raises ValueError for a session of more than 10 bytes."""
    cdef uint8_t out[33]
    if len(session) > 10:
        raise ValueError(f"session: {session!r}, allowed: at most 10 bytes")
    cdef uint32_t n = soupbintcp.build_login_accepted(out, session, <uint32_t> len(session), sequence)
    return (<const char *> out)[:n]


def soup_login_rejected(bytes reason not None):
    """Login Rejected."""
    cdef uint8_t out[4]
    if len(reason) != 1:
        raise ValueError(f"reason: {reason!r}, allowed: one byte")
    return (<const char *> out)[:soupbintcp.build_login_rejected(out, reason[0])]


def soup_data(bytes kind not None, bytes payload=b""):
    """A packet of a type and payload: data, debug, heartbeats, end of session, logout."""
    cdef uint8_t *out
    cdef uint32_t n
    if len(kind) != 1 or len(payload) > 65534:
        raise ValueError(f"kind {kind!r}, {len(payload)} bytes, allowed: one byte, and at most 65534 of payload")
    out = <uint8_t *> calloc(1, 3 + len(payload))
    if out == NULL:
        raise MemoryError
    try:
        n = soupbintcp.build_data(out, kind[0], <const uint8_t *> <const char *> payload, <uint32_t> len(payload))
        return (<const char *> out)[:n]
    finally:
        free(out)


def soup_parse_login_accepted(bytes body not None):
    """(session, 10 bytes; sequence number) of a Login Accepted's body, or None."""
    cdef soupbintcp.Packet p
    cdef const uint8_t *session = NULL
    cdef uint64_t sequence = 0
    p.type = c'A'
    p.body = <const uint8_t *> <const char *> body
    p.size = <uint32_t> len(body)
    if not soupbintcp.parse_login_accepted(&p, &session, &sequence):
        return None
    return (<const char *> session)[:10], sequence


def soup_parse_login_request(bytes body not None):
    """Fields of a Login Request's body as they are, numbers as int, or None."""
    cdef soupbintcp.Packet p
    cdef soupbintcp.Login login
    p.type = c'L'
    p.body = <const uint8_t *> <const char *> body
    p.size = <uint32_t> len(body)
    if not soupbintcp.parse_login_request(&p, &login):
        return None
    return {
        "username": (<const char *> login.username)[:6], "password": (<const char *> login.password)[:10],
        "session": (<const char *> login.session)[:10], "sequence": login.sequence, "timeout": login.timeout,
    }


# ------------------------------------------------------------------------------------------- OUCH

cdef uint8_t _one(bytes value) except? 0:
    if len(value) != 1:
        raise ValueError(f"{value!r}, allowed: one byte")
    return value[0]


cdef bytes _alpha(str name, bytes value, int size):
    if len(value) > size:
        raise ValueError(f"{name}: {value!r}, allowed: at most {size} bytes")
    return value


def ouch_enter(bytes symbol not None, uint32_t id, bytes side not None, uint32_t quantity, uint64_t price,
               uint64_t sequence, *, bytes time_in_force=b"0", bytes display=b"Y", bytes capacity=b"P",
               bytes sweep=b"N", bytes cross_type=b"N"):
    """Enter Order in its SoupBinTCP packet. price: 4 decimals. sequence becomes ClOrdID."""
    cdef uint8_t out[50]
    _alpha("symbol", symbol, 8)
    ouch.build_enter_template(out, symbol, <uint32_t> len(symbol), _one(time_in_force), _one(display), _one(capacity),
                              _one(sweep), _one(cross_type))
    ouch.patch_order(out, id, _one(side), quantity, price, sequence)
    return (<const char *> out)[:50]


def ouch_order(bytes symbol not None, uint32_t id, bytes side not None, uint32_t quantity, uint64_t price,
               uint64_t sequence):
    """Enter Order from the engine's template."""
    cdef uint8_t out[50]
    _alpha("symbol", symbol, 8)
    ouch.build_order_template(out, symbol, <int> len(symbol))
    ouch.patch_order(out, id, _one(side), quantity, price, sequence)
    return (<const char *> out)[:50]


def ouch_replace(uint32_t original, uint32_t id, uint32_t quantity, uint64_t price, uint64_t sequence, *,
                 bytes time_in_force=b"0", bytes display=b"Y", bytes sweep=b"N"):
    """Replace Order Request in its packet."""
    cdef uint8_t out[43]
    ouch.build_replace_template_for(out, _one(time_in_force), _one(display), _one(sweep))
    ouch.patch_replace(out, original, id, quantity, price, sequence)
    return (<const char *> out)[:43]


def ouch_cancel(uint32_t id, uint32_t quantity=0):
    """Cancel Order Request in its packet."""
    cdef uint8_t out[12]
    ouch.build_cancel_template(out)
    ouch.patch_cancel(out, id, quantity)
    return (<const char *> out)[:12]


def ouch_modify(uint32_t id, bytes side not None, uint32_t quantity):
    """Modify Order Request in its packet."""
    cdef uint8_t out[13]
    ouch.build_modify_template(out)
    ouch.patch_modify(out, id, _one(side), quantity)
    return (<const char *> out)[:13]


def ouch_account_query():
    """Account Query Request in its packet."""
    cdef uint8_t out[4]
    ouch.build_account_query(out)
    return (<const char *> out)[:4]


def ouch_mass_cancel(uint32_t id, bytes firm not None, bytes symbol=b""):
    """Mass Cancel Request in its packet."""
    cdef uint8_t out[22]
    _alpha("firm", firm, 4)
    _alpha("symbol", symbol, 8)
    ouch.build_mass_cancel(out, id, firm, <uint32_t> len(firm), symbol, <uint32_t> len(symbol))
    return (<const char *> out)[:22]


def ouch_order_entry(bint enable, uint32_t id, bytes firm not None):
    """Enable or Disable Order Entry Request in its packet."""
    cdef uint8_t out[14]
    _alpha("firm", firm, 4)
    ouch.order_entry(out, enable, id, firm, <uint32_t> len(firm))
    return (<const char *> out)[:14]


cdef bytes _byte(uint8_t value):
    return (<const char *> &value)[:1]


def ouch_parse(bytes data not None):
    """One outbound message as a dict of the fields that its type has; its options as {tag: value
    bytes} (of a tag given twice, the last). Raises ProtocolError."""
    cdef ouch.Answer a
    cdef int code = ouch.parse(<const uint8_t *> <const char *> data, <uint32_t> len(data), &a)
    cdef uint32_t place = 0, n = 0
    cdef uint8_t tag = 0
    cdef const uint8_t *value = NULL
    if code < 0:
        raise ProtocolError(_OUCH[code])
    out = {"type": _byte(a.type), "timestamp": a.timestamp}
    if code == c'S':
        out["event"] = _byte(a.event)
        return out
    out["id"] = a.id
    if code == c'U':
        out["original"] = a.original
    if code in b"AU":
        out.update(
            side=_byte(a.side), quantity=a.quantity, symbol=(<const char *> a.symbol)[:8], price=a.price,
            time_in_force=_byte(a.time_in_force), display=_byte(a.display), reference=a.reference,
            capacity=_byte(a.capacity), sweep=_byte(a.sweep), cross_type=_byte(a.cross_type), state=_byte(a.state),
        )
    elif code == c'C':
        out.update(quantity=a.quantity, reason=_byte(<uint8_t> a.reason))
    elif code == c'D':
        out.update(quantity=a.quantity, reason=_byte(<uint8_t> a.reason), prevented=a.prevented, price=a.price,
                   liquidity=_byte(a.liquidity), strategy=_byte(a.strategy))
    elif code == c'E':
        out.update(quantity=a.quantity, price=a.price, liquidity=_byte(a.liquidity), match=a.match)
    elif code == c'B':
        out.update(match=a.match, reason=_byte(<uint8_t> a.reason))
    elif code == c'J':
        out["reason"] = a.reason
    elif code == c'T':
        out.update(price=a.price, display=_byte(a.display), reference=a.reference)
    elif code == c'M':
        out.update(side=_byte(a.side), quantity=a.quantity)
    elif code == c'R':
        out["reason"] = _byte(<uint8_t> a.reason)
    elif code == c'X':
        out.update(firm=(<const char *> a.firm)[:4], symbol=(<const char *> a.symbol)[:8])
    elif code in b"GK":
        out["firm"] = (<const char *> a.firm)[:4]
    if a.clordid != NULL:
        out["clordid"] = (<const char *> a.clordid)[:14]
    options = {}
    while ouch.option_next(a.options, a.options_size, &place, &tag, &value, &n):
        options[tag] = (<const char *> value)[:n]
    out["options"] = options
    # What parse itself takes out of the options.
    out["taken"] = (a.index, a.secondary, a.display_quantity, a.display_price)
    return out
