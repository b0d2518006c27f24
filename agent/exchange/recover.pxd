# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What is given again: the state of an earlier process out of its state file, and messages of the feed on request.

Source: Nasdaq "SoupBinTCP Version 3.00", "O*U*C*H Version 5.0", and "MoldUDP64 Protocol Specification" 1.00 (Request
Packet).
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from agent.exchange.log cimport append_packet
from agent.exchange.matching cimport find_order, get_slot
from agent.exchange.state cimport MAX_RETRANSMISSION, MOLD_HEADER, Market, Order, Publisher
from agent.protocols.wire cimport load16, load32, load64, store16, store64
from agent.system cimport MSG_DONTWAIT, MSG_NOSIGNAL, recvfrom, sendto, sockaddr, socklen_t

cdef enum:
    HEADER_SIZE = 13            # bytes that all OUCH messages of the exchange begin with (answers.pxd)


cdef inline void raise_user_ref_num(Market *market, uint32_t user_ref_num) noexcept nogil:
    if user_ref_num > market.last_user_ref_num:
        market.last_user_ref_num = user_ref_num


cdef inline void close_if_done(Order *o) noexcept nogil:
    if o.executed >= o.total:
        o.user_ref_num = 0


cdef inline void recover_accepted(Market *market, const uint8_t *m) noexcept nogil:
    cdef Order *o = get_slot(market, load32(m + 9))
    memset(o, 0, sizeof(Order))
    o.user_ref_num = load32(m + 9)
    o.symbol = -1
    o.total = load32(m + 14)
    o.price = load64(m + 26)


cdef inline void recover_replaced(Market *market, const uint8_t *m) noexcept nogil:
    cdef Order *o = find_order(market, load32(m + 9))
    cdef Order copy
    if o == NULL:
        return
    copy = o[0]
    o.user_ref_num = 0
    o = get_slot(market, load32(m + 13))
    o[0] = copy
    o.user_ref_num = load32(m + 13)
    o.total = load32(m + 18) + o.executed
    o.price = load64(m + 30)


cdef inline void recover_message(Market *market, const uint8_t *m, uint32_t size) noexcept nogil:
    """Follow one OUCH message of the exchange, at least HEADER_SIZE bytes long."""
    cdef Order *o
    if m[0] == c'Q' and size >= 13:
        raise_user_ref_num(market, load32(m + 9) - 1)
        return
    if m[0] == c'U' and size >= 68:
        recover_replaced(market, m)
        raise_user_ref_num(market, load32(m + 13))
        return
    if m[0] == c'A' and size >= 64:
        recover_accepted(market, m)
    elif m[0] == c'E' and size >= 34:
        o = find_order(market, load32(m + 9))
        if o != NULL:
            o.executed += load32(m + 13)
            close_if_done(o)
        if load64(m + 26) > market.last_match_number:
            market.last_match_number = load64(m + 26)
    elif m[0] == c'C' and size >= 18:
        o = find_order(market, load32(m + 9))
        if o != NULL:
            o.total -= load32(m + 13)
            close_if_done(o)
    raise_user_ref_num(market, load32(m + 9))


cdef inline void recover_market(Market *market, const uint8_t *data, uint64_t size) noexcept nogil:
    """Take over the log of an earlier process, which is in the state file: the open orders, the last UserRefNum and the
    last match number follow from its packets. It ends before a packet that is not whole or holds no OUCH message, and
    where the log is full."""
    cdef uint64_t place = 0
    cdef uint32_t length
    while place + 3 <= size:
        length = load16(data + place)
        if length < 1 + HEADER_SIZE or data[place + 2] != c'S' or place + 2 + length > size:
            break
        if not append_packet(&market.log, data + place, length + 2):
            return
        recover_message(market, data + place + 3, length - 1)
        place += length + 2
    market.log.written = market.log.size


cdef inline uint32_t write_retransmission(const Publisher *p, uint8_t *packet, uint64_t sequence,
                                          uint16_t count) noexcept nogil:
    """Write a packet with up to count messages from a sequence number on: those that were sent, and that fit into
    MAX_RETRANSMISSION bytes. Returns its bytes; 0: no such message was sent, and nothing is written."""
    cdef int64_t i, sent = p.firsts[p.next]
    cdef uint32_t size = MOLD_HEADER, block
    cdef uint16_t n = 0
    if sequence < p.first_sequence or sequence - p.first_sequence >= <uint64_t> sent:
        return 0
    i = <int64_t> (sequence - p.first_sequence)
    while i < sent and n < count:
        block = 2 + <uint32_t> load16(p.data + p.blocks[i])
        if size + block > MAX_RETRANSMISSION:
            break
        memcpy(packet + size, p.data + p.blocks[i], block)
        size += block
        n += 1
        i += 1
    if n == 0:
        return 0
    memcpy(packet, p.session, 10)
    store64(packet + 10, sequence)
    store16(packet + 18, n)
    return size


cdef inline void answer_request(Publisher *p) noexcept nogil:
    """Answer one MoldUDP64 request, if one has come, for messages that were sent."""
    cdef uint8_t[64] request
    cdef uint8_t[MAX_RETRANSMISSION] packet
    cdef uint8_t[128] peer
    cdef socklen_t peer_size = 128
    cdef uint32_t size
    cdef Py_ssize_t n = recvfrom(p.request_socket, request, 64, MSG_DONTWAIT, <sockaddr *> peer, &peer_size)
    if n != MOLD_HEADER or memcmp(request, p.session, 10) != 0:
        return
    p.requests += 1
    size = write_retransmission(p, packet, load64(<uint8_t *> request + 10), load16(<uint8_t *> request + 18))
    if size:
        p.retransmitted += load16(<uint8_t *> packet + 18)
        sendto(p.request_socket, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL, <sockaddr *> peer, peer_size)
