# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Protobuf's encoding: tags, varints, values that are skipped, text.

Source: protobuf.dev/programming-guides/encoding; where it leaves a choice, as upb.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "records and Protobuf's fixed fields are little-endian"
    #endif
    static inline uint64_t codec_load64(const uint8_t *at) { uint64_t word; memcpy(&word, at, 8); return word; }
    static inline uint16_t codec_load16(const uint8_t *at) { uint16_t word; memcpy(&word, at, 2); return word; }
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
    uint16_t codec_load16(const uint8_t *) nogil
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

cdef enum:
    IS_VARINT, IS_64, IS_LENGTH, IS_GROUP, IS_GROUP_END, IS_32

cdef enum:
    DEEPEST_GROUP = 100         # upb's bound, too


cdef inline const uint8_t *read_varint(const uint8_t *p, const uint8_t *end, uint64_t *value) noexcept nogil:
    """Returns the place behind a varint and its value; NULL: it does not end (give_reason() says how)."""
    cdef uint64_t word, stop
    cdef int shift = 0, bits
    if p < end and p[0] < 0x80:
        value[0] = p[0]
        return p + 1
    if end - p >= 2 and p[1] < 0x80:
        value[0] = <uint64_t> (p[0] & 0x7F) | <uint64_t> p[1] << 7
        return p + 2
    if end - p >= 3 and p[2] < 0x80:
        value[0] = <uint64_t> (p[0] & 0x7F) | <uint64_t> (p[1] & 0x7F) << 7 | <uint64_t> p[2] << 14
        return p + 3
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
    """Read a tag, which has at most 5 bytes and 32 bits. Returns the verdict."""
    cdef uint64_t value = 0
    cdef const uint8_t *p = at[0]
    cdef const uint8_t *behind = read_varint(p, end, &value)
    if behind == NULL:
        return TRUNCATED if end - p < 5 else MALFORMED
    if behind - p > 5 or value >> 32:
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
