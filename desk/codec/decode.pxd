# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A Protobuf message into a record, by a table: no allocation, no Python, nothing read beyond the message.

Source: Protobuf's encoding (protobuf.dev/programming-guides/encoding). What is accepted is what upb accepts, but for
three refusals of its own: text with a NUL, text or bytes longer than their room, and more numbers than there is room
for. The last value of a field counts; messages in a message are merged; a field of another wire type than the
descriptor's is skipped as an unknown one. What is not in the record is skipped without a look inside.

A writer lists its fields by number, mostly. So the entry behind the last one is tried first, by the one byte of its
tag; any other field is looked up.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "records and Protobuf's fixed fields are little-endian"
    #endif
    static inline uint64_t codec_load64(const uint8_t *at) { uint64_t word; memcpy(&word, at, 8); return word; }
    static inline uint32_t codec_load32(const uint8_t *at) { uint32_t word; memcpy(&word, at, 4); return word; }
    static inline double codec_load_float(const uint8_t *at) { float value; memcpy(&value, at, 4); return value; }
    static inline void codec_store(uint8_t *at, uint64_t word) { memcpy(at, &word, 8); }
    static inline void codec_store_double(uint8_t *at, double value) { memcpy(at, &value, 8); }
    #define CODEC_BITS(word) __builtin_ctzll(word)
    #define CODEC_LIKELY(what) __builtin_expect(!!(what), 1)
    #define CODEC_EIGHTS 0x8080808080808080ULL
    #define CODEC_ONES 0x0101010101010101ULL
    /* The sevens of bits of eight bytes, brought together. */
    static inline uint64_t codec_gather(uint64_t word)
    {
        word = (word & 0x007F007F007F007FULL) | (word & 0x7F007F007F007F00ULL) >> 1;
        word = (word & 0x00003FFF00003FFFULL) | (word & 0x3FFF00003FFF0000ULL) >> 2;
        return (word & 0x0FFFFFFFULL) | (word & 0x0FFFFFFF00000000ULL) >> 4;
    }
    """
    uint64_t codec_load64(const uint8_t *) nogil
    uint32_t codec_load32(const uint8_t *) nogil
    double codec_load_float(const uint8_t *) nogil
    void codec_store(uint8_t *, uint64_t) nogil
    void codec_store_double(uint8_t *, double) nogil
    int CODEC_BITS(uint64_t) nogil
    bint CODEC_LIKELY(bint) nogil
    uint64_t codec_gather(uint64_t) nogil
    const uint64_t EIGHTS "CODEC_EIGHTS"
    const uint64_t ONES "CODEC_ONES"


#: The verdicts on a message.
cdef enum:
    DECODED
    TRUNCATED                   # it ends within a field
    MALFORMED                   # a varint of more than 10 bytes, a tag that is none, a group that does not end
    TOO_DEEP                    # groups in groups
    NOT_UTF8                    # text
    HAS_NUL                     # text
    TOO_LONG                    # text or bytes, for their room
    TOO_MANY                    # numbers, for their room
    NO_VALUE                    # there is no message
    VERDICTS

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

cdef enum:
    IS_VARINT, IS_64, IS_LENGTH, IS_GROUP, IS_GROUP_END, IS_32

cdef enum:
    DEEPEST_GROUP = 100         # upb's bound, too
    DEEPEST_MESSAGE = 16        # schema.py: DEEPEST
    DIRECT = 64                 # numbers of fields that are found without a search

cdef struct Range:
    uint32_t offset
    uint32_t size

cdef struct Entry:
    uint16_t first              # the byte of a tag of one byte; 256: it is longer, or this is the end of the table
    uint8_t kind
    uint8_t wire
    uint8_t repeated
    uint8_t packed              # the same values may come in one block
    uint16_t width              # bytes of text, or numbers
    uint32_t number
    uint32_t offset             # in the record
    uint32_t table              # of a message
    uint32_t clear              # the first of the ranges that go back to their defaults
    uint32_t clears

cdef struct Table:
    Entry *entries              # sorted by number; behind the last one, one that matches nothing
    uint32_t count
    uint16_t direct[64]         # 1 + the entry of a number, 0 for none

cdef struct Plan:
    Table *tables               # the first is the message's
    Range *ranges
    const uint8_t *defaults     # a record
    uint32_t size               # of a record
    uint32_t base               # where the message's fields begin in it

cdef struct Counts:
    uint64_t verdicts[9]        # messages
    uint64_t unknown            # fields that the descriptor does not have
    uint64_t mistyped           # fields of another wire type than the descriptor's


cdef inline const uint8_t *read_varint(const uint8_t *p, const uint8_t *end, uint64_t *value) noexcept nogil:
    """Returns the place behind a varint and its value; NULL: it does not end (give_reason() says how)."""
    cdef uint64_t word, stop
    cdef int shift = 0, bits
    if p < end and p[0] < 0x80:
        value[0] = p[0]
        return p + 1
    if end - p >= 8:
        # Eight bytes at once: of those up to the first without a continuation.
        word = codec_load64(p)
        stop = ~word & EIGHTS
        if stop:
            bits = CODEC_BITS(stop)
            value[0] = codec_gather(word & (stop ^ (stop - 1)))
            return p + (bits + 1) // 8
    word = 0
    while p < end and shift < 70:
        word |= <uint64_t> (p[0] & 0x7F) << shift
        if p[0] < 0x80:
            value[0] = word
            return p + 1
        p += 1
        shift += 7
    return NULL


cdef inline int give_reason(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Returns the verdict on a varint at p that does not end."""
    return MALFORMED if end - p >= 10 else TRUNCATED


