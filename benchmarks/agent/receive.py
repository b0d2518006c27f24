"""Receiving: `agent run` on an ITCH feed, every message decoded, applied to its book and given to a strategy that sends
no orders, against a C program that only counts datagrams (recvmmsg(32)). Both spin on the same CPU, by turns, the other
one stopped; the sender, in C and the same for both, has the other CPU. One message of 19 to 36 bytes to a datagram (41
to 58 of payload).

- flood: the sender does not pace itself. Counted until the last datagram is handled; mostly the sender is the limit.
- queued: the receiver is stopped, the datagrams wait in its socket's buffer, it is continued: what it can do at most.
  Ours does all of its work with each meanwhile, and C none, so no ratio is promised here.
- half the flood's rate; and a million messages a second, ten to a datagram: the sender paces itself.
- orders: the exchange simulator sends quotes, the engine answers each with an order, and reads that it was accepted and
  executed. Counted from the first quote until, at the latest, the last order's answer was read.

The buffers are large enough for all of a flood, so one that falls behind is slower, not lossy. Anything lost or doubled
is an error, not a number. What is promised in absolute numbers is offered at MARGIN above.
"""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from agent.exchange import feed
from agent.exchange import simulator as exchange
from agent.shm import segment as shm
from benchmarks.agent import drive, machine
from benchmarks.agent.drive import Count, Engine
from benchmarks.agent.sample import BenchError, Sample

PACKETS = 50_000
SLICES = 5
#: Bytes of receive buffer asked for; the kernel gives twice that, and counts 768 a datagram.
BUFFER = 64 << 20
PACED = 3.0
MESSAGES = 1_000_000.0
PER_DATAGRAM = 10
MESSAGES_FOR = 2.0
ORDERS = 50_000.0
ORDERS_FOR = 1.0
MARGIN = 1.02

SESSION = "0000000001"


class Sent(msgspec.Struct, frozen=True):
    """What the sender says: CLOCK_MONOTONIC ns, and how late, at most, it was."""

    begun: int
    ended: int
    late: int


def send(sender: Path, cpu: int, port: int, first: int, packets: int, per_datagram: int = 1, rate: float = 0) -> Sent:
    """Run reference/sender.c. Raises BenchError."""
    command = [sender, port, cpu, SESSION, first, packets, per_datagram, rate]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    if run.returncode:
        raise BenchError(f"sender ended with {run.returncode}")
    return Sent(*(int(n) for n in run.stdout.split()))


class Side:
    """A receiver: its process, its port, how many datagrams of one message it has handled."""

    def __init__(self, pid: int, port: int, handled: Count, sender: Path, cpu: int) -> None:
        self.pid, self.port, self.handled = pid, port, handled
        self._sender, self._cpu = sender, cpu
        self._next = handled.value + 1
        self.stop()

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _send(self, packets: int, per_datagram: int = 1, rate: float = 0) -> tuple[Sent, int]:
        """Send the next so many; (what the sender says, the count to reach)."""
        sent = send(self._sender, self._cpu, self.port, self._next, packets, per_datagram, rate)
        self._next += packets * per_datagram
        return sent, self._next - 1

    def offered(self, packets: int, per_datagram: int = 1, rate: float = 0) -> tuple[float, float]:
        """Messages a second that it handled, and that were sent. Raises BenchError when some were lost."""
        self.go()
        sent, last = self._send(packets, per_datagram, rate)
        ended = max(sent.ended, self.handled.reach(last))
        self.stop()
        messages = packets * per_datagram
        return 1e9 * messages / (ended - sent.begun), 1e9 * messages / (sent.ended - sent.begun)

    def queued(self, packets: int) -> float:
        """Datagrams a second, from a full buffer."""
        _, last = self._send(packets)
        begun = time.monotonic_ns()
        self.go()
        ended = self.handled.reach(last)
        self.stop()
        return 1e9 * packets / (ended - begun)


@contextlib.contextmanager
def receiver(program: Path, place: Path, sender: Path, own: int, other: int) -> Iterator[Side]:
    """reference/receiver.c, stopped."""
    port, count = drive.free_port(socket.SOCK_DGRAM), place / "count"
    count.write_bytes(bytes(8))
    with drive.program([str(program), str(port), str(other), str(BUFFER), str(count)]) as child:
        yield Side(child.pid, port, Count(count), sender, own)


@contextlib.contextmanager
def engine(place: Path, cpu: int, receive_buffer: int) -> Iterator[tuple[Engine, int]]:
    """`agent run` on an ITCH feed, logged in to an exchange; with it its feed's port."""
    port = drive.free_port(socket.SOCK_DGRAM)
    with drive.exchange() as exchange_port:
        tables: drive.Tables = {
            "feed": {"address": "127.0.0.1", "port": port, "format": "itch", "receive_buffer": receive_buffer},
            "exchange": {"address": "127.0.0.1", "port": exchange_port, "username": "trader"},
            "strategy": {"name": "ema_cross", "symbol": "AAPL", "size": 1},
            "risk": {"max_size": 10, "max_orders_per_second": 1000},
        }
        with drive.engine(place, cpu, tables) as running:
            running.connected()
            yield running, port


def nothing_lost(counters: dict[str, int], datagrams: int, messages: int) -> None:
    """Raises BenchError unless an engine's counters say that all came, once, in order, and each fit its book."""
    found = {name: counters[name] for name in ("datagrams", "messages", "itch", "events")}
    wanted = {"datagrams": datagrams, "messages": messages, "itch": messages, "events": messages}
    for name in (
        "lost",
        "gaps",
        "duplicates",
        "kernel_drops",
        "malformed_datagram",
        "book_inconsistent",
        "orders_wanted",
    ):
        found[name], wanted[name] = counters[name], 0
    if found != wanted:
        wrong = [f"{name} {found[name]}, not {n}" for name, n in wanted.items() if found[name] != n]
        raise BenchError(f"the engine counted {', '.join(wrong)}")


