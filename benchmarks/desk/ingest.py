"""`desk ingest` beside a C program on librdkafka that does the same: CPU time a record, and time to the reader.

Records of 43 bytes in librdkafka's mock broker, one partition for each of the two. Bulk: the process is stopped
(SIGSTOP) while COUNT records are produced; then its CPU time until all are in the ring, its client's threads included.
Latency: records at a steady rate, from the time at which each was due to be sent to the moment at which a process has
it from the ring of `desk ingest`; the C program has no ring between, and takes the time where it would push. The mock
broker answers a fetch when it was asked to at the latest, and not when a record comes: fetch.wait.max.ms is 1. What
produces, what reads the ring, and the broker are processes of their own. Bulk also for quixstreams, which calls a
function for each record, and puts it nowhere.
"""

import functools
import importlib
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from agent.shm.ring import Ring, RingError
from benchmarks import find_command
from benchmarks.agent import machine
from benchmarks.agent.sample import BenchError, Sample
from benchmarks.environments import make_environment

COUNT, WARM = 80_000, 5_000
SECONDS = 2.0
RATES = (10_000, 100_000)
PADDING = b"x" * 35
BUCKETS = 1 << 17
SHARED = struct.Struct(f"={1 + BUCKETS}Q")
LIMIT = 60.0
QUIX, REQUIREMENT = "quixstreams", "quixstreams==3.28.1"

_CONFIG = """[kafka]
servers = "{servers}"
[kafka.librdkafka]
"fetch.wait.max.ms" = 1
[[ingest.topics]]
name = "ours"
ring = "{directory}/ours.ring"
incarnation = "1"
"""


@functools.cache
def _find_quix() -> Path | str:
    """Returns the directory of the programs of quixstreams' environment, or why there is none: asked for once, since an
    attempt to install it takes time."""
    try:
        return make_environment(QUIX, REQUIREMENT)
    except (OSError, subprocess.SubprocessError) as error:
        return f"could not be installed: {error}"


def left_out() -> dict[str, str]:
    """What is missing on this machine, and why."""
    found = _find_quix()
    return {QUIX: found} if isinstance(found, str) else {}


