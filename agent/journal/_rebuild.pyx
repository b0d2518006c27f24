# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a journal's records add up to, fast enough for a restart late on a busy day."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from agent.journal.record cimport (ACCEPTED, CANCELED, CAUGHT_UP, ENTERED, EXECUTED, IGNORED, NEVER_REACHED, QUERIED,
                                   REJECTED, REPLACED, REPLACING, SESSION, JournalRecord)


cdef class Rebuilt:
    """An order that the exchange may still hold, while the journal is read."""

    cdef uint32_t symbol        # index
    cdef uint32_t original      # the order that this one is to replace, or 0
    cdef int32_t side
    cdef int64_t leaves         # whole units
    cdef int64_t filled         # whole units, of it and of those that it replaced
    cdef uint64_t price         # 4 decimals
    cdef uint64_t tag
    cdef bint accepted


cdef Rebuilt add_order(dict orders, const JournalRecord *r, int64_t leaves):
    cdef Rebuilt o = Rebuilt.__new__(Rebuilt)
    o.symbol, o.side, o.original, o.price, o.tag, o.leaves = r.symbol, r.side, r.original, r.price, r.tag, leaves
    orders[r.id] = o
    return o


cdef int reduce_order(dict orders, const JournalRecord *r) except -1:
    cdef Rebuilt o = orders.get(r.id)
    if o is not None:
        o.leaves -= r.quantity
        if r.kind == EXECUTED:
            o.filled += r.quantity
        if o.leaves <= 0:
            del orders[r.id]
    return 0


cdef int accept_order(dict orders, const JournalRecord *r) except -1:
    """An order was accepted, or has taken the place of another: the exchange says what it holds now."""
    cdef Rebuilt o = orders.get(r.id)
    cdef Rebuilt old
    if o is None:           # entered by a process whose journal is not here
        o = add_order(orders, r, 0)
    old = orders.pop(o.original, None)
    if old is not None:
        o.filled = old.filled
    o.leaves, o.price, o.original, o.accepted = r.quantity, r.price, 0, True
    return 0


def rebuild(const uint8_t[::1] records not None, uint32_t symbols):
    """Returns what a journal's records (whole ones) add up to: the last UserRefNum; units by symbol index; open orders
    as Engine.restore() takes them; the exchange's session, the sequenced messages read in it, the Account Queries that
    may still be answered; records.

    Records with a number already seen are skipped (the writer died between file and ring). Raises ValueError when a
    number is missing: what is behind a hole cannot be trusted; and for an order of a symbol from `symbols` on.
    """
    cdef const JournalRecord *r
    cdef uint64_t last = 0, sequence = 0
    cdef uint32_t reference = 0, queries = 0
    cdef Py_ssize_t i
    cdef Rebuilt o
    cdef dict orders = {}, positions = {}
    cdef bytes session = b""
    for i in range(records.shape[0] // <Py_ssize_t> sizeof(JournalRecord)):
        r = <const JournalRecord *> &records[i * <Py_ssize_t> sizeof(JournalRecord)]
        if r.number <= last:
            continue
        if r.number != last + 1:
            raise ValueError(f"record {r.number} follows record {last}: records are missing")
        last = r.number
        if r.exchange_sequence:
            sequence = r.exchange_sequence
        if r.kind == SESSION:
            session = (<const char *> &r.tag)[:8] + (<const char *> &r.price)[:2]
            sequence, queries = r.exchange_sequence, 0
        elif r.kind == QUERIED:
            queries += 1
        elif r.kind == CAUGHT_UP:
            queries -= queries > 0
        elif r.symbol >= symbols:
            raise ValueError(f"record {r.number} is of symbol {r.symbol}, but the journal has {symbols} symbols")
        elif r.kind == ENTERED or r.kind == REPLACING:
            reference = max(reference, r.id)
            add_order(orders, r, r.quantity)
        elif r.kind == EXECUTED:
            positions[r.symbol] = positions.get(r.symbol, 0) + r.side * <int64_t> r.quantity
            reduce_order(orders, r)
        elif r.kind == CANCELED:
            reduce_order(orders, r)
        elif r.kind == REJECTED or r.kind == NEVER_REACHED or r.kind == IGNORED:
            orders.pop(r.id, None)
        elif r.kind == ACCEPTED or r.kind == REPLACED:
            if r.id not in orders:
                reference = max(reference, r.id)
            accept_order(orders, r)
    found = []
    for id in orders:
        o = orders[id]
        found.append((id, o.symbol, o.side, o.leaves, o.price, o.tag, o.original, o.filled, o.accepted))
    return reference, positions, found, session, sequence, queries, last
