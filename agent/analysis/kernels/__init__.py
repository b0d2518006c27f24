"""Numerical kernels: great-circle distances (Cython with OpenMP), Monte Carlo (Numba)."""

#: Mean radius of the earth, km (IUGG, R1).
EARTH_KM = 6371.0088
