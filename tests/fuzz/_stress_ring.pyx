# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A ring between two threads, for ThreadSanitizer: one pushes numbered records, the other looks at every byte of them
where they lie in the ring."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from agent.shm.ring cimport Ring, ring_header, ring_peek, ring_pop, ring_push


cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *, const void *, void *(*)(void *) noexcept nogil, void *)
    int pthread_join(pthread_t, void **)


cdef enum:
    CAPACITY = 1024             # small: full, empty and at its end all the time
    LARGEST = 256               # bytes of a record
    LOOKS = 20000000            # at a ring in which nothing changes

cdef struct Side:
    ring_header *header
    uint32_t record             # bytes of each, 0: they vary
    uint64_t count
    uint64_t done               # records pushed, or found right


cdef inline uint32_t size_of(const Side *s, uint64_t number) noexcept nogil:
    return s.record if s.record else <uint32_t> (number * 7919 % (LARGEST + 1))


cdef inline uint8_t byte_of(uint64_t number, uint32_t at) noexcept nogil:
    return <uint8_t> (number * 31 + at)


cdef void attach(Ring *r, const Side *s) noexcept nogil:
    memset(r, 0, sizeof(Ring))
    r.header = s.header
    r.data = <uint8_t *> s.header + sizeof(ring_header)
    r.capacity = CAPACITY
    r.mask = CAPACITY - 1
    r.record = s.record


cdef void *write(void *side) noexcept nogil:
    cdef Side *s = <Side *> side
    cdef Ring r
    cdef uint8_t[LARGEST] record
    cdef uint64_t number
    cdef uint32_t i, size, looks
    attach(&r, s)
    for number in range(s.count):
        size = size_of(s, number)
        for i in range(size):
            record[i] = byte_of(number, i)
        looks = 0
        while not ring_push(&r, record, size):
            sched_yield()
            looks += 1
            if looks == LOOKS:
                return NULL
        s.done += 1
    return NULL


cdef void *read(void *side) noexcept nogil:
    cdef Side *s = <Side *> side
    cdef Ring r
    cdef const uint8_t *record
    cdef uint64_t number
    cdef uint32_t i, size = 0, looks
    attach(&r, s)
    for number in range(s.count):
        looks = 0
        while True:
            record = <const uint8_t *> ring_peek(&r, &size)
            if record != NULL:
                break
            sched_yield()
            looks += 1
            if r.damaged or looks == LOOKS:
                return NULL
        if size != size_of(s, number):
            return NULL
        for i in range(size):
            if record[i] != byte_of(number, i):
                return NULL
        ring_pop(&r)
        s.done += 1
    return NULL


def stress(uint32_t record, uint64_t count):
    """How many of `count` records the reader found whole and in order. record: bytes of each, 0: they vary."""
    cdef void *block = malloc(sizeof(ring_header) + CAPACITY + 128)
    cdef Side writer, reader
    cdef pthread_t first = 0, second = 0
    cdef int failed
    if block == NULL or record > LARGEST:
        raise MemoryError
    memset(block, 0, sizeof(ring_header) + CAPACITY + 128)
    writer.header = <ring_header *> ((<uint64_t> block + 127) & ~<uint64_t> 127)
    writer.record, writer.count, writer.done = record, count, 0
    reader = writer
    with nogil:
        failed = pthread_create(&first, NULL, write, &writer)
        if not failed:
            failed = pthread_create(&second, NULL, read, &reader)
            if not failed:
                pthread_join(second, NULL)
            pthread_join(first, NULL)
    free(block)
    if failed:
        raise OSError(failed, "pthread_create")
    return reader.done
