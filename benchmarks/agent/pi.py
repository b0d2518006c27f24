"""Monte Carlo in Numba, for the benchmark `kernels`: as reference/monte_carlo.f90, to the last point."""

from typing import Any

import numba
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray


@njit(inline="always")  # type: ignore[untyped-decorator]
def _next(state: Any) -> Any:
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    return state ^ (state << np.uint64(17))


@njit(parallel=True, fastmath=True, cache=True)  # type: ignore[untyped-decorator]
def _inside(seeds: Any, points: int) -> Any:
    hits = 0
    unit = 2.0**-53
    for block in prange(len(seeds)):
        state = seeds[block]
        found = 0
        for _ in range(points):
            state = _next(state)
            x = float(state >> np.uint64(11)) * unit
            state = _next(state)
            y = float(state >> np.uint64(11)) * unit
            if x * x + y * y < 1.0:
                found += 1
        hits += found
    return hits


def inside(seeds: NDArray[np.uint64], points: int, threads: int) -> int:
    """How many of len(seeds) x points random points of the unit square are in the circle's quarter."""
    numba.set_num_threads(threads)
    return int(_inside(seeds, points))
