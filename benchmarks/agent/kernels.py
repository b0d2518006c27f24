"""The numerical kernels, on all CPUs, each beside its references on as many threads.

Haversine (agent/analysis/kernels/haversine.pyx) against the loop in plain Python (plain.py beside it) and against C
with OpenMP and -ffast-math. The wheel is built for x86-64-v3, so C built for that is what the bar is of; C built for
this machine is beside it. Results that differ by more than 1e-9 are an error.

Monte Carlo, the area of a circle, in Numba against gfortran with OpenMP and -ffast-math: the same generator and seeds,
and the same count to the last point. And the paths of `agent var` (monte_carlo.py beside them) against the same
simulation in NumPy, which draws from a generator of its own; both values at risk have to agree within 5 %.

Each side's time is the least of SLICES passes, by turns.
"""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from agent.analysis.kernels import plain
from benchmarks.agent import machine
from benchmarks.agent.sample import BenchError, Sample

PAIRS = 1_000_000
PLAIN_PAIRS = 50_000
SLICES = 5
BLOCKS, POINTS = 64, 500_000
PATHS = 200_000
FORTRAN = "gfortran, OpenMP"


def left_out() -> dict[str, str]:
    """The Fortran reference, where there is no compiler for it."""
    why = machine.no_compiler(".f90")
    return {FORTRAN: why} if why else {}


def _linked(directory: Path, name: str, suffix: str, function: str, *options: str) -> Any:
    """A function of a reference that is compiled with -ffast-math, and linked without it, which would make loading it
    flush subnormals to zero in the whole process."""
    directory.mkdir(exist_ok=True)
    flags = ("-ffast-math", "-fopenmp", "-c", *options)
    unlinked = machine.build(name, directory, *flags, suffix=suffix, shared=True).rename(directory / f"{name}.o")
    library = directory / f"{name}.so"
    command = [
        machine.compiler(suffix) or "cc",
        "-shared",
        "-fopenmp",
        "-o",
        str(library),
        str(unlinked),
        "-lmvec",
        "-lm",
    ]
    subprocess.run(command, check=True, timeout=60)
    return getattr(ctypes.CDLL(str(library)), function)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def haversines(directory: Path, threads: int) -> Iterator[list[Sample]]:
    """Speeds in pairs."""
    try:
        from agent.analysis.kernels import haversine
    except ImportError:
        raise BenchError("agent.analysis.kernels.haversine is not here: the package was built without OpenMP") from None
    builds = {
        "C, OpenMP, x86-64-v3": _linked(directory / "v3", "haversine", ".c", "distances", "-march=x86-64-v3"),
        "C, OpenMP, native": _linked(directory / "native", "haversine", ".c", "distances"),
    }
    for function in builds.values():
        function.argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_int64, ctypes.c_int]
        function.restype = None
    rng = np.random.default_rng(1)
    places = [rng.uniform(-limit, limit, PAIRS) for limit in (90.0, 180.0, 90.0, 180.0)]
    north, east, to_north, to_east = places
    few = [place[:PLAIN_PAIRS].tolist() for place in places]
    ours, theirs = np.empty(PAIRS), np.empty(PAIRS)
    addresses = [array.ctypes.data for array in (*places, theirs)]
    while True:
        slow = _seconds(lambda: list(map(plain.compute_distance, *few))) / PLAIN_PAIRS
        best = dict.fromkeys(("ours", *builds), float("inf"))
        for _ in range(SLICES):
            took = _seconds(lambda: haversine.compute_distances(north, east, to_north, to_east, ours, threads))
            best["ours"] = min(best["ours"], took / PAIRS)
            for name, function in builds.items():
                begun = time.perf_counter()
                function(*addresses, PAIRS, threads)
                best[name] = min(best[name], (time.perf_counter() - begun) / PAIRS)
                if not np.allclose(ours, theirs, rtol=1e-9, atol=1e-9):
                    raise BenchError(f"haversine: {name} gives other distances")
        bars = {"plain Python": (slow, 100.0), "C, OpenMP, x86-64-v3": (best["C, OpenMP, x86-64-v3"], 0.95),
                "C, OpenMP, native": (best["C, OpenMP, native"], None)}  # fmt: skip
        yield [
            Sample(metric=f"haversine, {threads} threads", unit="M/s", ours=1e-6 / best["ours"],
                   reference=1e-6 / reference, reference_name=name, better="higher", bar=bar)
            for name, (reference, bar) in bars.items()
        ]  # fmt: skip


def circles(directory: Path, threads: int) -> Iterator[list[Sample]]:
    """Seconds for all points."""
    from benchmarks.agent import pi

    function = _linked(directory, "monte_carlo", ".f90", "inside")
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int]
    function.restype = ctypes.c_int64
    seeds = np.random.default_rng(1).integers(1, 2**63, BLOCKS, dtype=np.uint64)
    while True:
        ours = theirs = float("inf")
        for _ in range(SLICES):
            begun = time.perf_counter()
            expected = function(seeds.ctypes.data, BLOCKS, POINTS, threads)
            middle = time.perf_counter()
            found = pi.inside(seeds, POINTS, threads)
            ended = time.perf_counter()
            if found != expected:
                raise BenchError(f"monte carlo: {found} points are inside, and {expected} in Fortran")
            ours, theirs = min(ours, ended - middle), min(theirs, middle - begun)
        yield [Sample(metric=f"circle, {BLOCKS * POINTS // 1_000_000} M points", unit="ms", ours=1e3 * ours,
                      reference=1e3 * theirs, reference_name=FORTRAN, bar=1.05)]  # fmt: skip


def paths() -> Iterator[list[Sample]]:
    """Seconds for all paths of a position in four symbols."""
    from agent.analysis.kernels import monte_carlo

    values = np.array([1e6, -5e5, 2.5e5, 7.5e5])
    volatilities = np.array([0.3, 0.5, 0.4, 0.2])
    scale = volatilities * np.sqrt(1 / 252)

    def with_numpy() -> Any:
        rng = np.random.default_rng(1)
        common = rng.standard_normal((PATHS, 1))
        shocks = np.sqrt(0.5) * common + np.sqrt(0.5) * rng.standard_normal((PATHS, 4))
        return (values * np.expm1(scale * shocks - 0.5 * scale * scale)).sum(axis=1)

    while True:
        ours = theirs = float("inf")
        for _ in range(SLICES):
            begun = time.perf_counter()
            expected = with_numpy()
            middle = time.perf_counter()
            found = monte_carlo.simulate_profits(values, volatilities, 0.5, 1.0, PATHS, 1)
            ours, theirs = min(ours, time.perf_counter() - middle), min(theirs, middle - begun)
        risks = [monte_carlo.measure_risk(profits, 0.99)[0] for profits in (found, expected)]
        if abs(risks[0] / risks[1] - 1) > 0.05:
            raise BenchError(f"value at risk: {risks[0]:.0f}, and {risks[1]:.0f} in NumPy")
        yield [Sample(metric=f"value at risk, {PATHS:,} paths", unit="ms", ours=1e3 * ours, reference=1e3 * theirs,
                      reference_name="NumPy, one thread")]  # fmt: skip


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: all kernels, one after the other."""
    threads = len(os.sched_getaffinity(0))
    parts = [haversines(directory, threads), paths()]
    if not left_out():
        parts.append(circles(directory, threads))
    while True:
        yield [sample for part in parts for sample in next(part)]
