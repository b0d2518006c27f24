"""What the engine itself costs a tick: from the datagram in its memory to the call that sends the order, and what it
asks of others meanwhile. Full path with a Numba strategy and an order on every tick, as in tick_to_order.

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

from agent.exchange import feed
from benchmarks.agent import machine, stage
from benchmarks.agent.sample import BenchError, Sample, limit

RATE = 10_000.0
TICKS = 6_000
FROM = 1_000
STRATEGY = "every_tick"
ORDER = 50  # bytes of an Enter Order in its packet
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


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: a plain run for times and page faults, one that is counted, one with the GIL held."""
    own, other = machine.two_cpus()
    library = machine.build("counters", directory, "-ldl", shared=True)
    holder = machine.build("hold", directory, shared=True)
    ticks = feed.quotes(TICKS, 1, stage.SYMBOL)
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own})
    try:
        while True:
            with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
                _, plain = stage.run_engine(Path(place), STRATEGY, ticks, RATE, other)
            with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
                calls = counted(Path(place), other, ticks, library, FROM)
            with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
                stood_still = held_gil(Path(place), other, ticks, holder)
            times, c = plain.histograms["own_code"], plain.counters
            orders = calls["orders"]
            yield [
                limit("datagram in memory to send, p50", "ns", times.quantile(0.5), 200.0),
                limit("datagram in memory to send, p99", "ns", times.quantile(0.99), 1_000.0),
                limit("allocations and mappings", "", calls["allocations"] + calls["mappings"], 0.0),
                limit("page faults in the loop", "", c["minor_faults"] + c["major_faults"], 0.0),
                limit("ticks not handled with the GIL held", "", stood_still, 0.0),
                limit(
                    "receives and sends for a tick", "calls", (calls["feed_receives"] + calls["sends"]) / orders, 2.0
                ),
                limit("reads of answers for an order", "calls", calls["answer_receives"] / orders, 1.0),
                limit("all other calls for a tick", "calls", calls["others"] / orders, 0.1),
            ]
    finally:
        os.sched_setaffinity(0, everywhere)
