# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The journal's records, written to the ring that the journal's writer empties into the file.

When the ring is full the journal ends there, without a hole, and so does trading.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

cimport agent.journal.record as record
from agent.engine.state cimport Core, OpenOrder
from agent.shm.clock cimport monotonic_ns
from agent.shm.ring cimport RING_LOAD, ring_publish, ring_reserve
from agent.shm.segment cimport AGENT_LIMIT_WORDS

cdef enum:
    ROOM = 256                  # records


cdef inline void *reserve_record(Core *e) noexcept nogil:
    """Returns the place of the next record in the ring, where it is written and then published; NULL if there is none:
    the journal ended before it."""
    cdef void *place = ring_reserve(e.journal.ring, sizeof(record.JournalRecord))
    e.journal.full = place == NULL
    return place


cdef inline void publish_record(Core *e) noexcept nogil:
    """Show the journal's writer the record that was reserved."""
    ring_publish(e.journal.ring)
    e.counters.journal_records += 1


cdef inline void write_record(Core *e, uint32_t kind, const OpenOrder *o, uint32_t quantity, uint64_t price,
                              uint64_t answer) noexcept nogil:
    """Write one record about an order. answer: the sequenced messages that the exchange need not send again; 0 for our
    own doing."""
    cdef record.JournalRecord *entry
    if e.journal.ring == NULL or e.journal.full:
        return
    # In the ring itself: a copy would wait until what it copies is written.
    entry = <record.JournalRecord *> reserve_record(e)
    if entry == NULL:
        return
    e.journal.records += 1
    entry.number = e.journal.records
    entry.time_ns = e.received + e.journal.realtime_offset
    entry.exchange_sequence = answer
    entry.price = price
    entry.tag = o.tag
    entry.kind = kind
    entry.id = o.id
    entry.original = o.original
    entry.quantity = quantity
    entry.side = o.side
    entry.symbol = o.symbol
    publish_record(e)


cdef inline void write_session_record(Core *e) noexcept nogil:
    """Write that the engine is logged in: the answers from here on are counted in this session."""
    cdef OpenOrder o
    cdef uint64_t price = 0
    memset(&o, 0, sizeof(o))
    memcpy(&o.tag, e.session.id, 8)
    memcpy(&price, e.session.id + 8, 2)
    write_record(e, record.SESSION, &o, 0, price, e.session.sequence)


cdef inline void write_over_record(Core *e) noexcept nogil:
    """Write that the exchange's session is over, and that all its messages were read."""
    cdef OpenOrder o
    memset(&o, 0, sizeof(o))
    write_record(e, record.OVER, &o, 0, 0, e.session.sequence)


cdef inline bint has_journal_room(Core *e) noexcept nogil:
    """Whether the ring has room for the records of one more answer, and of the Replaces that the answer closes. A
    replay of a whole session comes faster than the writer brings its records to the disk, and is read no faster."""
    cdef uint64_t used
    if e.journal.ring == NULL or e.journal.full:
        return True
    used = e.journal.ring.own - RING_LOAD(&e.journal.ring.header.head.index)
    return used + ROOM * sizeof(record.JournalRecord) <= e.journal.ring.capacity


cdef inline void write_query_record(Core *e, uint32_t kind, uint32_t id) noexcept nogil:
    """Write that an Account Query was sent (record.QUERIED) or answered (record.CAUGHT_UP, id: the next UserRefNum)."""
    cdef OpenOrder o
    memset(&o, 0, sizeof(o))
    o.id = id
    write_record(e, kind, &o, 0, 0, e.session.sequence if kind == record.CAUGHT_UP else 0)


cdef inline bint write_limit_record(Core *e, uint32_t kind, uint32_t limit, uint64_t old, uint64_t new, uint32_t uid,
                                    uint32_t login) noexcept nogil:
    """Write a decision (record.LIMIT_SET, LIMIT_RESET) about a limit, by its place in AGENT_LIMITS, from one value to
    another. uid, login: who. Returns False if the journal has no room."""
    cdef record.LimitRecord *entry
    cdef const char *name = AGENT_LIMIT_WORDS[limit].name
    if e.journal.ring == NULL:
        return True
    if e.journal.full:
        return False
    entry = <record.LimitRecord *> reserve_record(e)
    if entry == NULL:
        return False
    memset(entry, 0, sizeof(entry[0]))
    memcpy(entry.name, name, strlen(name))
    e.journal.records += 1
    entry.number = e.journal.records
    entry.time_ns = monotonic_ns() + e.journal.realtime_offset
    entry.kind = kind
    entry.uid = uid
    entry.login = login
    entry.old = old
    entry.new = new
    publish_record(e)
    return True
