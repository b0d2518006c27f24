"""What one round of a benchmark measured."""

import math
from collections.abc import Callable
from typing import Literal

import msgspec

#: The points of a percentile curve, by how many nines a percentile has: from p50 to p99.99 (4 nines).
NINES = (math.log10(2), *(step / 16 for step in range(5, 65)))


class Curves(msgspec.Struct, frozen=True):
    """The percentiles of ours and of the reference at NINES, in the sample's unit; as many of them, from p50 on, as
    there are measurements for. title: of the panel; curves of one title are drawn in the same."""

    title: str
    ours: tuple[float, ...]
    reference: tuple[float, ...]


def take_curve(quantile: Callable[[float], float], count: int) -> tuple[float, ...]:
    """Returns the values at NINES of `count` measurements, as far as one of them at least lies at or above each.

    quantile: takes a share, and returns the value that such a share of the measurements does not exceed.
    """
    return tuple(quantile(1 - 10**-nines) for nines in NINES if count >= 10**nines * (1 - 1e-9))


def find_quantile(ordered: list[float]) -> Callable[[float], float]:
    """Returns the quantile function of measurements in ascending order: the nearest rank."""
    return lambda share: ordered[max(0, math.ceil(share * len(ordered) - 1e-6) - 1)]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """ours and reference are one metric of both, in `unit`, measured in the same round, one after the other.

    better: which way is better. bar: what the ratio ours / reference should be, at most where lower is better and at
    least where higher is; None: nothing is promised. An absolute promise has `reference_name` "limit", its value as
    `reference`, and the bar 1; a promised 0 is met by 0 only, and has no ratio. curves: of which the metric is a point.
    """

    metric: str
    unit: str
    ours: float
    reference: float
    reference_name: str
    better: Literal["lower", "higher"] = "lower"
    bar: float | None = None
    curves: Curves | None = None


def limit(metric: str, unit: str, ours: float, most: float) -> Sample:
    """A sample that is promised to be at most so much."""
    return Sample(metric=metric, unit=unit, ours=ours, reference=most, reference_name="limit", bar=1.0)


class BenchError(Exception):
    """A benchmark cannot run here; the message says what is missing or went wrong."""
