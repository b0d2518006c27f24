# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Loops over what the engine has inlined, for benchmarks/agent."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

cimport agent.book.order_book as book
cimport agent.shm.histogram as histogram
cimport agent.protocols.itch as itch
from agent.shm.blocks cimport Block, block_free, block_map
from agent.shm.ring cimport Ring, ring_peek, ring_pop, ring_push
from agent.shm.segment cimport agent_histogram
from agent.protocols.wire cimport load16
from agent.shm.clock cimport monotonic_ns


cdef uint64_t _decode(const uint8_t *at, int64_t packets, uint64_t *bad) noexcept nogil:
    """The sum of all fields of order messages, as reference/itch.c takes it."""
    cdef uint64_t total = 0, wrong = 0
    cdef uint32_t size, left
    cdef itch.Message m
    cdef const uint8_t *message
    cdef int kind
    while packets:
        packets -= 1
        left = load16(at + 18)
        at += 20
        while left:
            left -= 1
            size = load16(at)
            message = at + 2
            at = message + size
            kind = itch.parse(message, size, &m)
            if kind == c'A' or kind == c'F':
                total += m.locate + m.tracking + m.timestamp + m.reference + m.side + m.shares + m.price
            elif kind == c'D':
                total += m.locate + m.tracking + m.timestamp + m.reference
            elif kind == c'U':
                total += (m.locate + m.tracking + m.timestamp + m.reference + m.new_reference + m.shares + m.price)
            elif kind == c'E':
                total += m.locate + m.tracking + m.timestamp + m.reference + m.shares + m.match
            elif kind == c'X':
                total += m.locate + m.tracking + m.timestamp + m.reference + m.shares
            elif kind == c'C':
                total += (m.locate + m.tracking + m.timestamp + m.reference + m.shares + m.match + m.printable
                          + m.price)
            elif kind > 0:
                total += 1
            else:
                wrong += 1
    bad[0] = wrong
    return total


def itch_decode(const uint8_t[::1] data not None, int64_t packets):
    """Parse so many MoldUDP64 packets, one behind the other: (the sum of the fields, malformed messages,
    nanoseconds)."""
    cdef uint64_t total, bad = 0
    cdef int64_t begun
    with nogil:
        begun = monotonic_ns()
        total = _decode(&data[0], packets, &bad)
        begun = monotonic_ns() - begun
    return total, bad, begun


cdef packed struct Operation:
    uint64_t reference
    uint64_t replacement        # U
    uint32_t symbol             # A
    uint32_t shares             # A E X U
    uint32_t price              # A U
    uint8_t kind                # 'A', 'E', 'X', 'D' or 'U'
    uint8_t side                # A: 'B' or 'S'
    uint16_t unused


cdef uint64_t _apply(book.Books *b, const Operation *o, const Operation *end) noexcept nogil:
    """How many did not do what they say."""
    cdef uint64_t refused = 0
    cdef int symbol = 0
    while o < end:
        # As the replay does with the message that comes next.
        book.books_likely(b, o[o + 1 < end].reference)
        if o.kind == c'A':
            symbol = book.book_add(b, o.symbol, o.reference, o.side, o.shares, o.price)
        elif o.kind == c'D':
            symbol = book.book_delete(b, o.reference)
        elif o.kind == c'U':
            symbol = book.book_replace(b, o.reference, o.replacement, o.shares, o.price)
        elif o.kind == c'E':
            symbol = book.book_execute(b, o.reference, o.shares)
        else:
            symbol = book.book_cancel(b, o.reference, o.shares)
        refused += symbol < 0
        o += 1
    return refused


cdef tuple best(const book.Books *b, uint32_t symbol, uint8_t side):
    cdef const book.Level *level = book.book_best(b, symbol, side)
    if level == NULL:
        return (0, 0)
    return (level.price, level.shares)


cdef void _end_of_day(book.Books *b, const Operation *o, const Operation *end) noexcept nogil:
    """Delete the orders that are left, so that the next pass begins with empty books in memory that was used before."""
    while o < end:
        if o.kind == c'A':
            book.book_delete(b, o.reference)
        elif o.kind == c'U':
            book.book_delete(b, o.replacement)
        o += 1


