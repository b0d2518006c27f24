# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Loops over what the engine has inlined, for agent/bench."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from agent cimport histogram, itch
from agent.segment cimport agent_histogram
from agent.wire cimport now


def itch_decode(const uint8_t[::1] messages not None):
    """Parse Add Orders of 36 bytes each: (the sum of their fields, nanoseconds)."""
    cdef Py_ssize_t i, n = messages.shape[0] // 36
    cdef const uint8_t *at = &messages[0]
    cdef itch.Message m
    cdef uint64_t total = 0
    cdef int64_t begun
    with nogil:
        begun = now()
        for i in range(n):
            if itch.parse(at + 36 * i, 36, &m) > 0:
                total += m.locate + m.timestamp + m.reference + m.side + m.shares + m.price
        begun = now() - begun
    return total, begun


def record(const int64_t[::1] values not None):
    """Record values into a histogram: nanoseconds."""
    cdef agent_histogram h
    cdef Py_ssize_t i
    cdef int64_t begun
    memset(&h, 0, sizeof(h))
    with nogil:
        begun = now()
        for i in range(values.shape[0]):
            histogram.record(&h, values[i])
        begun = now() - begun
    if h.count != <uint64_t> values.shape[0]:
        raise RuntimeError("histogram: values were lost")
    return begun
