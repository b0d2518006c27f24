# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the path times of itself: its stages."""

from libc.stdint cimport int64_t

cimport agent.shm.histogram as histogram
from agent.engine.state cimport Core
from agent.protocols.wire cimport now
from agent.shm.segment cimport agent_histogram


cdef inline void record_stage(Core *e, agent_histogram *h) noexcept nogil:
    """Record the time since the last stage ended in a histogram, in ns, where stages are timed at all."""
    cdef int64_t at
    if e.stamps:
        at = now()
        histogram.record(h, at - e.mark)
        e.mark = at
