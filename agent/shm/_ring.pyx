# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""ring.pxd for Python: agent/shm/ring.py opens and maps, this reads and writes."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_AsStringAndSize

from agent.shm.ring cimport (RING_LOAD, RING_MOST, RING_STORE, RING_VERSION, WORD, Ring, ring_end, ring_header,
                             ring_padded_size, ring_peek, ring_peek_at, ring_pop, ring_publish, ring_push, ring_reserve)

HEADER_SIZE = sizeof(ring_header)
VERSION = RING_VERSION
#: Of a ring's file.
MOST_BYTES = sizeof(ring_header) + RING_MOST


cdef bint is_possible(uint64_t capacity, uint64_t record) noexcept:
    return 64 <= capacity <= RING_MOST and capacity & (capacity - 1) == 0 \
        and ring_padded_size(record, record != 0) <= capacity // 2


def check_sizes(uint64_t capacity, uint32_t record):
    """Raise ValueError for a capacity that is no power of two from 64 to 2 GiB, and for a record over half of it."""
    if not 64 <= capacity <= RING_MOST or capacity & (capacity - 1):
        raise ValueError(f"capacity: found {capacity}, allowed: a power of two from 64 to {RING_MOST}")
    if not is_possible(capacity, record):
        raise ValueError(f"record of {record} bytes, allowed in a ring of {capacity}: at most {capacity // 2}")


def initialise(memory, uint64_t capacity, uint32_t record, bytes boot_id not None):
    """Write the header of an empty ring into a zeroed, writable buffer of HEADER_SIZE bytes, which capacity bytes
    follow. record: bytes of each record, 0: they vary. Raises ValueError as check_sizes(), and for another buffer."""
    cdef uint8_t[::1] view = memory
    cdef ring_header *h = <ring_header *> &view[0]
    check_sizes(capacity, record)
    if view.shape[0] != sizeof(ring_header):
        raise ValueError(f"memory of {view.shape[0]} bytes, allowed: {sizeof(ring_header)}")
    h.record = record
    h.capacity = capacity
    h.data = sizeof(ring_header)
    memcpy(h.boot_id, <const char *> boot_id, min(<int> len(boot_id), 39))
    h.version = RING_VERSION
    memcpy(h.magic, b"HTRING\0\0", 8)


cdef int require_ring(const ring_header *h) except -1:
    """Raise ValueError unless a header says that it is a ring's, of this version."""
    if memcmp(h.magic, b"HTRING\0\0", 8) != 0:
        raise ValueError("not a ring (no HTRING at its start)")
    if h.version != RING_VERSION:
        raise ValueError(f"ring of version {h.version}, this agent reads version {RING_VERSION}")
    return 0


