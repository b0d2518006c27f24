# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""worker/include/desk_worker.h, as Cython sees it: the layouts are its own."""

from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef extern from "desk_worker.h" nogil:
    const int DESK_WORKER_ABI
    const int DESK_WORKER_PARAMETERS
    const int DESK_WORKER_NUMBERS
    const int DESK_WORKER_NAME
    const uint32_t DESK_WORKER_RECORD
    const uint32_t DESK_WORKER_RESULTS

    ctypedef int32_t (*desk_init_fn)(void *, const double *, uint32_t) noexcept nogil
    ctypedef int32_t (*desk_work_fn)(void *, const void *, uint32_t, uint32_t, void *, uint32_t) noexcept nogil
    ctypedef void (*desk_report_fn)(const void *, double *) noexcept nogil
    ctypedef void (*desk_fini_fn)(void *) noexcept nogil

    struct desk_worker:
        uint32_t abi
        uint32_t size
        uint64_t state_size
        uint32_t record_size
        uint32_t result_size
        uint32_t most_results
        uint32_t numbers
        char names[16][32]
        desk_init_fn init
        desk_work_fn work
        desk_report_fn report
        desk_fini_fn fini
