"""The source "kafka" against librdkafka's mock cluster."""

import time
from pathlib import Path

from desk.kafka.producer import make_producer
from desk.settings.kafka import Kafka

from ..mock_kafka import MockKafka, run_mock_kafka
from .conftest import Start

TEXT = """
import sys
@on(KafkaMessage)
def show(event, bus):
    print(event.topic, event.partition, event.offset, event.key, event.data, flush=True, file=sys.stderr)
"""


def table(cluster: MockKafka, begin: str = "first", topics: str = '"ticks"') -> str:
    source = f'[run.mine]\nkafka = [{{name = "k", topics = [{topics}], begin = "{begin}"}}]\n'
    return f'[kafka]\nservers = "{cluster.servers}"\n{source}'


def produce(cluster: MockKafka, count: int, first: int = 0) -> None:
    producer = make_producer(Kafka(servers=cluster.servers))
    for n in range(first, first + count):
        producer.produce("ticks", value=b"m%d" % n, key=b"k" if n % 2 else None, partition=n % 2)
    assert producer.flush(10) == 0


def test_all_partitions_are_read_from_the_first_message_on(start: Start) -> None:
    with run_mock_kafka() as cluster:
        cluster.create_topic("ticks", 2)
        produce(cluster, 40)
        run = start(TEXT, table(cluster))
        run.wait_for(lambda found: found.numbers.get("source_events[k]") == 40)
        produce(cluster, 10, 40)
        run.wait_for(lambda found: found.numbers["source_events[k]"] == 50)
        code, _, err = run.end()
    assert code == 0, err
    for n in range(50):
        assert f"ticks {n % 2} {n // 2} {b'k' if n % 2 else None} {b'm%d' % n}\n" in err


def test_from_the_end_on_nothing_old_comes(start: Start) -> None:
    with run_mock_kafka() as cluster:
        cluster.create_topic("ticks", 2)
        produce(cluster, 10)
        run = start(TEXT, table(cluster, "end"))
        limit = time.monotonic() + 15
        n = 10
        # Once it has found the ends, it sees what comes behind them.
        while not run.read().numbers.get("source_events[k]"):
            assert time.monotonic() < limit
            produce(cluster, 2, n)
            n += 2
            time.sleep(0.1)
        code, _, err = run.end()
    assert code == 0, err
    assert "b'm0'" not in err
    assert "b'm9'" not in err


def test_brokers_that_are_down_are_named_and_waited_for(start: Start) -> None:
    with run_mock_kafka() as cluster:
        cluster.create_topic("ticks", 2)
        produce(cluster, 4)
        run = start(TEXT, table(cluster))
        run.wait_for(lambda found: found.numbers.get("source_events[k]") == 4)
        cluster.set_down()
        run.wait_for(lambda found: "source k: Kafka: " in found.texts["problem"])
        cluster.set_up()
        produce(cluster, 4, 4)
        found = run.wait_for(lambda found: found.numbers["source_events[k]"] == 8)
        run.wait_for(lambda found: found.texts["problem"] == "")
        cluster.kill()
        run.wait_for(lambda found: "source k: Kafka: " in found.texts["problem"])
        begin = time.monotonic()
        code, _, err = run.end()
    assert code == 1, err  # what was not well at the end is not well
    assert time.monotonic() - begin < 8
    assert found.state == "runs"


def test_brokers_that_were_never_there_do_not_keep_it_from_ending(start: Start, tmp_path: Path) -> None:
    config = '[kafka]\nservers = "127.0.0.1:1"\n[run.mine]\nkafka = [{name = "k", topics = ["ticks"]}]\n'
    run = start(TEXT, config)
    run.wait_for(lambda found: "source k: Kafka: " in found.texts["problem"])
    begin = time.monotonic()
    code, _, _ = run.end()
    assert code == 1
    assert time.monotonic() - begin < 3


def test_without_brokers_in_the_configuration_it_is_said(start: Start) -> None:
    run = start(TEXT, '[run.mine]\nkafka = [{name = "k", topics = ["ticks"]}]\n', ready=False)
    _, err = run.process.communicate(timeout=20)
    assert run.process.returncode == 2
    assert "kafka.servers: missing" in err
