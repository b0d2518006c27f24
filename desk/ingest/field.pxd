# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The bytes field of a message of Protocol Buffers. Source: "Encoding", protobuf.dev."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef inline bint read_varint(const uint8_t *data, uint64_t size, uint64_t *place, uint64_t *value) noexcept nogil:
    cdef uint64_t found = 0
    cdef int shift = 0
    cdef uint8_t byte
    while shift < 70:
        if place[0] >= size:
            return False
        byte = data[place[0]]
        place[0] += 1
        if shift < 64:
            found |= <uint64_t> (byte & 127) << shift
        if byte < 128:
            value[0] = found
            return True
        shift += 7
    return False


cdef inline int find_bytes(const uint8_t *data, uint64_t size, uint32_t field, const uint8_t **at,
                           uint64_t *length) noexcept nogil:
    """Find the last field with this number of a message of Protocol Buffers, which has to be of wire type 2 (Encoding,
    protobuf.dev). Returns 1, 0 where it is missing, -1 where the message is malformed."""
    cdef uint64_t place = 0, key, number
    cdef int found = 0, kind
    while place < size:
        if not read_varint(data, size, &place, &key) or key >> 3 == 0 or key >> 32:
            return -1
        kind = key & 7
        if kind == 0:
            if not read_varint(data, size, &place, &number):
                return -1
        elif kind == 1 or kind == 5:
            number = 8 if kind == 1 else 4
            if number > size - place:
                return -1
            place += number
        elif kind == 2:
            if not read_varint(data, size, &place, &number) or number > size - place:
                return -1
            if key >> 3 == field:
                at[0] = data + place
                length[0] = number
                found = 1
            place += number
        else:
            return -1           # groups, which proto3 does not have
    return found
