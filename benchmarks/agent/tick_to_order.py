"""Tick to order: the whole path of the engine with a Numba strategy (MoldUDP64, ITCH, order book, strategy, risk gate,
OUCH, journal), an order on every tick, against a C program that only receives and sends. Both spin on the same CPU; the
exchange simulator, on another, stamps both. Against a uvloop agent, too, and at 100 ticks/s against a nautilus_trader
live node, which have no book, no gate of this kind and no journal.

Open loop over loopback: service time counts from the send of a tick, response time from when it was due. Nothing may be
lost, doubled or out of order, or the run is an error. In a round the C program and the engine take turns twice, the one
first and then the other. The journal's file is in memory: its flush to a disk would take the simulator's CPU where
there are only two.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.exchange import feed
from benchmarks import find_command
from benchmarks.agent import machine, stage
from benchmarks.agent.sample import Curves, Sample, find_quantile, take_curve

#: Ticks/s, and how many of them in each turn.
RATES = {100: 150, 10_000: 5_000, 20_000: 10_000, 50_000: 20_000, 100_000: 30_000}
#: By the package it needs: its module in peers/, the rate at which it is compared, and the promised ratio at p50.
PEERS = {"uvloop": ("uvloop_agent", 10_000, 0.45), "nautilus_trader": ("nautilus_agent", 100, 0.12)}
_C = "C, recv and send only"


def left_out() -> dict[str, str]:
    """References that this machine has no package for."""
    return {package: why for package in PEERS if (why := machine.no_package(package))}


def _mean(reports: list[dict[str, Any]], kind: str, q: str) -> float:
    return sum(float(r["tick_to_order_us"][kind][q]) for r in reports) / len(reports)


def _curve(reports: list[dict[str, Any]], kind: str) -> tuple[float, ...]:
    """The percentile curve over all turns together."""
    ordered = sorted(value for report in reports for value in report["latencies"][kind])
    return take_curve(find_quantile(ordered), len(ordered))


def _curves(rate: int, kind: str, ours: list[dict[str, Any]], reference: list[dict[str, Any]]) -> Curves:
    return Curves(f"{kind} time, {rate:,} ticks/s", _curve(ours, kind), _curve(reference, kind))


def _samples(rate: int, ours: list[dict[str, Any]], floor: list[dict[str, Any]]) -> list[Sample]:
    """What is promised: at 10,000/s of service, above of response time."""
    bars = {("service", "p50"): 1.05, ("service", "p99"): 1.30} if rate == 10_000 else {}
    if rate > 10_000:
        bars = {("response", "p50"): 1.05}
    found = [
        Sample(
            metric=f"{kind} {q}, {rate:,} ticks/s",
            unit="us",
            ours=_mean(ours, kind, q),
            reference=_mean(floor, kind, q),
            reference_name=_C,
            bar=bars.get((kind, q)),
            curves=_curves(rate, kind, ours, floor) if q == "p50" else None,
        )
        for kind in ("service", "response")
        for q in ("p50", "p99", "p99.9")
    ]
    late = [max(r["generator_lateness_us"]["max"] for r in reports) for reports in (ours, floor)]
    found.append(
        Sample(
            metric=f"generator's lateness, {rate:,}/s", unit="us", ours=late[0], reference=late[1], reference_name=_C
        )
    )
    return found


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: at each rate the forwarder, the engine, the engine, the forwarder; then the peers."""
    own, other = machine.two_cpus()
    forwarder = machine.build("forwarder", directory)
    ticks = {rate: feed.quotes(count, 1, stage.SYMBOL) for rate, count in RATES.items()}
    peers = [package for package in PEERS if package not in left_out()]
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own})
    try:
        while True:
            samples, engine_at = [], {}
            for rate, quotes in ticks.items():
                ours, floor = [], []
                for turn in "CE", "EC":
                    for which in turn:
                        if which == "E":
                            ours.append(_engine(quotes, rate, other))
                        else:
                            ports = stage.free_ports()
                            command = [str(forwarder), *map(str, ports), str(other), stage.SYMBOL]
                            floor.append(stage.play(command, quotes, rate, ports))
                samples += _samples(rate, ours, floor)
                engine_at[rate] = ours
            for package in peers:
                program, rate, bar = PEERS[package]
                ports = stage.free_ports()
                command = find_command(f"benchmarks.agent.peers.{program}", *ports, other, stage.SYMBOL)
                peer = [stage.play(command, ticks[rate], rate, ports)]
                samples += [
                    Sample(
                        metric=f"service {q}, {rate:,} ticks/s",
                        unit="us",
                        ours=_mean(engine_at[rate], "service", q),
                        reference=_mean(peer, "service", q),
                        reference_name=package,
                        bar=bar if q == "p50" else None,
                        curves=_curves(rate, "service", engine_at[rate], peer) if q == "p50" else None,
                    )
                    for q in ("p50", "p99")
                ]
            yield samples
    finally:
        os.sched_setaffinity(0, everywhere)


def _engine(quotes: feed.Feed, rate: float, cpu: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
        return stage.run_engine(Path(place), "every_tick", quotes, rate, cpu)[0]
