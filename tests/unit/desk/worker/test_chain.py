"""From a topic to a topic: `desk ingest`, a ring, `desk worker`, killed by turns; and messages of another schema."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desk import counters
from desk.codec import read_own_schema
from desk.kafka.producer import make_producer
from desk.settings.kafka import Kafka

from ..codec import schemas
from ..mock_kafka import MockKafka
from . import places
from .test_send import FIELDS, LIMIT, PLACE, Topics, drop_doubled

CONFIG = """[kafka]
servers = '{servers}'
[[ingest.topics]]
name = 'events'
incarnation = '1'
ring = '{directory}/in'
records = {{ message = 'desk.v1.GeoEvent', fields = ['id', 'latitude', 'longitude', 'stamp'] }}
[worker.geo]
module = 'geo_cython'
input = '{directory}/in'
output = '{directory}/out'
parameters = [51.5, -0.12, 1000.0]
[worker.geo.topic]
name = 'distances'
message = 'desk.v1.GeoDistance'
fields = {fields}
"""


class Chain:
    """The two processes over one configuration."""

    def __init__(self, directory: Path, tmp_path: Path, servers: str) -> None:
        self.directory, self.config = directory, tmp_path / "desk.toml"
        self.config.write_text(CONFIG.format(servers=servers, directory=directory, fields=FIELDS))
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.producer = make_producer(Kafka(servers=servers))

    def start(self, name: str) -> None:
        command = [sys.executable, "-P", "-m", "desk", name, str(self.config)]
        self.running[name] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        if name == "ingest":
            limit = time.monotonic() + LIMIT
            while not (self.directory / "in").exists():
                assert time.monotonic() < limit and self.running[name].poll() is None
                time.sleep(0.01)

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].communicate(timeout=10)
        assert self.running.pop(name).returncode == -signal.SIGKILL

    def send(self, values: list[bytes]) -> None:
        for value in values:
            self.producer.produce("events", value, partition=0)
        assert self.producer.flush(LIMIT) == 0

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
            process.communicate(timeout=10)


@pytest.fixture
def chain(mock: MockKafka, directory: Path, tmp_path: Path) -> Iterator[Chain]:
    mock.create_topic("events")
    mock.create_topic("distances")
    found = Chain(directory, tmp_path, mock.servers)
    yield found
    found.end()


def encode(events: list[places.Event]) -> list[bytes]:
    """Returns messages whose sequence is none: that of a record is the offset + 1."""
    kind: Any = schemas.load_class(read_own_schema(), "desk.v1.GeoEvent")
    return [kind(id=e[1], latitude=e[2], longitude=e[3], stamp=e[4]).SerializeToString() for e in events]


def test_processes_that_are_killed_lose_nothing_between_two_topics(mock: MockKafka, chain: Chain) -> None:
    topic, sent = Topics(mock.servers), 0
    for name in ("ingest", "worker"):
        chain.start(name)
    for turn in range(10):
        chain.send(encode(places.make_events(sent + 1, 400)))
        sent += 400
        name = ("ingest", "worker")[turn % 2]
        topic.take(lambda found, wanted=sent - 390 + 35 * turn: bool(found) and int(found[-1][0]) >= wanted)  # type: ignore[misc]
        chain.kill(name)
        chain.start(name)
    found = topic.take(lambda found: bool(found) and int(found[-1][0]) == sent)
    assert drop_doubled(found) == places.give_results(places.make_events(1, sent), PLACE)
    topic.consumer.close()


def test_messages_of_another_schema_are_counted_and_the_others_go_on(mock: MockKafka, chain: Chain) -> None:
    topic = Topics(mock.servers)
    for name in ("ingest", "worker"):
        chain.start(name)
    old = encode(places.make_events(1, 100))
    newer = [value + b"\x9a\x06\x03new" for value in encode(places.make_events(101, 100))]
    # The latitude is a string now: what has no latitude is at 0 degrees, by Protobuf's rules. And no message at all.
    broken = [b"\x1a\x0251", b"\x1a\x09", b"\xff"]
    last = encode(places.make_events(204, 100))
    chain.send([*old, *newer, *broken, *last])
    found = topic.take(lambda found: bool(found) and int(found[-1][0]) == 303)
    assert [int(key) for key, _ in found] == [*range(1, 202), *range(204, 304)]
    limit = time.monotonic() + LIMIT
    wanted = {"refused[events-0]": 2, "unknown_fields[events-0]": 100, "mistyped_fields[events-0]": 2}
    while wanted.items() - (numbers := counters.read(chain.directory / "ingest.counters").numbers).items():
        assert time.monotonic() < limit, numbers
        time.sleep(0.05)
    events = [*places.make_events(1, 200), (201, 0, 0.0, 0.0, 0), *places.make_events(204, 100)]
    assert drop_doubled(found) == places.give_results(events, PLACE)
    topic.consumer.close()
