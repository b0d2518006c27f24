# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The kernel's clocks: clock_gettime(2), in nanoseconds."""

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec


cdef inline int64_t monotonic_ns() noexcept nogil:
    """Returns CLOCK_MONOTONIC, ns."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t> t.tv_sec * 1000000000 + t.tv_nsec


cdef inline int64_t realtime_ns() noexcept nogil:
    """Returns CLOCK_REALTIME, ns since 1970 (UTC)."""
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <int64_t> t.tv_sec * 1000000000 + t.tv_nsec
