"""A mark on conditions that seldom hold: what they guard is kept out of the way of the rest."""

cdef extern from *:
    # Of what Cython itself writes into each module: __builtin_expect.
    bint unlikely(bint condition) noexcept nogil