def packets(directory: Path, own: int, other: int) -> list[Sample]:
    """One round of all that is about datagrams."""
    sender, counts = directory / "sender", directory / "receiver"
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as name:
        place = Path(name)
        with (
            receiver(counts, place, sender, own, other) as floor,
            engine(place, other, BUFFER) as (running, port),
        ):
            ours = Side(running.child.pid, port, running.messages, sender, own)
            floods: list[tuple[float, float]] = []
            queues: list[tuple[float, float]] = []
            for _ in range(SLICES + 1):
                floods.append((ours.offered(PACKETS)[0], floor.offered(PACKETS)[0]))
                queues.append((ours.queued(PACKETS), floor.queued(PACKETS)))
            # The first turn warms up.
            flood, floor_flood = (statistics.median(column) for column in zip(*floods[1:], strict=True))
            queued, floor_queued = (statistics.median(column) for column in zip(*queues[1:], strict=True))
            half = floor_flood / 2
            floor_half, _ = floor.offered(int(half * PACED), 1, half)
            paced, _ = ours.offered(int(half * PACED), 1, half)
            datagrams = int(MESSAGES * MARGIN * MESSAGES_FOR / PER_DATAGRAM)
            million, _ = ours.offered(datagrams, PER_DATAGRAM, MESSAGES * MARGIN / PER_DATAGRAM)
            ours.go()
            time.sleep(0.02)  # its counters of the feed are written every 5 ms
            singles = 2 * (SLICES + 1) * PACKETS + int(half * PACED)
            nothing_lost(running.counters(), singles + datagrams, singles + datagrams * PER_DATAGRAM)
    counting = "C, recvmmsg and count"
    return [
        Sample(metric="flood", unit="1/s", ours=flood, reference=floor_flood, reference_name=counting,
               better="higher", bar=0.95),
        Sample(metric="queued", unit="1/s", ours=queued, reference=floor_queued, reference_name=counting,
               better="higher"),
        Sample(metric=f"half the flood, {PACED:g} s", unit="1/s", ours=paced, reference=floor_half,
               reference_name=counting, better="higher", bar=0.99),
        Sample(metric=f"messages, {PER_DATAGRAM} to a datagram", unit="1/s", ours=million, reference=MESSAGES,
               reference_name="limit", better="higher", bar=1.0),
    ]  # fmt: skip


def quotes(directory: Path, count: int) -> feed.Feed:
    """So many quotes of one symbol, with enough on both sides for an order each; the price stays, so that an order that
    meets a later quote than its own is executed too."""
    lines = [
        f'{i} {{"stream":"btcusdt@bookTicker","data":{{"u":{i + 1},"s":"BTCUSDT","b":"60000.00000000","B":"9.00000000",'
        f'"a":"60000.01000000","A":"9.00000000"}}}}\n'
        for i in range(count)
    ]
    path = directory / "quotes"
    path.write_text("".join(lines))
    return feed.recording(path)


def orders(ticks: feed.Feed, other: int) -> Sample:
    """Orders a second that were accepted, one for each quote. Raises BenchError when one was lost or doubled."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as name:
        place = Path(name)
        ports = drive.free_port(socket.SOCK_DGRAM), drive.free_port(socket.SOCK_STREAM)
        tables: drive.Tables = {
            "feed": {"address": "127.0.0.1", "port": ports[0]},
            "exchange": {"address": "127.0.0.1", "port": ports[1], "username": "trader"},
            "strategy": {"name": "every_tick", "symbol": "BTCUSDT", "size": 1},
            "risk": {"max_size": 10, "max_orders_per_second": 10_000_000},
            # Room for the whole run: where there are two CPUs the journal's writer shares the simulator's.
            "journal": {"ring": 4 * len(ticks)},
        }
        with drive.engine(place, other, tables, once=True) as running:
            plan = exchange.Plan(
                feed=ticks, due=exchange.schedule(ticks, ORDERS * MARGIN, None), pacing="",
                feed_to=("127.0.0.1", ports[0]), listen=("127.0.0.1", ports[1]), linger=0.2, login=20.0, timeout=60.0,
                agent_shm=running.segment, samples=place / "samples",
            )  # fmt: skip
            try:
                report = exchange.run(plan)
            except exchange.ExchangeError as error:
                raise BenchError(str(error)) from None
            # Also the executions, which come behind the acceptances.
            running.count("executed").reach(len(ticks))
            answered = shm.read(running.segment)
        samples = np.load(place / "samples")
    n = len(ticks)
    counts = report["orders"]
    found = {key: counts[key] for key in ("orders", "matched", "acknowledged", "executions")}
    found |= {key: answered.counters[key] for key in ("orders_sent", "accepted", "executed")}
    if not report["ok"] or set(found.values()) != {n}:
        raise BenchError(f"{n} quotes: {found}; {'; '.join(report['problems'])}")
    took = samples["arrived_ns"][-1] + answered.histograms["order_ack"].max - samples["sent_ns"][0]
    return Sample(metric="orders accepted", unit="1/s", ours=1e9 * n / float(took), reference=ORDERS,
                  reference_name="limit", better="higher", bar=1.0)  # fmt: skip


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: the C receiver, then the engine, then orders."""
    own, other = machine.two_cpus()
    machine.build("sender", directory)
    machine.build("receiver", directory)
    ticks = quotes(directory, int(ORDERS * MARGIN * ORDERS_FOR))
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own})
    try:
        while True:
            yield [*packets(directory, own, other), orders(ticks, other)]
    finally:
        os.sched_setaffinity(0, everywhere)
