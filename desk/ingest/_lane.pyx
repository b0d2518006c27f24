# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One partition of Kafka on its way into its ring: from librdkafka's queue, by pointer, without the GIL.

The consumer is confluent_kafka's, and so is all that is asked of it; only the records do not become Python objects.
This module is a plugin of librdkafka (its INTRODUCTION.md, "Plugins", and rd_kafka_conf_interceptor_add_on_new in
rdkafka.h of version 2.16): by that the client of a consumer that is made with `plugin.library.paths` is known here. A
partition's queue is taken out of the consumer's own one (rd_kafka_queue_get_partition, rd_kafka_queue_forward), so
that a partition whose ring is full waits alone, and librdkafka stops fetching it by its own limits.

A record becomes a packet of MoldUDP64 (Nasdaq "MoldUDP64 Protocol Specification", version 1.00) with one message, whose
sequence number is offset + 1. Before each publication where it will end, and with which offset, is written to the
ring's place file (desk.ingest.place), so that a writer that was killed is followed by one that knows exactly how far
the ring is: a record is never in it twice. What a broker sends is never trusted for a bound.
"""

from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from agent.protocols.wire cimport store16, store64
from agent.shm.ring cimport RING_LOAD, RING_STORE, Ring, ring_padded_size, ring_publish, ring_reserve
from desk.ingest.field cimport find_bytes
from desk.ingest.kafka cimport kafka, kafka_load, kafka_message, kafka_record, kafka_take, kafka_take_made


cdef enum:
    HEADER = 20                 # of a packet of MoldUDP64: session, sequence number, count of messages
    BLOCK = 2                   # before its message: the length
    END_OF_SESSION = 0xFFFF
    ANNOUNCED = 4               # heartbeats by which the engine believes a jump at once

cdef enum:
    MOST = 65_000

#: Bytes of a message at most: a packet is not longer than a datagram.
MOST_BYTES = MOST

# The place file: magic, the ring's inode, and two of these. Each is of a moment: when the ring's tail was here, the
# records up to before `next` were in the ring. serial: greater in the later one; 0: none.
cdef struct Slot:
    uint64_t serial
    uint64_t tail
    int64_t next
    uint8_t session[16]

cdef struct PlaceFile:
    uint8_t magic[8]
    uint64_t inode
    Slot slots[2]

#: Bytes of a place file.
PLACE_SIZE = sizeof(PlaceFile)

# How far the ring's reader has to be for the records up to before `next` to be passed.
cdef struct Mark:
    uint64_t tail
    int64_t next

cdef enum:
    MARKS = 4096


def load(str path not None):
    """Find librdkafka's functions, in the library of this path, which the process has loaded. Raises OSError."""
    cdef bytes raw = path.encode()
    cdef const char *missing = kafka_load(raw)
    if missing != NULL:
        raise OSError(f"{path}: has no {(<bytes> missing).decode(errors='replace')}")


def take_client():
    """Returns the address of the client that was made last with this module as its plugin; 0: none was."""
    return <uintptr_t> kafka_take_made()


def keep(client not None):
    """Have a client of confluent_kafka live as long as the process does: the end of one waits for its connections, for
    minutes where a broker is frozen."""
    Py_INCREF(client)


def explain(int error):
    """Returns what librdkafka says of an error."""
    return (<bytes> kafka.explain(error)).decode(errors="replace")


def find_message(bytes value not None, uint32_t field):
    """Returns the message in the value of a record: that of the field with this number, 0: the value itself; None where
    it is not there, or the value is malformed."""
    cdef const uint8_t *at = <const uint8_t *> <const char *> value
    cdef uint64_t size = len(value)
    if field == 0:
        return value
    return (<const char *> at)[:size] if find_bytes(at, size, field, &at, &size) > 0 else None


