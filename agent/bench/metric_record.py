"""Recording a duration into the segment's log-linear histogram (at most 0.4 % off), against one counter for each power
of two in C, which is up to 100 % off."""

import ctypes
import random
from array import array
from collections.abc import Iterator
from pathlib import Path

from agent import _bench
from agent.bench import machine
from agent.bench.sample import Sample

VALUES = 1_000_000


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: C, then ours, on the same values."""
    library = ctypes.CDLL(str(machine.build("histogram", directory, shared=True)))
    library.record.restype = ctypes.c_int64
    library.record.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    rng = random.Random(1)
    values = array("q", (int(rng.lognormvariate(7, 1)) for _ in range(VALUES)))
    address, _ = values.buffer_info()
    while True:
        floor = library.record(address, VALUES) / VALUES
        ours = _bench.record(values) / VALUES
        yield [Sample(metric="record", unit="ns", ours=ours, reference=floor, reference_name="C, powers of two")]
