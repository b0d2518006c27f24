"""The engine's side: `agent run` with the exchange simulator, which measures it, on two CPUs and over loopback."""

import contextlib
import json
import mmap
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agent.exchange import simulator
from agent.exchange.errors import ExchangeError
from agent.exchange.feed import Feed, build_feed
from agent.shm import segment as shm
from desk.errors import DeskError
from desk.report.ticks import SYMBOL

#: Seconds until an engine must be ready (its strategy may be compiled first), and until one must have ended.
STARTS, ENDS = 90.0, 30.0
#: Seconds without a change of a count that is waited for, until what is missing is lost.
_STALLS = 2.0
#: Seconds that the simulator waits for late orders.
LINGER = 1.0
#: Of Python: the program whose arguments are a CPU, a file for what the process itself knows, and agent.toml.
_PROGRAM = ("-m", "desk.report.child")


class EngineError(DeskError):
    """A run of the engine that says nothing: something was lost, or it did not start."""


class Run(NamedTuple):
    """One run. latency_us: from the send of a tick to the arrival of its order, p50; 0: no order was wanted. rate:
    ticks a second, until the counter that was waited for had counted all. pauses: the collector's, microseconds, while
    ticks came."""

    latency_us: float
    rate: float
    seconds: float
    segment: shm.Segment
    rss_bytes: int
    pauses: list[float]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: ticks a second, 0: one after the other, each when the engine has done with the last one; the
    strategy; whether stages are stamped; the counter of the segment that is to reach the number of ticks; whether each
    tick has to have its order."""

    rate: float = 0.0
    strategy: str = "every_tick"
    stamps: bool = False
    counter: str = "orders_sent"
    orders: bool = True


def make_feed(ticks: Sequence[bytes]) -> Feed:
    """Returns the ticks as the simulator sends them, one to a datagram."""
    return build_feed("desk report", "binance", [(1000 * i, tick) for i, tick in enumerate(ticks)], {})


def run_engine(feed: Feed, wish: Wish, cpus: tuple[int, int]) -> Run:
    """Returns one run: the simulator in this process on the one CPU, `agent run` on the other. Raises EngineError."""
    with tempfile.TemporaryDirectory(dir=_find_memory(), prefix="desk-report-") as name:
        place = Path(name)
        ports = _free_port(socket.SOCK_DGRAM), _free_port(socket.SOCK_STREAM)
        command = _write_config(place, ports, wish, cpus[1])
        with _start(command) as child, _pinned(cpus[0]):
            watch = _Watch(place / "segment", wish.counter, len(feed))
            report = _play(place, feed, wish, ports, watch)
            _end(child)
        samples = _read_samples(place / "samples")
        found = shm.read(place / "segment")
        _check(report, found, wish, len(feed))
        at = watch.join()
        rate = 1e9 * len(feed) / (at - samples[0][0]) if samples else watch.find_rate()
        first = samples[0][0] if samples else watch.begun
        all_pauses, rss = _read_own(place / "own", child.returncode)
        pauses = [length / 1e3 for begun, length in all_pauses if first <= begun <= at]
        latency = report["tick_to_order_us"]["service"]["p50"] if wish.orders else 0.0
        return Run(float(latency), rate, (at - first) / 1e9, found, rss, pauses)


class _Watch:
    """A thread that notes when a counter of a segment reached a number. It looks each millisecond."""

    def __init__(self, path: Path, name: str, wanted: int) -> None:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        offset = shm.counter_offset(path, name)
        self._word, self._name, self._wanted, self._at = view[offset : offset + 8].cast("Q"), name, wanted, 0
        self.begun, self._seen = 0, 0  # when the count was seen to move first, and what it was then
        self._over = False
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over and self._word[0] < self._wanted:
            if not self.begun and (seen := self._word[0]):
                self.begun, self._seen = time.monotonic_ns(), seen
            time.sleep(0.001)
        self._at = time.monotonic_ns() if self._word[0] >= self._wanted else 0

    def join(self) -> int:
        """Returns CLOCK_MONOTONIC of that moment, ns. Raises EngineError when the moment has not come."""
        limit = time.monotonic() + _STALLS
        while self._thread.is_alive() and time.monotonic() < limit:
            self._thread.join(0.05)
        self._over = True
        self._thread.join()
        if not self._at:
            raise EngineError(f"{self._wanted - self._word[0]:,} of {self._wanted:,} {self._name} are missing")
        return self._at

    def find_rate(self) -> float:
        """Returns how many a second it was, from the first look that saw any. Raises EngineError where one look saw
        all: then it was not measured."""
        if not self.begun or self._at <= self.begun:
            raise EngineError(f"the rate of {self._name} could not be told: one look saw all {self._wanted:,}")
        return 1e9 * (self._wanted - self._seen) / (self._at - self.begun)


def _play(place: Path, feed: Feed, wish: Wish, ports: tuple[int, int], watch: _Watch) -> dict[str, Any]:
    due = array("q", (int(i * 1e9 / wish.rate) if wish.rate else 0 for i in range(len(feed))))
    plan = simulator.Plan(
        feed=feed, due=due, pacing="", feed_to=("127.0.0.1", ports[0]), listen=("127.0.0.1", ports[1]), linger=LINGER,
        login=STARTS, timeout=120.0, match=False, samples=place / "samples", username="trader", password="secret",
        lockstep=not wish.rate, agent_shm=None if wish.rate else place / "segment",
    )  # fmt: skip
    try:
        report = simulator.run(plan)
    except ExchangeError as error:
        raise EngineError(f"the exchange simulator: {error}") from None
    if report["ended"] == "interrupted":  # while it runs, it takes the signals
        raise KeyboardInterrupt
    return report


def _check(report: dict[str, Any], found: shm.Segment, wish: Wish, count: int) -> None:
    """Raise EngineError for a run in which anything was lost, doubled or out of order."""
    orders, counters = report["orders"], found.counters
    wrong = [f"{name} {counters[name]:,}" for name in ("lost", "gaps", "kernel_drops") if counters[name]]
    if counters["messages"] != count:
        wrong.append(f"messages {counters['messages']:,} of {count:,}")
    if wish.orders and orders["matched"] != count:
        wrong.append(f"orders {orders['matched']:,} of {count:,}")
    wrong += [f"{name} {orders[name]:,}" for name in ("duplicates", "unmatched", "out_of_order") if orders[name]]
    if wrong:
        why = [f"{name} {n:,}" for name, n in counters.items() if n and name.startswith(("reject_", "send_"))]
        wrong += [each for each in why if not each.startswith("send_calls")]
        pace = f"at {wish.rate:,.0f} ticks/s" if wish.rate else "one tick after the other"
        raise EngineError(f"{pace}: {', '.join(wrong)}")


def _write_config(place: Path, ports: tuple[int, int], wish: Wish, cpu: int) -> list[str]:
    password = place / "password"
    password.touch(mode=0o600)
    password.write_text("secret\n")
    tables: dict[str, dict[str, Any]] = {
        "engine": {"yield_every_ms": 0, "shm": str(place / "segment"), "stamps": wish.stamps},
        "feed": {"address": "127.0.0.1", "port": ports[0], "receive_buffer": 64 << 20},
        "exchange": {"address": "127.0.0.1", "port": ports[1], "username": "trader", "password_file": str(password)},
        "strategy": {"name": wish.strategy, "symbol": SYMBOL, "size": 1},
        "risk": {"max_size": 10, "max_orders_per_second": 10_000_000, "max_notional": 1e12, "collar": 0.5,
                 "max_position": 1_000_000_000, "max_open_orders": 60_000, "max_tick_age_us": 60_000_000,
                 "max_orders_per_day": 1_000_000_000, "max_loss": 1e12, "max_drawdown": 1e12},
        "journal": {"directory": str(place), "ring": 1 << 20},
    }  # fmt: skip
    lines = []
    for name, table in tables.items():  # JSON's strings, numbers and booleans are TOML's
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    config = place / "agent.toml"
    config.write_text("\n".join(lines) + "\n")
    return [sys.executable, "-P", *_PROGRAM, str(cpu), str(place / "own"), str(config)]


@contextlib.contextmanager
def _start(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Yields the engine, ready; it is ended at the latest at the end. Raises EngineError."""
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            assert child.stdout
            if not select.select([child.stdout], [], [], STARTS)[0] or not child.stdout.readline():
                child.kill()
                said.seek(0)
                words = said.read()[-2000:].strip().splitlines()
                raise EngineError(f"agent run did not start: {words[-1] if words else 'it said nothing'}")
            yield child
        finally:
            child.kill()
            child.communicate()


def _end(child: "subprocess.Popen[str]") -> None:
    try:
        child.communicate(timeout=ENDS)
    except subprocess.TimeoutExpired:
        raise EngineError(f"agent run did not end within {ENDS:g} s") from None


@contextlib.contextmanager
def _pinned(cpu: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _read_samples(path: Path) -> list[tuple[int, int]]:
    """Returns when each tick was sent and its order arrived, ns, by tick."""
    import numpy as np

    rows = np.load(path, allow_pickle=False)
    return list(zip(rows["sent_ns"].tolist(), rows["arrived_ns"].tolist(), strict=True))


def _read_own(path: Path, code: int) -> tuple[list[tuple[int, int]], int]:
    """Returns what the engine's process has written of itself at its end. Raises EngineError."""
    try:
        pauses, rss = json.loads(path.read_text())
    except (OSError, ValueError):
        raise EngineError(f"agent run ended with {code}, and did not say how much memory it held") from None
    return pauses, rss


def _find_memory() -> str | None:
    """Returns a directory in memory for the journal: its flush to a disk would take the simulator's CPU."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
