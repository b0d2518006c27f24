"""Records of 64 bytes through rings (ring.pxd) between two processes on two CPUs: round trips, and one way.

References, all of them spinning, with room for 1,024 records like ours, and copying each record in and out as ours do
here: `rigtorp::SPSCQueue` between two threads, a queue of fixed slots in C between two processes, and one word on one
cache line each way, which is what any round trip costs at least. From Python, `Ring.push` and `Ring.pop` are
compared with iceoryx2's binding: both make bytes of what they receive.

A round is many short slices of each, one after the other: how far apart the host has put two CPUs changes meanwhile,
and has to change for all. The figure of a round is the median of its slices.
"""

import os
import select
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.shm.ring import Ring
from benchmarks import find_command
from benchmarks.agent import _bench, machine
from benchmarks.agent.sample import BenchError, Sample

SLICES = 40
TRIPS = 2_000
STREAM = 20_000
PYTHON_TRIPS = 400
#: Not counted, of each slice; and how many trips one time is taken of.
WARM = 1_000
PYTHON_WARM = 200
BATCH = 100
CAPACITY = 1 << 16
#: Seconds for a slice, and looks of Python at a ring that nobody writes to.
LIMIT = 70.0
LOOKS = 20_000_000

_SPSC = "rigtorp/SPSCQueue"
_QUEUE = "C, queue of fixed slots"
_WORD = "C, a word on a cache line"
_ICEORYX = "iceoryx2, Python"


def left_out() -> dict[str, str]:
    """References that are missing here, and why."""
    found = {
        _SPSC: machine.no_compiler(".cpp") or machine.no_checkout("SPSCQueue", _SPSC),
        _ICEORYX: machine.no_package("iceoryx2"),
    }
    return {name: why for name, why in found.items() if why}


class Program:
    """A reference that is asked for slices by lines. Raises BenchError when it ends, or takes too long."""

    def __init__(self, *command: str) -> None:
        self._name = Path(command[-3]).name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def slice(self, line: str) -> float:
        """Nanoseconds."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchError(f"{self._name} has ended") from None
        if not select.select([self._process.stdout], [], [], LIMIT)[0]:
            raise BenchError(f"{self._name}: no answer to {line!r} in {LIMIT:g} s")
        answer = self._process.stdout.readline()
        if not answer:
            raise BenchError(f"{self._name} has ended with {self._process.wait(LIMIT)}")
        return float(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.close()
            self._process.wait(5.0)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(LIMIT)
        self._process.stdout.close()


class Ours:
    """Two rings, this process on one CPU, and a child on the other that sleeps between two slices."""

    def __init__(self, place: Path, own: int, other: int) -> None:
        there, back = place / "there", place / "back"
        self._out = Ring.create(there, CAPACITY, 64)
        Ring.create(back, CAPACITY, 64).close()
        commands, self._tell = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                os.close(self._tell)
                os.sched_setaffinity(0, {other})
                _answer(commands, Ring.attach(there, "reader"), Ring.attach(back, "writer"))
            finally:
                os._exit(0)
        os.close(commands)
        os.sched_setaffinity(0, {own})
        self._into = Ring.attach(back, "reader")

    def _ask(self, kind: str, count: int) -> None:
        os.write(self._tell, f"{kind} {count:<14}".encode())

    def trip(self) -> float:
        """Nanoseconds, the median of batches."""
        self._ask("q", WARM + TRIPS)
        try:
            times = _bench.ring_trips(self._out.address, self._into.address, WARM + TRIPS, BATCH)
        except RuntimeError as error:
            raise BenchError(str(error)) from None
        return statistics.median(times[WARM // BATCH :])

    def stream(self) -> float:
        """Nanoseconds a record, the mean."""
        self._ask("s", WARM + STREAM)
        try:
            return _bench.ring_receive(self._into.address, WARM + STREAM, WARM)
        except RuntimeError as error:
            raise BenchError(str(error)) from None

    def python_trip(self) -> float:
        """Nanoseconds from Python, the median of batches."""
        self._ask("p", PYTHON_WARM + PYTHON_TRIPS)
        record, push, pop = bytes(64), self._out.push, self._into.pop
        _python_trips(push, pop, record, PYTHON_WARM)
        times = [_python_trips(push, pop, record, BATCH) / BATCH for _ in range(PYTHON_TRIPS // BATCH)]
        return statistics.median(times)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._tell)
        if error is not None:
            os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        self._out.close()
        self._into.close()


def _answer(commands: int, source: Ring, sink: Ring) -> None:
    """The child's: echo what comes, or send, as told, until the pipe is closed."""
    while command := os.read(commands, 16):
        kind, count = command[:1], int(command[1:])
        if kind == b"q":
            _bench.ring_echo(source.address, sink.address, count)
        elif kind == b"s":
            _bench.ring_send(sink.address, count)
        else:
            pop, push = source.pop, sink.push
            for _ in range(count):
                push(_wait(pop))


