"""`python -m benchmarks.desk.sync`: from a SET in Redis to the limit in the engine's segment, beside a GET.

One redis-server on a Unix socket, one engine without a feed, one `desk sync`. A round interleaves, some hundred times:
a GET by redis-py, an MGET of 100 keys, and a SET of a limit by the same client. When the limit was in the segment, and
when the loop had confirmed it, are the stamps of the audit's lines, which are written behind that: nothing watches the
segment, and takes CPU time, meanwhile. At the end of a round the server is frozen (SIGSTOP), and slow, for a while: the
longest step of the loop is what `desk sync` says of itself, without what it waits for a CPU (fair_clock). The engine
has a CPU, all else shares another.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import redis

from agent import limits
from agent.shm import segment as shm
from benchmarks.agent import drive, harness, machine
from benchmarks.agent.sample import BenchError, Sample, limit
from benchmarks.desk import fair_clock, programs
from desk import counters

ROUNDS, CHANGES, KEYS = 7, 200, 100
#: Seconds between two changes: a loop answers within 5 ms.
PAUSE = 0.012
#: Seconds that the server is frozen and slow in a round; seconds of its answers' delay then.
FAULT, DELAY = 2.0, 0.17
KEY = "desk:limits:segment:max_size"


class Relay:
    """A socket between `desk sync` and the server, which hands everything on, after `delay` seconds where that is
    set."""

    def __init__(self, path: Path, server: Path) -> None:
        self.delay = 0.0
        self._server = str(server)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._hand_on, args=(client, server), daemon=True).start()
            threading.Thread(target=self._hand_on, args=(server, client, True), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, answers: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self.delay:
                    time.sleep(self.delay)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Side:
    """What is measured: a server, and the engine that a `desk sync` straight at the server writes to; its audit."""

    def __init__(self, place: Path, server: subprocess.Popen[bytes], segment: Path) -> None:
        self.server, self.segment, self._audit, self._read = server, segment, place / "straight.audit", 0
        self.client = redis.Redis(unix_socket_path=str(place / "redis.socket"), socket_timeout=5)
        self.value = 100
        self.keys = [f"bench:{number}" for number in range(KEYS)]
        self.client.mset(dict.fromkeys(self.keys, "12345.5"))

    def change(self) -> tuple[float, float, float]:
        """Returns the ns from before a SET to its answer, to the limit in the segment, and to the loop's answer."""
        self.value = self.value % 900 + 100
        begun, clock = time.perf_counter_ns(), time.time_ns()
        self.client.set(KEY, self.value)
        answered = time.perf_counter_ns() - begun
        time.sleep(PAUSE)
        end = time.monotonic() + 10
        while {"asked", "confirmed"} - (stamps := self._find_stamps()).keys():
            if time.monotonic() > end:
                raise BenchError("a change did not come through within 10 s")
            time.sleep(PAUSE)
        if limits.from_words(shm.read(self.segment).limits)["max_size"] != self.value:
            raise BenchError("a change is confirmed, and not in the segment")
        self._read = self._audit.stat().st_size
        return answered, stamps["asked"] - clock, stamps["confirmed"] - clock

    def _find_stamps(self) -> dict[str, int]:
        with self._audit.open("rb") as file:
            file.seek(self._read)
            lines = [
                msgspec.json.decode(line) for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")
            ]
        return {line["what"]: line["time_ns"] for line in lines if line["values"] == {"max_size": self.value}}


def _timed(call: Callable[[], Any]) -> int:
    begun = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - begun


@contextlib.contextmanager
def _desk(
    place: Path, name: str, redis_socket: Path, more: str = "", program: tuple[str, ...] = ("-m", "desk", "sync")
) -> Iterator[Callable[[], dict[str, Any]]]:
    """Run a `desk sync`. Yields a function that returns its numbers."""
    home = place / name / "trading_agent"
    home.mkdir(parents=True, mode=0o700)
    config = place / f"{name}.toml"
    config.write_text(f'[redis]\nsocket = "{redis_socket}"\n[sync]\nengines = ["{place}/segment"]\n'
                      f'audit = "{place}/{name}.audit"\n{more}\n')  # fmt: skip
    child = subprocess.Popen([sys.executable, "-P", *program, str(config)],
                             env={**os.environ, "RUNTIME_DIRECTORY": str(home)})  # fmt: skip

    def read() -> dict[str, Any]:
        for one in counters.list_all(home):
            if isinstance(one, counters.Snapshot) and one.pid == child.pid:
                return one.numbers
        return {}

    try:
        programs.wait(lambda: read().get("connected") == 1, "desk sync does not connect")
        yield read
    finally:
        child.terminate()
        child.wait(20)


