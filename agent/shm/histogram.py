"""The histograms of a segment, for readers: percentiles out of log-linear buckets. histogram.pxd records into them."""

import math

import msgspec

#: The percentiles that reports show.
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


class Histogram(msgspec.Struct, frozen=True):
    """Latencies in ns: count, sum, min and max are exact; buckets are log-linear, 2**bits to a power of two."""

    count: int
    sum: int
    min: int
    max: int
    bits: int
    buckets: tuple[int, ...]

    def quantile(self, q: float) -> float:
        """Returns the value (ns) at or below which a share q of the samples lies, at most 0.4 % off; 0 if empty."""
        if not self.count:
            return 0.0
        need, seen = max(1, math.ceil(q * self.count - 1e-9)), 0
        for index, held in enumerate(self.buckets):
            seen += held
            if seen >= need:
                return min(max(bucket_middle(index, self.bits), self.min), self.max)
        return float(self.max)


def bucket_middle(index: int, bits: int) -> float:
    """Returns the midpoint (ns) of bucket `index` of a histogram with 2**bits buckets to a power of two."""
    octave, place = divmod(index, 1 << bits)
    if octave == 0:
        return float(place)
    return ((1 << bits) + place + 0.5) * (1 << (octave - 1)) - 0.5
