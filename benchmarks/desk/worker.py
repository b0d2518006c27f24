"""The geospatial example: 100,000 events a second from a topic to a topic, and what the computing in it takes.

Events, Protobuf messages desk.v1.GeoEvent, come from librdkafka's mock broker, at a steady rate. `desk ingest` decodes
them into the records of a ring; `desk worker` computes great-circle distances, and sends them to another topic, many in
a message. The CPU time of these two processes counts, their clients' threads included; the broker and what sends the
events are processes of their own. A round in which not every event became a result that the broker acknowledged, or
which took over a tenth longer than the rate asks for, counts for nothing.

Beside it, in memory: decoding and distances a thousand at a time, in each language; and an event at a time in plain
Python, by upb's class and `math`.
"""

import importlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import find_command
from benchmarks.agent.sample import BenchError, Sample, limit
from desk import counters, worker
from desk.codec import Decoder, read_own_schema
from hosttune.host.load import read_cpu_time

RATE, SECONDS = 100_000, 2.0
#: Events sent before a round, which do not count.
WARM = 20_000
COUNT, PASSES = 1000, 60
FIELDS = ["seq", "id", "latitude", "longitude", "stamp"]
PLACE, RADIUS = (51.5, -0.12), 1000.0
#: Share of the rate's time that a round may take longer.
LATE = 0.1

_CONFIG = """[kafka]
servers = "{servers}"
[[ingest.topics]]
name = "events"
incarnation = "1"
ring = "{directory}/events"
records = {{ message = "desk.v1.GeoEvent", fields = ["id", "latitude", "longitude", "stamp"] }}
[worker.bench]
module = "geo_cython"
input = "{directory}/events"
output = "{directory}/distances"
parameters = [51.5, -0.12, 1000.0]
wait_us = 1000
[worker.bench.topic]
name = "distances"
message = "desk.v1.GeoDistances"
fields = ["seq", "id", "stamp", "distance"]
"""


