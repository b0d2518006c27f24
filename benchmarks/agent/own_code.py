"""What the engine itself costs a tick: from the datagram in its memory to the call that sends the order, and what it
asks of others meanwhile. Full path with a Numba strategy and an order on every tick, as in tick_to_order.

The reference is a C program of the same steps (reference/own_code.c): the same packets, messages, checks, limits,
strategy, journal and orders, for one symbol and without what the benchmark never needs (gaps, replaces, reconnecting).
It measures itself with the same readings of the clock and the same histogram. Both have the same feed and the same
exchange; in a round they take turns twice, the one first and then the other.

Times are the engine's own histogram, with the stages' stamps switched off: two readings of the clock are in them. Page
faults are the kernel's count for its thread. The C library's functions for memory and system calls are counted from
outside, by a library that is put before it (reference/counters.c), from the 1,000th order to the last; a receive that
brings nothing is an empty poll and not counted, an answer to an order is read by a call of its own. That no GIL is
taken is shown by another thread of the same process, which holds it while ticks come: a loop that asked for it would
stand still.
"""

import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.exchange import feed
from agent.limits import Risk
from agent.shm.histogram import Histogram
from benchmarks.agent import machine, stage
from benchmarks.agent.sample import BenchError, Curves, Sample, limit, take_curve

RATE = 10_000.0
TICKS = 6_000
FROM = 1_000
STRATEGY = "every_tick"
ORDER = 50  # bytes of an Enter Order in its packet
#: Nanoseconds that the times are shown beside, for orientation: nothing of them is promised.
ABSOLUTE = {"p50": 200.0, "p99": 1_000.0}
_BARS = {"p50": 1.3}
_C = "C, the same steps"
_TITLE = "datagram in memory to send"
_BITS = 7  # AGENT_HIST_BITS of agent_shm.h
_COUNTS = struct.Struct("8Q")
_NAMES = ("orders", "allocations", "mappings", "feed_receives", "answer_receives", "empty_receives", "sends", "others")

#: In the engine's process: hold the GIL as long as the loop runs, and say how many orders it sent meanwhile.
_HOLDER = """
import ctypes, mmap, threading, time
from pathlib import Path
from agent.shm import segment as shm
def wait():
    path = Path({segment!r})
    while True:
        time.sleep(0.002)
        try:
            found = shm.read(path)
        except shm.SegmentError:
            continue
        if found.state == "running" and found.counters["orders_sent"] >= {least}:
            return path
def hold():
    path = wait()
    with path.open("r+b") as file:
        view = mmap.mmap(file.fileno(), 0)
    library = ctypes.PyDLL({library!r})
    library.hold.restype = ctypes.c_uint64
    counter = ctypes.c_uint64.from_buffer(view, shm.counter_offset(path, "orders_sent"))
    sent = library.hold(ctypes.byref(counter), {milliseconds})
    Path({out!r}).write_text(str(sent))
threading.Thread(target=hold, daemon=True).start()
"""


