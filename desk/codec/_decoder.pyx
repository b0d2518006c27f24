# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The decoder for Python: messages into a block, or into the records of a ring."""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from agent.shm.ring cimport Ring, ring_padded_size, ring_publish, ring_reserve
from desk.codec.decode cimport (BOOL, BYTES, DIRECT, FIXED32, FLOAT, INT32, MESSAGE, PASS_FIXED, PASS_LENGTH,
                                PASS_VARINT, SFIXED32, SINT32, SINT64, SKIP, STRING, UINT32, VARINT, WORD, Counts,
                                Entry, Plan, Range, Table, decode)
from desk.codec.wire cimport (DECODED, HAS_NUL, MALFORMED, NO_VALUE, NOT_UTF8, TOO_DEEP, TOO_LONG, TOO_MANY, TRUNCATED,
                              CODEC_LIKELY, codec_store)
from desk.codec import schema

cdef extern from "Python.h":
    # Borrowed references: the list has its own.
    void *borrow "PyList_GetItem"(object, Py_ssize_t) except NULL
    int read_bytes "PyBytes_AsStringAndSize"(void *, char **, Py_ssize_t *) except -1
    void *Py_None

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


cdef int choose_quick(row) except -1:
    """Returns Entry.quick of a row of the schema."""
    if row.repeated or row.clear:
        return SKIP
    if row.kind == "skip":
        if row.packed:
            return SKIP
        return {0: PASS_VARINT, 1: PASS_FIXED, 2: PASS_LENGTH, 5: PASS_FIXED}.get(row.wire, SKIP)
    return _KINDS[row.kind] if row.wire == 0 or row.kind in ("word", "string") else SKIP


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
        plain = True
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
            table.entries[table.count].tag, table.entries[table.count].need = 1, 2
            for place, row in enumerate(rows):
                e = &table.entries[place]
                tag = row.number << 3 | row.wire
                if tag < 128:
                    e.tag, e.mask, e.tag_size = <uint16_t> tag, 0xFF, 1
                elif tag < 128 * 128:
                    e.tag, e.mask, e.tag_size = <uint16_t> (tag & 127 | 128 | tag >> 7 << 8), 0xFFFF, 2
                else:
                    e.tag = 1
                e.need = e.tag_size + (8 if row.wire == 1 else 4 if row.wire == 5 else 1) if e.tag_size else 2
                e.kind, e.wire, e.number = _KINDS[row.kind], row.wire, row.number
                e.offset, e.size, e.width, e.table = row.offset, row.size, row.width, row.table
                e.repeated, e.packed = row.repeated, row.packed
                e.quick = choose_quick(row)
                plain = plain and not row.repeated and not row.clear and row.kind != "message"
                e.clear, e.clears = len(ranges), len(row.clear)
                ranges += row.clear
                if row.number < DIRECT:
                    table.direct[row.number] = place + 1
        self.plan.ranges = <Range *> calloc(len(ranges) + 1, sizeof(Range))
        if self.plan.ranges == NULL:
            raise MemoryError()
        self.plan.plain = plain
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
        cdef bytes block = PyBytes_FromStringAndSize(NULL, len(values) * <Py_ssize_t> self.record_size)
        cdef uint64_t before = self.records
        self.work(values, numbers, NULL, <uint8_t *> PyBytes_AsString(block))
        count = self.records - before
        return block if count == <uint64_t> len(values) else block[:count * self.record_size], count

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
        return self.work(values, numbers, target, NULL)

    cdef Py_ssize_t work(self, list values, list numbers, Ring *ring, uint8_t *place) except -1:
        """Decode into a ring, or to `place`. Returns how many values are done with.

        The GIL is not released: a thousand messages take some 20 us, less than it takes to hand it over.
        """
        cdef Py_ssize_t done, total = len(values), size = 0
        cdef uint64_t own = 0, records = 0
        cdef uint32_t record_size = self.plan.size
        cdef bint numbered = self.numbered
        cdef char *text = NULL
        cdef void *value
        cdef int verdict
        if numbered != (numbers is not None) or (numbered and len(numbers) != total):
            raise ValueError(f"numbers: found {'none' if numbers is None else len(numbers)}, allowed: "
                             f"{total if numbered else 'none, for records have no number'}")
        self.refusals = []
        try:
            for done in range(total):
                if ring != NULL:
                    own = ring.own
                    place = ring_reserve(ring, record_size)
                    if place == NULL:
                        return done
                value = borrow(values, done)
                verdict = NO_VALUE
                if CODEC_LIKELY(value != Py_None):
                    read_bytes(value, &text, &size)
                    if numbered:
                        codec_store(place, numbers[done])
                    verdict = decode(&self.plan, <const uint8_t *> text, <uint64_t> size, place, &self.counted)
                if CODEC_LIKELY(verdict == DECODED):
                    records += 1
                    place += record_size
                else:
                    if ring != NULL:
                        ring.own = own      # its place is the next message's
                    self.refuse(done, verdict)
            return total
        except BaseException:
            if ring != NULL:
                ring.own = own              # of the value that is no message
            raise
        finally:
            self.records += records
            if ring != NULL and records:
                ring_publish(ring)

    cdef int refuse(self, Py_ssize_t at, int verdict) except -1:
        """Count a message that is refused."""
        self.counted.verdicts[verdict] += 1
        if len(self.refusals) < _MOST_REFUSALS:
            self.refusals.append((at, _REASONS[verdict]))
        return 0
