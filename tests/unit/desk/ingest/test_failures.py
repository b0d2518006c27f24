"""`desk ingest` where the broker, the log, the ring or the host fails: nothing is lost unseen, and the loop goes on."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.shm.ring import Ring
from desk.ingest.sessions import name_session

from ...agent.stage import Stage
from ...waiting import wait
from ..mock_kafka import MockKafka, run_mock_kafka
from .setting import TOPIC, Ingest, Load, feed_by_ring, make_quotes, produce, read_counters, read_end

#: How a fault begins, and how it ends.
FAULTS: dict[str, tuple[Callable[[MockKafka], None], Callable[[MockKafka], None]]] = {
    "down": (MockKafka.set_down, MockKafka.set_up),
    "frozen": (MockKafka.freeze, MockKafka.thaw),
    "slow": (lambda mock: mock.set_delay(200), lambda mock: mock.set_delay(0)),
}
FRESH = 'incarnation = "2"'


def found_by(stage: Stage) -> dict[str, int]:
    found = read_counters(stage)
    return {name: found[name] for name in ("messages", "lost", "gaps", "duplicates", "sessions", "malformed_datagram")}


def whole(count: int, **others: int) -> dict[str, int]:
    """The counters of an engine that has had so many messages, and no trouble but the others."""
    none = {"lost": 0, "gaps": 0, "duplicates": 0, "sessions": 1, "malformed_datagram": 0}
    return {"messages": count, **none, **others}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_broker_that_fails_for_a_while_costs_nothing(
    mock: MockKafka, stage: Stage, tmp_path: Path, fault: str
) -> None:
    start, end = FAULTS[fault]
    with Ingest(tmp_path, mock.servers).start() as ingest:
        feed_by_ring(stage, ingest.ring)
        stage.agent()
        with Load(mock.servers, 2_000) as load:
            wait(lambda: ingest.number("records") > 500, "none came")
            start(mock)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                assert ingest.say().state == "runs"
                time.sleep(0.05)
            end(mock)
            time.sleep(0.5)
        records = read_end(mock.servers)
        assert records >= load.count
        wait(lambda: read_counters(stage)["messages"] >= records, "not all came")
        assert found_by(stage) == whole(records)
        assert ingest.number("longest_step_seconds", "") < 0.7
        assert ingest.end(limit=3)[0] == 0


def test_a_broker_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with run_mock_kafka() as mock:
        mock.set_down()
        with Ingest(tmp_path, mock.servers).start() as ingest:
            wait(lambda: "refused" in ingest.text("broker", "") or "down" in ingest.text("broker", ""), "not named")
            assert ingest.number("stands") == 1 and ingest.say().state == "runs"
            mock.set_up()
            mock.create_topic(TOPIC)
            produce(mock.servers, [b"one"])
            assert [packet[3] for packet in ingest.take(1)] == [b"one"]
            wait(lambda: ingest.number("stands") == 0, "still said to stand")
            assert ingest.end(limit=3)[0] == 0


@pytest.mark.parametrize("frozen", [True, False])
def test_the_end_waits_for_no_broker(mock: MockKafka, tmp_path: Path, frozen: bool) -> None:
    produce(mock.servers, [b"one"])
    with Ingest(tmp_path, mock.servers).start() as ingest:
        ingest.take(1)
        if frozen:
            mock.freeze()
        else:
            mock.kill()
        time.sleep(0.3)
        code, said = ingest.end(limit=8)
        assert code == 0 and "Traceback" not in said
        if frozen:
            mock.thaw()


def test_an_unknown_topic_or_partition_stops_no_other(mock: MockKafka, tmp_path: Path) -> None:
    produce(mock.servers, [b"one"])
    more = "".join(f'\n[[ingest.topics]]\nname = "{name}"\nring = "{tmp_path / name}"\npartitions = [{number}]\n'
                   f'incarnation = "1"' for name, number in (("nowhere", 0), ("few", 7)))  # fmt: skip
    mock.create_topic("few")
    with Ingest(tmp_path, mock.servers, topic=more).start() as ingest:
        assert [packet[3] for packet in ingest.take(1)] == [b"one"]
        wait(lambda: "nknown" in ingest.text("problem", "nowhere-0"), "not named")
        wait(lambda: "nknown" in ingest.text("problem", "few-7"), "not named")
        assert ingest.number("stands", "nowhere-0") == ingest.number("stands", "few-7") == 1
        assert ingest.number("stands") == 0 and ingest.number("longest_step_seconds", "") < 0.5
        mock.create_topic("nowhere")
        wait(lambda: ingest.number("stands", "nowhere-0") == 0, "a topic that is made is not seen")
        code, said = ingest.end(limit=8)
        assert code == 0 and said.count("few-7: ") == 1


def test_a_full_ring_is_waited_for_and_loses_nothing(mock: MockKafka, tmp_path: Path) -> None:
    produce(mock.servers, make_quotes(0, 5_000))
    with Ingest(tmp_path, mock.servers, "[ingest]\ncapacity = 65536").start() as ingest:
        wait(lambda: ingest.number("full") >= 1, "the ring is not full")
        assert ingest.number("records") < 1_000 and ingest.number("lag") > 4_000
        time.sleep(0.5)
        assert ingest.number("passed") == 0
        packets = ingest.take(5_000, 50)
        assert [(p[1], p[3]) for p in packets] == [(1 + n, q) for n, q in enumerate(make_quotes(0, 5_000))]
        wait(lambda: ingest.number("passed") == 5_000, "not all passed")
        assert ingest.number("holes") == ingest.number("repeated") == 0
        assert ingest.end(limit=3)[0] == 0


def test_what_is_longer_than_a_packet_is_counted_and_named(mock: MockKafka, stage: Stage, tmp_path: Path) -> None:
    quotes = make_quotes(0, 3)
    produce(mock.servers, [quotes[0], b"x" * 65_001, quotes[1], b"y" * 900_000, quotes[2]])
    with Ingest(tmp_path, mock.servers).start() as ingest:
        feed_by_ring(stage, ingest.ring)
        stage.agent()
        wait(lambda: read_counters(stage)["messages"] >= 3, "not all came")
        assert found_by(stage) == whole(3, lost=2, gaps=2)
        wait(lambda: ingest.number("too_long") == 2, "not counted")
        assert ingest.text("problem").startswith("too_long: 2 records ")
        assert "too_long" in ingest.end(limit=3)[1]


def test_the_holes_of_transactions_are_named_and_hide_no_record(mock: MockKafka, stage: Stage, tmp_path: Path) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": mock.servers, "transactional.id": "x"})
    producer.init_transactions(10)
    quotes = make_quotes(0, 3_000)
    for begin in range(0, 3_000, 2):
        producer.begin_transaction()
        for quote in quotes[begin : begin + 2]:
            producer.produce(TOPIC, quote, partition=0)
        producer.commit_transaction(10)
    # The mock cluster's markers have no checksum.
    with Ingest(tmp_path, mock.servers, '[kafka.librdkafka]\n"check.crcs" = false').start() as ingest:
        feed_by_ring(stage, ingest.ring)
        stage.agent()
        wait(lambda: read_counters(stage)["messages"] >= 3_000, "not all came")
        # A marker behind each transaction; the one behind the last is not seen.
        assert found_by(stage) == whole(3_000, lost=1_499, gaps=1_499)
        wait(lambda: ingest.number("missing") == 1_499, "not counted")
        assert ingest.number("holes") == 1_499
        assert ingest.text("problem").startswith("offset_holes: ")
        assert ingest.end(limit=3)[0] == 0


def test_records_that_were_deleted_unread_are_counted_and_named(mock: MockKafka, stage: Stage, tmp_path: Path) -> None:
    produce(mock.servers, make_quotes(0, 1_000))
    with Ingest(tmp_path, mock.servers).start() as ingest:
        feed_by_ring(stage, ingest.ring)
        stage.agent()
        wait(lambda: read_counters(stage)["messages"] >= 1_000, "not all came")
        ingest.kill()
        produce(mock.servers, make_quotes(1_000, 5_000))
        mock.delete_records(TOPIC, 4_000)
        ingest.start()
        wait(lambda: read_counters(stage)["messages"] >= 3_000, "not all came")
        assert found_by(stage) == whole(3_000, lost=3_000, gaps=1)
        wait(lambda: ingest.number("expired") == 3_000, "not counted")  # by the next publication
        assert ingest.text("problem").startswith("log_expired: the 3000 records from 1000 on ")
        assert ingest.end(limit=3)[0] == 0


@pytest.mark.parametrize("running", [True, False])
def test_a_log_that_is_shorter_than_what_was_read_is_named_until_the_topic_has_another_name(
    mock: MockKafka, stage: Stage, tmp_path: Path, running: bool
) -> None:
    produce(mock.servers, make_quotes(0, 1_000))
    with Ingest(tmp_path, mock.servers, "[ingest]\ntruncated_ms = 300").start() as ingest:
        feed_by_ring(stage, ingest.ring)
        stage.agent()
        wait(lambda: read_counters(stage)["messages"] >= 1_000, "not all came")
        wait(lambda: ingest.number("passed") == 1_000, "not all passed")
        if not running:
            ingest.end(limit=3)
        mock.delete_topic(TOPIC)
        time.sleep(0.5)
        mock.create_topic(TOPIC)
        produce(mock.servers, make_quotes(1_000, 100))
        if not running:
            ingest.start()
        wait(lambda: ingest.text("problem").startswith("log_truncated: "), "not named")
        wait(lambda: ingest.number("stands") == 1 and ingest.number("problems") == 1, "not told")
        assert found_by(stage) == whole(1_000)
        assert "log_truncated" in ingest.end(limit=3)[1]
        ingest.set('incarnation = "1"', FRESH)
        ingest.start()
        # At once, since the old session has been ended.
        wait(lambda: read_counters(stage)["messages"] >= 1_100, "the topic's new records did not come", 5)
        assert found_by(stage) == whole(1_100, sessions=2)
        wait(lambda: ingest.number("recreated") == 1, "not counted")
        assert ingest.text("session") == name_session(TOPIC, 0, "2").decode()
        assert ingest.text("problem").startswith("topic_recreated: ")
        assert ingest.end(limit=3)[0] == 0


def test_a_topic_whose_id_no_broker_tells_needs_a_name(mock: MockKafka, tmp_path: Path) -> None:
    with Ingest(tmp_path, mock.servers) as ingest:
        ingest.set('incarnation = "1"\n', "")
        ingest.start()
        wait(lambda: ingest.text("problem") != "", "not named")
        assert ingest.text("problem").startswith("topic_id: the brokers do not tell it")
        assert ingest.number("stands") == 1
        assert ingest.end(limit=8)[0] == 0


#: librdkafka tells of a topic that it does not know through the partition's queue, after so long.
_SOON = '[kafka.librdkafka]\n"topic.metadata.propagation.max.ms" = 500\n'


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("lost", ["topic", "partition", "broker"])
def test_what_a_partition_is_told_while_it_is_not_there_ends_nothing(tmp_path: Path, lost: str, group: bool) -> None:
    with run_mock_kafka() as mock:
        if lost == "partition":
            mock.create_topic("few")
        if lost == "broker":
            mock.set_down()
        name, number = ("few", 7) if lost == "partition" else (TOPIC, 0)
        more = f'member = "one"\nsession_ms = 6000\n{_SOON}[ingest]\ngroup = true\n' if group else _SOON
        with Ingest(tmp_path, mock.servers, more, f"partitions = [{number}]") as ingest:
            ingest.set(f'name = "{TOPIC}"', f'name = "{name}"')
            ingest.start()
            ingest.end()  # with a ring and its place
            ingest.start()
            until = time.monotonic() + 3
            while time.monotonic() < until:
                assert ingest.say().state == "runs"
                assert group or ingest.number("stands", f"{name}-{number}") == 1
                time.sleep(0.1)
            if lost == "broker":
                mock.set_up()
            if lost == "partition":
                mock.delete_topic("few")
            mock.create_topic(name, 8)
            values = make_quotes(0, 3)
            wait(lambda: ingest.number("stands", f"{name}-{number}") == 0, "what is made is not seen")
            produce(mock.servers, values, name, number)
            wait(lambda: ingest.number("records", f"{name}-{number}") == 3, "not all came")
            code, said = ingest.end(limit=8)
            assert code == 0 and "Traceback" not in said


def test_a_login_that_fails_is_named_without_the_password(mock: MockKafka, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("geheim-4711\n")
    password.chmod(0o600)
    with Ingest(tmp_path, mock.servers, f'password_file = "{password}"\n[kafka.librdkafka]\n"security.protocol" = '
                '"SASL_PLAINTEXT"\n"sasl.mechanism" = "PLAIN"\n"sasl.username" = "u"').start() as ingest:  # fmt: skip
        wait(lambda: "SASL" in ingest.text("broker", ""), "not named")
        arguments = Path(f"/proc/{ingest.say().pid}/cmdline").read_bytes()
        code, said = ingest.end(limit=8)
        assert code == 0 and "SASL" in said and "Traceback" not in said
        files = b"".join(path.read_bytes() for path in ingest.runtime.iterdir())
        assert "geheim" not in said and b"geheim" not in arguments + files


def refused(ingest: Ingest, **limits: int) -> str:
    """Returns the line by which the start is refused."""

    def limit() -> None:
        if "file" in limits:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file"], limits["file"]))

    done = subprocess.run([sys.executable, "-P", "-m", "desk", "ingest", str(ingest.config)], capture_output=True,
                          text=True, timeout=30, preexec_fn=limit,
                          env=os.environ | {"RUNTIME_DIRECTORY": str(ingest.runtime)})  # fmt: skip
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done
    return done.stderr


def test_a_start_that_cannot_be_is_refused_in_one_line(mock: MockKafka, tmp_path: Path) -> None:
    with Ingest(tmp_path, mock.servers) as ingest:
        # No space for the ring: it is not left behind.
        assert f"{ingest.ring}: " in refused(ingest, file=1 << 20) and not ingest.ring.exists()
        with Ring.create(ingest.ring, 1 << 16, 64):
            assert "alive; allowed: one writer" in refused(ingest)
        assert "found records of 64 bytes (0: of any size), allowed: 0" in refused(ingest)
        ingest.ring.unlink()
        with Ring.create(ingest.ring, 1 << 16) as ring:
            assert ring.push(b"of another writer")
        assert "remove" in refused(ingest)
        ingest.ring.unlink()
        ingest.start()
        assert "another process has this name" in refused(ingest)
        ingest.set("[[ingest.topics]]", '[ingest]\nname = "other"\n[[ingest.topics]]')
        assert "alive; allowed: one writer" in refused(ingest)
        assert ingest.end(limit=3)[0] == 0
        ingest.set('name = "other"\n', "")
        ingest.start()
        produce(mock.servers, [b"one"])
        ingest.take(1)
        ingest.kill()
        ingest.ring.with_name(ingest.ring.name + ".place").write_bytes(b"\xff" * 200)
        assert f"{ingest.ring}.place: does not say how far the ring is" in refused(ingest)
        ingest.ring.unlink()
        ingest.start()
        ingest.kill()
        with Ring.attach(ingest.ring, "writer") as ring:
            assert ring.push(b"of another writer")
        assert f"{ingest.ring}.place: does not say how far the ring is" in refused(ingest)


def test_ctrl_c_ends_it_as_such(mock: MockKafka, tmp_path: Path) -> None:
    with Ingest(tmp_path, mock.servers).start() as ingest:
        assert ingest.end(signal.SIGINT, 3)[0] == 130


def test_records_whose_checksum_is_wrong_are_named(mock: MockKafka, tmp_path: Path) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": mock.servers, "transactional.id": "x"})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(TOPIC, b"one", partition=0)
    producer.commit_transaction(10)
    with Ingest(tmp_path, mock.servers).start() as ingest:
        wait(lambda: "Bad message" in ingest.text("problem"), "not named")
        time.sleep(1)
        assert "Bad message" in ingest.text("problem") and ingest.number("errors") > 1
        assert ingest.end(limit=3)[1].count("Bad message") == 1


def test_many_partitions_with_long_names_and_no_broker_are_told_of_and_hold_nothing_up(tmp_path: Path) -> None:
    with Ingest(tmp_path, "127.0.0.1:1") as ingest:
        name = "t" * 249
        ingest.set(f'name = "{TOPIC}"', f'name = "{name}"\npartitions = {list(range(200))}')
        ingest.set(str(ingest.ring), f"{ingest.ring}-{{partition}}")
        ingest.set("[[ingest.topics]]", "[ingest]\ncapacity = 65536\n[[ingest.topics]]")
        ingest.start()
        found = ingest.say()
        assert all(f"records[{name}-{number}]" in found.numbers for number in range(200))
        assert "left_out" not in found.numbers
        assert ingest.process is not None
        time.sleep(5)  # the first questions about places are not answered meanwhile
        assert ingest.say().state == "runs" and ingest.say().numbers["longest_step_seconds"] < 1.5
        ingest.process.terminate()
        said = ingest.process.communicate(timeout=15)[0]
        assert ingest.process.returncode == 0 and "Traceback" not in said, said
