# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Recording into the log-linear histogram of shm/include/agent_shm.h."""

from libc.stdint cimport int64_t, uint64_t

from agent.shm.segment cimport AGENT_HIST_BITS, AGENT_HIST_BUCKETS, agent_histogram


cdef extern from * nogil:
    int __builtin_clzll(unsigned long long)


cdef inline int bucket(uint64_t value) noexcept nogil:
    """Returns the index of the bucket that holds value (ns): exact below 128, then 128 per power of two."""
    cdef int shift
    if value < (1ULL << AGENT_HIST_BITS):
        return <int> value
    shift = 63 - __builtin_clzll(value) - AGENT_HIST_BITS
    shift = (shift << AGENT_HIST_BITS) + <int> (value >> shift)
    return shift if shift < AGENT_HIST_BUCKETS else AGENT_HIST_BUCKETS - 1


cdef inline void record(agent_histogram *h, int64_t ns) noexcept nogil:
    """Count one duration; a negative one (never from one clock) counts as 0."""
    cdef uint64_t value = <uint64_t> ns if ns > 0 else 0
    h.buckets[bucket(value)] += 1
    if h.count == 0 or value < h.min:
        h.min = value
    if value > h.max:
        h.max = value
    h.sum += value
    h.count += 1