cdef class Handle:
    """One end of a mapped ring. memory: the writable mapping, which the object keeps. Nothing can be pushed or peeked
    before attach(). Raises ValueError when memory is not a ring."""

    cdef Ring r
    cdef object memory
    cdef bint writer
    cdef object ends            # sequence of the indices behind the records that were peeked at

    def __cinit__(self, memory, bint writer):
        cdef uint8_t[::1] view = memory
        cdef ring_header *h = <ring_header *> &view[0]
        cdef uint64_t size = <uint64_t> view.shape[0]
        if size < sizeof(ring_header):
            raise ValueError("not a ring (no HTRING at its start)")
        require_ring(h)
        memset(&self.r, 0, sizeof(Ring))
        # A copy: what is checked is what is used.
        self.r.capacity = h.capacity
        self.r.record = h.record
        if h.data != sizeof(ring_header) or self.r.capacity != size - sizeof(ring_header) \
                or not is_possible(self.r.capacity, self.r.record):
            raise ValueError(f"{size} bytes, but its header describes another ring")
        self.memory = memory
        self.writer = writer
        self.ends = []
        self.r.header = h
        self.r.data = &view[0] + sizeof(ring_header)
        self.r.mask = self.r.capacity - 1

    @property
    def address(self):
        """Of the struct Ring, for compiled code; valid while this object lives."""
        return <uintptr_t> &self.r

    @property
    def record(self):
        """Bytes of each record; 0: they vary."""
        return self.r.record

    @property
    def capacity(self):
        """Bytes of records."""
        return self.r.capacity

    @property
    def boot_id(self):
        """The id of the boot that made the ring, at most 39 bytes."""
        return (<const char *> self.r.header.boot_id)[:40].split(b"\0", 1)[0]

    @property
    def takeovers(self):
        """How often an end was attached in the place of a process that had died."""
        return self.r.header.takeovers

    @property
    def damaged(self):
        """Whether the reader has found what no writer wrote."""
        return self.r.damaged

    @property
    def tail(self):
        """Bytes ever published."""
        return RING_LOAD(&self.r.header.tail.index)

    @property
    def used(self):
        """Bytes published and not yet taken."""
        return RING_LOAD(&self.r.header.tail.index) - RING_LOAD(&self.r.header.head.index)

    def read_owner(self, bint writer):
        """Returns (pid, start time in clock ticks after boot) of the writer or else the reader, 0 for none."""
        cdef ring_end *end = &self.r.header.tail if writer else &self.r.header.head
        return end.pid, end.start_time

    def attach(self, uint64_t pid, uint64_t start_time, bint takeover):
        """Write who holds this end from now on, and begin where the last process at this end has stopped. No other
        process may hold it. Raises ValueError when the indices cannot be those of this ring."""
        cdef ring_header *h = self.r.header
        cdef ring_end *end = &h.tail if self.writer else &h.head
        # The own index stands still, the other may move: that way they never are further apart.
        cdef uint64_t own = RING_LOAD(&end.index)
        cdef uint64_t peer = RING_LOAD(&h.head.index) if self.writer else RING_LOAD(&h.tail.index)
        cdef uint64_t used = own - peer if self.writer else peer - own
        if own & 7 or peer & 7 or used > self.r.capacity:
            raise ValueError(f"damaged: tail {own if self.writer else peer}, head {peer if self.writer else own}, "
                             f"capacity {self.r.capacity}")
        self.r.own = own
        self.r.peer = peer
        end.start_time = start_time
        end.pid = pid
        h.takeovers += takeover

    def detach(self):
        """Write that no process holds this end."""
        cdef ring_end *end = &self.r.header.tail if self.writer else &self.r.header.head
        end.pid = 0
        end.start_time = 0

    def push(self, record not None):
        """Publish a record, bytes or another buffer. Returns False when there is no space now. Raises ValueError for a
        record that can never fit."""
        cdef const uint8_t[::1] view
        cdef const uint8_t *at = b""
        cdef char *text = NULL
        cdef Py_ssize_t size = 0
        if isinstance(record, bytes):
            # A view takes some 200 ns.
            PyBytes_AsStringAndSize(record, &text, &size)
            at = <const uint8_t *> text
        else:
            view = record
            size = view.shape[0]
            if size:
                at = &view[0]
        if not self.fits(size):
            raise self.misfit(size)
        return ring_push(&self.r, at, <uint32_t> size)

    def push_many(self, list records not None):
        """Publish records, all at once, or as many of the first as there is space for now. Returns how many. Raises
        TypeError for one that is not bytes and ValueError for one that can never fit; then none is published."""
        cdef uint64_t begin = self.r.own
        cdef Py_ssize_t count = 0, size = 0
        cdef char *text = NULL
        cdef uint8_t *place
        try:
            for record in records:
                PyBytes_AsStringAndSize(record, &text, &size)
                if not self.fits(size):
                    raise self.misfit(size)
                place = ring_reserve(&self.r, <uint32_t> size)
                if place == NULL:
                    break
                memcpy(place, text, size)
                count += 1
        except BaseException:
            self.r.own = begin      # what was written lies behind the tail
            raise
        if count:
            ring_publish(&self.r)
        return count

    def push_block(self, block not None):
        """Publish records that lie one behind the other in a buffer, all at once, or as many of the first as there is
        space for now. Returns how many. Raises ValueError unless records are of one size, of which the buffer has a
        whole number."""
        cdef const uint8_t[::1] view = block
        cdef Py_ssize_t length = view.shape[0], size = self.r.record, count = 0
        cdef const uint8_t *at
        cdef uint8_t *place
        if size == 0 or length % size:
            raise ValueError(f"block of {length} bytes, allowed: a multiple of the {size} bytes of each record" if size
                             else "block: allowed: in a ring whose records are of one size")
        if length == 0:
            return 0
        at = &view[0]
        with nogil:
            while count * size < length:
                place = ring_reserve(&self.r, <uint32_t> size)
                if place == NULL:
                    break
                memcpy(place, at + count * size, size)
                count += 1
            if count:
                ring_publish(&self.r)
        return count

    cdef inline bint fits(self, Py_ssize_t size) noexcept:
        return (not self.r.record or size == self.r.record) \
            and ring_padded_size(<uint64_t> size, self.r.record != 0) <= self.r.capacity // 2

    cdef object misfit(self, Py_ssize_t size):
        return ValueError(f"record of {size} bytes, allowed: {self.r.record or self.r.capacity // 2 - WORD}")

    def pop(self):
        """Take the oldest record off the ring. Returns it, or None."""
        cdef uint32_t size = 0
        cdef const void *at = ring_peek(&self.r, &size)
        if at == NULL:
            return None
        found = (<const char *> at)[:size]
        ring_pop(&self.r)
        if self.ends:
            self.ends = []
        return found

    def peek_many(self, int limit):
        """Returns up to `limit` records, oldest first, which stay in the ring."""
        cdef uint64_t index = self.r.own
        cdef uint32_t size = 0
        cdef const void *at
        found = []
        self.ends = []
        while len(found) < limit:
            at = ring_peek_at(&self.r, &index, &size)
            if at == NULL:
                break
            found.append((<const char *> at)[:size])
            self.ends.append(index)
        return found

    def peek_block(self):
        """Returns the oldest records in one, as far as they lie one behind the other; they stay in the ring. Raises
        ValueError unless records are of one size and without padding."""
        cdef uint64_t index = self.r.own, size = self.r.record, count
        cdef uint32_t first = 0
        cdef const uint8_t *at
        if size == 0 or size % WORD:
            raise ValueError(f"records of {size} bytes, allowed: of one size that is a multiple of {WORD}")
        self.ends = []
        self.r.peer = RING_LOAD(&self.r.header.tail.index)
        at = <const uint8_t *> ring_peek_at(&self.r, &index, &first)
        if at == NULL:
            return b""
        # And those behind it, up to the ring's end.
        count = 1 + min(self.r.peer - index, self.r.capacity - <uint64_t> (at + size - self.r.data)) // size
        self.ends = range(index, index + count * size, size)
        return (<const char *> at)[:count * size]

    def commit(self, int count):
        """Take the `count` oldest of the records that were last peeked at off the ring. Where they end was read then:
        lengths that have changed since do not matter. Raises ValueError for more than were peeked at."""
        if count > len(self.ends):
            raise ValueError(f"commit: {count} records, allowed: at most the {len(self.ends)} that were peeked at")
        if count:
            self.r.own = self.ends[count - 1]
            self.ends = self.ends[count:]
            RING_STORE(&self.r.header.head.index, self.r.own)


def read_header(bytes header not None):
    """Returns (bytes of capacity, bytes published and not taken, bytes ever taken, (pid, start time) of the writer, the
    same of the reader) from the first HEADER_SIZE bytes of a ring's file, read while both ends go on. Raises ValueError
    where they are not a ring's, or its indices cannot be."""
    cdef ring_header h
    if len(header) != sizeof(ring_header):
        raise ValueError(f"{len(header)} bytes: not a ring")
    memcpy(&h, <const char *> header, sizeof(ring_header))
    require_ring(&h)
    if not is_possible(h.capacity, h.record):
        raise ValueError("its header describes another ring")
    # The two were read at different moments: a reader that has gone on meanwhile may be ahead of the old tail.
    cdef int64_t used = <int64_t> (h.tail.index - h.head.index)
    if used > <int64_t> h.capacity:
        raise ValueError(f"damaged: tail {h.tail.index}, head {h.head.index}, capacity {h.capacity}")
    return h.capacity, max(used, 0), h.head.index, (h.tail.pid, h.tail.start_time), (h.head.pid, h.head.start_time)
