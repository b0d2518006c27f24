# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Big-endian loads and stores at unaligned addresses, and the clock."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "<endian.h>" nogil:
    uint16_t be16toh(uint16_t)
    uint32_t be32toh(uint32_t)
    uint64_t be64toh(uint64_t)

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(clockid_t, timespec *)
    clockid_t CLOCK_MONOTONIC
    clockid_t CLOCK_REALTIME


cdef inline int64_t now() noexcept nogil:
    """CLOCK_MONOTONIC in nanoseconds."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t> t.tv_sec * 1000000000 + t.tv_nsec


cdef inline int64_t now_real() noexcept nogil:
    """CLOCK_REALTIME in nanoseconds."""
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <int64_t> t.tv_sec * 1000000000 + t.tv_nsec


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
