# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""SoupBinTCP: packets out of and into byte streams. Sockets and timers are the caller's.

Source: Nasdaq "SoupBinTCP Version 3.00" (updated 2017-02-22), section 2. "Version 4.00" is the same
but for Unsequenced Data from the server too, which is accepted; "4.10" adds 5 bytes of heartbeat
timeout to the Login Request, which are not sent, and accepted when read.

A packet is a 2-byte big-endian length of what follows, a type and a payload:

    both    "+" Debug, text
    server  "A" Login Accepted: Session 10, Sequence Number 20 (of the next Sequenced Data)
            "J" Login Rejected: Reason 1, "A" not authorised, "S" session not available
            "S" Sequenced Data, one message        "H" Server Heartbeat
            "Z" End of Session
    client  "L" Login Request: Username 6, Password 10, Requested Session 10 (blank: the current
                one), Requested Sequence Number 20 (0: the next one to be generated)
            "U" Unsequenced Data, one message      "R" Client Heartbeat
            "O" Logout Request

Numbers are ASCII digits, padded with spaces on the left, like Session; Username and Password are
padded on the right. The Login Request's numbers are not said to be padded on either side: written on
the left, read with spaces on both. Sequenced messages carry no number: the first of a session is 1,
and both sides count. Each side sends a heartbeat after 1 s without other data; 15 s of silence mean
that the link is dead. The document sets no largest packet: the caller does.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from agent.protocols.wire cimport load16, store16

cdef enum:
    SOUP_HEADER = 3
    LOGIN_REQUEST = 49          # bytes of whole packets
    LOGIN_ACCEPTED = 33
    LOGIN_REJECTED = 4
    USERNAME = 6
    PASSWORD = 10
    SESSION = 10
    SEQUENCE = 20
    TIMEOUT = 5

    ZERO_LENGTH = -1            # a length of 0: there is no type
    OVERSIZED = -2              # a length over the caller's limit
    BAD_TYPE = -3               # not a type of this direction
    BAD_LENGTH = -4             # a length that its type does not have

cdef struct Packet:
    uint8_t type
    const uint8_t *body         # after the type
    uint32_t size               # of body

cdef struct Splitter:
    uint8_t *buffer
    uint32_t capacity
    uint32_t limit              # the largest length field taken
    uint32_t head               # of the first byte not yet split off
    uint32_t tail               # after the last byte received

cdef struct Login:
    const uint8_t *username     # 6
    const uint8_t *password     # 10
    const uint8_t *session      # 10
    uint64_t sequence
    uint64_t timeout            # ms, 0: not given


cdef inline int split(const uint8_t *data, uint32_t size, uint32_t limit, Packet *packet) noexcept nogil:
    """The packet at the start of data: the bytes it takes; 0: more bytes are needed; < 0: the
    stream is not SoupBinTCP (ZERO_LENGTH, OVERSIZED) and nothing after this can be trusted."""
    cdef uint32_t length
    if size < 2:
        return 0
    length = load16(data)
    if length == 0:
        return ZERO_LENGTH
    if length > limit:
        return OVERSIZED
    if size - 2 < length:
        return 0
    packet.type = data[2]
    packet.body = data + 3
    packet.size = length - 1
    return <int> (2 + length)


cdef inline int check(const Packet *packet, bint from_server) noexcept nogil:
    """0 for a type of this direction with a length that it can have, BAD_TYPE or BAD_LENGTH."""
    cdef uint8_t t = packet.type
    if t == c'S':
        return 0 if from_server else BAD_TYPE
    if t == c'U' or t == c'+':
        return 0
    if t == c'H' or t == c'Z':
        if not from_server:
            return BAD_TYPE
        return 0 if packet.size == 0 else BAD_LENGTH
    if t == c'R' or t == c'O':
        if from_server:
            return BAD_TYPE
        return 0 if packet.size == 0 else BAD_LENGTH
    if t == c'A':
        if not from_server:
            return BAD_TYPE
        return 0 if packet.size == SESSION + SEQUENCE else BAD_LENGTH
    if t == c'J':
        if not from_server:
            return BAD_TYPE
        return 0 if packet.size == 1 else BAD_LENGTH
    if t == c'L':
        if from_server:
            return BAD_TYPE
        if packet.size == LOGIN_REQUEST - SOUP_HEADER or packet.size == LOGIN_REQUEST - SOUP_HEADER + TIMEOUT:
            return 0
        return BAD_LENGTH
    return BAD_TYPE


# ------------------------------------------------------------------------------------------- stream

cdef inline void splitter_init(Splitter *s, uint8_t *buffer, uint32_t capacity, uint32_t limit) noexcept nogil:
    """buffer: capacity bytes, at least limit + 2. limit: the largest length field, 1 to 65,535."""
    s.buffer = buffer
    s.capacity = capacity
    s.limit = limit if limit + 2 <= capacity else capacity - 2
    s.head = s.tail = 0


cdef inline uint32_t splitter_space(Splitter *s, uint8_t **at) noexcept nogil:
    """Where to receive and how much. Never 0 once splitter_next has returned 0. Packets given out
    before are not valid after it."""
    if s.head == s.tail:
        s.head = s.tail = 0
    elif s.head and s.capacity - s.tail < s.limit + 2:
        memmove(s.buffer, s.buffer + s.head, s.tail - s.head)
        s.tail -= s.head
        s.head = 0
    at[0] = s.buffer + s.tail
    return s.capacity - s.tail


