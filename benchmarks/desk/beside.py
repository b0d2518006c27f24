"""Tick to order of an engine, with `desk run` beside it and without: the module gets all that the engine's segment and
journal say, at the default intervals, and `desk status` looks on once a second.

The desk's processes share the simulator's CPU, as they would a housekeeping CPU; the engine has the other one. Service
time counts from the send of a tick; the file of the journal is in memory.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agent.exchange import feed
from benchmarks.agent import machine, stage
from benchmarks.agent.sample import BenchError, Sample
from desk.counters import CountersError, read

RATE, TICKS = 10_000, 5_000
MODULE = """
from desk.bus import EngineState, Executed, Journaled, LimitChanged, MarketData, PositionChanged, on

@on(EngineState)
@on(Executed)
@on(Journaled)
@on(LimitChanged)
@on(MarketData)
@on(PositionChanged)
def take(event, bus): ...
"""
#: Seconds that `desk run` may take to be there.
_LIMIT = 20.0


def _start_desk(place: Path) -> list[subprocess.Popen[bytes]]:
    """Start `desk run` and `desk status` beside the engine in `place`, and wait until the former has published."""
    (place / "watch.py").write_text(MODULE)
    (place / "desk.toml").write_text(
        f'[run.watch]\nengines = [{{name = "{place}/segment"}}]\n'
        f'journals = [{{name = "journal", file = "{place}/main.journal"}}]\n'
    )
    found = []
    for arguments in (["run", f"{place}/watch.py", "--config", f"{place}/desk.toml"], ["status", "--watch"]):
        found.append(
            subprocess.Popen(
                [sys.executable, "-P", "-m", "desk", *arguments],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=os.environ | {"RUNTIME_DIRECTORY": str(place)},
            )
        )  # fmt: skip
    limit = time.monotonic() + _LIMIT
    while time.monotonic() < limit:
        try:
            if read(place / "run.watch.counters").numbers.get("events[EngineState]"):
                return found
        except CountersError:
            time.sleep(0.02)
    _end(found)
    raise BenchError("beside: desk run has not begun")


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
        child.wait()


def _play(quotes: feed.Feed, cpu: int, beside: bool) -> float:
    """Returns the median service time, us."""
    children: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="desk-bench-") as folder:
        place = Path(folder)
        try:
            report, segment = stage.run_engine(
                place, "every_tick", quotes, RATE, cpu,
                started=(lambda: children.extend(_start_desk(place))) if beside else None,
            )  # fmt: skip
            if beside and not read(place / "run.watch.counters").numbers["source_events[journal]"]:
                raise BenchError("beside: desk run has seen nothing of the journal")
        finally:
            _end(children)
    if segment.counters["lost"] or segment.counters["gaps"]:
        raise BenchError(f"beside: {segment.counters['lost']} lost, {segment.counters['gaps']} gaps")
    return float(report["tick_to_order_us"]["service"]["p50"])


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: the engine alone, beside the desk, beside the desk, alone."""
    own, other = machine.two_cpus()
    quotes = feed.quotes(TICKS, 1, stage.SYMBOL)
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own})
    try:
        while True:
            times = {True: 0.0, False: 0.0}
            for beside in (False, True, True, False):
                times[beside] += _play(quotes, other, beside) / 2
            yield [
                Sample(metric="service p50, 10,000 ticks/s", unit="us", ours=times[True], reference=times[False],
                       reference_name="no desk", bar=1.05),
            ]  # fmt: skip
    finally:
        os.sched_setaffinity(0, everywhere)