cdef inline int read_tag(const uint8_t **at, const uint8_t *end, uint32_t *tag) noexcept nogil:
    """Read a tag, which has at most 5 bytes and 32 bits, and no number 0. Returns the verdict."""
    cdef uint64_t value = 0
    cdef const uint8_t *p = at[0]
    cdef const uint8_t *behind = read_varint(p, end, &value)
    if behind == NULL:
        return TRUNCATED if end - p < 5 else MALFORMED
    if behind - p > 5 or value >> 32 or value < 8:
        return MALFORMED
    tag[0] = <uint32_t> value
    at[0] = behind
    return DECODED


cdef inline int skip_plain(const uint8_t **at, const uint8_t *end, uint32_t wire) noexcept nogil:
    """Go behind a value that is no group. Returns the verdict."""
    cdef uint64_t size = 0
    cdef const uint8_t *p = at[0]
    if wire == IS_VARINT:
        p = read_varint(p, end, &size)
        if p == NULL:
            return give_reason(at[0], end)
    elif wire == IS_64 or wire == IS_32:
        size = 8 if wire == IS_64 else 4
        if <uint64_t> (end - p) < size:
            return TRUNCATED
        p += size
    elif wire == IS_LENGTH:
        p = read_varint(p, end, &size)
        if p == NULL:
            return give_reason(at[0], end)
        if size > <uint64_t> (end - p):
            return TRUNCATED
        p += size
    else:
        return MALFORMED
    at[0] = p
    return DECODED


cdef inline int skip_value(const uint8_t **at, const uint8_t *end, uint32_t tag, int deep) noexcept nogil:
    """Go behind the value of a tag; a group is gone through to its end. deep: messages that it is in. Returns the
    verdict."""
    cdef uint32_t open[100]
    cdef int depth = 0, verdict
    if tag & 7 != IS_GROUP:
        return skip_plain(at, end, tag & 7)
    open[0] = tag >> 3
    depth = 1
    if deep >= DEEPEST_GROUP:
        return TOO_DEEP
    while depth:
        if at[0] == end:
            return TRUNCATED
        verdict = read_tag(at, end, &tag)
        if verdict != DECODED:
            return verdict
        if tag & 7 == IS_GROUP:
            if depth + deep >= DEEPEST_GROUP:
                return TOO_DEEP
            open[depth] = tag >> 3
            depth += 1
        elif tag & 7 == IS_GROUP_END:
            depth -= 1
            if open[depth] != tag >> 3:
                return MALFORMED
        else:
            verdict = skip_plain(at, end, tag & 7)
            if verdict != DECODED:
                return verdict
    return DECODED