def load_class() -> Any:
    """Returns upb's class of the events."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(read_own_schema()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("desk.v1.GeoEvent"))


def make_events(kind: Any) -> list[bytes]:
    """Returns messages of places that are spread over the earth."""
    chance = random.Random(1)
    return [
        kind(seq=1_000_000 + n, id=n, latitude=chance.uniform(-90, 90), longitude=chance.uniform(-180, 180),
             stamp=1_800_000_000 * 10**9 + n).SerializeToString()
        for n in range(COUNT)
    ]  # fmt: skip


def compute_plainly(kind: Any, messages: list[bytes]) -> list[float]:
    """Returns the distances, an event at a time."""
    found = []
    parse, sin, radians = kind.FromString, math.sin, math.radians
    latitude, longitude = map(radians, PLACE)
    cosine = math.cos(latitude)
    for message in messages:
        event = parse(message)
        other = radians(event.latitude)
        north, east = sin((other - latitude) / 2), sin((radians(event.longitude) - longitude) / 2)
        h = north * north + cosine * math.cos(other) * east * east
        found.append(2 * 6371.0088 * math.asin(math.sqrt(min(1.0, h))))
    return found


def best(function: Callable[[], Any]) -> float:
    """Returns the fastest pass, ns an event."""
    found = float("inf")
    for _ in range(PASSES):
        begun = time.perf_counter_ns()
        function()
        found = min(found, (time.perf_counter_ns() - begun) / COUNT)
    return found


def send(servers: str) -> None:
    """Read how many events to send from the standard input, a line each time, and send them at RATE; answer with the
    seconds that it took."""
    from desk.kafka.producer import make_producer
    from desk.settings.kafka import Kafka

    messages = make_events(load_class())
    producer = make_producer(Kafka(servers=servers, librdkafka={"linger.ms": 2}))
    for line in sys.stdin:
        count, sent, begun = int(line), 0, time.monotonic()
        while sent < count:
            due = min(count, int((time.monotonic() - begun) * RATE)) - sent
            rows = [{"value": messages[(sent + n) % COUNT]} for n in range(min(due, COUNT))]
            sent += producer.produce_batch("events", rows) if rows else 0
            producer.poll(0)
            time.sleep(0.001)
        producer.flush(30)
        print(time.monotonic() - begun, flush=True)


class Stage:
    """The broker and the processes. Raises BenchError when one of them ends, or does not answer."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        mock = importlib.import_module("tests.unit.desk.mock_kafka")
        self.cluster = stack.enter_context(mock.run_mock_kafka())
        for name in ("events", "distances"):
            self.cluster.create_topic(name)
        self.directory = directory
        (directory / "desk.toml").write_text(_CONFIG.format(servers=self.cluster.servers, directory=directory))
        environment = os.environ | {"RUNTIME_DIRECTORY": str(directory), "CACHE_DIRECTORY": str(directory)}

        def start(*words: str, **more: Any) -> subprocess.Popen[str]:
            process = subprocess.Popen(words, text=True, env=environment, **more)
            stack.callback(process.wait, 10)
            stack.callback(process.send_signal, signal.SIGKILL)
            return process

        desk = (sys.executable, "-P", "-m", "desk")
        self.ingest = start(*desk, "ingest", str(directory / "desk.toml"))
        until = time.monotonic() + 30
        while not (directory / "events").exists():
            if time.monotonic() > until or self.ingest.poll() is not None:
                raise BenchError("worker: desk ingest makes no ring")
            time.sleep(0.02)
        self.worker = start(*desk, "worker", str(directory / "desk.toml"))
        sender = find_command("benchmarks.desk.worker", self.cluster.servers)
        self.sender = start(*sender, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.sent = 0

    def send(self, count: int) -> float:
        """Returns the seconds until the broker had acknowledged all results of so many events."""
        assert self.sender.stdin and self.sender.stdout
        begun = time.monotonic()
        print(count, file=self.sender.stdin, flush=True)
        if not self.sender.stdout.readline():
            raise BenchError("worker: what sends the events has ended")
        self.sent += count
        until = time.monotonic() + 30
        while self.count() < self.sent:
            if time.monotonic() > until or self.worker.poll() is not None or self.ingest.poll() is not None:
                raise BenchError(f"worker: {self.count()} results of {self.sent} events")
            time.sleep(0.02)
        return time.monotonic() - begun

    def count(self) -> float:
        """Returns how many results the broker has acknowledged."""
        try:
            return counters.read(self.directory / "worker.bench.counters").numbers.get("acknowledged", 0)
        except counters.CountersError:
            return 0

    def read_cpu(self) -> tuple[float, float]:
        """Returns the CPU seconds of ingest and worker. Raises BenchError where one has ended."""
        found = [read_cpu_time(process.pid) for process in (self.ingest, self.worker)]
        if found[0] is None or found[1] is None:
            raise BenchError("worker: a process has ended")
        return found[0], found[1]


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: the events through all processes; then in memory, plain Python and the languages by turns."""
    kind = load_class()
    messages = make_events(kind)
    decoder = Decoder(read_own_schema(), "desk.v1.GeoEvent", FIELDS)
    plain = compute_plainly(kind, messages)
    tables = {name: worker.prepare(worker.load(name), [*PLACE, RADIUS]) for name in worker.built_in()}
    while True:
        samples = _measure_all(directory / "worker")
        reference = best(lambda: compute_plainly(kind, messages))
        for name, one in tables.items():
            ours = best(partial(_compute, decoder, one, messages))
            samples.append(Sample(metric=f"decode and distance, {name}", unit="ns", ours=ours, reference=reference,
                                  reference_name="upb and math, Python", bar=0.05))  # fmt: skip
            _check(_compute(decoder, one, messages), plain)
        yield samples


def _measure_all(place: Path) -> list[Sample]:
    """Returns what the events through all processes take. The processes have ended then: their CPU time is known."""
    with ExitStack() as stack:
        place.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, place)
        stage = Stage(stack, place)
        stage.send(WARM)
        before = stage.read_cpu()
        took = stage.send(int(RATE * SECONDS))
        if took > SECONDS * (1 + LATE) + 1:  # the counters' interval, twice
            raise BenchError(f"worker: {RATE * SECONDS:,.0f} events took {took:.2f} s, at a rate for {SECONDS:g} s")
        used = [end - begin for begin, end in zip(before, stage.read_cpu(), strict=True)]
    return [
        limit(f"CPU at {RATE:,} events/s", "% of a core", 100 * sum(used) / SECONDS, 25.0),
        Sample(metric="of it, the worker", unit="% of a core", ours=100 * used[1] / SECONDS,
               reference=100 * sum(used) / SECONDS, reference_name="ingest and worker"),
    ]  # fmt: skip


def _compute(decoder: Decoder, prepared: worker.Prepared, messages: list[bytes]) -> Any:
    block, count = decoder.decode_many(messages)
    return prepared.loaded.table.call_work(prepared.state, block, count)


def _check(results: bytes, plain: list[float]) -> None:
    """Raise BenchError unless the results have the distances that plain Python has."""
    found = memoryview(results).cast("d")[3::4].tolist()
    if len(found) != len(plain) or not all(
        math.isclose(*both, rel_tol=1e-9) for both in zip(found, plain, strict=True)
    ):
        raise BenchError("worker: the distances are not those of plain Python")


if __name__ == "__main__":
    send(sys.argv[1])
