"""Great-circle distances (agent/kernels/haversine.pyx, all CPUs) against the loop in plain Python
(agent/kernels/plain.py) and against C with OpenMP and -ffast-math, on the same number of threads.

The wheel is built for x86-64-v3, so C built for that is what the bar is of; C built for this machine is beside it. Each
side's time is the least of SLICES passes, interleaved. Results that differ by more than 1e-9 are an error. Speeds: more
is better.
"""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from agent.bench import machine
from agent.bench.sample import BenchError, Sample
from agent.kernels import plain

PAIRS = 1_000_000
PLAIN_PAIRS = 50_000
SLICES = 5
FLAGS = ("-ffast-math", "-fopenmp", "-c")


def _c(directory: Path, *options: str) -> Any:
    directory.mkdir(exist_ok=True)
    unlinked = machine.build("haversine", directory, *FLAGS, *options, shared=True).rename(directory / "haversine.o")
    library = directory / "haversine.so"
    # Linked without -ffast-math, which would make loading it flush subnormals in the whole process.
    command = [
        machine.compiler(".c") or "cc",
        "-shared",
        "-fopenmp",
        "-o",
        str(library),
        str(unlinked),
        "-lmvec",
        "-lm",
    ]
    subprocess.run(command, check=True, timeout=60)
    function = ctypes.CDLL(str(library)).distances
    function.argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_int64, ctypes.c_int]
    function.restype = None
    return function


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: plain Python, then C and ours in turn."""
    try:
        from agent.kernels import haversine
    except ImportError:
        raise BenchError("agent.kernels.haversine is not here: the package was built without OpenMP") from None
    threads = len(os.sched_getaffinity(0))
    builds = {
        "C, OpenMP, x86-64-v3": _c(directory / "v3", "-march=x86-64-v3"),
        "C, OpenMP, native": _c(directory / "c"),
    }
    rng = np.random.default_rng(1)
    places = [rng.uniform(-limit, limit, PAIRS) for limit in (90.0, 180.0, 90.0, 180.0)]
    north, east, to_north, to_east = places
    few = [place[:PLAIN_PAIRS].tolist() for place in places]
    ours, theirs = np.empty(PAIRS), np.empty(PAIRS)
    addresses = [array.ctypes.data for array in (*places, theirs)]
    while True:
        slow = _seconds(lambda: list(map(plain.haversine, *few))) / PLAIN_PAIRS
        times: dict[str, list[float]] = {name: [] for name in ("ours", *builds)}
        for _ in range(SLICES):
            times["ours"].append(
                _seconds(lambda: haversine.distances(north, east, to_north, to_east, ours, threads)) / PAIRS
            )
            for name, function in builds.items():
                times[name].append(_seconds(lambda f=function: f(*addresses, PAIRS, threads)) / PAIRS)  # type: ignore[misc]
                if not np.allclose(ours, theirs, rtol=1e-9, atol=1e-9):
                    raise BenchError(f"haversine: {name} gives other distances")
        best = {name: 1e-6 / min(column) for name, column in times.items()}
        bars = {"plain Python": (1e-6 / slow, 100.0), "C, OpenMP, x86-64-v3": (best["C, OpenMP, x86-64-v3"], 0.95),
                "C, OpenMP, native": (best["C, OpenMP, native"], None)}  # fmt: skip
        yield [
            Sample(metric=f"haversine, {threads} threads", unit="M/s", ours=best["ours"], reference=reference,
                   reference_name=name, better="higher", bar=bar)
            for name, (reference, bar) in bars.items()
        ]  # fmt: skip
