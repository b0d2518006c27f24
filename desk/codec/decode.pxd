# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A Protobuf message into a record, by a table: no allocation, no Python, nothing read beyond the message.

Source: Protobuf's encoding (protobuf.dev/programming-guides/encoding). What is accepted is what upb accepts, but for
three refusals of its own: text with a NUL, text or bytes longer than their room, and more numbers than there is room
for. The last value of a field counts; messages in a message are merged; a field of another wire type than the
descriptor's is skipped as an unknown one. What is not in the record is skipped without a look inside.

A writer lists its fields by number, mostly. So the entry behind the last one is tried first, by the bytes of its tag;
any other field is looked up. As long as all come in order, what was not read needs no default.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from desk.codec.wire cimport (CODEC_LIKELY, DECODED, EIGHTS, HAS_NUL, IS_GROUP_END, IS_LENGTH, IS_VARINT, MALFORMED,
                              NOT_UTF8, ONES, TOO_LONG, TOO_MANY, TRUNCATED, codec_load16, codec_load32, codec_load64,
                              codec_load_float, codec_store, codec_store_double, give_reason, is_utf8, read_tag,
                              read_varint, skip_value)

#: What is done with a field's value.
cdef enum:
    SKIP
    VARINT
    INT32
    UINT32
    SINT32
    SINT64
    BOOL
    WORD
    FIXED32
    SFIXED32
    FLOAT
    STRING
    BYTES
    MESSAGE
    PASS_FIXED                  # of Entry.quick only: a value that is not in the record
    PASS_VARINT
    PASS_LENGTH

cdef enum:
    DEEPEST_MESSAGE = 16        # schema.py: DEEPEST
    DIRECT = 64                 # numbers of fields that are found without a search

cdef struct Range:
    uint32_t offset
    uint32_t size

cdef struct Entry:
    uint16_t tag                # what a tag of at most two bytes has in the bits of `mask`
    uint16_t mask               # 0 for a longer tag, and at the end of the table, where tag is 1: nothing matches
    uint8_t tag_size            # bytes
    uint8_t quick               # the kind, where the value can be written at once; otherwise SKIP
    uint8_t need                # bytes that the field has at least, with its tag
    uint8_t kind
    uint32_t offset             # in the record
    uint32_t size               # in the record
    uint32_t number
    uint8_t wire
    uint8_t repeated
    uint8_t packed              # the same values may come in one block
    uint16_t width              # bytes of text, or numbers
    uint32_t table              # of a message
    uint32_t clear              # the first of the ranges that go back to their defaults
    uint32_t clears

cdef struct Table:
    Entry *entries              # sorted by number; behind the last one, one that matches nothing, of number 0
    uint32_t count
    uint16_t direct[64]         # 1 + the entry of a number, 0 for none

cdef struct Plan:
    Table *tables               # the first is the message's
    uint32_t count              # of tables
    Range *ranges
    const uint8_t *defaults     # a record
    uint32_t size               # of a record
    uint32_t base               # where the message's fields begin in it
    bint plain                  # nothing is repeated, or in a oneof, or in a message within the message

cdef struct Counts:
    uint64_t verdicts[9]        # messages
    uint64_t unknown            # fields that the descriptor does not have
    uint64_t mistyped           # fields of another wire type than the descriptor's

#: How far a message has been read.
cdef struct State:
    const uint8_t *p
    const uint8_t *end          # of the message that p is in
    const Entry *e              # the field that comes next, if all come in order
    const Table *table
    int depth                   # of that message
    bint complete               # the fields from e on have their defaults, too
    const uint8_t *ends[16]     # of the messages around it
    const Entry *nexts[16]
    const Table *tables[16]