cdef inline void splitter_filled(Splitter *s, uint32_t size) noexcept nogil:
    """So many bytes were received at splitter_space's place."""
    s.tail += size


cdef inline int splitter_next(Splitter *s, Packet *packet) noexcept nogil:
    """> 0: the next packet, valid until splitter_space; 0: none is complete; < 0: as split."""
    cdef int n = split(s.buffer + s.head, s.tail - s.head, s.limit, packet)
    if n > 0:
        s.head += <uint32_t> n
    return n


# ------------------------------------------------------------------------------------------- fields

cdef inline bint parse_number(const uint8_t *field, uint32_t size, uint64_t *value) noexcept nogil:
    """ASCII digits with spaces around. False: no digit, another byte, or 2^64 and more."""
    cdef uint32_t i = 0, digits = 0
    cdef uint64_t n = 0
    cdef uint8_t d
    while i < size and field[i] == c' ':
        i += 1
    while i < size and field[i] >= c'0' and field[i] <= c'9':
        d = field[i] - c'0'
        if n > 1844674407370955161ULL or (n == 1844674407370955161ULL and d > 5):
            return False
        n = n * 10 + d
        digits += 1
        i += 1
    while i < size and field[i] == c' ':
        i += 1
    if i != size or digits == 0:
        return False
    value[0] = n
    return True


cdef inline void write_number(uint8_t *field, uint32_t size, uint64_t value) noexcept nogil:
    """Digits, padded on the left with spaces; size is enough for the value (20 always is)."""
    cdef uint32_t i = size
    memset(field, c' ', size)
    while i:
        i -= 1
        field[i] = c'0' + <uint8_t> (value % 10)
        value //= 10
        if value == 0:
            break


cdef inline void write_text(uint8_t *field, uint32_t size, const char *text, uint32_t length, bint left) noexcept nogil:
    """At most size characters, padded with spaces on the left or on the right."""
    memset(field, c' ', size)
    if length > size:
        length = size
    memcpy(field + (size - length if left else 0), text, length)


cdef inline bint parse_login_accepted(const Packet *packet, const uint8_t **session, uint64_t *sequence) noexcept nogil:
    """The 10 bytes of Session, as they have to be sent back, and the number of the next Sequenced
    Data. False: not a Login Accepted, or its number is none."""
    if packet.type != c'A' or packet.size != SESSION + SEQUENCE:
        return False
    session[0] = packet.body
    return parse_number(packet.body + SESSION, SEQUENCE, sequence)


cdef inline bint parse_login_request(const Packet *packet, Login *login) noexcept nogil:
    """False: not a Login Request, or a number in it is none."""
    if packet.type != c'L' or check(packet, False) != 0:
        return False
    login.username = packet.body
    login.password = packet.body + USERNAME
    login.session = packet.body + USERNAME + PASSWORD
    login.timeout = 0
    if packet.size != LOGIN_REQUEST - SOUP_HEADER:
        if not parse_number(packet.body + LOGIN_REQUEST - SOUP_HEADER, TIMEOUT, &login.timeout):
            return False
    return parse_number(packet.body + USERNAME + PASSWORD + SESSION, SEQUENCE, &login.sequence)


# ------------------------------------------------------------------------------------------- builders

cdef inline uint32_t build_header(uint8_t *at, uint8_t type, uint32_t size) noexcept nogil:
    """The 3 bytes before a payload of size (at most 65,534) bytes; returns the packet's size."""
    store16(at, <uint16_t> (size + 1))
    at[2] = type
    return SOUP_HEADER + size


cdef inline uint32_t build_login_request(uint8_t *at, const char *username, uint32_t username_size,
                                         const char *password, uint32_t password_size,
                                         const char *session, uint32_t session_size,
                                         uint64_t sequence) noexcept nogil:
    """49 bytes. session: empty, or as it came in Login Accepted."""
    write_text(at + 3, USERNAME, username, username_size, False)
    write_text(at + 9, PASSWORD, password, password_size, False)
    write_text(at + 19, SESSION, session, session_size, True)
    write_number(at + 29, SEQUENCE, sequence)
    return build_header(at, c'L', LOGIN_REQUEST - SOUP_HEADER)


cdef inline uint32_t build_login_accepted(uint8_t *at, const char *session, uint32_t session_size,
                                          uint64_t sequence) noexcept nogil:
    """33 bytes."""
    write_text(at + 3, SESSION, session, session_size, True)
    write_number(at + 13, SEQUENCE, sequence)
    return build_header(at, c'A', LOGIN_ACCEPTED - SOUP_HEADER)


cdef inline uint32_t build_login_rejected(uint8_t *at, uint8_t reason) noexcept nogil:
    """4 bytes."""
    at[3] = reason
    return build_header(at, c'J', 1)


cdef inline uint32_t build_data(uint8_t *at, uint8_t type, const uint8_t *payload, uint32_t size) noexcept nogil:
    """3 + size bytes: "S", "U" or "+" with a payload of at most 65,534 bytes; or, with size 0, a
    heartbeat "H" or "R", End of Session "Z" or Logout Request "O"."""
    if size:
        memcpy(at + SOUP_HEADER, payload, size)
    return build_header(at, type, size)