@contextlib.contextmanager
def _stage(place: Path) -> Iterator[Side]:
    path, environment = programs.find_server()
    address = place / "redis.socket"
    server = subprocess.Popen([path, "--port", "0", "--unixsocket", str(address), "--save", "", "--dir", str(place)],
                              env=environment, stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        programs.wait(address.exists, "redis-server does not start")
        tables: drive.Tables = {
            "feed": {"address": "127.0.0.1", "port": drive.free_port(socket.SOCK_DGRAM)},
            "exchange": {"address": "127.0.0.1", "port": drive.free_port(socket.SOCK_STREAM), "username": "trader",
                         "reconnect_s": 600.0},
            "strategy": {"name": "ema_cross", "symbol": "BTCUSDT", "size": 1},
            "risk": {"max_size": 10, "max_orders_per_second": 1000},
        }  # fmt: skip
        own, other = machine.two_cpus()
        everywhere = os.sched_getaffinity(0)
        try:
            with drive.engine(place, other, tables) as engine:
                os.sched_setaffinity(0, {own})
                os.sched_setaffinity(server.pid, {own})
                yield Side(place, server, engine.segment)
        finally:
            os.sched_setaffinity(0, everywhere)
    finally:
        server.send_signal(signal.SIGCONT)
        server.terminate()
        server.wait(20)


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Yields the samples of a round."""
    while True:
        place = Path(tempfile.mkdtemp(dir=directory))
        with _stage(place) as side, _desk(place, "straight", place / "redis.socket"):
            relay, fair = Relay(place / "relay.socket", place / "redis.socket"), (str(fair_clock.__file__),)
            with (
                _desk(place, "near", place / "redis.socket", 'prefix = "near:"', fair) as near,
                _desk(place, "far", place / "relay.socket", 'prefix = "far:"', fair) as far,
            ):
                samples = _measure(side, near, far, relay)
        yield samples  # behind the end of all processes, whose CPU time is not others' then


def _measure(
    side: Side, near: Callable[[], dict[str, Any]], far: Callable[[], dict[str, Any]], relay: Relay
) -> list[Sample]:
    chance = random.Random(len(side.keys))
    gets: list[float] = []
    many, answers, there, confirmed = gets[:], gets[:], gets[:], gets[:]
    for _ in range(CHANGES):
        time.sleep(PAUSE * (1 + chance.random()))
        gets.append(_timed(lambda: side.client.get(side.keys[0])))
        many.append(_timed(lambda: side.client.mget(side.keys)))
        one, two, three = side.change()
        answers.append(one)
        there.append(two)
        confirmed.append(three)
    get = statistics.median(gets) / 1e3
    before = near()["losses"]
    side.server.send_signal(signal.SIGSTOP)
    time.sleep(FAULT)
    side.server.send_signal(signal.SIGCONT)
    relay.delay = DELAY
    time.sleep(FAULT)
    relay.delay = 0
    programs.wait(lambda: near()["losses"] > before and near()["connected"] == 1 and far()["connected"] == 1,
          "desk sync did not notice a frozen Redis, or does not come back")  # fmt: skip
    since = [two - one for one, two in zip(answers, there, strict=True)]

    def beside(metric: str, found: list[float], bar: float | None, share: int = 1) -> Sample:
        return Sample(metric=metric, unit="us", ours=statistics.median(found) / 1e3 / share, reference=get,
                      reference_name="GET by redis-py", bar=bar)  # fmt: skip

    return [
        beside("SET to limit in the segment, p50", there, 3.0),
        beside("SET's answer to limit in the segment, p50", since, None),
        beside("SET to the loop's confirmation, p50", confirmed, None),
        beside(f"MGET of {KEYS}, a key", many, 0.03, KEYS),
        limit("longest step, Redis frozen", "s", near()["longest_step_seconds"], 0.7),
        limit(f"longest step, {DELAY * 1e3:.0f} ms an answer", "s", far()["longest_step_seconds"], 0.7),
    ]


def main() -> int:
    """Measure and print. Returns 0 where all bars are met, 1 where one is not or the machine was busy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--busy", type=float, default=machine.QUIET, metavar="SHARE",
                        help="of the machine's CPU time that others may use in a round")  # fmt: skip
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="desk-bench-") as folder:
        found = harness.measure(
            importlib.import_module("benchmarks.desk.sync"), arguments.rounds, Path(folder), arguments.busy
        )
    whole = {"machine": machine.describe(), **found, "bench": "sync", "load": os.getloadavg()[0]}
    sys.stdout.write(msgspec.json.format(json.dumps(whole), indent=2) + "\n")
    return 0 if all(one["met"] is not False for one in found.get("results", [{"met": False}])) else 1


if __name__ == "__main__":
    sys.exit(main())
