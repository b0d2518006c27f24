"""What one round of a benchmark measured."""

from typing import Literal

import msgspec


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """ours and reference are one metric of both, in `unit`, measured in the same round, one after the other.

    better: which way is better. bar: what the ratio ours / reference should be, at most where lower is better and at
    least where higher is; None: nothing is promised. An absolute promise has `reference_name` "limit", its value as
    `reference`, and the bar 1; a promised 0 is met by 0 only, and has no ratio.
    """

    metric: str
    unit: str
    ours: float
    reference: float
    reference_name: str
    better: Literal["lower", "higher"] = "lower"
    bar: float | None = None


def limit(metric: str, unit: str, ours: float, most: float) -> Sample:
    """A sample that is promised to be at most so much."""
    return Sample(metric=metric, unit=unit, ours=ours, reference=most, reference_name="limit", bar=1.0)


class BenchError(Exception):
    """A benchmark cannot run here; the message says what is missing or went wrong."""
