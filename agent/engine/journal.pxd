# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The journal's records, written to the ring that the journal's writer empties into the file.

When the ring is full the journal ends there, without a hole, and so does trading.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

cimport agent.journal.record as record
from agent.engine.state cimport Core, OpenOrder
from agent.shm.ring cimport ring_push


cdef inline void write_record(Core *e, uint32_t kind, const OpenOrder *o, uint32_t quantity, uint64_t price,
                              uint64_t answer) noexcept nogil:
    """Write one record about an order. answer: the sequenced messages that the exchange need not send again; 0 for our
    own doing."""
    cdef record.JournalRecord entry
    if e.journal.ring == NULL or e.journal.full:
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
    if ring_push(e.journal.ring, &entry, sizeof(entry)):
        e.counters.journal_records += 1
    else:
        e.journal.full = True


cdef inline void write_session_record(Core *e) noexcept nogil:
    """Write that the engine is logged in: the answers from here on are counted in this session."""
    cdef OpenOrder o
    cdef uint64_t price = 0
    memset(&o, 0, sizeof(o))
    memcpy(&o.tag, e.session.id, 8)
    memcpy(&price, e.session.id + 8, 2)
    write_record(e, record.SESSION, &o, 0, price, e.session.sequence)


cdef inline void write_query_record(Core *e, uint32_t kind, uint32_t id) noexcept nogil:
    """Write that an Account Query was sent (record.QUERIED) or answered (record.CAUGHT_UP, id: the next UserRefNum)."""
    cdef OpenOrder o
    memset(&o, 0, sizeof(o))
    o.id = id
    write_record(e, kind, &o, 0, 0, e.session.sequence if kind == record.CAUGHT_UP else 0)
