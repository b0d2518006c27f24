"""`python -m benchmarks.desk.effect`: what `desk` costs the engine: tick to order with and without it.

A turn plays ticks at a steady rate to an engine that answers each with an order; the exchange simulator measures from
the send of a tick to its order. With the desk: a `desk sync` writes what the engine holds to a redis-server, and limits
change there ten times a second; a `desk export` is scraped once a second; a `desk ingest` takes 500 records a second
from librdkafka's mock broker; a `desk run` gets all that the engine's segment and journal say; a `desk status` looks at
all of them. Each round has turns without, with, with and without. Nothing may be lost: the simulator wants an order for
each tick, and the engine has counted no gap.

The engine has a CPU, the simulator another. Where there is no third, the desk shares the simulator's: then the tails
are the simulator's as well, which waits for the desk before it sees an order; p50 is the engine's. By SCHED_FIFO the
kernel stops a spinning engine for 50 ms of each second (sched_rt_runtime_us): then p99 is that.
"""

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from socket import SOCK_STREAM
from typing import Any

import msgspec
import numpy as np

from agent.exchange import feed
from agent.exchange import simulator as exchange
from agent.shm import segment as shm
from benchmarks.agent import drive, harness, machine, stage
from benchmarks.agent.sample import BenchError, Curves, Sample, find_quantile, take_curve
from benchmarks.desk import programs
from desk import counters

ROUNDS, RATE, SECONDS = 5, 10_000, 4
#: ns from the simulator's start to the first tick: an engine on a busy machine has seen its login by then.
START = 1_000_000_000
#: What changes limits, produces and scrapes: a process of its own, which the simulator does not wait for.
_CLIENT = """
import sys, time, urllib.request
import redis
from desk.kafka.producer import make_producer
from desk.settings.kafka import Kafka
url, socket, servers, count = sys.argv[1:4] + [0]
client = redis.Redis(unix_socket_path=socket)
producer = make_producer(Kafka(servers=servers))
print("ready", flush=True)
while True:
    client.set("desk:limits:bench:max_size", 10 + count % 50)
    for _ in range(50):
        producer.produce("ticks", b"x" * 100, partition=0)
    producer.poll(0)
    if count % 10 == 0:
        urllib.request.urlopen(url, timeout=10).read()
    count += 1
    time.sleep(0.1)
"""


#: What `desk run` runs.
_MODULE = """
from desk.bus import EngineState, Executed, Journaled, LimitChanged, MarketData, PositionChanged, on

@on(EngineState)
@on(Executed)
@on(Journaled)
@on(LimitChanged)
@on(MarketData)
@on(PositionChanged)
def take(event, bus): ...
"""
_CONFIG = """
[redis]
socket = "{home}/redis.socket"
[kafka]
servers = "{servers}"
[sync]
engines = ["{home}/bench.segment"]
audit = "{home}/audit"
[export]
port = {port}
[[ingest.topics]]
name = "ticks"
ring = "{home}/ticks.ring"
incarnation = "1"
[run.watch]
engines = [{{name = "{home}/bench.segment"}}]
journals = [{{name = "journal", file = "{home}/main.journal"}}]
"""


@contextlib.contextmanager
def _desk(home: Path, cpus: set[int]) -> Iterator[list[subprocess.Popen[str]]]:
    """Run the servers, the desk's processes and their client on these CPUs; checked to be there at the end."""
    socket = home / "redis.socket"
    port = drive.free_port(SOCK_STREAM)
    config, module = home / "desk.toml", home / "watch.py"
    module.write_text(_MODULE)
    path, environment = programs.find_server()
    desk = [sys.executable, "-P", "-m", "desk"]
    everywhere = os.sched_getaffinity(0)
    children: list[subprocess.Popen[str]] = []
    os.sched_setaffinity(0, cpus)  # which children inherit
    cluster = importlib.import_module("tests.unit.desk.mock_kafka").MockKafka()
    try:
        cluster.create_topic("ticks")
        config.write_text(_CONFIG.format(home=home, port=port, servers=cluster.servers))
        directory = {"RUNTIME_DIRECTORY": str(home)}
        redis = [path, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(home)]
        client = [sys.executable, "-P", "-c", _CLIENT, f"http://127.0.0.1:{port}/metrics", str(socket), cluster.servers]
        for command, own, file in (
            (redis, environment, socket),
            ([*desk, "sync", str(config)], directory, home / "sync.counters"),
            ([*desk, "ingest", str(config)], directory, home / "ingest.counters"),
            ([*desk, "run", str(module), "--config", str(config)], directory, home / "run.watch.counters"),
            ([*desk, "export", str(config)], directory, None),
            (client, {}, None),
        ):
            children.append(subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, text=True))
            if file is None:
                drive.ready(children[-1])
            else:
                programs.wait(file.exists, f"{' '.join(command)} does not start")
        with (home / "status").open("w") as screens:
            children.append(subprocess.Popen([*desk, "status", "--watch"], env=os.environ | directory, stdout=screens,
                                             text=True))  # fmt: skip
        os.sched_setaffinity(0, everywhere)
        yield children
        if ended := [child.args for child in children if child.poll() is not None]:
            raise BenchError(f"{ended} ended")
    finally:
        os.sched_setaffinity(0, everywhere)
        for child in reversed(children):
            child.send_signal(signal.SIGTERM)
        for child in reversed(children):
            child.communicate(timeout=20)
        cluster.kill()


