"""Round trips of 64-byte records through two rings (ring.pxd) between two processes on two CPUs, against one word on
one cache line each way, and against a queue of fixed slots in C. All spin."""

import os
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent import _bench
from agent.bench import machine
from agent.bench.sample import BenchError, Sample
from agent.ring import Ring

TRIPS = 200_000
BATCH = 1_000
CAPACITY = 1 << 16


def _echo(there: Path, back: Path, cpu: int) -> int:
    """A child that sends every record back, until it is killed: its pid."""
    child = os.fork()
    if child:
        return child
    try:
        os.sched_setaffinity(0, {cpu})
        source, sink = Ring.attach(there, "reader"), Ring.attach(back, "writer")
        _bench.ring_echo(source.address, sink.address, TRIPS)
    finally:
        os._exit(0)


def _trip(directory: Path, own: int, other: int) -> float:
    """Nanoseconds, the median of batches."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
        there, back = Path(place) / "there", Path(place) / "back"
        with Ring.create(there, CAPACITY, 64) as out, Ring.create(back, CAPACITY, 64) as made:
            made.close()
            child = _echo(there, back, other)
            try:
                os.sched_setaffinity(0, {own})
                source = Ring.attach(back, "reader")
                times = _bench.ring_trips(out.address, source.address, TRIPS, BATCH)
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    return statistics.median(times)


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: C, both kinds, then ours."""
    own, other = machine.two_cpus()
    program = machine.build("pingpong", directory)
    everywhere = os.sched_getaffinity(0)
    try:
        while True:
            run = subprocess.run([str(program), str(own), str(other), str(TRIPS)], capture_output=True, text=True,
                                 timeout=60)  # fmt: skip
            if run.returncode:
                raise BenchError(f"pingpong ended with {run.returncode}")
            raw, queue = (float(n) for n in run.stdout.split())
            ours = _trip(directory, own, other)
            yield [
                Sample(metric="round trip, 64 bytes", unit="ns", ours=ours, reference=queue,
                       reference_name="C, queue of fixed slots"),
                Sample(metric="round trip, 64 bytes", unit="ns", ours=ours, reference=raw,
                       reference_name="C, a word on a cache line"),
            ]  # fmt: skip
    finally:
        os.sched_setaffinity(0, everywhere)
