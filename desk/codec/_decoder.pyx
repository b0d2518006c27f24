# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The decoder for Python: messages into a block, or into the records of a ring."""

from cpython.bytes cimport PyBytes_AsString, PyBytes_AsStringAndSize, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from agent.shm.ring cimport Ring, ring_padded_size, ring_publish, ring_reserve
from desk.codec.decode cimport (BOOL, BYTES, DECODED, DIRECT, FIXED32, FLOAT, HAS_NUL, INT32, MALFORMED, MESSAGE,
                                NO_VALUE, NOT_UTF8, SFIXED32, SINT32, SINT64, SKIP, STRING, TOO_DEEP, TOO_LONG,
                                TOO_MANY, TRUNCATED, UINT32, VARINT, WORD, Counts, Entry, Plan, Range, Table,
                                codec_store, decode)
from desk.codec import schema

cdef enum:
    CHUNK = 256                 # messages between two looks at Python's objects

_KINDS = {
    "skip": SKIP, "varint": VARINT, "int32": INT32, "uint32": UINT32, "sint32": SINT32, "sint64": SINT64, "bool": BOOL,
    "word": WORD, "fixed32": FIXED32, "sfixed32": SFIXED32, "float": FLOAT, "string": STRING, "bytes": BYTES,
    "message": MESSAGE,
}
#: Why a message is refused.
_REASONS = {
    TRUNCATED: "truncated", MALFORMED: "malformed", TOO_DEEP: "too_deep", NOT_UTF8: "not_utf8", HAS_NUL: "has_nul",
    TOO_LONG: "too_long", TOO_MANY: "too_many", NO_VALUE: "no_value",
}
#: Refusals of a call that are kept.
_MOST_REFUSALS = 64


