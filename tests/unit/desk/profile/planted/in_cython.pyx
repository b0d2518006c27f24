# cython: language_level=3
"""Five functions in Cython, of which a test makes one hot."""

cdef double[4096] cells


def fill_cells(int n):
    cdef int i
    cdef double carry = 1.0
    for i in range(n):
        carry = carry * 0.999 + i
        cells[i & 4095] = carry
    return cells[0]


cdef class Wave:
    cdef double at

    cdef double sum_waves(self, int n) noexcept nogil:
        cdef int i
        for i in range(n):
            self.at = self.at * 0.99 + 1.0 / (1.0 + i)
        return self.at


cdef Wave wave = Wave()


def run_waves(int n):
    return wave.sum_waves(n)


cdef class Wheel:
    cdef unsigned long long state

    def turn(self, int n):
        cdef int _
        cdef unsigned long long x = self.state | 1
        for _ in range(n):
            x ^= x << 13
            x ^= x >> 7
            x ^= x << 17
        self.state = x
        return <double>(x & 1023)


def count_objects(n):
    counts = {}
    for i in range(n):
        key = i % 97
        counts[key] = counts.get(key, 0) + i
    return float(len(counts))


cpdef double cross_averages(int n):
    cdef double fast = 0.0, slow = 0.0, crossed = 0.0
    cdef int i
    for i in range(n):
        fast += 0.2 * (i % 11 - fast)
        slow += 0.05 * (i % 11 - slow)
        if fast > slow:
            crossed += 1.0
    return crossed


PLANTED = {
    "fill_cells": (fill_cells, 60_000),
    "sum_waves": (run_waves, 60_000),
    "turn": (Wheel().turn, 60_000),
    "count_objects": (count_objects, 4_000),
    "cross_averages": (cross_averages, 30_000),
}