def read_ring(path: Path, shared: mmap.mmap) -> None:
    """Read packets from a ring until the process is killed, and count how late each is."""
    while True:
        try:
            ring = Ring.attach(path, "reader")
            break
        except RingError:
            time.sleep(0.05)
    buckets = memoryview(shared).cast("Q")
    unpack = struct.Struct("=Q").unpack_from
    while True:
        records = ring.peek_many(1000)
        if not records:
            time.sleep(0.00005)
            continue
        now, count = time.time_ns(), 0
        ring.commit(len(records))
        for record in records:
            if len(record) > 30:  # no heartbeat
                buckets[1 + min(max(0, (now - unpack(record, 22)[0]) // 1000), BUCKETS - 1)] += 1
                count += 1
        buckets[0] += count


def send(servers: str) -> None:
    """Read TOPIC COUNT RATE from the standard input, a line each time (rate 0: at once), and answer when the broker has
    them."""
    from desk.kafka.producer import make_producer
    from desk.settings.kafka import Kafka

    producer = make_producer(Kafka(servers=servers, librdkafka={"linger.ms": 0.5}))
    pack = struct.Struct("=Q").pack
    for line in sys.stdin:
        topic, *numbers = line.split()
        count, rate = map(int, numbers)
        sent, begun = 0, time.time_ns()
        while sent < count:
            due = min(count, (time.time_ns() - begun) * rate // 10**9) if rate else min(count, sent + 10_000)
            rows = [{"value": pack(begun + n * 10**9 // (rate or 10**9)) + PADDING} for n in range(sent, due)]
            sent += producer.produce_batch(topic, rows, partition=0) if rows else 0
            producer.poll(0)
            if rate:
                time.sleep(0.0005)
        producer.flush(30)
        print("sent", flush=True)


class Side:
    """One of the two: its process, its topic, and what has come out of it."""

    def __init__(self, topic: str, shared: Path) -> None:
        self.topic, self.got = topic, 0
        shared.write_bytes(bytes(SHARED.size))
        with open(shared, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), SHARED.size)
        self._view = memoryview(self._map).cast("Q")
        self.process: subprocess.Popen[str]

    @property
    def count(self) -> int:
        return self._view[0]

    def read_cpu(self) -> int:
        """Returns the CPU time of the process's threads, ns: proc(5), schedstat."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def wait(self, count: int) -> None:
        until = time.monotonic() + LIMIT
        while self.count < count:
            if time.monotonic() > until or self.process.poll() is not None:
                raise BenchError(f"ingest: {self.topic}: {self.count} of {count} records came")
            time.sleep(0.002)

    def find_median(self, before: list[int]) -> float:
        """Returns the median of the microseconds that have come since."""
        counts = [now - then for now, then in zip(self._view[1:].tolist(), before, strict=True)]
        half, seen = sum(counts) / 2, 0
        for took, count in enumerate(counts):
            seen += count
            if seen >= half:
                return took + 0.5
        raise BenchError("ingest: nothing came")

    def take(self) -> list[int]:
        return self._view[1:].tolist()


class Stage:
    """The broker, the two sides, and what sends."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        mock = importlib.import_module("tests.unit.desk.mock_kafka")
        cluster = stack.enter_context(mock.run_mock_kafka())
        self.ours, self.floor = Side("ours", directory / "ours.shared"), Side("floor", directory / "floor.shared")
        for side in (self.ours, self.floor):
            cluster.create_topic(side.topic)
        (directory / "desk.toml").write_text(_CONFIG.format(servers=cluster.servers, directory=directory))
        environment = os.environ | {"RUNTIME_DIRECTORY": str(directory)}

        def start(*command: str, **more: Any) -> subprocess.Popen[str]:
            process = subprocess.Popen(command, text=True, env=environment, **more)
            stack.callback(process.wait, 10)
            stack.callback(process.send_signal, signal.SIGKILL)
            return process

        here = find_command("benchmarks.desk.ingest")
        self.ours.process = start(sys.executable, "-P", "-m", "desk", "ingest", str(directory / "desk.toml"))
        start(*here, "read", str(directory / "ours.ring"), str(directory / "ours.shared"))
        self.floor.process = start(str(_build(directory)), cluster.servers, "floor", str(directory / "floor.shared"))
        self.quix: Side | None = None
        if isinstance(place := _find_quix(), Path):
            cluster.create_topic(QUIX)
            self.quix = Side(QUIX, directory / "quix.shared")
            program = Path(__file__).with_name("peers") / "quixstreams_ingest.py"
            self.quix.process = start(
                str(place / "python"), str(program), cluster.servers, QUIX, str(directory / "quix.shared")
            )
        self.sender = start(*here, "send", cluster.servers, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, side: Side, count: int, rate: int = 0) -> None:
        assert self.sender.stdin and self.sender.stdout
        print(side.topic, count, rate, file=self.sender.stdin, flush=True)
        if not self.sender.stdout.readline():
            raise BenchError("ingest: what sends has ended")

    def measure_bulk(self, side: Side) -> float:
        """Returns CPU ns a record."""
        before, cpu = side.count, side.read_cpu()
        side.process.send_signal(signal.SIGSTOP)
        try:
            self.send(side, COUNT)
        finally:
            side.process.send_signal(signal.SIGCONT)
        side.wait(before + COUNT)
        return (side.read_cpu() - cpu) / COUNT

    def measure_latency(self, side: Side, rate: int) -> tuple[float, float]:
        """Returns the median of microseconds from sending to reading, and CPU ns a record."""
        count = int(rate * SECONDS)
        self.send(side, count // 4, rate)
        side.wait(side.got + count // 4)
        before, cpu, had = side.take(), side.read_cpu(), side.count
        self.send(side, count, rate)
        side.wait(had + count)
        return side.find_median(before), (side.read_cpu() - cpu) / count


def _build(directory: Path) -> Path:
    import confluent_kafka

    (library,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka-*.so*")
    # What that library needs lies beside it.
    linked = ["-Wl,--no-as-needed", str(library), f"-Wl,-rpath,{library.parent}", "-Wl,--allow-shlib-undefined"]
    return machine.build("consumer", directory, *linked)


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: bulk of one side, then of the other; then each rate."""
    place = directory / "ingest"
    with ExitStack() as stack:
        place.mkdir(mode=0o700, exist_ok=True)
        for path in place.iterdir():
            path.unlink()
        stage = Stage(stack, place)
        for side in filter(None, (stage.ours, stage.floor, stage.quix)):
            stage.send(side, WARM)
            side.wait(WARM)
        turn = 0
        while True:
            sides = (stage.ours, stage.floor) if turn % 2 else (stage.floor, stage.ours)
            turn += 1
            cpu = {side.topic: stage.measure_bulk(side) for side in sides}
            name = "C, librdkafka"
            samples = [Sample(metric="CPU a record, bulk", unit="ns", ours=cpu["ours"], reference=cpu["floor"],
                              reference_name=name, bar=2.0)]  # fmt: skip
            if stage.quix is not None:
                theirs = stage.measure_bulk(stage.quix)
                samples.append(Sample(metric="CPU a record, bulk", unit="ns", ours=cpu["ours"], reference=theirs,
                                      reference_name=QUIX, bar=0.2))  # fmt: skip
            for rate in RATES:
                found = {}
                for side in sides:
                    side.got = side.count
                    found[side.topic] = stage.measure_latency(side, rate)
                for number, metric, unit, bar in ((0, f"p50, sent to read, {rate // 1000} k/s", "us", 1.3),
                                                  (1, f"CPU a record, {rate // 1000} k/s", "ns", None)):  # fmt: skip
                    samples.append(Sample(metric=metric, unit=unit, ours=found["ours"][number],
                                          reference=found["floor"][number], reference_name=name, bar=bar))  # fmt: skip
            yield samples


if __name__ == "__main__":
    if sys.argv[1] == "read":
        with open(sys.argv[3], "r+b") as opened:
            read_ring(Path(sys.argv[2]), mmap.mmap(opened.fileno(), SHARED.size))
    else:
        send(sys.argv[2])
