# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""MoldUDP64 receiver: two redundant lines and a request server in, one stream of messages out.

Source: Nasdaq "MoldUDP64 Protocol Specification", version 1.00 (revision notes up to 2009-07-07).

    Downstream packet                        Request packet
     0 10  Session                            0 10  Session
    10  8  Sequence Number of the first      10  8  Sequence Number of the first wanted
    18  2  Message Count                     18  2  Requested Message Count
    20  .. Message Blocks: 2 bytes length, then so many bytes

A count of 0 is a heartbeat and 0xFFFF the end of session; both have no blocks and carry the next
sequence number. Integers are big-endian. A request is answered by an ordinary downstream packet,
unicast, with as many messages as fit into one; the rest is asked for again.

What the document leaves open is decided here:

- A packet is taken whole or not at all: all its blocks are checked before its first message is
  given out. Sequence numbers 0 and from 2^63 on do not occur.
- A message is given out once, in order. A packet ahead of its turn is held (`HELD`), or dropped when
  the store is full (`DROPPED`): its messages are then missing like any others.
- A gap waits `wait_ns` for the other line, then asks the request server (at most every `retry_ns`
  while nothing comes, `retry_ns` / 8 after progress), and is given up `limit_ns` after the last
  message that made it smaller; without a request server, after `wait_ns`.
- A packet of the session that is up to `reach` messages ahead of all that is known is believed at once;
  jumps add up until a packet follows its predecessor. Further ahead it is `FAR`, and believed as the
  fourth such packet in sequence, with none of the feed's place between them. Nearer than that nobody
  can tell a gap from a forged number, which costs at most `reach` messages.
- The first session seen is read. Another one replaces it only on evidence of the line itself:
  - the end of the session, at the place where the feed is, and no message of it since: then with the
    first packet of a session that was not read before;
  - no packet of the session for `quiet_ns`: then with the fourth packet in sequence of another session.
    What came of these packets in the silence is not lost: it is held, if the store has room.
- A place of the same session that is more than `reach` messages behind, or 2^32 or more ahead, is
  treated as another session: there only silence leads.
