# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""How long each stage of the path takes: one histogram of the segment per stage, where the user asked for it."""

from libc.stdint cimport int64_t

cimport agent.shm.histogram as histogram
from agent.engine.state cimport Core
from agent.protocols.wire cimport now
from agent.shm.segment cimport agent_histogram


cdef inline void end_stage(Core *e, agent_histogram *h) noexcept nogil:
    """Count the time since the last stage ended in h, and begin the next stage."""
    cdef int64_t at
    if e.stamps:
        at = now()
        histogram.record(h, at - e.mark)
        e.mark = at
