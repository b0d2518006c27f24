"""Tick to order: the whole path of the engine, with a Numba strategy and an order on every quote, against a C program
that only receives and sends. Both spin on the same CPU; the exchange simulator, on another, stamps both.

The journal's file is in memory: its flush to a disk would take the simulator's CPU where there are only two.
Open loop: service time counts from the send of a tick, response time from when it was due. Loopback.
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agent
from agent import exchange, feed
from agent.bench import machine
from agent.bench.sample import BenchError, Sample

RATE = 10_000.0
TICKS = 10_000


def _port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _drive(command: list[str], ticks: feed.Feed, ports: tuple[int, int], environment: dict[str, str]) -> dict[str, Any]:
    """Start a program, run the simulator against it, and take its report. Raises BenchError when a tick or an order
    was lost: such a run says nothing."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stdout and child.stderr
        # The forwarder is ready when it is logged in; the agent before.
        if "agent" in command:
            child.stdout.readline()
        report = exchange.run(
            exchange.Plan(
                feed=ticks,
                due=exchange.schedule(ticks, RATE, None),
                pacing="",
                feed_to=("127.0.0.1", ports[0]),
                listen=("127.0.0.1", ports[1]),
                linger=0.2,
                login=20.0,
                timeout=60.0,
                match=False,
            )
        )
        child.wait(timeout=20)
    except (exchange.ExchangeError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{command[0]}: {error}") from None
    finally:
        child.kill()
        child.communicate()
    orders = report["orders"]
    if report["ended"] != "complete" or not orders["matched"] or orders["duplicates"] or orders["unmatched"]:
        raise BenchError(f"{Path(command[0]).name}: {'; '.join(report['problems'])}")
    return report


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: the forwarder, then the engine, on the same ticks at the same rate."""
    own, other = machine.two_cpus()
    forwarder = machine.build("forwarder", directory)
    ticks = feed.generated(TICKS, 1)
    quotes = ticks.counts["bookTicker"]
    example = (Path(agent.__file__).parent / "example.toml").read_text()
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own})
    try:
        while True:
            with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as place:
                ports = _port(socket.SOCK_DGRAM), _port(socket.SOCK_STREAM)
                floor = _drive(
                    [str(forwarder), str(ports[0]), str(ports[1]), str(other)], ticks, ports, dict(os.environ)
                )
                ports = _port(socket.SOCK_DGRAM), _port(socket.SOCK_STREAM)
                config = Path(place) / "agent.toml"
                config.write_text(
                    example.replace("26400", str(ports[0])).replace("26401", str(ports[1]))
                    .replace('"ema_cross"', '"every_tick"').replace("= 1000\n", "= 10000000\n", 1)
                    .replace("# yield_every_ms = 100", "yield_every_ms = 0")
                    .replace('# shm = "/dev/shm/elsewhere"', f'shm = "{place}/segment"')
                )  # fmt: skip
                command = [sys.executable, "-P", "-c",
                           f"import os; os.sched_setaffinity(0, {{{other}}}); from agent.cli import main; "
                           f"raise SystemExit(main(['run', {str(config)!r}, '--once']))", "agent"]  # fmt: skip
                ours = _drive(command, ticks, ports, dict(os.environ) | {"STATE_DIRECTORY": place})
                if ours["orders"]["matched"] != quotes or floor["orders"]["matched"] != TICKS:
                    raise BenchError(
                        f"lost: {ours['orders']['matched']} of {quotes} orders from the engine, "
                        f"{floor['orders']['matched']} of {TICKS} from the forwarder"
                    )
                yield [
                    Sample(metric=f"{kind} {q}, {RATE:g} ticks/s", unit="us", ours=ours["tick_to_order_us"][kind][q],
                           reference=floor["tick_to_order_us"][kind][q], reference_name="C, recv and send only")
                    for kind in ("service", "response")
                    for q in ("p50", "p99")
                ]  # fmt: skip
    finally:
        os.sched_setaffinity(0, everywhere)