#: Statements for a process to have a tuned host's priority, which its children do not have.
_FIFO = "os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1)); "
#: Set by --fifo and --seconds.
fifo, seconds = False, SECONDS


@contextlib.contextmanager
def _first() -> Iterator[None]:
    """Within the block this process is the first on its CPU, where --fifo asks for that."""
    if fifo:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        if fifo:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _play(home: Path, ticks: feed.Feed, cpu: int) -> dict[str, Any]:
    """Returns the simulator's report of a turn, with the latencies of all orders, us, as "service". The first tick
    comes a second behind the login. Raises BenchError where the engine has lost anything."""
    ports = stage.free_ports()
    command = drive.command(home, cpu, stage.tables(ports, "every_tick"), True, _FIFO if fifo else "")
    config, segment, samples = home / "agent.toml", home / "bench.segment", home / "samples.npy"
    config.write_text(config.read_text().replace(f"{home}/segment", str(segment)))
    due = array("q", (at + START for at in exchange.schedule(ticks, RATE, None)))
    with drive.program(command):
        try:
            with _first():
                report = exchange.run(exchange.Plan(
                    feed=ticks, due=due, pacing="", feed_to=("127.0.0.1", ports[0]), listen=("127.0.0.1", ports[1]),
                    linger=0.5, login=60.0, timeout=120.0, match=False, samples=samples, spin=not fifo,
                ))  # fmt: skip
        except exchange.ExchangeError as error:
            raise BenchError(f"the simulator: {error}") from None
        counted = shm.read(segment).counters
    if counted["lost"] or counted["gaps"]:
        raise BenchError(f"the feed has lost {counted['lost']}, with {counted['gaps']} gaps")
    if report["orders"]["matched"] != len(ticks):
        wanted = ("reject", "orders", "messages")
        why = ", ".join(f"{name} {n:,}" for name, n in counted.items() if n and name.startswith(wanted))
        raise BenchError(
            f"{report['orders']['matched']:,} orders for {len(ticks):,} ticks: {why}; {report['problems']}"
        )
    rows = np.load(samples)
    return {"service": ((rows["arrived_ns"] - rows["sent_ns"]) / 1e3).tolist()}


def _turn(directory: Path, ticks: feed.Feed, cpus: list[int], with_desk: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        home = Path(folder) / "trading_agent"
        home.mkdir(mode=0o700)
        if not with_desk:
            return _play(home, ticks, cpus[1])
        with _desk(home, set(cpus[2:]) or {cpus[0]}):
            report = _play(home, ticks, cpus[1])
            changes = (home / "audit").read_bytes().count(b'"what":"confirmed"')
            if changes < seconds * 5:
                raise BenchError(f"only {changes} changes of a limit were confirmed meanwhile")
            for name, word in (("ingest", "records[ticks-0]"), ("run.watch", "source_events[journal]")):
                if counters.read(home / f"{name}.counters").numbers[word] < seconds * 50:
                    raise BenchError(f"{name} has seen nearly nothing meanwhile")
            return report


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Yields the samples of a round."""
    own, other = machine.two_cpus()
    everywhere = os.sched_getaffinity(0)
    cpus = [own, other, *sorted(everywhere - {own, other})]
    ticks = feed.quotes(RATE * seconds, 1, stage.SYMBOL)
    os.sched_setaffinity(0, {own})
    try:
        while True:
            reports: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
            for with_desk in (False, True, True, False):
                reports[with_desk].append(_turn(directory, ticks, cpus, with_desk))
            yield _samples(reports[True], reports[False])
    finally:
        os.sched_setaffinity(0, everywhere)


def _samples(ours: list[dict[str, Any]], reference: list[dict[str, Any]]) -> list[Sample]:
    sides = [sorted(value for one in side for value in one["service"]) for side in (ours, reference)]
    quantiles = [find_quantile(side) for side in sides]
    curves = Curves("tick to order", *(take_curve(find_quantile(side), len(side)) for side in sides))
    return [
        Sample(
            metric=f"tick to order {name}, {RATE:,} ticks/s", unit="us", ours=quantiles[0](share),
            reference=quantiles[1](share), reference_name="without desk", bar=bar, curves=curves if bar else None,
        )
        for name, share, bar in (("p50", 0.5, 1.05), ("p90", 0.9, None), ("p99", 0.99, None), ("p99.9", 0.999, None))
    ]  # fmt: skip


def main() -> int:
    """Measure and print. Returns 0 where the bar is met, 1 where it is not or the machine was busy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--busy", type=float, default=machine.QUIET, metavar="SHARE",
                        help="of the machine's CPU time that others may use in a round")  # fmt: skip
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of a turn")
    parser.add_argument("--fifo", action="store_true", help="for a machine that others use: the engine and the "
                        "simulator run by SCHED_FIFO, and the simulator sleeps between ticks")  # fmt: skip
    arguments = parser.parse_args()
    begun = time.time()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="desk-bench-") as folder:
        module = importlib.import_module("benchmarks.desk.effect")
        module.fifo, module.seconds = arguments.fifo, arguments.seconds  # type: ignore[attr-defined]
        found = harness.measure(module, arguments.rounds, Path(folder), arguments.busy)
    whole = {"machine": machine.describe(), **found, "load": os.getloadavg()[0], "seconds": round(time.time() - begun)}
    sys.stdout.write(msgspec.json.format(json.dumps(whole), indent=2) + "\n")
    return 0 if all(one["met"] is not False for one in found.get("results", [{"met": False}])) else 1


if __name__ == "__main__":
    sys.exit(main())
