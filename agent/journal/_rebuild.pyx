# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a journal's records add up to, for a restart late on a busy day."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from agent.journal.record cimport (ACCEPTED, CANCELED, CAUGHT_UP, ENTERED, EXECUTED, IGNORED, JournalRecord,
                                   NEVER_REACHED, QUERIED, REJECTED, REPLACED, REPLACING, SESSION)


cdef class Rebuilt:
    """An order that the exchange may still hold, while the journal is read."""

    cdef uint32_t symbol, original
    cdef int32_t side
    cdef int64_t leaves, filled
    cdef uint64_t price, tag
    cdef bint accepted


cdef Rebuilt entered(dict orders, const JournalRecord *r, int64_t leaves):
    cdef Rebuilt o = Rebuilt.__new__(Rebuilt)
    o.symbol, o.side, o.original, o.price, o.tag, o.leaves = r.symbol, r.side, r.original, r.price, r.tag, leaves
    orders[r.id] = o
    return o


cdef void reduced(dict orders, const JournalRecord *r) except *:
    cdef Rebuilt o = orders.get(r.id)
    if o is not None:
        o.leaves -= r.quantity
        if r.kind == EXECUTED:
            o.filled += r.quantity
        if o.leaves <= 0:
            del orders[r.id]


def rebuild(const uint8_t[::1] records not None):
    """What a journal's records (a whole number of struct JournalRecord) add up to: the last UserRefNum; units by symbol
    index; open orders as Engine.restore() takes them; the exchange's session, the sequenced messages read in it, the
    Account Queries that may still be answered; records.

    Those with a number already seen are skipped (the writer died between file and ring). Raises ValueError when a
    number is missing: what is behind a hole cannot be trusted.
    """
    cdef const JournalRecord *r
    cdef uint64_t entries = 0, sequence = 0
    cdef uint32_t reference = 0, queries = 0
    cdef Py_ssize_t i
    cdef Rebuilt o, old
    cdef dict orders = {}, positions = {}
    cdef bytes session = b""
    for i in range(records.shape[0] // <Py_ssize_t> sizeof(JournalRecord)):
        r = <const JournalRecord *> &records[i * <Py_ssize_t> sizeof(JournalRecord)]
        if r.number <= entries:
            continue
        if r.number != entries + 1:
            raise ValueError(f"record {r.number} follows record {entries}: records are missing")
        entries = r.number
        if r.exchange_sequence:
            sequence = r.exchange_sequence
        if r.kind == SESSION:
            session = (<const char *> &r.tag)[:8] + (<const char *> &r.price)[:2]
            sequence, queries = r.exchange_sequence, 0
        elif r.kind == QUERIED:
            queries += 1
        elif r.kind == CAUGHT_UP:
            queries -= queries > 0
        elif r.kind == ENTERED or r.kind == REPLACING:
            reference = max(reference, r.id)
            entered(orders, r, r.quantity)
        elif r.kind == EXECUTED:
            positions[r.symbol] = positions.get(r.symbol, 0) + r.side * <int64_t> r.quantity
            reduced(orders, r)
        elif r.kind == CANCELED:
            reduced(orders, r)
        elif r.kind == REJECTED or r.kind == NEVER_REACHED or r.kind == IGNORED:
            orders.pop(r.id, None)
        elif r.kind == ACCEPTED or r.kind == REPLACED:
            o = orders.get(r.id)
            if o is None:           # entered by a process whose journal is not here
                reference = max(reference, r.id)
                o = entered(orders, r, 0)
            old = orders.pop(o.original, None)
            if old is not None:
                o.filled = old.filled
            o.leaves, o.price, o.original, o.accepted = r.quantity, r.price, 0, True
    found = []
    for id in orders:
        o = orders[id]
        found.append((id, o.symbol, o.side, o.leaves, o.price, o.tag, o.original, o.filled, o.accepted))
    return reference, positions, found, session, sequence, queries, entries
