# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The decoder for Python: messages into a block, or into the records of a ring."""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t

from agent.shm.ring cimport Ring, ring_padded_size, ring_publish, ring_reserve
from desk.codec.decode cimport Counts, Plan, decode
from desk.codec.plan cimport fill_plan, free_plan
from desk.codec.wire cimport (DECODED, HAS_NUL, MALFORMED, NO_VALUE, NOT_UTF8, TOO_DEEP, TOO_LONG, TOO_MANY, TRUNCATED,
                              CODEC_LIKELY, codec_store)
from desk.codec import schema

cdef extern from "Python.h":
    # Borrowed references: the list has its own.
    void *borrow "PyList_GetItem"(object, Py_ssize_t) except NULL
    int read_bytes "PyBytes_AsStringAndSize"(void *, char **, Py_ssize_t *) except -1
    void *Py_None

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
    cdef Counts counted
    cdef uint64_t records
    cdef object schema
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
        self.schema = schema.read_schema(descriptor_set, message, fields, numbered=numbered)
        self.message, self.numbered = message, numbered
        self.layout, self.refusals = self.schema.layout, []
        self.record_size = len(self.schema.defaults)
        fill_plan(&self.plan, self.schema, 8 if numbered else 0)

    def __dealloc__(self):
        free_plan(&self.plan)

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
