"""What one round of a benchmark measured."""

import msgspec


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """ours and reference are one metric of both, in `unit`, measured in the same round, one after the other."""

    metric: str
    unit: str
    ours: float
    reference: float
    reference_name: str


class BenchError(Exception):
    """A benchmark cannot run here; the message says what is missing or went wrong."""
