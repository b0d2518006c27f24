"""Monte Carlo in Numba, on all cores: the value at risk of a position.

Prices follow geometric Brownian motion without drift; shocks of symbols share one normal factor, so that any two have
the same correlation (P. Glasserman, "Monte Carlo Methods in Financial Engineering", 2003, sections 3.2 and 9.1). Random
numbers are a hash of (seed, path, symbol), SplitMix64: the result does not depend on the number of threads.
"""

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

_DAYS = 252.0  # trading days of a year


@njit(inline="always")  # type: ignore[untyped-decorator]
def _draw_uniform(key: int) -> float:
    """Returns a number in (0, 1), a hash of the key (SplitMix64, G. L. Steele et al., OOPSLA 2014)."""
    z = key * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(12)) + 0.5) * (1.0 / 4503599627370496.0)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _draw_normal(seed: int, path: int, place: int) -> float:
    """Returns a standard normal number (G. E. P. Box and M. E. Muller, 1958) for a path and a place in it."""
    key = (seed * np.uint64(0xD1342543DE82EF95)) + (path << np.uint64(17)) + (place << np.uint64(1))
    return math.sqrt(-2.0 * math.log(_draw_uniform(key))) * math.cos(2.0 * math.pi * _draw_uniform(key + np.uint64(1)))


@njit(parallel=True, cache=True)
def _simulate_paths(values, volatilities, correlation, seed, count):  # type: ignore[no-untyped-def]
    """Returns the profit of each path, in currency. values: of the positions; volatilities: of the whole horizon."""
    out = np.empty(count)
    common, own = math.sqrt(correlation), math.sqrt(1.0 - correlation)
    for path in prange(count):
        factor = _draw_normal(seed, np.uint64(path), np.uint64(0))
        profit = 0.0
        for i in range(values.shape[0]):
            z = common * factor + own * _draw_normal(seed, np.uint64(path), np.uint64(i + 1))
            profit += values[i] * math.expm1(volatilities[i] * z - 0.5 * volatilities[i] * volatilities[i])
        out[path] = profit
    return out


def simulate_profits(
    values: NDArray[np.float64],
    volatilities: NDArray[np.float64],
    correlation: float,
    days: float,
    paths: int,
    seed: int,
) -> NDArray[np.float64]:
    """Returns the profit of each path in currency, shape (paths,).

    values: positions times prices in currency, short ones negative; volatilities: a year's, as shares; both of shape
    (n,), n at most 60,000. correlation: of any two values, 0 to 1. days: trading days. Raises ValueError.
    """
    if values.shape != volatilities.shape or values.ndim != 1 or len(values) > 60_000:
        raise ValueError(f"values and volatilities: found shapes {values.shape} and {volatilities.shape}, allowed: one")
    if not (0.0 <= correlation <= 1.0 and days > 0 and paths > 0 and np.isfinite(values).all()):
        raise ValueError("correlation: 0 to 1; days and paths: above 0; values: finite")
    if not (np.isfinite(volatilities).all() and (volatilities >= 0).all()):
        raise ValueError("volatilities: finite, from 0")
    profits: NDArray[np.float64] = _simulate_paths(
        values, volatilities * math.sqrt(days / _DAYS), correlation, np.uint64(seed), paths
    )
    return profits


def measure_risk(profits: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Returns (value at risk, expected shortfall) of simulated profits, as positive losses: the loss that is not
    exceeded with this confidence, from 0.5 and below 1, and the mean of the losses from there on. Raises ValueError."""
    if not 0.5 <= confidence < 1.0:
        raise ValueError(f"confidence: found {confidence}, allowed: 0.5 and below 1")
    ordered = np.sort(profits)
    place = min(len(ordered) - 1, int((1.0 - confidence) * len(ordered)))
    return float(-ordered[place]), float(-ordered[: place + 1].mean())