cdef inline uint64_t load_short(const uint8_t *p, uint64_t size, const uint8_t *end) noexcept nogil:
    """Returns at most 8 bytes, and zeros behind them."""
    cdef uint64_t shift
    if end - p >= 8:
        return codec_load64(p) & (~<uint64_t> 0 >> (64 - 8 * size)) if size else 0
    if size >= 4:               # two halves, which overlap
        shift = 8 * (size - 4)
        return codec_load32(p) | <uint64_t> codec_load32(p + size - 4) << shift
    if size >= 2:
        return p[0] | <uint64_t> p[size // 2] << (8 * (size // 2)) | <uint64_t> p[size - 1] << (8 * (size - 1))
    return p[0] if size else 0


cdef inline int store_text(uint8_t *to, const Entry *e, const uint8_t *p, uint64_t size,
                           const uint8_t *end) noexcept nogil:
    """Write a text, and zeros behind it. Returns the verdict."""
    cdef uint64_t word, mask, filled, room = e.size, i
    if size > e.width:
        return TOO_LONG
    if size <= 8:
        word = load_short(p, size, end)
        mask = ~<uint64_t> 0 if size == 8 else (<uint64_t> 1 << (8 * size)) - 1
        filled = word | (ONES & ~mask)
        if CODEC_LIKELY((word | ((filled - ONES) & ~filled)) & EIGHTS == 0):
            codec_store(to, word)
            if room > 8:
                memset(to + 8, 0, room - 8)
            return DECODED
    if not is_utf8(p, size):
        return NOT_UTF8
    for i in range(size):
        if p[i] == 0:
            return HAS_NUL
    memcpy(to, p, size)
    memset(to + size, 0, room - size)
    return DECODED


cdef inline uint64_t convert(uint32_t kind, uint64_t value) noexcept nogil:
    """Returns the word of the record for the value of a varint."""
    if kind == VARINT:
        return value
    if kind == INT32:
        return <uint64_t> <int64_t> <int32_t> <uint32_t> value
    if kind == UINT32:
        return <uint32_t> value
    if kind == SINT64:
        return (value >> 1) ^ (0 - (value & 1))
    if kind == SINT32:
        value = <uint32_t> value
        return <uint64_t> <int64_t> <int32_t> <uint32_t> ((value >> 1) ^ (0 - (value & 1)))
    return value != 0


cdef inline const uint8_t *store_number(uint8_t *to, const Entry *e, const uint8_t *p,
                                        const uint8_t *end) noexcept nogil:
    """Write the number at p. Returns the place behind it, NULL where it does not end."""
    cdef uint64_t value = 0
    cdef uint32_t kind = e.kind
    if kind == WORD:
        if end - p < 8:
            return NULL
        codec_store(to, codec_load64(p))
        return p + 8
    if kind == FLOAT or kind == FIXED32 or kind == SFIXED32:
        if end - p < 4:
            return NULL
        if kind == FLOAT:
            codec_store_double(to, codec_load_float(p))
        elif kind == FIXED32:
            codec_store(to, codec_load32(p))
        else:
            codec_store(to, <uint64_t> <int64_t> <int32_t> codec_load32(p))
        return p + 4
    p = read_varint(p, end, &value)
    if p != NULL:
        codec_store(to, convert(kind, value))
    return p


cdef inline int store_repeated(uint8_t *record, const Entry *e, const uint8_t **at, const uint8_t *end,
                               bint packed) noexcept nogil:
    """Append one number, or a block of them. Returns the verdict."""
    cdef uint8_t *to = record + e.offset
    cdef uint64_t count = codec_load64(to), size = 0
    cdef const uint8_t *p = at[0]
    cdef const uint8_t *stop = end
    cdef const uint8_t *behind
    if packed:
        p = read_varint(p, end, &size)
        if p == NULL:
            return give_reason(at[0], end)
        if size > <uint64_t> (end - p):
            return TRUNCATED
        stop = p + size
        if p == stop:
            at[0] = p
            return DECODED
    while True:
        if count >= e.width:
            return TOO_MANY
        behind = store_number(to + 8 + 8 * count, e, p, stop)
        if behind == NULL:
            return give_reason(p, stop) if e.wire == IS_VARINT else TRUNCATED
        p = behind
        count += 1
        if not packed or p == stop:
            break
    codec_store(to, count)
    at[0] = p
    return DECODED


cdef inline void clear_others(const Plan *plan, const Entry *e, uint8_t *record) noexcept nogil:
    """Bring the other members of a oneof back to their defaults."""
    cdef uint32_t i
    cdef const Range *r
    for i in range(e.clear, e.clear + e.clears):
        r = &plan.ranges[i]
        memcpy(record + r.offset, plan.defaults + r.offset, r.size)


cdef inline const Entry *find_entry(const Table *table, uint32_t number) noexcept nogil:
    """Returns the entry of a field, NULL for none."""
    cdef uint32_t low = 0, high = table.count, middle
    if number < DIRECT:
        return &table.entries[table.direct[number] - 1] if table.direct[number] else NULL
    while low < high:
        middle = (low + high) // 2
        if table.entries[middle].number < number:
            low = middle + 1
        else:
            high = middle
    return &table.entries[low] if low < table.count and table.entries[low].number == number else NULL


cdef inline void complete(const Plan *plan, State *s, uint8_t *record) noexcept nogil:
    """Give their defaults to the fields from s.e on."""
    cdef const Entry *e = s.e
    while e.number:
        if CODEC_LIKELY(e.size == 8):
            codec_store(record + e.offset, codec_load64(plan.defaults + e.offset))
        else:
            memcpy(record + e.offset, plan.defaults + e.offset, e.size)
        e += 1
    s.complete = True


cdef inline int read_field(const Plan *plan, State *s, uint8_t *record, Counts *counts) noexcept nogil:
    """Read a field of any kind, in any order; of a message within the message: go into it. Returns the verdict."""
    cdef const Entry *e = s.e
    cdef uint64_t size = 0
    cdef uint32_t tag = 0
    cdef const uint8_t *behind
    cdef int verdict = read_tag(&s.p, s.end, &tag)
    cdef uint32_t wire = tag & 7, number = tag >> 3
    if verdict != DECODED:
        return verdict
    if number == 0:
        return MALFORMED
    if number != e.number:
        e = find_entry(s.table, number)
    if e == NULL or (wire != e.wire and not (e.packed and wire == IS_LENGTH)):
        if wire == IS_GROUP_END:
            return MALFORMED
        counts.unknown += e == NULL
        counts.mistyped += e != NULL
        return skip_value(&s.p, s.end, tag, s.depth)
    if e != s.e and not s.complete:
        complete(plan, s, record)
    s.e = e + 1
    if e.clears:
        clear_others(plan, e, record)
    if e.kind == SKIP:
        return skip_value(&s.p, s.end, tag, s.depth)
    if e.repeated:
        return store_repeated(record, e, &s.p, s.end, wire == IS_LENGTH)
    if e.kind < STRING:
        behind = store_number(record + e.offset, e, s.p, s.end)
        if behind == NULL:
            return give_reason(s.p, s.end) if wire == IS_VARINT else TRUNCATED
        s.p = behind
        return DECODED
    behind = read_varint(s.p, s.end, &size)
    if behind == NULL:
        return give_reason(s.p, s.end)
    s.p = behind
    if size > <uint64_t> (s.end - behind):
        return TRUNCATED
    if e.kind == MESSAGE:
        s.ends[s.depth], s.nexts[s.depth], s.tables[s.depth] = s.end, s.e, s.table
        s.depth += 1
        s.end = behind + size
        s.table = &plan.tables[e.table]
        s.e = s.table.entries
        return DECODED
    s.p += size
    if e.kind == STRING:
        return store_text(record + e.offset, e, behind, size, s.end)
    if size > e.width:
        return TOO_LONG
    codec_store(record + e.offset, size)
    memcpy(record + e.offset + 8, behind, size)
    memset(record + e.offset + 8 + size, 0, e.size - 8 - size)
    return DECODED


cdef inline int decode(const Plan *plan, const uint8_t *p, uint64_t size, uint8_t *record,
                       Counts *counts) noexcept nogil:
    """Write the record of a message of `size` bytes. What is in the record after a refusal is not to be used. Returns
    the verdict, which is not counted here. One function because its loop keeps all that it changes in registers."""
    cdef State s
    cdef const uint8_t *end = p + size
    cdef const uint8_t *at
    cdef const Entry *e = plan.tables.entries
    cdef uint64_t value
    cdef uint32_t kind
    cdef int verdict
    s.table = plan.tables
    s.depth = 0
    s.complete = not plan.plain
    if s.complete:
        memcpy(record + plan.base, plan.defaults + plan.base, plan.size - plan.base)
    while True:
        if CODEC_LIKELY(end - p >= e.need and codec_load16(p) & e.mask == e.tag):
            # The field that was expected.
            kind = e.quick
            at = p + e.tag_size
            if kind == WORD:
                codec_store(record + e.offset, codec_load64(at))
                p = at + 8
                e += 1
                continue
            if kind == VARINT or kind == UINT32:
                at = read_varint(at, end, &value)
                if CODEC_LIKELY(at != NULL):
                    codec_store(record + e.offset, value if kind == VARINT else <uint32_t> value)
                    p = at
                    e += 1
                    continue
            elif kind == STRING:
                size = at[0]
                at += 1
                if CODEC_LIKELY(size <= 8 and size <= <uint64_t> (end - at)):
                    verdict = store_text(record + e.offset, e, at, size, end)
                    if verdict != DECODED:
                        return verdict
                    p = at + size
                    e += 1
                    continue
            elif kind == PASS_FIXED:
                p += e.need
                e += 1
                continue
            elif kind == PASS_LENGTH:
                size = at[0]
                at += 1
                if CODEC_LIKELY(size < 0x80 and size <= <uint64_t> (end - at)):
                    p = at + size
                    e += 1
                    continue
            elif kind == PASS_VARINT:
                at = read_varint(at, end, &value)
                if CODEC_LIKELY(at != NULL):
                    p = at
                    e += 1
                    continue
            elif kind != SKIP:
                at = read_varint(at, end, &value)
                if CODEC_LIKELY(at != NULL):
                    codec_store(record + e.offset, convert(kind, value))
                    p = at
                    e += 1
                    continue
        elif p == end:
            if not s.complete and e.number:
                s.e = e
                complete(plan, &s, record)
            if s.depth == 0:
                return DECODED
            s.depth -= 1
            end, e, s.table = s.ends[s.depth], s.nexts[s.depth], s.tables[s.depth]
            continue
        s.p, s.end, s.e = p, end, e
        verdict = read_field(plan, &s, record, counts)
        if verdict != DECODED:
            return verdict
        p, end, e = s.p, s.end, s.e
