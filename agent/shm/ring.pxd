# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A ring of records in shared memory: one writer, one reader, no lock, no system call.

The mapping begins with struct ring_header; everything in it is an offset or a count, so each process may map it
anywhere. The writer alone stores `tail`, the reader alone `head`, 128 bytes apart: two cache lines, because x86
fetches lines in pairs. A record is its bytes, padded to 8; where records vary, an 8-byte word with the length comes
before them. A record never wraps: one that would not fit before the end of the ring is at the beginning. Where all are
of one size both ends can tell; where they vary, a word of SKIP says so.

A push writes the record, or several, then stores tail with release; a pop loads tail with acquire before it reads, and
stores head with release after. So a writer that is killed in a push has published nothing, and a reader that is killed
before commit has taken nothing. What is read from the mapping is never trusted for a bound: geometry is copied at the
attachment, indices are masked, a length is loaded once, and one that does not fit is `damaged`.

docs/ring.md has the argument for the ordering, and what happens when an end dies.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from *:
    """
    #include <stdint.h>
    struct ring_end {
        uint64_t index;                 /* bytes ever written (tail) or read (head), padding included */
        uint64_t pid;                   /* of the process that holds this end; 0: none */
        uint64_t start_time;            /* of that process, clock ticks after boot */
    };
    struct ring_header {
        char magic[8];                  /* HTRING */
        uint32_t version;               /* RING_VERSION */
        uint32_t record;                /* bytes of each record, 0: variable */
        uint64_t capacity;              /* bytes of records, a power of two */
        uint64_t data;                  /* offset of the first record */
        char boot_id[40];               /* of the boot that made it */
        uint64_t takeovers;             /* attachments in the place of a process that has died */
        struct ring_end tail __attribute__((aligned(128)));     /* the writer's */
        struct ring_end head __attribute__((aligned(128)));
        char end[0] __attribute__((aligned(128)));
    };
    #define RING_LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define RING_LENGTH(p) __atomic_load_n(p, __ATOMIC_RELAXED)
    #define RING_STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    #define RING_PREFETCH(p) __builtin_prefetch(p)
    #define RING_SKIP UINT64_MAX
    #define RING_MOST ((uint64_t)1 << 31)       /* bytes of records at most: all of them are mapped at once */
    """
    struct ring_end:                # each field: above
        uint64_t index
        uint64_t pid
        uint64_t start_time
    struct ring_header:
        char magic[8]
        uint32_t version
        uint32_t record
        uint64_t capacity
        uint64_t data
        char boot_id[40]
        uint64_t takeovers
        ring_end tail
        ring_end head
    uint64_t RING_LOAD(uint64_t *) nogil
    uint64_t RING_LENGTH(const uint64_t *) nogil
    void RING_STORE(uint64_t *, uint64_t) nogil
    void RING_PREFETCH(const void *) nogil
    uint64_t SKIP "RING_SKIP"
    uint64_t RING_MOST


cdef enum:
    WORD = 8                    # bytes of a length, and of what records are padded to
    RING_VERSION = 2

cdef struct Ring:
    ring_header *header
    uint8_t *data               # the first record's place
    uint64_t capacity           # bytes of records
    uint64_t mask               # capacity - 1
    uint32_t record             # bytes of each record; 0: they vary
    uint64_t own                # writer: tail; reader: head
    uint64_t peer               # the index of the other end, as last seen
    uint64_t next               # reader: behind the record that was peeked
    bint damaged                # what the reader found is not what a writer wrote


cdef inline uint64_t ring_padded_size(uint64_t size, bint fixed) noexcept nogil:
    """Returns the bytes of the ring for a record of `size` bytes, of a ring whose records are of one size (fixed) or
    vary."""
    return (size + (0 if fixed else WORD) + 7) & ~<uint64_t> 7


cdef inline uint8_t *ring_reserve(Ring *r, uint32_t size) noexcept nogil:
    """Returns the place of the next record, of `size` bytes, which is not published before ring_publish(); NULL when
    there is no space, and for a size that is not the ring's. What was reserved before stays reserved."""
    cdef uint64_t need = ring_padded_size(size, r.record != 0), skip = 0
    cdef uint64_t place = r.own & r.mask, end = r.capacity - place
    if (r.record and size != r.record) or need > r.capacity // 2:
        return NULL
    if need > end:
        skip = end
    if r.own + skip + need - r.peer > r.capacity:
        r.peer = RING_LOAD(&r.header.head.index)
        if r.own + skip + need - r.peer > r.capacity:
            return NULL
    if not r.record:
        if skip:
            (<uint64_t *> (r.data + place))[0] = SKIP
    if skip:
        place = 0
    if not r.record:
        (<uint64_t *> (r.data + place))[0] = size
        place += WORD
    r.own += skip + need
    return r.data + place


cdef inline void ring_publish(Ring *r) noexcept nogil:
    """Show the reader all that was reserved: it has been written."""
    RING_STORE(&r.header.tail.index, r.own)


cdef inline bint ring_push(Ring *r, const void *record, uint32_t size) noexcept nogil:
    """Publish a record of `size` bytes. Returns False when there is no space, and for a size that is not the ring's."""
    cdef uint8_t *place = ring_reserve(r, size)
    if place == NULL:
        return False
    memcpy(place, record, size)
    ring_publish(r)
    return True


cdef inline const void *ring_peek_at(Ring *r, uint64_t *index, uint32_t *size) noexcept nogil:
    """Returns the record at index and its size in bytes, and moves index behind the record; NULL when there is none, or
    the ring is damaged (r.damaged)."""
    cdef uint64_t place, end, need, word, available
    while True:
        place = index[0] & r.mask
        if index[0] == r.peer:
            r.peer = RING_LOAD(&r.header.tail.index)
            if index[0] == r.peer:
                # Whoever spins here has the record's line on its way when the tail's comes.
                RING_PREFETCH(r.data + place)
                return NULL
        available = r.peer - index[0]
        end = r.capacity - place
        if available > r.capacity or available < WORD:
            break
        if r.record:
            need = ring_padded_size(r.record, True)
            if need > end:
                if end > available:
                    break
                index[0] += end
                available -= end
                place = 0
            if need > available:
                break
            size[0] = r.record
            index[0] += need
            return r.data + place
        word = RING_LENGTH(<const uint64_t *> (r.data + place))
        if word == SKIP:
            index[0] += end
            continue
        if word > r.capacity // 2 - WORD:
            break
        need = ring_padded_size(word, False)
        if need > available or need > end:
            break
        size[0] = <uint32_t> word
        index[0] += need
        return r.data + place + WORD
    r.damaged = True
    return NULL


cdef inline const void *ring_peek(Ring *r, uint32_t *size) noexcept nogil:
    """Returns the next record, in the ring's memory until ring_pop(), and sets its size in bytes; NULL: none."""
    r.next = r.own
    return ring_peek_at(r, &r.next, size)


cdef inline void ring_pop(Ring *r) noexcept nogil:
    """Free the bytes of the record that ring_peek() returned last."""
    r.own = r.next
    RING_STORE(&r.header.head.index, r.own)
