# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Fuzzers of the session protocols: moldudp64, soupbintcp, ouch."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy, memset

cimport agent.protocols.moldudp64 as moldudp64
cimport agent.protocols.ouch as ouch
cimport agent.protocols.soupbintcp as soupbintcp
from tests.fuzz.loop cimport BROKEN, decoder_t, drive


cdef bint _inside(const uint8_t *data, uint64_t size, const uint8_t *at, uint64_t n, uint64_t *sink) noexcept nogil:
    cdef uint64_t i
    if at < data or at + n > data + size:
        return False
    for i in range(n):
        sink[0] += at[i]
    return True


cdef int _ouch(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    cdef ouch.Answer a
    cdef int verdict = ouch.parse(data, size, &a)
    if verdict < 0:
        return verdict
    sink[0] += a.id + a.original + a.quantity + a.price + a.match + a.reference + a.timestamp + a.secondary
    if verdict != data[0]:
        return BROKEN
    if a.symbol != NULL and not _inside(data, size, a.symbol, 8, sink):
        return BROKEN
    if a.clordid != NULL and not _inside(data, size, a.clordid, 14, sink):
        return BROKEN
    if a.firm != NULL and not _inside(data, size, a.firm, 4, sink):
        return BROKEN
    if a.options_size and not _inside(data, size, a.options, a.options_size, sink):
        return BROKEN
    return verdict


cdef int _soupbintcp(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """The input as a stream that comes in pieces: their sizes are its first byte and up."""
    cdef uint8_t buffer[600]
    cdef soupbintcp.Splitter s
    cdef soupbintcp.Packet packet
    cdef soupbintcp.Login wanted
    cdef const uint8_t *session = NULL
    cdef uint8_t *at = NULL
    cdef uint64_t number = 0
    cdef uint32_t place = 0, piece, packets = 0
    cdef int n
    soupbintcp.splitter_init(&s, buffer, 600, 300)
    piece = 1 + (data[0] & 63 if size else 0)
    while place < size:
        n = <int> soupbintcp.splitter_space(&s, &at)
        if n <= 0 or not (at >= buffer and at + n <= buffer + 600):
            return BROKEN
        if piece > <uint32_t> n:
            piece = <uint32_t> n
        if piece > size - place:
            piece = size - place
        memcpy(at, data + place, piece)
        soupbintcp.splitter_filled(&s, piece)
        place += piece
        piece = 1 + (piece * 7 & 127)
        while True:
            n = soupbintcp.splitter_next(&s, &packet)
            if n < 0:
                return n
            if n == 0:
                break
            packets += 1
            if not _inside(buffer, 600, packet.body, packet.size, sink):
                return BROKEN
            if soupbintcp.check(&packet, True) == 0 and packet.type == c'A':
                if soupbintcp.parse_login_accepted(&packet, &session, &number):
                    sink[0] += number
            if soupbintcp.check(&packet, False) == 0 and packet.type == c'L':
                if soupbintcp.parse_login_request(&packet, &wanted):
                    sink[0] += wanted.sequence + wanted.timeout
    return 1 + <int> (packets if packets < 100 else 100)


cdef int _moldudp64(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """The input as datagrams: a byte that says line and time, two of length, and so many bytes. What is given out has
    to be in order, without holes but for what is lost, and inside the datagram or the store."""
    cdef moldudp64.Mold m
    cdef size_t room = moldudp64.mold_store_size(4)
    cdef uint8_t *store = <uint8_t *> malloc(room)
    cdef uint8_t *block = NULL
    cdef const uint8_t *message = NULL
    cdef uint64_t sequence = 0, last = 0, i
    cdef uint32_t place = 0, length, n = 0
    cdef int64_t now = 1
    cdef int kind, due, line, verdict = 0
    if store == NULL:
        abort()
    memset(store, 0, room)
    moldudp64.mold_init(&m, store, room, 50, 200, size & 1, size & 2)
    m.quiet_ns = 400            # so that silence and jumps happen in a few datagrams
    m.reach = 20
    if size & 12 == 12:
        m.wanted = <const uint8_t *> b"SESSION002"
    while place + 3 <= size and verdict != BROKEN:
        line = data[place] & 3
        now += data[place] & 0xFC
        length = data[place + 1] | (<uint32_t> data[place + 2] << 8)
        place += 3
        if length > size - place:
            length = size - place
        free(block)
        block = <uint8_t *> malloc(length)
        if block == NULL and length:
            abort()
        memcpy(block, data + place, length)
        place += length
        kind = moldudp64.mold_arrive(&m, block, length, line if line < 3 else 0, now)
        if kind > 0 and kind & moldudp64.NEW_SESSION:
            last = 0
            verdict |= 1
        for i in range(2):
            while moldudp64.mold_next(&m, &message, &n, &sequence):
                if last and sequence != last + 1:
                    verdict = BROKEN
                    break
                last = sequence
                verdict |= 2
                if not _inside(block, length, message, n, sink) and not _inside(store, room, message, n, sink):
                    verdict = BROKEN
                    break
            if verdict == BROKEN or i:
                break
            due = moldudp64.mold_timer(&m, now)
            if due == moldudp64.LOST:
                if last and m.lost_from != last + 1:
                    verdict = BROKEN
                    break
                last = m.lost_from + m.lost_count - 1 if last else 0
                verdict |= 4
            elif due == moldudp64.REQUEST:
                verdict |= 8
                sink[0] += m.request[0] + m.request[19]
        if kind == moldudp64.HELD:
            verdict |= 16
        elif kind < 0:
            verdict |= 32
    if verdict != BROKEN and m.c.missing < m.c.healed + m.c.lost:
        verdict = BROKEN
    free(block)
    free(store)
    return verdict


DECODERS = ("ouch", "soupbintcp", "moldudp64")


def fuzz(str decoder not None, list seeds not None, uint64_t count, uint64_t rng_seed):
    """Run a decoder on `count` inputs made from the seeds (bytes).

    Returns how many inputs got each verdict, by its number; None: a result that contradicts itself. Raises ValueError
    for a decoder that does not exist."""
    cdef decoder_t function
    if decoder == "ouch":
        function = _ouch
    elif decoder == "soupbintcp":
        function = _soupbintcp
    elif decoder == "moldudp64":
        function = _moldudp64
    else:
        raise ValueError(f"decoder: found {decoder!r}, allowed are {', '.join(DECODERS)}")
    return drive(function, seeds, count, rng_seed)
