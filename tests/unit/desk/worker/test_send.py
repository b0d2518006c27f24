"""Results to a topic: by `desk worker` as a process that is killed, and brokers that are down, frozen, or refuse."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from agent.shm.ring import Ring
from desk import counters
from desk.codec import Decoder, read_own_schema
from desk.errors import DeskError
from desk.kafka.consumer import make_consumer
from desk.settings.kafka import Kafka
from desk.settings.worker import Topic
from desk.worker.send import Sender
from hosttune.host.load import read_cpu_time

from ..codec import schemas
from ..mock_kafka import MockKafka
from . import places

LIMIT = 30.0
PLACE = (51.5, -0.12)
FIELDS = ["seq", "id", "stamp", "distance"]
ONE = Topic(name="distances", message="desk.v1.GeoDistance", fields=FIELDS)
MANY = Topic(name="distances", message="desk.v1.GeoDistances", fields=FIELDS, batch=300)


@pytest.fixture
def topic(mock: MockKafka) -> Iterator["Topics"]:
    """The topic of the results, and what is in it."""
    mock.create_topic("distances")
    found = Topics(mock.servers)
    yield found
    found.consumer.close()


class Topics:
    """Reads the topic from its beginning."""

    def __init__(self, servers: str) -> None:
        self.consumer: Consumer = make_consumer(Kafka(servers=servers))
        self.consumer.assign([TopicPartition("distances", 0, 0)])
        self.found: list[tuple[bytes, bytes]] = []

    def take(self, done: Callable[[list[tuple[bytes, bytes]]], bool]) -> list[tuple[bytes, bytes]]:
        """Returns keys and values, once `done` of them is true."""
        limit = time.monotonic() + LIMIT
        while not done(self.found):
            assert time.monotonic() < limit, f"{len(self.found)} messages"
            first = self.consumer.poll(0.05)
            for message in [first, *self.consumer.consume(1000, 0)] if first is not None else []:
                if message.error() is None:
                    self.found.append((message.key() or b"", message.value() or b""))
        return self.found


def make_results(first: int, count: int) -> bytes:
    return places.give_results(places.make_events(first, count), PLACE)


def drop_doubled(messages: list[tuple[bytes, bytes]]) -> bytes:
    """Returns the records of messages of one result each, without those that are not behind the highest key."""
    highest, kept = 0, []
    for key, value in messages:
        if int(key) > highest:
            highest = int(key)
            kept.append(value)
    block, count = Decoder(read_own_schema(), "desk.v1.GeoDistance", FIELDS).decode_many(kept)
    assert count == len(kept)
    return block


class Stage:
    """A ring of results with its writer, and a sender in this process."""

    def __init__(self, directory: Path, servers: str, topic: Topic, capacity: int = 1 << 16) -> None:
        self.writer = Ring.create(directory / "out", capacity, places.RESULT.size)
        self.sender = Sender(Kafka(servers=servers), topic, Ring.attach(directory / "out", "reader"))

    def run(self, done: Callable[[], bool], longest: float = 2.0) -> None:
        """Step until `done`; no step may take `longest` seconds: one that waits for a message waits for ever."""
        limit = time.monotonic() + LIMIT
        while not done():
            begun = time.monotonic()
            self.sender.step()
            assert time.monotonic() - begun < longest, "a step waited"
            assert time.monotonic() < limit, self.sender.acknowledged
            time.sleep(0.001)


def test_each_result_is_a_message_with_its_sequence_as_the_key(mock: MockKafka, topic: Topics, directory: Path) -> None:
    stage = Stage(directory, mock.servers, ONE)
    block = make_results(1, 1500)
    assert stage.writer.push_block(block) == 1500
    stage.run(lambda: stage.sender.acknowledged == 1500)
    found = topic.take(lambda messages: len(messages) == 1500)
    assert [key for key, _ in found] == [b"%d" % n for n in range(1, 1501)]
    assert drop_doubled(found) == block
    assert stage.writer.used == 0
    sender = stage.sender
    assert (sender.sent, sender.acknowledged, sender.in_flight, sender.failures) == (1500, 1500, 0, 0)


def test_many_results_are_one_message(mock: MockKafka, topic: Topics, directory: Path) -> None:
    stage = Stage(directory, mock.servers, MANY)
    sent = [make_results(1 + n * 700, 700) for n in range(5)]  # beyond the ring's end, too
    for block in sent:
        stage.run(lambda block=block: bool(stage.writer.push_block(block)))  # type: ignore[misc]
        stage.run(lambda: stage.writer.used == 0)
    kind: Any = schemas.load_class(read_own_schema(), "desk.v1.GeoDistances")
    found = topic.take(lambda messages: bool(messages) and int(messages[-1][0]) > 3100)
    rows = [each for _, value in found for each in kind.FromString(value).distances]
    assert [int(key) for key, _ in found] == [kind.FromString(value).distances[0].seq for _, value in found]
    assert len(found) < 40 and len(rows) == 3500
    assert b"".join(places.RESULT.pack(r.seq, r.id, r.stamp, r.distance) for r in rows) == b"".join(sent)


def test_a_result_without_a_message_goes_as_it_is(mock: MockKafka, topic: Topics, directory: Path) -> None:
    stage = Stage(directory, mock.servers, Topic(name="distances"))
    block = make_results(1, 100)
    stage.writer.push_block(block)
    stage.run(lambda: stage.writer.used == 0)
    assert b"".join(value for _, value in topic.take(lambda messages: len(messages) == 100)) == block


FAULTS: dict[str, tuple[Callable[[MockKafka], None], Callable[[MockKafka], None]]] = {
    "down": (MockKafka.set_down, MockKafka.set_up),
    "frozen": (MockKafka.freeze, MockKafka.thaw),
    "slow": (lambda mock: mock.set_delay(100), lambda mock: mock.set_delay(0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_results_wait_for_the_broker_and_none_is_lost(
    fault: str, mock: MockKafka, topic: Topics, directory: Path
) -> None:
    stage = Stage(directory, mock.servers, ONE)
    begin, end = FAULTS[fault]
    stage.writer.push_block(make_results(1, 100))
    stage.run(lambda: stage.writer.used == 0)
    begin(mock)
    pushed, until = 100, time.monotonic() + 1.5
    while time.monotonic() < until:
        block = make_results(pushed + 1, 100)
        pushed += stage.writer.push_block(block)
        stage.run(lambda: True)
        stage.sender.step()
        time.sleep(0.002)
    if fault != "slow":
        assert stage.writer.used == 1 << 16, "the ring is full, and nothing was dropped"
    end(mock)
    stage.run(lambda: stage.writer.used == 0)
    found = topic.take(lambda messages: bool(messages) and int(messages[-1][0]) == pushed)
    assert drop_doubled(found) == make_results(1, pushed)


#: MESSAGE_TOO_LARGE, TOPIC_AUTHORIZATION_FAILED: nothing that a client tries again by itself.
@pytest.mark.parametrize("code", [10, 29])
def test_what_a_broker_refuses_is_sent_again(code: int, mock: MockKafka, topic: Topics, directory: Path) -> None:
    stage = Stage(directory, mock.servers, ONE)
    mock.push_errors(0, code, code)
    stage.writer.push_block(make_results(1, 500))
    stage.run(lambda: stage.sender.failures > 0, 3.0)
    assert stage.sender.problem
    stage.run(lambda: stage.writer.used == 0, 3.0)
    assert stage.sender.problem == ""
    found = topic.take(lambda messages: bool(messages) and int(messages[-1][0]) == 500)
    assert drop_doubled(found) == make_results(1, 500)


def test_no_more_than_in_flight_waits_for_an_answer(mock: MockKafka, topic: Topics, directory: Path) -> None:
    wanted = Topic(name="distances", message="desk.v1.GeoDistance", fields=FIELDS, in_flight=64)
    stage = Stage(directory, mock.servers, wanted)
    mock.set_down()
    stage.writer.push_block(make_results(1, 1000))
    for _ in range(100):
        stage.sender.step()
        assert stage.sender.in_flight <= 64
    mock.set_up()
    stage.run(lambda: stage.writer.used == 0)
    assert drop_doubled(topic.take(lambda messages: len(messages) >= 1000)) == make_results(1, 1000)


WRONG = [
    ({"message": "desk.v1.None", "fields": ["seq"]}, "message: found 'desk.v1.None', allowed: .*desk.v1.GeoDistance"),
    (
        {"message": "desk.v1.GeoDistance", "fields": ["seq"]},
        "topic.fields: found 1, of 8 bytes each, allowed: those of a",
    ),
    ({"message": "desk.v1.GeoDistance", "fields": ["seq", "id", "x", "y"]}, "found 'x', allowed: seq, id, stamp"),
    ({"message": "a.B", "fields": ["c"], "descriptor_set": "/none"}, "descriptor_set: /none: No such file"),
    ({"message": "a.B", "fields": ["c"], "descriptor_set": "FIFO"}, "descriptor_set: /.*fifo: found a FIFO"),
]


@pytest.mark.parametrize(("more", "wanted"), WRONG)
def test_a_message_that_a_result_cannot_be_is_refused(more: dict[str, Any], wanted: str, directory: Path) -> None:
    Ring.create(directory / "out", 4096, places.RESULT.size).close()
    os.mkfifo(directory / "fifo")
    if more.get("descriptor_set") == "FIFO":
        more = {**more, "descriptor_set": str(directory / "fifo")}
    with pytest.raises(DeskError, match=wanted):
        Sender(Kafka(servers="localhost:1"), Topic(name="t", **more), Ring.attach(directory / "out", "reader"))


def start(directory: Path, tmp_path: Path, servers: str, capacity: int = 1 << 16) -> subprocess.Popen[str]:
    (tmp_path / "desk.toml").write_text(
        f"[kafka]\nservers = '{servers}'\n"
        f"[worker.geo]\nmodule = 'geo_cython'\ninput = '{directory}/in'\noutput = '{directory}/out'\n"
        f"parameters = [51.5, -0.12, 1000.0]\ncapacity = {capacity}\n"
        f"[worker.geo.topic]\nname = 'distances'\nmessage = 'desk.v1.GeoDistance'\nfields = {FIELDS}\n"
    )
    command = [sys.executable, "-P", "-m", "desk", "worker", str(tmp_path / "desk.toml")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)


def test_a_worker_that_is_killed_loses_no_result(
    mock: MockKafka, topic: Topics, directory: Path, tmp_path: Path
) -> None:
    sent = 0
    with Ring.create(directory / "in", 1 << 18, places.RECORD.size) as ring:
        for kill in range(10):
            process = start(directory, tmp_path, mock.servers)
            assert ring.push_block(places.pack(places.make_events(sent + 1, 400))) == 400
            sent += 400
            topic.take(lambda found, wanted=sent - 380 + 30 * kill: bool(found) and int(found[-1][0]) >= wanted)  # type: ignore[misc]
            process.kill()
            process.communicate(timeout=10)
            assert process.returncode == -signal.SIGKILL
        process = start(directory, tmp_path, mock.servers)
        found = topic.take(lambda found: int(found[-1][0]) == sent)
        assert drop_doubled(found) == make_results(1, sent)
        limit = time.monotonic() + LIMIT
        while (
            (said := counters.read(directory / "worker.geo.counters")).pid != process.pid
            or said.numbers["output_bytes"]
            or said.numbers["acknowledged"] != said.numbers["sent"]
        ):
            assert time.monotonic() < limit, said
            time.sleep(0.05)
        assert said.texts == {"module": "geo_cython", "topic": "distances", "problem": ""}
        process.terminate()
        assert process.communicate(timeout=10)[1] == "" and process.returncode == 0


@pytest.mark.parametrize("fault", ["down", "frozen"])
def test_without_a_broker_the_input_waits_and_the_end_is_soon(
    fault: str, mock: MockKafka, topic: Topics, directory: Path, tmp_path: Path
) -> None:
    FAULTS[fault][0](mock)
    with Ring.create(directory / "in", 1 << 18, places.RECORD.size) as ring:
        process = start(directory, tmp_path, mock.servers, 4096)
        assert ring.push_block(places.pack(places.make_events(1, 1000))) == 1000
        limit = time.monotonic() + LIMIT
        while ring.used != (1000 - 128) * places.RECORD.size:  # the output ring is full
            assert time.monotonic() < limit, ring.used
            time.sleep(0.01)
        time.sleep(0.3)
        said = counters.read(directory / "worker.geo.counters")
        assert said.numbers["acknowledged"] == 0 and said.numbers["waits"] == 1
        begun = time.monotonic()
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0 and time.monotonic() - begun < 5
        assert ring.used == (1000 - 128) * places.RECORD.size
        FAULTS[fault][1](mock)
        process = start(directory, tmp_path, mock.servers, 4096)
        found = topic.take(lambda found: bool(found) and int(found[-1][0]) == 1000)
        assert drop_doubled(found) == make_results(1, 1000)
        process.terminate()
        process.communicate(timeout=20)


def test_results_that_do_not_come_cost_little(mock: MockKafka, topic: Topics, directory: Path, tmp_path: Path) -> None:
    with Ring.create(directory / "in", 1 << 16, places.RECORD.size) as ring:
        process = start(directory, tmp_path, mock.servers)
        assert ring.push_block(places.pack(places.make_events(1, 10))) == 10
        topic.take(lambda found: len(found) == 10)
        time.sleep(0.5)

        before = read_cpu_time(process.pid)
        time.sleep(2)
        after = read_cpu_time(process.pid)
        assert before is not None and after is not None
        assert after - before <= 0.1  # 5 % of a core, clock ticks of 10 ms and librdkafka's threads included
        process.terminate()
        process.communicate(timeout=20)


def test_a_topic_needs_a_ring_and_a_server(directory: Path, tmp_path: Path) -> None:
    from desk import config

    with pytest.raises(config.ConfigError, match="output: missing, and required with a topic"):
        config.parse("[worker.a]\nmodule = 'geo'\ninput = '/a'\n[worker.a.topic]\nname = 't'\n", "desk.toml")
    with Ring.create(directory / "in", 1 << 12, places.RECORD.size):
        process = start(directory, tmp_path, "")
        said = process.communicate(timeout=20)[1]
    assert process.returncode == 2 and "worker geo: kafka.servers: missing" in said and said.count("\n") == 1