def _wait(pop: Callable[[], bytes | None]) -> bytes:
    for _ in range(LOOKS):
        record = pop()
        if record is not None:
            return record
    raise BenchError("ring: the other side is gone")


def _python_trips(push: Callable[[bytes], bool], pop: Callable[[], bytes | None], record: bytes, count: int) -> float:
    """Nanoseconds for all of them."""
    begun = time.perf_counter_ns()
    for _ in range(count):
        push(record)
        _wait(pop)
    return time.perf_counter_ns() - begun


def _slices(measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Each of them SLICES times in turn: the medians."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(SLICES):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: statistics.median(values) for name, values in found.items()}


def _round(programs: dict[str, list[str]], own: int, other: int) -> list[Sample]:
    everywhere = os.sched_getaffinity(0)
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-"))
        stack.callback(os.sched_setaffinity, 0, everywhere)
        ours = stack.enter_context(Ours(Path(place), own, other))
        at = {name: stack.enter_context(Program(*command, str(own), str(other))) for name, command in programs.items()}
        native = [name for name in (_SPSC, _QUEUE) if name in at]
        trips = {"ours": ours.trip} | {name: partial(at[name].slice, f"queue {TRIPS}") for name in native}
        found = _slices(trips | {_WORD: partial(at[_QUEUE].slice, f"word {TRIPS}")})
        streams = {"ours": ours.stream} | {name: partial(at[name].slice, f"stream {STREAM}") for name in native}
        one_way = {name: 1e9 / ns for name, ns in _slices(streams).items()}
        python = {"ours": ours.python_trip}
        if _ICEORYX in at:
            python[_ICEORYX] = partial(at[_ICEORYX].slice, f"{PYTHON_TRIPS}")
        from_python = _slices(python)
    samples = [
        Sample(metric="round trip, 64 bytes", unit="ns", ours=found["ours"], reference=found[name],
               reference_name=name, bar=2.0 if name == _WORD else 1.1)
        for name in (*native, _WORD)
    ]  # fmt: skip
    samples += [
        Sample(metric="one way, 64 bytes", unit="1/s", ours=one_way["ours"], reference=one_way[name],
               reference_name=name, better="higher")
        for name in native
    ]  # fmt: skip
    if _ICEORYX in from_python:
        samples.append(
            Sample(metric="round trip, 64 bytes, Python", unit="ns", ours=from_python["ours"],
                   reference=from_python[_ICEORYX], reference_name=_ICEORYX, bar=0.25)
        )  # fmt: skip
    return samples


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: slices of all round trips in turn, then of all streams, then of all round trips from Python."""
    own, other = machine.two_cpus()
    missing = left_out()
    programs = {_QUEUE: [str(machine.build("pingpong", directory))]}
    if _SPSC not in missing:
        header = machine.checkout("SPSCQueue")
        options = ("-I", f"{header}/include", "-Wno-interference-size", "-pthread")
        programs[_SPSC] = [str(machine.build("spsc_peer", directory, *options, suffix=".cpp"))]
    if _ICEORYX not in missing:
        programs[_ICEORYX] = find_command("benchmarks.agent.peers.iceoryx2_ping")
    while True:
        yield _round(programs, own, other)