def held_gil(place: Path, cpu: int, ticks: feed.Feed, library: Path, strategy: str = STRATEGY) -> int:
    """Ticks that the engine should have turned into orders while another thread held the GIL, and did not: of those
    that come in half of the run, at least half. library: reference/hold.c."""
    out = place / "held"
    span = len(ticks) / RATE
    before = "exec({!r}); ".format(
        _HOLDER.format(segment=str(place / "segment"), out=str(out), least=FROM, milliseconds=int(500 * span),
                       library=str(library))
    )  # fmt: skip
    stage.run_engine(place, strategy, ticks, RATE, cpu, before)
    if not out.exists():
        raise BenchError("own_code: the thread that was to hold the GIL did not")
    return max(0, len(ticks) // 4 - int(out.read_text()))


def counted(
    place: Path, cpu: int, ticks: feed.Feed, library: Path, since: int, strategy: str = STRATEGY
) -> dict[str, int]:
    """Calls of the C library from order number `since` to the last."""
    file = place / "counters"
    file.write_bytes(bytes(2 * _COUNTS.size))
    environment = {"LD_PRELOAD": str(library), "COUNTERS": str(file), "COUNTERS_FROM": str(since),
                   "COUNTERS_SIZE": str(ORDER)}  # fmt: skip
    stage.run_engine(place, strategy, ticks, RATE, cpu, environment=environment)
    first, last = _COUNTS.iter_unpack(file.read_bytes())
    found = {name: b - a for name, a, b in zip(_NAMES, first, last, strict=True)}
    if found["orders"] != len(ticks) - since:
        raise BenchError(f"own_code: {found['orders']} orders counted, expected {len(ticks) - since}")
    return found


def run_reference(program: Path, place: Path, cpu: int, ticks: feed.Feed) -> Histogram:
    """Play the ticks to the C program, under the limits of the engine's configuration, and return what it measured.
    Raises BenchError."""
    ports = stage.free_ports()
    limits = msgspec.convert(stage.tables(ports, STRATEGY)["risk"], Risk).words
    command = [str(program), *map(str, ports), str(cpu), stage.SYMBOL, str(place)]
    command += [f"{name}={value}" for name, value in limits.items()]
    stage.play(command, ticks, RATE, ports)
    try:
        count, total, least, most, *buckets = memoryview((place / "times").read_bytes()).cast("Q")
    except OSError as error:
        raise BenchError(f"own_code: the C program left no times: {error.strerror}") from None
    return Histogram(count, total, least, most, _BITS, tuple(buckets))


def _mean(times: list[Histogram], share: float) -> float:
    return sum(h.quantile(share) for h in times) / len(times)


def _sum_up(times: list[Histogram]) -> Histogram:
    """One histogram of all measurements of several."""
    return Histogram(
        sum(h.count for h in times), sum(h.sum for h in times), min(h.min for h in times), max(h.max for h in times),
        times[0].bits, tuple(map(sum, zip(*(h.buckets for h in times), strict=True))),
    )  # fmt: skip


def _compare(ours: list[Histogram], reference: list[Histogram]) -> list[Sample]:
    """The times of both: the promised ratio, and each beside a round number for orientation."""
    curves = [take_curve(h.quantile, h.count) for h in map(_sum_up, (ours, reference))]
    found = []
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        metric, took = f"datagram in memory to send, {name}", _mean(ours, share)
        found.append(
            Sample(metric=metric, unit="ns", ours=took, reference=_mean(reference, share), reference_name=_C,
                   bar=_BARS.get(name), curves=Curves(_TITLE, *curves) if name == "p50" else None)
        )  # fmt: skip
        if name in ABSOLUTE:
            text = f"{ABSOLUTE[name]:,.0f} ns, for information"
            found.append(Sample(metric=metric, unit="ns", ours=took, reference=ABSOLUTE[name], reference_name=text))
    return found


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: C, the engine, the engine, C, for times and page faults; then a run of the engine that is counted,
    and one with the GIL held."""
    own, other = machine.two_cpus()
    program = machine.build("own_code", directory)
    library = machine.build("counters", directory, "-ldl", shared=True)
    holder = machine.build("hold", directory, shared=True)
    ticks = feed.quotes(TICKS, 1, stage.SYMBOL)
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own})
    try:
        while True:
            ours, reference, faults = [], [], 0
            for which in "CEEC":
                with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
                    if which == "C":
                        reference.append(run_reference(program, Path(place), other, ticks))
                    else:
                        _, plain = stage.run_engine(Path(place), STRATEGY, ticks, RATE, other)
                        ours.append(plain.histograms["own_code"])
                        faults += plain.counters["minor_faults"] + plain.counters["major_faults"]
            with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
                calls = counted(Path(place), other, ticks, library, FROM)
            with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
                stood_still = held_gil(Path(place), other, ticks, holder)
            orders = calls["orders"]
            yield [
                *_compare(ours, reference),
                limit("allocations and mappings", "", calls["allocations"] + calls["mappings"], 0.0),
                limit("page faults in the loop", "", faults, 0.0),
                limit("ticks not handled with the GIL held", "", stood_still, 0.0),
                limit(
                    "receives and sends for a tick", "calls", (calls["feed_receives"] + calls["sends"]) / orders, 2.0
                ),
                limit("reads of answers for an order", "calls", calls["answer_receives"] / orders, 1.0),
                limit("all other calls for a tick", "calls", calls["others"] / orders, 0.1),
            ]
    finally:
        os.sched_setaffinity(0, everywhere)