def book_updates(const uint8_t[::1] operations not None, uint32_t symbols, uint64_t orders, uint32_t levels,
                 int passes):
    """Apply operations to empty books, `passes` times in the same memory: (nanoseconds of the fastest pass, how many
    were refused in all, for each symbol best bid, its shares, best offer, its shares after the last)."""
    cdef book.Books b
    cdef Block block
    cdef const Operation *first = <const Operation *> &operations[0]
    cdef const Operation *end = first + operations.shape[0] // sizeof(Operation)
    cdef uint64_t refused = 0
    cdef int64_t begun, fastest = 1 << 62
    cdef uint32_t i
    if not block_map(&block, book.books_size(symbols, orders, levels)):
        raise MemoryError
    try:
        book.books_init(&b, block.at, symbols, orders, levels)
        with nogil:
            while passes:
                passes -= 1
                begun = monotonic_ns()
                refused += _apply(&b, first, end)
                begun = monotonic_ns() - begun
                fastest = min(fastest, begun)
                if passes:
                    _end_of_day(&b, first, end)
        return fastest, refused, [best(&b, i, c'B') + best(&b, i, c'S') for i in range(symbols)]
    finally:
        block_free(&block)


def record(const int64_t[::1] values not None):
    """Record values into a histogram: nanoseconds."""
    cdef agent_histogram h
    cdef Py_ssize_t i
    cdef int64_t begun
    memset(&h, 0, sizeof(h))
    with nogil:
        begun = monotonic_ns()
        for i in range(values.shape[0]):
            histogram.record(&h, values[i])
        begun = monotonic_ns() - begun
    if h.count != <uint64_t> values.shape[0]:
        raise RuntimeError("histogram: values were lost")
    return begun


cdef enum:
    SPINS = 1 << 30             # looks at a ring that nobody writes to: some seconds


cdef inline bint take_record(Ring *r, uint8_t *record) noexcept nogil:
    """Wait for a record of 64 bytes, copy it, take it off; False: none came."""
    cdef uint32_t size = 0
    cdef int64_t _
    cdef const void *at
    for _ in range(SPINS):
        at = ring_peek(r, &size)
        if at != NULL and size == 64:
            memcpy(record, at, 64)
            ring_pop(r)
            return True
    return False


cdef inline bint push_record(Ring *r, const uint8_t *record) noexcept nogil:
    """Wait for room, push a record of 64 bytes; False: there was none."""
    cdef int64_t _
    for _ in range(SPINS):
        if ring_push(r, record, 64):
            return True
    return False


def ring_echo(uintptr_t source, uintptr_t sink, int64_t count):
    """Send `count` records of 64 bytes back: agent.shm.ring.Ring.address of a reader and a writer."""
    cdef uint8_t[64] record
    cdef int64_t i
    with nogil:
        for i in range(count):
            if not take_record(<Ring *> source, record) or not push_record(<Ring *> sink, record):
                break
        else:
            i = count
    if i != count:
        raise RuntimeError("ring: the other side is gone")


def ring_trips(uintptr_t sink, uintptr_t source, int64_t count, int64_t batch):
    """`count` records of 64 bytes there and back: a list of nanoseconds a trip, of each batch."""
    cdef uint8_t[64] record
    cdef int64_t _, begun
    memset(record, 0, 64)
    found = []
    for _ in range(count // batch):
        with nogil:
            begun = monotonic_ns()
            for _ in range(batch):
                if not push_record(<Ring *> sink, record) or not take_record(<Ring *> source, record):
                    begun = 0
                    break
            else:
                begun = monotonic_ns() - begun
        if not begun:
            raise RuntimeError("ring: the other side is gone")
        found.append(begun / <double> batch)
    return found


def ring_send(uintptr_t sink, int64_t count):
    """Push `count` records of 64 bytes, numbered."""
    cdef uint8_t[64] record
    cdef int64_t i
    memset(record, 0, 64)
    with nogil:
        for i in range(count):
            (<int64_t *> record)[0] = i
            if not push_record(<Ring *> sink, record):
                break
        else:
            i = count
    if i != count:
        raise RuntimeError("ring: the other side is gone")


def ring_receive(uintptr_t source, int64_t count, int64_t warm):
    """Take what ring_send() pushes: nanoseconds a record, without the first `warm`. RuntimeError: one was lost."""
    cdef uint8_t[64] record
    cdef int64_t i, begun = 0
    with nogil:
        for i in range(count):
            if i == warm:
                begun = monotonic_ns()
            if not take_record(<Ring *> source, record) or (<int64_t *> record)[0] != i:
                break
        else:
            i = count
            begun = monotonic_ns() - begun
    if i != count:
        raise RuntimeError(f"ring: record {i} did not come")
    return begun / <double> (count - warm)