- Packets of another session are skipped. From the fourth one in sequence on, their messages count as
  lost: either session may be the true one, and only `wanted` (the session's name) and the sender's
  address tell. With `wanted` no other session is ever read, nor its messages lost.
- Packets of the request server never change the session, never show that it lives or ends, and never
  say where the feed is. From one request to the next there is at least `retry_ns` / 8, whatever comes.
- Undelivered messages of a session that is left count as lost.

No function allocates or reads the clock. `mold_arrive` keeps the address of an in-order datagram:
`mold_next` has to be called until it returns False before the buffer is used again.

One file because store, gaps, sessions and packets change one struct, under the rules above.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from agent.protocols.wire cimport load16, load64, store16, store64

cdef enum:
    # mold_arrive, >= 0; NEW_SESSION is or-ed to it
    PACKET = 1              # has the next message: mold_next gives it
    DUPLICATE = 2           # all its messages were given out, given up or are held
    HELD = 3                # ahead of its turn, copied
    HEARTBEAT = 4
    END_OF_SESSION = 5
    DROPPED = 6             # ahead of its turn, no room in the store
    WRONG_SESSION = 7       # of another session, skipped
    FAR = 8                 # of the session, too far ahead to be believed: skipped
    NEW_SESSION = 256       # the first of another session: everything known of the old one is void
    # mold_arrive, < 0: malformed, skipped
    SHORT = -1              # shorter than a header
    OVERRUN = -2            # the count or a block's length goes beyond the datagram
    TRAILING = -3           # bytes after the last block
    BAD_SEQUENCE = -4       # 0, or from 2^63 on
    # mold_timer
    REQUEST = 1             # send mold.request
    LOST = 2                # mold.lost_count messages from mold.lost_from on are given up

    LINE_A = 0
    LINE_B = 1
    RETRANSMISSION = 2

    HEADER = 20
    END = 0xFFFF
    SLOT = 2048             # bytes of a place in the store; a larger packet takes several in a row
    CONFIRM = 4             # packets that show together what one alone does not
    OTHERS = 4              # other sessions that are told apart
    JUMP_BITS = 32          # from 2^32 messages ahead on it is no jump of the feed, but another place

cdef struct MoldCounters:
    uint64_t messages               # given out
    uint64_t duplicates             # messages received again: given out, given up or held already
    uint64_t gaps                   # jumps in the sequence
    uint64_t missing                # messages found missing: healed + lost + still missing
    uint64_t healed                 # of these, received after all: by the other line, late or on request
    uint64_t lost                   # of these, given up
    uint64_t requests               # request packets
    uint64_t requested              # messages asked for in them, each time
    uint64_t held                   # packets copied into the store
    uint64_t held_dropped           # packets for which it had no room
    uint64_t heartbeats
    uint64_t end_of_session         # packets
    uint64_t sessions               # joined
    uint64_t wrong_session          # packets of another session, skipped
    uint64_t far_ahead              # packets of the session, too far ahead to be believed: skipped
    uint64_t malformed_datagram     # the sum of the next four
    uint64_t malformed_short
    uint64_t malformed_overrun
    uint64_t malformed_trailing
    uint64_t malformed_sequence
    uint64_t packets[3]             # datagrams of line A, line B and the request server, all

cdef struct Held:
    uint64_t first
    uint64_t last                   # the number after its last message
    uint32_t slot
    uint32_t size
    int64_t arrived                 # as of Mold.arrived when the packet came

# Packets that are not read: of another session, or of ours at a place far from the feed's.
cdef struct Other:
    uint8_t session[10]
    bint left                       # the session was read before
    uint32_t run                    # packets that followed each other without a hole; 0: none
    uint64_t next                   # the number after the last message
    uint64_t ignored                # messages of the run that are neither held nor counted as lost
    uint64_t held_from              # the first message of the run that is held
    uint64_t held_to                # the number after the last one
    int64_t seen                    # when its last packet came

cdef struct Mold:
    # the current datagram or held packet
    const uint8_t *at               # its next block
    uint64_t next                   # the sequence number of that
    uint32_t left                   # blocks left
    int64_t came                    # its Mold.arrived: of a held packet, what that was when the packet came

    uint64_t expected               # the next message to give out
    uint64_t top                    # the number after the last message known to exist
    MoldCounters *c
    uint8_t session[10]
    bint joined
    bint ended                      # the end of the session was announced, and no message came since
    uint64_t joined_at              # the first expected sequence number of this session
    int64_t now                     # of the last call
    int64_t arrived                 # the caller's, for `came`: when the datagram in hand arrived at the host
    int64_t seen                    # when a packet of this session, at its place, came last
    bint contested                  # packets of another session were found in sequence beside this one's,
    int64_t contested_at            # at last then

    # the first gap
    bint gap
    uint64_t gap_from
    uint64_t gap_end
    int64_t gap_since               # found, or last made smaller
    uint64_t asked_from
    uint64_t asked_end              # 0: not asked for
    int64_t asked_at
    uint64_t lost_from
    uint64_t lost_count
    uint8_t request[20]

    # policy
    int64_t wait_ns
    int64_t limit_ns
    int64_t retry_ns
    int64_t quiet_ns
    uint64_t reach
    const uint8_t *wanted           # the session to read, 10 bytes; NULL: any
    uint64_t start                  # 0: join wherever the feed is; else the first sequence number
    uint16_t request_limit          # messages in one request
    bint can_request

    # the store
    Held *held
    uint32_t held_at                # of the first in `held`
    uint32_t held_count             # ascending in both first and last
    uint32_t slots
    uint32_t slots_used
    uint32_t slot_next
    uint8_t *used                   # by slot
    uint8_t *slot_data

    uint64_t leapt                  # messages jumped over since a packet followed its predecessor
    uint64_t far_next               # the number after the last message of the last packet too far ahead
    uint32_t far_run                # such packets in sequence
    Other others[OTHERS]
    Other *holder                   # whose packets the store has instead of the session's own; NULL: none
    int64_t holder_seen             # `seen` when it got the store
    uint32_t holding                # how many
    MoldCounters counters


cdef inline size_t mold_store_size(uint32_t packets) noexcept nogil:
    """Bytes of a store that holds so many packets of up to 2,048 bytes."""
    return <size_t> packets * (SLOT + sizeof(Held) + 1) + 8


cdef inline void mold_init(Mold *m, uint8_t *store, size_t size, int64_t wait_ns, int64_t limit_ns,
                           bint can_request, uint64_t start) noexcept nogil:
    """wait_ns, limit_ns: see the module's text. start: 0 joins wherever the feed is, 1 asks for
    everything from the first message on. store: size bytes, used as long as m is; may be empty.

    The caller may change m.retry_ns, quiet_ns, reach, wanted, request_limit and c (where to count) after it, and set
    m.arrived before each call of mold_arrive.
    """
    cdef size_t skip = (8 - (<size_t> store & 7)) & 7
    memset(m, 0, sizeof(Mold))
    m.wait_ns = wait_ns
    m.limit_ns = limit_ns if limit_ns > wait_ns else wait_ns
    m.retry_ns = 1000000
    m.quiet_ns = 3000000000         # three heartbeats
    m.reach = 1000                  # as many as one request asks for
    m.asked_at = -(1LL << 62)       # long ago
    m.request_limit = 1000
    m.can_request = can_request
    m.start = start
    m.c = &m.counters
    if size > skip:
        m.slots = <uint32_t> ((size - skip) // (SLOT + sizeof(Held) + 1))
    m.held = <Held *> (store + skip)
    m.slot_data = store + skip + m.slots * sizeof(Held)
    m.used = m.slot_data + <size_t> m.slots * SLOT
    if m.slots:
        memset(m.used, 0, m.slots)


# ------------------------------------------------------------------------------------------- store

cdef inline void _mold_free(Mold *m, uint32_t slot, uint32_t size) noexcept nogil:
    cdef uint32_t n = (size + SLOT - 1) // SLOT
    memset(m.used + slot, 0, n)
    m.slots_used -= n


cdef inline int64_t _mold_slots(Mold *m, uint32_t n) noexcept nogil:
    """The first of n free slots in a row, looked for from the last place on; -1: none."""
    cdef uint32_t place, run
    cdef int part
    if n > m.slots - m.slots_used:
        return -1
    for part in range(2):
        place = m.slot_next if part == 0 else 0
        run = 0
        while place < m.slots:
            run = 0 if m.used[place] else run + 1
            place += 1
            if run == n:
                m.slot_next = place if place < m.slots else 0
                return place - n
    return -1


cdef inline uint32_t _mold_find(const Mold *m, uint64_t sequence) noexcept nogil:
    """The index of the first held packet that ends after sequence."""
    cdef uint32_t low = 0, high = m.held_count, middle
    cdef const Held *held = m.held + m.held_at
    while low < high:
        middle = (low + high) // 2
        if held[middle].last > sequence:
            high = middle
        else:
            low = middle + 1
    return low


cdef inline uint64_t _mold_missing(const Mold *m, uint64_t first, uint64_t last) noexcept nogil:
    """How many of the sequence numbers from first to before last are in no held packet."""
    cdef uint64_t n = 0
    cdef const Held *h
    cdef uint32_t i
    if first >= last:
        return 0
    i = _mold_find(m, first)
    while i < m.held_count and first < last:
        h = &m.held[m.held_at + i]
        if h.first >= last:
            break
        if h.first > first:
            n += h.first - first
        first = h.last
        i += 1
    return n + last - first if first < last else n


cdef inline bint _mold_hold(Mold *m, const uint8_t *data, uint32_t size, uint64_t first,
                            uint64_t last) noexcept nogil:
    """Copy a packet into the store. False: no room. It is not inside of another held one."""
    cdef uint32_t n = (size + SLOT - 1) // SLOT, low, high
    cdef int64_t slot = _mold_slots(m, n)
    cdef Held *held
    if slot < 0:
        return False
    memcpy(m.slot_data + <size_t> slot * SLOT, data, size)
    memset(m.used + slot, 1, n)
    m.slots_used += n
    if m.held_at + m.held_count == m.slots:
        memmove(m.held, m.held + m.held_at, m.held_count * sizeof(Held))
        m.held_at = 0
    held = m.held + m.held_at
    # The held packets from low to before high are inside of this one: it replaces them.
    low = _mold_find(m, first)
    if low < m.held_count and held[low].first < first:
        low += 1
    high = low
    while high < m.held_count and held[high].last <= last:
        _mold_free(m, held[high].slot, held[high].size)
        m.c.duplicates += held[high].last - held[high].first
        high += 1
    memmove(held + low + 1, held + high, (m.held_count - high) * sizeof(Held))
    m.held_count = m.held_count - (high - low) + 1
    held[low].first = first
    held[low].last = last
    held[low].slot = <uint32_t> slot
    held[low].size = size
    held[low].arrived = m.arrived
    m.c.held += 1
    return True


# ------------------------------------------------------------------------------------------- gaps

cdef inline void _mold_settle(Mold *m) noexcept nogil:
    """After a change of what is known or given out: is there a gap, and did it get smaller?"""
    cdef uint64_t end = m.top
    if m.held_count and m.held[m.held_at].first < end:
        end = m.held[m.held_at].first
    if end <= m.expected:
        m.gap = False
        return
    if not m.gap or m.gap_from != m.expected:
        m.gap = True
        m.gap_from = m.expected
        m.gap_since = m.now
    m.gap_end = end


cdef inline int mold_timer(Mold *m, int64_t now) noexcept nogil:
    """What is due: REQUEST (m.request holds the 20 bytes to send), LOST (m.lost_count messages from
    m.lost_from on are given up; mold_next gives out what was held), or 0. Cheap: call it each pass."""
    cdef int64_t age
    cdef uint64_t count
    if not m.gap:
        return 0
    age = now - m.gap_since
    if age >= (m.limit_ns if m.can_request else m.wait_ns):
        m.now = now
        m.lost_from = m.expected
        m.lost_count = m.gap_end - m.expected
        m.c.lost += m.lost_count
        m.expected = m.gap_end
        m.gap = False
        m.asked_end = 0
        return LOST
    if not m.can_request or now - m.asked_at < m.retry_ns // 8:
        return 0
    if m.asked_end > m.expected:
        # Asked for already: again after retry_ns, or go on where the answer ended.
        if m.asked_from == m.expected and now - m.asked_at < m.retry_ns:
            return 0
    elif age < m.wait_ns:
        return 0
    count = m.gap_end - m.expected
    if count > m.request_limit:
        count = m.request_limit
    memcpy(m.request, m.session, 10)
    store64(m.request + 10, m.expected)
    store16(m.request + 18, <uint16_t> count)
    m.asked_from = m.expected
    m.asked_end = m.gap_end
    m.asked_at = now
    m.c.requests += 1
    m.c.requested += count
    return REQUEST


# ------------------------------------------------------------------------------------------- sessions

cdef inline void _mold_empty_store(Mold *m) noexcept nogil:
    if m.holder != NULL:
        m.holder.ignored += m.holder.held_to - m.holder.held_from
    if m.slots:
        memset(m.used, 0, m.slots)
    m.slots_used = m.slot_next = m.held_at = m.held_count = m.holding = 0
    m.holder = NULL


cdef inline Other *_mold_other(Mold *m, const uint8_t *session) noexcept nogil:
    """Find a session among the others. One that is new takes a free place, or that of the shortest run, and among
    those of the one that was silent for longest."""
    cdef Other *place = &m.others[0]
    cdef Other *other
    cdef uint32_t weight, least = place.run + place.left
    cdef int i
    for i in range(OTHERS):
        other = &m.others[i]
        if memcmp(other.session, session, 10) == 0:
            return other
        weight = other.run + other.left
        if weight < least or (weight == least and other.seen < place.seen):
            place = other
            least = weight
    if place == m.holder:
        _mold_empty_store(m)
    memset(place, 0, sizeof(Other))
    memcpy(place.session, session, 10)
    return place


cdef inline bint _mold_follow(Mold *m, Other *o, uint64_t sequence, uint64_t last, bint silent) noexcept nogil:
    """Count a packet in the run of its session. Returns False for one that came before."""
    if o.run and sequence == o.next:
        o.run += 1
    elif last <= o.next and (o.next - last <= m.reach if o.run else o.left and not silent):
        return False
    else:
        if o == m.holder:
            _mold_empty_store(m)
        o.run = 1
        o.ignored = 0
    o.next = last
    return True


cdef inline bint _mold_hold_other(Mold *m, Other *o, const uint8_t *data, uint32_t size, uint64_t sequence,
                                  uint64_t last) noexcept nogil:
    """Hold a packet of a session that may be joined. Returns False when the store is another's, or full: then nothing
    of the run is held."""
    cdef bint held
    if m.holder != o:
        if m.holder != NULL or m.held_count or m.gap:
            return False
        _mold_empty_store(m)
        m.holder = o
        m.holder_seen = m.seen
        o.held_from = o.held_to = sequence
    m.held_count = m.holding
    held = _mold_hold(m, data, size, sequence, last)
    m.holding = m.held_count
    m.held_count = 0
    if held:
        o.held_to = last
    else:
        _mold_empty_store(m)
    return held


cdef inline bint _mold_elsewhere(Mold *m, const uint8_t *data, uint32_t size, uint64_t sequence, uint32_t count,
                                 int line) noexcept nogil:
    """A packet of another session, or of ours far from the feed's place. Returns True when it is to be joined there."""
    cdef Other *o
    cdef bint ours, silent
    cdef uint64_t last
    if line == RETRANSMISSION or (m.wanted != NULL and memcmp(data, m.wanted, 10) != 0):
        return False
    if not m.joined:
        return True
    ours = memcmp(data, m.session, 10) == 0
    silent = m.now - m.seen >= m.quiet_ns
    if m.holder != NULL and m.seen != m.holder_seen:
        # Ours has spoken since.
        _mold_empty_store(m)
    o = _mold_other(m, data)
    o.seen = m.now
    if m.ended and not ours and not o.left:
        return True
    if count == END:
        # Nothing that ends is a reason to go there.
        return False
    last = sequence + count
    if not _mold_follow(m, o, sequence, last, silent):
        return False
    if silent and o.run >= CONFIRM:
        return True
    if silent and count and _mold_hold_other(m, o, data, size, sequence, last):
        return False
    # Of our own session only what is before the place where it was joined: the rest was given out, or is lost already.
    if not ours or sequence < m.joined_at:
        o.ignored += count
        if o.run >= CONFIRM:
            m.contested = True
            m.contested_at = m.now
            m.c.missing += o.ignored
            m.c.lost += o.ignored
            o.ignored = 0
    return False


cdef inline void _mold_join(Mold *m, const uint8_t *data, uint64_t sequence) noexcept nogil:
    """Begin with the session of a packet, at its place."""
    cdef Other *place = _mold_other(m, data)
    cdef Other seen = place[0]
    cdef bint resumed = m.holder == place and m.holding > 0
    memset(place, 0, sizeof(Other))
    if m.joined and m.top > m.expected:
        # What the old session still owed, missing or held, will not come any more.
        m.c.missing += m.top - m.expected - _mold_missing(m, m.expected, m.top)
        m.c.lost += m.top - m.expected
    if resumed:
        m.held_count = m.holding
        m.holding = 0
        m.holder = NULL
    else:
        _mold_empty_store(m)
    if m.joined and memcmp(data, m.session, 10) != 0:
        place = _mold_other(m, m.session)
        place.left = True
        place.run = 0
        place.ignored = 0
        place.next = m.top
        place.seen = m.seen
    m.far_next = sequence
    # It was seen often enough: a jump to its place needs no more packets.
    m.far_run = CONFIRM if seen.run >= CONFIRM else 0
    if resumed:
        sequence = seen.held_from
    m.joined_at = sequence
    if m.start:
        # A number to resume at belongs to the first session only.
        m.joined_at = 1 if m.joined else m.start
    else:
        m.c.missing += seen.ignored
        m.c.lost += seen.ignored
    m.expected = m.top = m.joined_at
    if resumed:
        if sequence > m.expected:
            m.c.gaps += 1
            m.c.missing += sequence - m.expected
        m.top = seen.held_to
    memcpy(m.session, data, 10)
    m.joined = True
    m.ended = False
    m.contested = False
    m.left = 0
    m.gap = False
    m.asked_end = 0
    m.leapt = 0
    m.c.sessions += 1


cdef inline bint mold_contested(const Mold *m) noexcept nogil:
    """Were packets of another session in sequence within the last quiet_ns before the last packet?"""
    return m.contested and m.now - m.contested_at < m.quiet_ns


# ------------------------------------------------------------------------------------------- packets

cdef inline int _mold_bad(Mold *m, int reason) noexcept nogil:
    m.c.malformed_datagram += 1
    if reason == SHORT:
        m.c.malformed_short += 1
    elif reason == OVERRUN:
        m.c.malformed_overrun += 1
    elif reason == TRAILING:
        m.c.malformed_trailing += 1
    else:
        m.c.malformed_sequence += 1
    return reason


cdef inline int _mold_check(const uint8_t *data, uint32_t size, uint32_t count) noexcept nogil:
    """0 when exactly count blocks fill the datagram (size >= HEADER), or why not."""
    cdef uint32_t place = HEADER
    if count == END:
        count = 0
    while count:
        # Every sum stays below 2^32: size does, and a block adds less than 2^17.
        if size - place < 2:
            return OVERRUN
        place += 2 + load16(data + place)
        if place > size:
            return OVERRUN
        count -= 1
    return 0 if place == size else TRAILING


cdef inline bint _mold_far(Mold *m, uint64_t sequence, uint64_t last) noexcept nogil:
    """True while a sequence number out of reach is not believed."""
    if m.far_run and sequence == m.far_next:
        m.far_run += 1
    elif m.far_run and last <= m.far_next and m.far_next - last <= m.reach:
        return True
    else:
        m.far_run = 1
    m.far_next = last
    return m.far_run < CONFIRM


cdef inline bint _mold_beyond(const Mold *m, uint64_t sequence) noexcept nogil:
    """So far ahead that no outage explains it?"""
    return sequence > m.top and (sequence - m.top) >> JUMP_BITS != 0


cdef inline int _mold_skip(Mold *m, bint ours, uint64_t sequence, uint64_t count) noexcept nogil:
    """A packet of another session, or of ours far from the feed's place."""
    if not ours:
        m.c.wrong_session += 1
        return WRONG_SESSION
    if sequence > m.top:
        m.c.far_ahead += 1
        return FAR
    m.c.duplicates += count
    return DUPLICATE


cdef inline int _mold_slow(Mold *m, const uint8_t *data, uint32_t size, uint64_t sequence,
                           uint32_t count, int line) noexcept nogil:
    """Any well-formed packet."""
    cdef int fresh = 0
    cdef uint64_t last = sequence + (0 if count == END else count), top, healed
    cdef bint ours = m.joined and memcmp(data, m.session, 10) == 0
    cdef bint of_line = line != RETRANSMISSION, far
    if not ours or (of_line and (_mold_beyond(m, sequence) or last + m.reach < m.expected)):
        if not _mold_elsewhere(m, data, size, sequence, count, line):
            return _mold_skip(m, ours, sequence, last - sequence)
        _mold_join(m, data, sequence)
        fresh = NEW_SESSION
    elif m.holder != NULL:
        _mold_empty_store(m)
    top = m.top
    if sequence > top:
        far = sequence - top + m.leapt > m.reach
        if not of_line or (far and _mold_far(m, sequence, last)):
            m.c.far_ahead += 1
            if fresh:
                m.seen = m.now
            return FAR | fresh
        m.c.gaps += 1
        m.c.missing += sequence - top
        m.leapt = 0 if far else m.leapt + sequence - top
        top = m.top = sequence
    elif sequence == top and count and count != END:
        m.leapt = 0
    if of_line:
        m.seen = m.now
    if sequence == top:
        # Here is the feed, or it goes on here.
        m.far_run = 0
    if count == 0 or count == END:
        _mold_settle(m)
        if count == 0:
            m.c.heartbeats += 1
            return HEARTBEAT | fresh
        m.c.end_of_session += 1
        # A session has no message behind its end.
        m.ended = m.ended or (of_line and sequence == top)
        return END_OF_SESSION | fresh
    if last > top:
        m.top = last
        m.ended = False
    if last <= m.expected:
        m.c.duplicates += count
        return DUPLICATE | fresh
    healed = _mold_missing(m, sequence if sequence > m.expected else m.expected, last if last < top else top)
    if sequence <= m.expected:
        m.c.healed += healed
        m.at = data + HEADER
        m.next = sequence
        m.left = count
        m.came = m.arrived
        return PACKET | fresh
    if healed == 0 and last <= top:
        m.c.duplicates += count
        return DUPLICATE | fresh
    if _mold_hold(m, data, size, sequence, last):
        m.c.healed += healed
        _mold_settle(m)
        return HELD | fresh
    m.c.held_dropped += 1
    if last > top:
        m.c.missing += last - top
    _mold_settle(m)
    return DROPPED | fresh


cdef inline int mold_arrive(Mold *m, const uint8_t *data, uint32_t size, int line, int64_t now) noexcept nogil:
    """One datagram of line LINE_A, LINE_B or RETRANSMISSION, at time now (ns, any steady clock).

    Returns PACKET, DUPLICATE, HELD, HEARTBEAT, END_OF_SESSION, DROPPED, WRONG_SESSION or FAR, with
    NEW_SESSION or-ed to it when it began another session; < 0: malformed. After any of them
    mold_next gives out what is ready.
    """
    cdef uint64_t sequence
    cdef uint32_t count
    cdef int reason
    m.now = now
    m.c.packets[line if 0 <= line <= RETRANSMISSION else RETRANSMISSION] += 1
    if m.left:
        _mold_abandon(m)
    if size < HEADER:
        return _mold_bad(m, SHORT)
    sequence = load64(data + 10)
    count = load16(data + 18)
    if sequence - 1 >= 0x7FFFFFFFFFFFFFFFULL:
        return _mold_bad(m, BAD_SEQUENCE)
    reason = _mold_check(data, size, count)
    if reason:
        return _mold_bad(m, reason)
    if (sequence == m.expected and m.top == sequence and count - 1 < END - 1
            and memcmp(data, m.session, 10) == 0):
        m.ended = False
        m.far_run = 0
        m.leapt = 0
        m.seen = now
        m.top = sequence + count
        m.at = data + HEADER
        m.next = sequence
        m.left = count
        m.came = m.arrived
        return PACKET
    return _mold_slow(m, data, size, sequence, count, line)


cdef inline void _mold_abandon(Mold *m) noexcept nogil:
    """The caller did not take all messages of the last packet: the rest is missing again."""
    cdef uint64_t first = m.next if m.next > m.expected else m.expected
    cdef uint64_t last = m.next + m.left
    m.c.missing += _mold_missing(m, first, last)
    m.left = 0


cdef inline bint _mold_refill(Mold *m) noexcept nogil:
    """The current packet is done: go to the held one whose turn it is. False: there is none."""
    cdef Held *h
    while m.held_count:
        h = &m.held[m.held_at]
        if h.first > m.expected:
            break
        # Its slots are free from here on; nothing is written to them before the next arrival.
        m.held_at += 1
        m.held_count -= 1
        _mold_free(m, h.slot, h.size)
        if h.last <= m.expected:
            m.c.duplicates += h.last - h.first
            continue
        m.at = m.slot_data + <size_t> h.slot * SLOT + HEADER
        m.next = h.first
        m.left = <uint32_t> (h.last - h.first)
        m.came = h.arrived
        return True
    _mold_settle(m)
    return False


cdef inline bint mold_next(Mold *m, const uint8_t **message, uint32_t *size, uint64_t *sequence) noexcept nogil:
    """The next message in order; it may be empty. False: none is ready. The message is valid until
    the next call of mold_arrive, and as long as the datagram."""
    cdef uint64_t number
    while True:
        while m.left:
            m.left -= 1
            number = m.next
            m.next += 1
            size[0] = load16(m.at)
            message[0] = m.at + 2
            m.at += 2 + size[0]
            if number < m.expected:
                m.c.duplicates += 1
                continue
            m.expected = number + 1
            m.c.messages += 1
            sequence[0] = number
            return True
        if m.top == m.expected and m.held_count == 0:
            m.gap = False
            return False
        if not _mold_refill(m):
            return False
