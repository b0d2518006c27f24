# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Records of 8-byte words to Protobuf messages: the results of workers, for topics.

What is written is what upb writes: fields by number, and no field that has its default where the descriptor says so.
Source: protobuf.dev/programming-guides/encoding.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from desk.codec.decode cimport BOOL, FIXED32, FLOAT, INT32, SFIXED32, SINT32, SINT64, UINT32, WORD
from desk.codec.plan cimport read_kind
from desk.codec.wire cimport codec_load64
from desk.codec import schema

cdef extern from *:
    """
    #include <string.h>
    static inline uint32_t codec_narrow(uint64_t word)
    {
        double wide; float value; uint32_t bits;
        memcpy(&wide, &word, 8);
        value = (float)wide;
        memcpy(&bits, &value, 4);
        return bits;
    }
    """
    uint32_t codec_narrow(uint64_t) nogil

cdef enum:
    LONGEST = 15                # bytes of a field: a tag, and a varint

cdef struct Field:
    uint32_t tag
    uint32_t offset             # in the record
    uint8_t kind
    uint8_t always              # written also where it is 0


cdef inline uint8_t *write_varint(uint8_t *to, uint64_t value) noexcept nogil:
    while value >= 0x80:
        to[0] = <uint8_t> (value | 0x80)
        value >>= 7
        to += 1
    to[0] = <uint8_t> value
    return to + 1


cdef inline uint8_t *write_field(uint8_t *to, const Field *f, uint64_t word) noexcept nogil:
    """Write a field. Returns the place behind it."""
    cdef uint32_t half
    if f.kind == WORD:
        if word or f.always:
            to = write_varint(to, f.tag)
            memcpy(to, &word, 8)
            to += 8
        return to
    if f.kind == FLOAT or f.kind == FIXED32 or f.kind == SFIXED32:
        half = codec_narrow(word) if f.kind == FLOAT else <uint32_t> word
        if half or f.always:
            to = write_varint(to, f.tag)
            memcpy(to, &half, 4)
            to += 4
        return to
    if f.kind == INT32:
        word = <uint64_t> <int64_t> <int32_t> <uint32_t> word
    elif f.kind == UINT32:
        word = <uint32_t> word
    elif f.kind == SINT32:
        word = <uint32_t> ((<uint32_t> word << 1) ^ (0 - (<uint32_t> word >> 31)))
    elif f.kind == SINT64:
        word = (word << 1) ^ (0 - (word >> 63))
    elif f.kind == BOOL:
        word = word != 0
    if word or f.always:
        to = write_varint(write_varint(to, f.tag), word)
    return to


cdef class Encoder:
    """Makes messages of records.

    descriptor_set, message: as of Decoder. fields: the message's field of each word of a record, in order; numbers
    only. A message whose only field is a repeated message holds many records: then `fields` are of that one, and
    `many` is true. Raises SchemaError.
    """

    cdef Field *fields
    cdef uint32_t count
    cdef uint32_t wrapper       # the tag of the repeated message
    #: The message's full name.
    cdef readonly str message
    #: Bytes of a record.
    cdef readonly int record_size
    #: Whether a message holds many records.
    cdef readonly bint many

    def __cinit__(self, bytes descriptor_set not None, str message not None, fields):
        self.message = message
        number, rows = schema.read_words(descriptor_set, message, fields)
        self.many, self.wrapper = number > 0, number << 3 | 2
        self.record_size = 8 * len(rows)
        self.count = len(rows)
        self.fields = <Field *> calloc(len(rows), sizeof(Field))
        if self.fields == NULL:
            raise MemoryError("fields of a message")
        for at, row in enumerate(rows):
            self.fields[at].tag, self.fields[at].offset = row.number << 3 | row.wire, row.offset
            self.fields[at].kind, self.fields[at].always = read_kind(row.kind), row.always

    def __dealloc__(self):
        free(self.fields)

    cdef uint8_t *write(self, uint8_t *to, const uint8_t *record) noexcept nogil:
        cdef uint32_t i
        for i in range(self.count):
            to = write_field(to, &self.fields[i], codec_load64(record + self.fields[i].offset))
        return to

    def encode_many(self, block not None):
        """Returns a message for each record of a block (bytes or another buffer); or, where a message holds many, one
        message of all of them, in a list. Raises ValueError for a block that is not a whole number of records."""
        cdef const uint8_t[::1] view = block
        cdef Py_ssize_t size = self.record_size, count = view.shape[0] // size, i
        cdef Py_ssize_t longest = self.count * LONGEST + LONGEST
        cdef uint8_t *room
        cdef uint8_t *to
        cdef uint8_t *begin
        cdef uint8_t *end
        if view.shape[0] % size:
            raise ValueError(f"block of {view.shape[0]} bytes, allowed: a multiple of the {size} of a record")
        if not count:
            return []
        room = <uint8_t *> malloc((count + 1 if self.many else 2) * longest)
        if room == NULL:
            raise MemoryError(f"{count} messages")
        try:
            found = []
            to = room
            begin = room + (count * longest if self.many else longest)
            for i in range(count):
                if not self.many:
                    found.append(PyBytes_FromStringAndSize(<char *> room, self.write(room, &view[i * size]) - room))
                    continue
                # Behind all others: its length comes first.
                end = self.write(begin, &view[i * size])
                to = write_varint(write_varint(to, self.wrapper), <uint64_t> (end - begin))
                memcpy(to, begin, end - begin)
                to += end - begin
            if self.many:
                found.append(PyBytes_FromStringAndSize(<char *> room, to - room))
            return found
        finally:
            free(room)
