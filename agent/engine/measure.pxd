# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the path times and counts of itself: its stages, and messages that are none."""

from libc.stdint cimport int64_t

cimport agent.shm.histogram as histogram
from agent.engine.state cimport Core
from agent.protocols.verdict cimport BAD_JSON, BAD_NUMBER, BAD_SYMBOL, OVERSIZED, TRUNCATED, UNKNOWN
from agent.shm.clock cimport monotonic_ns
from agent.shm.segment cimport agent_histogram


cdef inline void record_stage(Core *e, agent_histogram *h) noexcept nogil:
    """Record the time since the last stage ended in a histogram, in ns, where stages are timed at all."""
    cdef int64_t at
    if e.stamps:
        at = monotonic_ns()
        histogram.record(h, at - e.mark)
        e.mark = at


cdef inline void count_malformed(Core *e, int reason) noexcept nogil:
    """Count a message that is none, by the reason that its parser gave (verdict.pxd)."""
    if reason == TRUNCATED:
        e.counters.malformed_truncated += 1
    elif reason == OVERSIZED:
        e.counters.malformed_oversized += 1
    elif reason == UNKNOWN:
        e.counters.malformed_type += 1
    elif reason == BAD_JSON:
        e.counters.malformed_json += 1
    elif reason == BAD_NUMBER:
        e.counters.malformed_number += 1
    elif reason == BAD_SYMBOL:
        e.counters.malformed_symbol += 1
    else:
        e.counters.malformed_field += 1