cdef class Decoder:
    """Makes records of messages.

    descriptor_set: a FileDescriptorSet, serialized, with all that it imports (protoc --include_imports
    --descriptor_set_out). message: its full name. fields: what is in a record, in order (desk.codec.schema). numbered:
    a record begins with a number of 8 bytes that the caller gives for each message. Raises SchemaError.
    """

    cdef Plan plan
    cdef uint32_t tables        # how many
    cdef Counts counted
    cdef uint64_t records
    cdef bytes defaults
    #: The message's full name.
    cdef readonly str message
    #: Whether a record begins with a number that is not of the message.
    cdef readonly bint numbered
    #: Bytes of a record.
    cdef readonly int record_size
    #: Where the fields are (list of desk.codec.schema.Place).
    cdef readonly list layout
    #: What the last call refused: (place in its list, why), the first 64 of them.
    cdef readonly list refusals

    def __cinit__(self, bytes descriptor_set not None, str message not None, fields, *, bint numbered=False):
        found = schema.read_schema(descriptor_set, message, fields, numbered=numbered)
        self.message, self.numbered = message, numbered
        self.layout, self.defaults, self.refusals = found.layout, found.defaults, []
        self.record_size = len(self.defaults)
        self.plan.defaults = <const uint8_t *> PyBytes_AsString(self.defaults)
        self.plan.size = self.record_size
        self.plan.base = 8 if numbered else 0
        self.build(found.tables)

    cdef int build(self, list tables) except -1:
        """Write the tables that compiled code reads."""
        cdef Table *table
        cdef Entry *e
        cdef uint32_t tag
        ranges = []
        self.plan.tables = <Table *> calloc(len(tables), sizeof(Table))
        if self.plan.tables == NULL:
            raise MemoryError()
        self.tables = len(tables)
        for number, rows in enumerate(tables):
            table = &self.plan.tables[number]
            table.entries = <Entry *> calloc(len(rows) + 1, sizeof(Entry))
            if table.entries == NULL:
                raise MemoryError()
            table.count = len(rows)
            table.entries[table.count].first = 256
            for place, row in enumerate(rows):
                e = &table.entries[place]
                tag = row.number << 3 | row.wire
                e.first = <uint16_t> (tag if tag < 128 else 256)
                e.kind, e.wire, e.number = _KINDS[row.kind], row.wire, row.number
                e.offset, e.width, e.table = row.offset, row.width, row.table
                e.repeated, e.packed = row.repeated, row.packed
                e.clear, e.clears = len(ranges), len(row.clear)
                ranges += row.clear
                if row.number < DIRECT:
                    table.direct[row.number] = place + 1
        self.plan.ranges = <Range *> calloc(len(ranges) + 1, sizeof(Range))
        if self.plan.ranges == NULL:
            raise MemoryError()
        for place, (start, end) in enumerate(ranges):
            self.plan.ranges[place].offset, self.plan.ranges[place].size = start, end - start
        return 0

    def __dealloc__(self):
        cdef uint32_t i
        if self.plan.tables != NULL:
            for i in range(self.tables):
                free(self.plan.tables[i].entries)
        free(self.plan.tables)
        free(self.plan.ranges)

    @property
    def counts(self):
        """So far: records; refused messages by reason; unknown fields (those that the descriptor does not have) and
        mistyped ones (of another wire type than the descriptor's), both skipped."""
        found = {"records": self.records, "unknown": self.counted.unknown, "mistyped": self.counted.mistyped}
        for verdict, reason in _REASONS.items():
            found[f"refused[{reason}]"] = self.counted.verdicts[<int> verdict]
        return found

    def decode_many(self, list values not None, list numbers=None):
        """Decode messages (bytes; None is refused as no value). numbers: one for each message, where the decoder is
        numbered. Returns the records, one behind the other, and how many there are: fewer than messages, where some
        were refused (self.refusals). Raises TypeError for a value that is not bytes, ValueError for other numbers."""
        cdef tuple held = self.check(values, numbers)
        cdef bytes block = PyBytes_FromStringAndSize(NULL, len(held) * <Py_ssize_t> self.record_size)
        cdef uint64_t before = self.records
        self.work(held, numbers, NULL, <uint8_t *> PyBytes_AsString(block))
        count = self.records - before
        return block if count == <uint64_t> len(held) else block[:count * self.record_size], count

    def push_many(self, ring not None, list values not None, list numbers=None):
        """Decode messages into the records of a ring (agent.shm.ring.Ring, its writer), as far as there is room for
        them. values, numbers: as of decode_many(). Returns how many of the values are done with: pushed or refused.

        Raises ValueError for a ring of other records, RingError where this is not its writer; and as decode_many().
        """
        cdef Ring *target = <Ring *> <uintptr_t> ring.address
        ring.push_many([])      # raises RingError
        if ring.record_size not in (0, self.record_size) \
                or ring_padded_size(self.plan.size, target.record != 0) > target.capacity // 2:
            raise ValueError(f"{ring.path}: records of {ring.record_size} bytes (0: of any size, up to half of the "
                             f"ring), those of {self.message} have {self.record_size}")
        return self.work(self.check(values, numbers), numbers, target, NULL)

    cdef tuple check(self, list values, list numbers):
        """Returns the values, so that no other thread changes them."""
        if self.numbered != (numbers is not None) or (self.numbered and len(numbers) != len(values)):
            raise ValueError(f"numbers: found {'none' if numbers is None else len(numbers)}, allowed: "
                             f"{len(values) if self.numbered else 'none, for records have no number'}")
        return tuple(values)

    cdef Py_ssize_t work(self, tuple held, list numbers, Ring *ring, uint8_t *to) except -1:
        """Decode into a ring, or to `to`. Returns how many values are done with."""
        cdef const uint8_t *starts[CHUNK]
        cdef Py_ssize_t sizes[CHUNK]
        cdef uint64_t given[CHUNK]
        cdef uint8_t verdicts[CHUNK]
        cdef Py_ssize_t done = 0, total = len(held), count, i
        cdef uint64_t refused = 0, pushed
        cdef char *text
        cdef uint8_t *place
        cdef uint64_t own
        cdef int verdict
        cdef bint full = False
        self.refusals = []
        while done < total and not full:
            count = min(total - done, <Py_ssize_t> CHUNK)
            for i in range(count):
                value = held[done + i]
                text = NULL
                sizes[i] = 0
                if value is not None:
                    PyBytes_AsStringAndSize(value, &text, &sizes[i])
                starts[i] = <const uint8_t *> text
                if numbers is not None:
                    given[i] = numbers[done + i]
            refused = pushed = 0
            with nogil:
                for i in range(count):
                    if ring != NULL:
                        own = ring.own
                        place = ring_reserve(ring, self.plan.size)
                        if place == NULL:
                            full = True
                            count = i
                            break
                    else:
                        place = to
                    if starts[i] == NULL:
                        verdict = NO_VALUE
                    else:
                        if self.plan.base:
                            codec_store(place, given[i])
                        verdict = decode(&self.plan, starts[i], <uint64_t> sizes[i], place, &self.counted)
                    verdicts[i] = <uint8_t> verdict
                    if verdict != DECODED:
                        self.counted.verdicts[verdict] += 1
                        refused += 1
                        if ring != NULL:
                            ring.own = own      # its place is the next message's
                        continue
                    pushed += 1
                    if ring == NULL:
                        to += self.plan.size
                if ring != NULL and pushed:
                    ring_publish(ring)
            self.records += pushed
            if refused:
                self.note(verdicts, count, done)
            done += count
        return done

    cdef int note(self, const uint8_t *verdicts, Py_ssize_t count, Py_ssize_t first) except -1:
        """Keep which messages were refused."""
        cdef Py_ssize_t i
        for i in range(count):
            if verdicts[i] != DECODED and len(self.refusals) < _MOST_REFUSALS:
                self.refusals.append((first + i, _REASONS[verdicts[i]]))
        return 0
