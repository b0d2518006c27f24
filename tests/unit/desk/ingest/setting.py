"""`desk ingest` between a mock broker and rings, and an engine that reads one of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition

from agent.shm.ring import Ring
from desk import counters
from desk.counters import Snapshot
from desk.kafka.consumer import make_consumer
from desk.kafka.producer import make_producer
from desk.settings.kafka import Kafka

from ...agent.stage import Stage

LIMIT = 30.0
TOPIC = "ticks"
QUOTE = b'{"u":%d,"s":"BTCUSDT","b":"100.00000000","B":"1.00000000","a":"100.01000000","A":"2.50000000"}'


def make_quotes(first: int, count: int) -> list[bytes]:
    """Returns quotes whose update ids follow one another."""
    return [QUOTE % (1 + n) for n in range(first, first + count)]


def produce(servers: str, values: Iterable[bytes | None], topic: str = TOPIC, partition: int = 0) -> None:
    """Put records into a partition, and wait until the broker has them."""
    producer = make_producer(Kafka(servers=servers))
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(LIMIT) == 0


def read_end(servers: str, topic: str = TOPIC, partition: int = 0) -> int:
    """Returns how many records the broker has. A producer whose answer was lost sends its records again, of which
    librdkafka's mock cluster, unlike Kafka, keeps those of an idempotent producer twice."""
    consumer = make_consumer(Kafka(servers=servers))
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=LIMIT)[1])
    finally:
        consumer.close()


def read_packets(records: list[bytes]) -> list[tuple[bytes, int, int, bytes]]:
    """Returns session, sequence number, count and the only message of each packet."""
    found = []
    for record in records:
        message = record[22 : 22 + int.from_bytes(record[20:22], "big")]
        found.append((record[:10], int.from_bytes(record[10:18], "big"), int.from_bytes(record[18:20], "big"), message))
    return found


class Ingest:
    """A configuration of its own, and the process started with it; a context manager, behind which it is not there.
    host: words that go before the command, of the host that it runs in."""

    def __init__(self, folder: Path, servers: str, more: str = "", topic: str = "") -> None:
        self.folder, self.ring = folder, folder / "ticks.ring"
        self.host: list[str] = []
        self.runtime = folder / "runtime"
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        self.config = folder / "desk.toml"
        self.config.write_text(f"""
[kafka]
servers = "{servers}"
{more}
[[ingest.topics]]
name = "{TOPIC}"
ring = "{self.ring}"
incarnation = "1"
{topic}
""")
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.is_there():
            self.process.kill()
            self.process.communicate(timeout=LIMIT)

    def set(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text, text
        self.config.write_text(text.replace(old, new, 1))

    def start(self) -> Self:
        self.process = subprocess.Popen(
            [*self.host, sys.executable, "-P", "-m", "desk", "ingest", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"RUNTIME_DIRECTORY": str(self.runtime)},
        )
        until = time.monotonic() + LIMIT
        while not self._is_ready(self.process.pid):
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.02)
        return self

    def _is_ready(self, pid: int) -> bool:
        try:
            return self.say().pid == pid and self.say().state == "runs"
        except counters.CountersError:
            return False

    def is_there(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=LIMIT)

    def end(self, number: int = signal.SIGTERM, limit: float = 12.0) -> tuple[int, str]:
        """Returns the exit code and what the process said."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=LIMIT)
        assert time.monotonic() - begun < limit
        return self.process.returncode, said

    def say(self) -> Snapshot:
        return counters.read(self.runtime / "ingest.counters")

    def number(self, word: str, label: str = f"{TOPIC}-0") -> float:
        try:
            return self.say().numbers.get(f"{word}[{label}]" if label else word, -1)
        except counters.CountersError:
            return -1

    def text(self, word: str, label: str = f"{TOPIC}-0") -> str:
        try:
            return self.say().texts.get(f"{word}[{label}]" if label else word, "")
        except counters.CountersError:
            return ""

    def take(self, count: int, at_once: int = 1000) -> list[tuple[bytes, int, int, bytes]]:
        """Read so many packets with a message from the ring, and leave it."""
        found: list[tuple[bytes, int, int, bytes]] = []
        until = time.monotonic() + LIMIT
        with Ring.attach(self.ring, "reader") as ring:
            while len(found) < count:
                assert time.monotonic() < until, f"{len(found)} of {count} packets came"
                records = ring.peek_many(min(at_once, count - len(found)))
                if not records:
                    time.sleep(0.005)
                found += [packet for packet in read_packets(records) if packet[2] == 1]
                ring.commit(len(records))
        return found


def feed_by_ring(stage: Stage, ring: Path) -> None:
    """Have the stage's agent read its feed from a ring."""
    text = stage.config.read_text()
    assert f"port = {stage.feed}" in text
    text = text.replace('address = "127.0.0.1"       #', "#", 1).replace(f"port = {stage.feed}", f'ring = "{ring}"', 1)
    stage.write(text)


def read_counters(stage: Stage) -> dict[str, int]:
    return dict(stage.stats()["counters"])


class Load:
    """A thread that produces `rate` quotes a second, until it is left."""

    def __init__(self, servers: str, rate: int, first: int = 0) -> None:
        self.count, self._first, self._rate, self._servers = 0, first, rate, servers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(LIMIT)

    def _work(self) -> None:
        producer = make_producer(Kafka(servers=self._servers))
        begun = time.monotonic()
        while not self._over.is_set():
            due = int((time.monotonic() - begun) * self._rate)
            while self.count < due:
                try:
                    producer.produce(TOPIC, QUOTE % (1 + self._first + self.count), partition=0)
                except BufferError:
                    break
                self.count += 1
            producer.poll(0)
            time.sleep(0.005)
        assert producer.flush(LIMIT) == 0