cdef inline bint is_utf8(const uint8_t *p, uint64_t size) noexcept nogil:
    """Returns whether a text is UTF-8 (RFC 3629): no surrogates, nothing over U+10FFFF, each character as short as it
    can be."""
    cdef const uint8_t *end = p + size
    cdef uint8_t first, low, high
    cdef int more, i
    while p < end:
        if end - p >= 8 and codec_load64(p) & EIGHTS == 0:
            p += 8
            continue
        first = p[0]
        p += 1
        if first < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            if first == 0xE0:
                low = 0xA0
            elif first == 0xED:
                high = 0x9F
        elif 0xF0 <= first <= 0xF4:
            more = 3
            if first == 0xF0:
                low = 0x90
            elif first == 0xF4:
                high = 0x8F
        else:
            return False
        if end - p < more or not low <= p[0] <= high:
            return False
        for i in range(1, more):
            if p[i] & 0xC0 != 0x80:
                return False
        p += more
    return True


cdef inline int store_text(uint8_t *to, const Entry *e, const uint8_t *p, uint64_t size,
                           const uint8_t *end) noexcept nogil:
    """Write a text, and zeros behind it. Returns the verdict."""
    cdef uint64_t word, mask, filled, room = (<uint64_t> e.width + 7) & ~<uint64_t> 7, i
    if size > e.width:
        return TOO_LONG
    if size <= 8 and end - p >= 8:
        mask = ~<uint64_t> 0 if size == 8 else (<uint64_t> 1 << (8 * size)) - 1
        word = codec_load64(p) & mask
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


cdef inline int decode(const Plan *plan, const uint8_t *p, uint64_t size, uint8_t *record,
                       Counts *counts) noexcept nogil:
    """Write the record of a message of `size` bytes. What is in the record after a refusal is not to be used. Returns
    the verdict, which is not counted here. One function because what its loop changes stays in registers."""
    cdef const uint8_t *ends[16]
    cdef const Entry *nexts[16]
    cdef const Table *inside[16]
    cdef const uint8_t *end = p + size
    cdef const uint8_t *behind
    cdef const Table *table = plan.tables
    cdef const Entry *e = table.entries
    cdef const Entry *found
    cdef uint64_t value = 0
    cdef uint32_t tag = 0, wire, kind
    cdef int depth = 0, verdict
    memcpy(record + plan.base, plan.defaults + plan.base, plan.size - plan.base)
    while True:
        if p == end:
            if depth == 0:
                return DECODED
            depth -= 1
            end, e, table = ends[depth], nexts[depth], inside[depth]
            continue
        if CODEC_LIKELY(p[0] == e.first):
            wire = e.wire
            tag = e.first
            p += 1
        else:
            verdict = read_tag(&p, end, &tag)
            if verdict != DECODED:
                return verdict
            wire = tag & 7
            if tag >> 3 == e.number:
                found = e
            else:
                found = find_entry(table, tag >> 3)
            if found == NULL or (wire != found.wire and not (found.packed and wire == IS_LENGTH)):
                if wire == IS_GROUP_END:
                    return MALFORMED
                counts.unknown += found == NULL
                counts.mistyped += found != NULL
                verdict = skip_value(&p, end, tag, depth)
                if verdict != DECODED:
                    return verdict
                continue
            e = found
        if e.clears:
            clear_others(plan, e, record)
        kind = e.kind
        if kind == SKIP:
            verdict = skip_value(&p, end, tag, depth)
            if verdict != DECODED:
                return verdict
        elif e.repeated:
            verdict = store_repeated(record, e, &p, end, wire == IS_LENGTH)
            if verdict != DECODED:
                return verdict
        elif kind == WORD:
            if end - p < 8:
                return TRUNCATED
            codec_store(record + e.offset, codec_load64(p))
            p += 8
        elif kind < STRING:
            behind = store_number(record + e.offset, e, p, end)
            if behind == NULL:
                return give_reason(p, end) if wire == IS_VARINT else TRUNCATED
            p = behind
        else:
            behind = read_varint(p, end, &value)
            if behind == NULL:
                return give_reason(p, end)
            p = behind
            if value > <uint64_t> (end - p):
                return TRUNCATED
            if kind == STRING:
                verdict = store_text(record + e.offset, e, p, value, end)
                if verdict != DECODED:
                    return verdict
                p += value
            elif kind == BYTES:
                if value > e.width:
                    return TOO_LONG
                codec_store(record + e.offset, value)
                memcpy(record + e.offset + 8, p, value)
                memset(record + e.offset + 8 + value, 0, ((e.width + 7) & ~7) - value)
                p += value
            else:
                ends[depth], nexts[depth], inside[depth] = end, e + 1, table
                depth += 1
                end = p + value
                table = &plan.tables[e.table]
                e = table.entries
                continue
        e += 1