cdef class Lane:
    """From the queue of a partition into a ring.

    client: as take_client() gave it; ring: its writer (agent.shm.ring.Ring); place: the memory of the ring's place
    file, writable; session: 10 bytes; batch: records of a call of move() at most; wake: a descriptor that is written to
    when there is something in the queue; field: number of the bytes field that holds the message, 0: all of the value
    is it. decoder: of records for a ring of one size (desk.codec.Decoder, numbered).

    close() has to be called before the consumer is closed.
    """

    cdef void *client
    cdef void *queue
    cdef bytes topic
    cdef int32_t partition
    cdef int wake
    cdef Ring *ring
    cdef PlaceFile *file
    cdef object owners, decoder
    cdef kafka_record *found
    cdef Mark *marks
    cdef uint32_t batch, field, at, count, mark_at, mark_count, slot
    cdef uint8_t session[16]
    cdef int64_t passed
    cdef bint jumps             # the next record does not follow the last one
    #: The offset that comes next, -1: not known. Records pushed; records that no packet holds; records whose message
    #: is not found; jumps in the offsets, offsets jumped over; records that came again, and were passed over.
    cdef readonly int64_t next
    cdef readonly uint64_t pushed, too_long, refused, holes, missing, repeated
    #: Whether the ring had no space when it was tried last; and how often it began to have none.
    cdef readonly bint full
    cdef readonly uint64_t times_full
    #: Of librdkafka, the last; 0: none since it was taken.
    cdef int error

    def __cinit__(self, uintptr_t client, str topic not None, int32_t partition, ring, place, bytes session not None,
                  uint32_t batch, int wake, uint32_t field=0, decoder=None):
        cdef uint8_t[::1] view = place
        if view.shape[0] < <Py_ssize_t> sizeof(PlaceFile):
            raise ValueError(f"place: {view.shape[0]} bytes, allowed: {sizeof(PlaceFile)}")
        self.ring = <Ring *> <uintptr_t> ring.address
        self.file = <PlaceFile *> &view[0]
        self.owners = (ring, place)
        self.decoder = decoder
        self.batch, self.field = max(batch, <uint32_t> 1), field
        self.next = self.passed = -1
        self.found = <kafka_record *> calloc(self.batch, sizeof(kafka_record))
        self.marks = <Mark *> calloc(MARKS, sizeof(Mark))
        if self.found == NULL or self.marks == NULL:
            raise MemoryError
        self.rename(session)
        self.client, self.topic, self.partition, self.wake = <void *> client, topic.encode(), partition, wake
        self.open_queue()

    def __dealloc__(self):
        self.close()
        free(self.found)
        free(self.marks)

    cpdef open_queue(self):
        """Take the partition's queue; to be called before each assignment: librdkafka forgets a partition, and its
        queue, that does not exist in the cluster and is assigned no longer. Raises ValueError: it has none."""
        cdef void *queue = kafka.find_queue(self.client, self.topic, self.partition)
        if queue == NULL:
            raise ValueError(f"{self.topic.decode()}-{self.partition}: librdkafka has no queue for it")
        kafka.forward(queue, NULL)
        if self.wake >= 0:
            kafka.wake(queue, self.wake, b"\1\0\0\0\0\0\0\0", 8)
        self.close()
        self.queue = queue

    cpdef close(self):
        """Let go of the queue, and of what was taken from it and is not in the ring."""
        self.drop()
        if self.queue != NULL:
            kafka.close_queue(self.queue)
            self.queue = NULL

    cdef void drop(self) noexcept nogil:
        while self.at < self.count:
            kafka.destroy(self.found[self.at].event)
            self.at += 1
        self.at = self.count = 0

    def rename(self, bytes session not None):
        """Give the packets from here on another session. Raises ValueError unless it has 10 bytes."""
        if len(session) != 10:
            raise ValueError(f"session: {len(session)} bytes, allowed: 10")
        memset(self.session, 0, 16)
        memcpy(self.session, <const char *> session, 10)

    def read_place(self):
        """Returns the session and the offset that comes next, as of the ring's last writer; None: the ring is new, or
        the file is not of this ring."""
        cdef const Slot *slot
        cdef uint64_t latest = 0
        cdef int i
        cdef object found = None
        for i in range(2):
            slot = &self.file.slots[i]
            if slot.serial > latest and slot.tail == self.ring.own and slot.next >= 0:
                latest = slot.serial
                self.slot = i
                found = (<const char *> slot.session)[:10], slot.next
        return found

    def is_known(self):
        """Returns whether what the ring has is known: nothing, or what the place file says."""
        return self.ring.own == 0 or self.read_place() is not None

    def start(self, int64_t offset, bint jumps=False):
        """Go on with a record: those before it are in the ring, or never will be. jumps: it does not follow what the
        ring has of the session. Raises ValueError: offset < 0."""
        if offset < 0:
            raise ValueError(f"offset {offset}, allowed: 0 or more")
        self.drop()
        self.full = False
        if self.passed < 0:
            self.passed = offset
        self.next = offset
        self.jumps = jumps
        self.note_place()
        self.mark()

    cdef void note_place(self) noexcept nogil:
        """Write how far the ring will be with its next publication. The slot of the last one stays: whoever is killed
        between the two has published one or the other."""
        cdef Slot *slot
        cdef uint64_t serial = self.file.slots[self.slot].serial + 1
        self.slot ^= 1
        slot = &self.file.slots[self.slot]
        RING_STORE(&slot.serial, 0)
        memcpy(slot.session, self.session, 16)
        slot.next = self.next
        slot.tail = self.ring.own
        RING_STORE(&slot.serial, serial)

    cdef void mark(self) noexcept nogil:
        cdef Mark *mark
        if self.mark_count == MARKS:        # the reader is far behind: the last mark moves on
            mark = &self.marks[(self.mark_at + MARKS - 1) % MARKS]
        else:
            mark = &self.marks[(self.mark_at + self.mark_count) % MARKS]
            self.mark_count += 1
        mark.tail = self.ring.own
        mark.next = self.next

    cdef void publish(self) noexcept nogil:
        self.note_place()
        ring_publish(self.ring)
        self.mark()

    def stop(self):
        """Forget the place, until start()."""
        self.drop()
        self.full = False
        self.next = self.passed = -1
        self.mark_count = 0

    def find_passed(self):
        """Returns the offset behind the last record that the ring's reader has taken; -1: not known."""
        cdef uint64_t head = RING_LOAD(&self.ring.header.head.index)
        while self.mark_count and <int64_t> (head - self.marks[self.mark_at].tail) >= 0:
            self.passed = self.marks[self.mark_at].next
            self.mark_at = (self.mark_at + 1) % MARKS
            self.mark_count -= 1
        return self.passed

    def take_error(self):
        """Returns librdkafka's number of the last error, and forgets it; 0: there was none."""
        cdef int error = self.error
        self.error = 0
        return error

    cdef bint push_empty(self, uint64_t sequence, uint32_t count) noexcept nogil:
        """Reserve and write a packet without messages: a heartbeat, or the end of the session."""
        cdef uint8_t *to = ring_reserve(self.ring, HEADER)
        if to == NULL:
            return False
        memcpy(to, self.session, 10)
        store64(to + 10, sequence)
        store16(to + 18, <uint16_t> count)
        return True

    def beat(self):
        """Push a heartbeat, where the reader has taken all. Returns whether it did."""
        if self.next < 0 or self.ring.record or RING_LOAD(&self.ring.header.head.index) != self.ring.own:
            return False
        if not self.push_empty(<uint64_t> self.next + 1, 0):
            return False
        self.publish()
        return True

    def end_session(self, int64_t next, bytes session not None):
        """Push the end of a session whose next offset would have been `next`, so that an engine takes another one at
        once. Returns False where the ring is full."""
        cdef uint8_t own[16]
        memcpy(own, self.session, 16)
        self.rename(session)
        cdef int64_t after = self.next
        if self.ring.record:
            return True         # records have no session
        done = self.push_empty(<uint64_t> next + 1, END_OF_SESSION)
        if done:
            self.next = next
            self.publish()
            self.next = after
        memcpy(self.session, own, 16)
        return done

    def move(self):
        """Move what is in the queue into the ring, at most `batch` records, as far as there is space. Returns how many
        were taken from the queue or pushed: 0: there is nothing to do now."""
        cdef Py_ssize_t moved
        if self.queue == NULL or self.next < 0:
            return 0
        if self.decoder is not None:
            return self.move_decoded()
        with nogil:
            moved = self.move_packets()
        return moved

    cdef Py_ssize_t fetch(self, uint32_t limit) noexcept nogil:
        if self.at < self.count:
            return self.count - self.at
        self.at = 0
        self.count = <uint32_t> kafka_take(self.queue, self.found, limit if limit < self.batch else self.batch,
                                           &self.error)
        return self.count

    cdef bint pass_over(self, const kafka_message *message) noexcept nogil:
        """A record that came before?"""
        if message.offset < self.next:
            self.repeated += 1
            return True
        return False

    cdef void count_hole(self, int64_t offset) noexcept nogil:
        if offset > self.next:
            self.holes += 1
            self.missing += <uint64_t> (offset - self.next)

    cdef Py_ssize_t move_packets(self) noexcept nogil:
        cdef Py_ssize_t taken = self.fetch(self.batch)
        cdef const kafka_message *message
        cdef const uint8_t *from_
        cdef uint64_t size, begin = self.ring.own
        cdef int64_t before = self.next
        cdef uint8_t *to
        cdef bint full = False
        while self.at < self.count:
            message = self.found[self.at].message
            if not self.pass_over(message):
                from_, size = message.payload, message.len if message.payload != NULL else 0
                if self.field and find_bytes(from_, size, self.field, &from_, &size) <= 0:
                    self.count_hole(message.offset)
                    self.refused += 1
                elif size > MOST or ring_padded_size(HEADER + BLOCK + size, False) > self.ring.capacity // 2:
                    self.count_hole(message.offset)
                    self.too_long += 1
                else:
                    to = NULL
                    if self.announce(message.offset):
                        to = ring_reserve(self.ring, <uint32_t> (HEADER + BLOCK + size))
                    if to == NULL:
                        full = True
                        break
                    memcpy(to, self.session, 10)
                    store64(to + 10, <uint64_t> message.offset + 1)
                    store16(to + 18, 1)
                    store16(to + 20, <uint16_t> size)
                    if size:
                        memcpy(to + HEADER + BLOCK, from_, size)
                    self.count_hole(message.offset)
                    self.pushed += 1
                self.next = message.offset + 1
            kafka.destroy(self.found[self.at].event)
            self.at += 1
        self.times_full += full and not self.full
        self.full = full
        if self.ring.own != begin or self.next != before:
            self.publish()
        elif full:
            return 0
        return taken

    cdef bint announce(self, int64_t offset) noexcept nogil:
        """Before a record that does not follow: have an engine believe its place at once. Returns False where the ring
        is full."""
        cdef int _i
        if offset == self.next and not self.jumps:
            return True
        for _i in range(ANNOUNCED):
            if not self.push_empty(<uint64_t> offset + 1, 0):
                return False
        self.jumps = False
        return True

    cdef move_decoded(self):
        """Decode into records of one size. What is refused is left out, and counted by the decoder."""
        cdef uint64_t padded = ring_padded_size(self.ring.record, True)
        cdef uint64_t used = self.ring.own - RING_LOAD(&self.ring.header.head.index)
        # Where the ring ends, records of this size may leave a place empty.
        cdef uint64_t room = (self.ring.capacity - used) // padded if used <= self.ring.capacity else 0
        cdef const kafka_message *message
        cdef uint32_t taken
        if room < 2:
            self.times_full += not self.full
            self.full = True
            return 0
        self.full = False
        with nogil:
            taken = <uint32_t> self.fetch(<uint32_t> min(room - 1, <uint64_t> self.batch))
        if not taken:
            return 0
        values, numbers = [], []
        while self.at < self.count:
            message = self.found[self.at].message
            if not self.pass_over(message):
                values.append((<const char *> message.payload)[:message.len] if message.payload != NULL else None)
                numbers.append(message.offset + 1)
                self.count_hole(message.offset)
                self.next = message.offset + 1
            kafka.destroy(self.found[self.at].event)
            self.at += 1
        if values:
            self.push_decoded(values, numbers)
        return taken

    cdef push_decoded(self, list values, list numbers):
        cdef const uint8_t[::1] view
        cdef uint8_t *to
        cdef uint64_t place = 0, size = self.ring.record
        block, count = self.decoder.decode_many(values, numbers)
        self.refused += len(values) - count
        if count:
            view = block
            if count > len(values) or <uint64_t> view.shape[0] < count * size:
                raise ValueError(f"decoder: {view.shape[0]} bytes for {count} records of {len(values)} values")
            while place < count * size:
                to = ring_reserve(self.ring, <uint32_t> size)
                if to == NULL:
                    raise RuntimeError("ring: full, although there was room")
                memcpy(to, &view[place], size)
                place += size
            self.pushed += count
        self.publish()
