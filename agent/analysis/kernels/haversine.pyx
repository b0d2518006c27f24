# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Great-circle distances of many pairs: OpenMP over blocks, the compiler's vectors within.

This file alone is compiled with -ffast-math, for the vector sine of the C library (libmvec). It is not linked with it,
which would make loading it flush subnormals to zero in the whole process.
"""

from cython.parallel cimport prange
from libc.math cimport asin, cos, sin, sqrt

from agent.analysis.kernels import EARTH_KM as _EARTH_KM

cdef enum:
    BLOCK = 4096                # pairs that one thread computes at a time

cdef extern from *:
    """
    #define HAVERSINE_HALF_DEGREE 0.0087266462599716478846
    """
    double HALF_DEGREE "HAVERSINE_HALF_DEGREE"    # radians

cdef double DIAMETER = 2 * _EARTH_KM              # of the earth, km


cdef void compute_block(const double *latitude, const double *longitude, const double *other_latitude,
                        const double *other_longitude, double *out, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    cdef double north, east, h, diameter = DIAMETER
    for i in range(count):
        north = sin((other_latitude[i] - latitude[i]) * HALF_DEGREE)
        east = sin((other_longitude[i] - longitude[i]) * HALF_DEGREE)
        h = north * north + (cos(latitude[i] * (2 * HALF_DEGREE)) * cos(other_latitude[i] * (2 * HALF_DEGREE))
                             * east * east)
        h = 1.0 if h > 1.0 else h
        out[i] = diameter * asin(sqrt(h))


def compute_distances(const double[::1] latitude not None, const double[::1] longitude not None,
                      const double[::1] other_latitude not None, const double[::1] other_longitude not None,
                      double[::1] out not None, int threads=0):
    """Write the kilometres between the places of each pair to `out`.

    Five arrays of shape (n,), places in degrees, all finite. threads: 0 for OpenMP's default. Formula: see plain.py.
    Raises ValueError when the lengths differ.
    """
    cdef Py_ssize_t n = out.shape[0], blocks = (n + BLOCK - 1) // BLOCK, i
    if latitude.shape[0] != n or longitude.shape[0] != n or other_latitude.shape[0] != n \
            or other_longitude.shape[0] != n:
        raise ValueError(f"distances: lengths {latitude.shape[0]}, {longitude.shape[0]}, {other_latitude.shape[0]}, "
                         f"{other_longitude.shape[0]} and {n}, allowed: all the same")
    if n == 0:
        return
    for i in prange(blocks, nogil=True, schedule="static", num_threads=threads):
        compute_block(&latitude[i * BLOCK], &longitude[i * BLOCK], &other_latitude[i * BLOCK],
                      &other_longitude[i * BLOCK], &out[i * BLOCK], BLOCK if (i + 1) * BLOCK <= n else n - i * BLOCK)
