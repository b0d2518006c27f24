# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Big-endian loads and stores at unaligned addresses."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "<endian.h>" nogil:
    uint16_t be16toh(uint16_t)
    uint32_t be32toh(uint32_t)
    uint64_t be64toh(uint64_t)


cdef inline uint16_t load16(const uint8_t *at) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, at, 2)
    return be16toh(value)


cdef inline uint32_t load32(const uint8_t *at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return be32toh(value)


cdef inline uint64_t load48(const uint8_t *at) noexcept nogil:
    return (<uint64_t> load16(at) << 32) | load32(at + 2)


cdef inline uint64_t load64(const uint8_t *at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return be64toh(value)


cdef inline void store16(uint8_t *at, uint16_t value) noexcept nogil:
    value = be16toh(value)
    memcpy(at, &value, 2)


cdef inline void store32(uint8_t *at, uint32_t value) noexcept nogil:
    value = be32toh(value)
    memcpy(at, &value, 4)


cdef inline void store64(uint8_t *at, uint64_t value) noexcept nogil:
    value = be64toh(value)
    memcpy(at, &value, 8)
