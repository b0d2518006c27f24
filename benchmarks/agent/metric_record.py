"""Recording a duration into the segment's log-linear histogram, against one counter for each power of two in C, which
is up to 100 % off.

Each round takes the least of SLICES short slices on either side, interleaved: the limit is absolute, and what else the
machine does only ever adds. The error is the largest one of a bucket's midpoint over values from 1 ns to 10 s: the ends
of each bucket, where it is largest, and random values between.
"""

import ctypes
import math
import random
from array import array
from collections.abc import Iterator
from pathlib import Path

from agent.shm import _segment
from agent.shm.histogram import bucket_middle
from benchmarks.agent import _bench, machine
from benchmarks.agent.sample import Sample, limit

VALUES = 100_000
SLICES = 10
LONGEST = 10 * 10**9
_BITS = 7


def error() -> float:
    """The largest relative error of what a histogram says of a value from 1 ns to 10 s, in percent."""
    rng = random.Random(1)
    values = {int(math.exp(rng.uniform(0, math.log(LONGEST)))) for _ in range(20_000)}
    for shift in range(LONGEST.bit_length() - _BITS):
        for place in range(1 << _BITS, 2 << _BITS):
            values |= {place << shift, ((place + 1) << shift) - 1}
    values = {value for value in values if 1 <= value <= LONGEST}
    return 100 * max(abs(bucket_middle(_segment.find_bucket(value), _BITS) - value) / value for value in values)


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: C, then ours, on the same values, SLICES times in turn."""
    library = ctypes.CDLL(str(machine.build("histogram", directory, shared=True)))
    library.record.restype = ctypes.c_int64
    library.record.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    rng = random.Random(1)
    values = array("q", (int(rng.lognormvariate(7, 1)) for _ in range(VALUES)))
    address, _ = values.buffer_info()
    off = error()
    while True:
        pairs = [(library.record(address, VALUES), _bench.record(values)) for _ in range(SLICES)]
        floor, ours = (min(column) / VALUES for column in zip(*pairs, strict=True))
        yield [
            limit("record", "ns", ours, 2.0),
            Sample(metric="record", unit="ns", ours=ours, reference=floor, reference_name="C, powers of two"),
            limit("largest error, 1 ns to 10 s", "%", off, 1.0),
        ]
