"""An agent, ours or a reference, on one CPU, and the exchange simulator that measures it on another; over loopback."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.exchange import feed
from agent.exchange import simulator as exchange
from agent.shm import segment as shm
from agent.shm.place import ring_of
from benchmarks.agent import drive
from benchmarks.agent.sample import BenchError

SYMBOL = "AAPL"
#: Offset of the pid of a ring's reader (docs/ring.md).
_READER = 264


def free_ports() -> tuple[int, int]:
    """A UDP port for the feed and a TCP port for the orders that nobody has bound."""
    return drive.free_port(socket.SOCK_DGRAM), drive.free_port(socket.SOCK_STREAM)


def tables(ports: tuple[int, int], strategy: str) -> drive.Tables:
    """An engine on an ITCH feed; every check of the gate that has a limit is on, with room: but of duplicates, and of
    orders that could trade with own ones, which the strategy's do."""
    return {
        "feed": {"address": "127.0.0.1", "port": ports[0], "format": "itch", "receive_buffer": 64 << 20},
        "exchange": {"address": "127.0.0.1", "port": ports[1], "username": "trader"},
        "strategy": {"name": strategy, "symbol": SYMBOL, "size": 1},
        "risk": {"max_size": 10, "max_orders_per_second": 10_000_000, "max_notional": 1e12, "collar": 0.5,
                 "max_position": 1_000_000_000, "max_open_orders": 60_000, "max_tick_age_us": 60_000_000,
                 "max_orders_per_day": 1_000_000_000, "max_loss": 1e12, "max_drawdown": 1e12, "max_symbol_loss": 1e12,
                 "max_symbol_drawdown": 1e12},
        "series": {"capacity": 65_536},
        "journal": {"ring": 1 << 20},
    }  # fmt: skip


def play(
    command: Sequence[str],
    ticks: feed.Feed,
    rate: float,
    ports: tuple[int, int],
    environment: dict[str, str] | None = None,
    *,
    ready: Callable[[subprocess.Popen[str]], object] | None = None,
    linger: float = 0.2,
) -> dict[str, Any]:
    """Start an agent, play the ticks to it at a rate, and return the simulator's report, with all latencies of it in
    ascending order, in microseconds, as report["latencies"]["service"] and ["response"].

    ready: returns when the agent is, and may log in. Raises BenchError when a tick or an
    order was lost, doubled or out of order: such a run says nothing.
    """
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )
    try:
        assert child.stdout and child.stderr
        if ready is not None:
            ready(child)
        with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="agent-bench-") as file:
            report = exchange.run(
                exchange.Plan(
                    feed=ticks, due=exchange.schedule(ticks, rate, None), pacing="", feed_to=("127.0.0.1", ports[0]),
                    listen=("127.0.0.1", ports[1]), linger=linger, login=60.0, timeout=120.0, match=False,
                    samples=Path(file.name),
                )
            )  # fmt: skip
            report["latencies"] = _latencies(Path(file.name))
        child.wait(timeout=30)
    except (exchange.ExchangeError, subprocess.TimeoutExpired) as error:
        child.kill()
        said = child.communicate()[1].strip().splitlines()
        raise BenchError(f"{_name(command)}: {error}{'; it said: ' + said[-1] if said else ''}") from None
    finally:
        child.kill()
        child.communicate()
    orders = report["orders"]
    if report["ended"] != "complete" or orders["duplicates"] or orders["unmatched"] or orders["out_of_order"]:
        raise BenchError(f"{_name(command)}: {'; '.join(report['problems']) or report['ended']}")
    if orders["matched"] != len(ticks):
        raise BenchError(f"{_name(command)}: {orders['matched']:,} orders for {len(ticks):,} ticks at {rate:g}/s")
    return report


def _latencies(samples: Path) -> dict[str, list[float]]:
    """What the simulator measured (--samples): from a tick's send (service) and from when it was due (response) to its
    order; in ascending order, in microseconds."""
    rows = np.load(samples)
    since = {"service": "sent_ns", "response": "intended_ns"}
    return {kind: (np.sort(rows["arrived_ns"] - rows[field]) / 1e3).tolist() for kind, field in since.items()}


def _writes_journal(segment: Path) -> None:
    """Wait until the engine's journal has its writer: while Python starts one, it takes the simulator's CPU."""
    reader = drive.Count(ring_of(segment), _READER)
    limit = time.monotonic() + drive.STARTS
    while reader.value == 0:
        if time.monotonic() > limit:
            raise BenchError("the engine's journal has no writer")
        time.sleep(0.01)


def run_engine(place: Path, strategy: str, ticks: feed.Feed, rate: float, cpu: int, before: str = "",
               environment: dict[str, str] | None = None) -> tuple[dict[str, Any], shm.Segment]:  # fmt: skip
    """Play the ticks to an engine with its files in `place`: the simulator's report, and the engine's segment."""
    ports = free_ports()
    command = drive.command(place, cpu, tables(ports, strategy), True, before)

    def ready(child: subprocess.Popen[str]) -> None:
        drive.ready(child)
        _writes_journal(place / "segment")

    try:
        report = play(command, ticks, rate, ports, environment, ready=ready)
    except BenchError as error:
        raise BenchError(f"{error}; {_stopped(place / 'segment')}") from None
    return report, shm.read(place / "segment")


def _stopped(segment: Path) -> str:
    """What the engine counted that explains a missing order."""
    try:
        counters = shm.read(segment).counters
    except shm.SegmentError as error:
        return str(error)
    names = ("messages", "lost", "kernel_drops", "orders_sent", "send_refused", "send_short", "accepted")
    return ", ".join(f"{k} {n:,}" for k, n in counters.items() if k in names or (k.startswith("reject_") and n))


def _name(command: Sequence[str]) -> str:
    peer = next((word for word in command if word.startswith("benchmarks.")), "")
    if peer or command[0] != sys.executable:
        return peer.rpartition(".")[2] or Path(command[0]).name
    return "the engine"
