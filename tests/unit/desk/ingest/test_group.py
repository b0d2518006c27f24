"""Partitions that a consumer group moves between hosts under load: nothing is lost, and nothing comes twice."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.shm import segment as shm
from agent.shm.ring import Ring
from desk.kafka.producer import make_producer
from desk.settings.kafka import Kafka

from ...agent.stage import Stage, read_journal
from ...waiting import wait
from ..mock_kafka import MockKafka, run_mock_kafka
from .network import make_hosts
from .setting import LIMIT, QUOTE, TOPIC, Ingest, feed_by_ring, make_quotes, produce, read_counters

PARTITIONS = 4


class Host:
    """`desk ingest` as a member of the group, and readers of its rings. packets: (partition, number), in their order;
    sessions: the number of sessions in each ring."""

    def __init__(self, folder: Path, servers: str, name: str, topic: str = "") -> None:
        folder.mkdir(mode=0o700)
        self.name, self.folder = name, folder
        more = f'member = "{name}"\nsession_ms = 6000\n[ingest]\ngroup = true\n'
        topic = topic or f"partitions = {list(range(PARTITIONS))}"
        self.ingest = Ingest(folder, servers, more, topic)
        self.ingest.set(f'ring = "{self.ingest.ring}"', f'ring = "{folder}/{{partition}}.ring"')
        self.packets: list[tuple[int, int]] = []
        self.sessions: dict[int, set[bytes]] = {}
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def read(self) -> None:
        """Have a thread read each ring, from now on."""
        for number in range(PARTITIONS):
            self._threads.append(threading.Thread(target=self._read, args=(number,)))
            self._threads[-1].start()

    def _read(self, number: int) -> None:
        with Ring.attach(self.folder / f"{number}.ring", "reader") as ring:
            while not self._over.is_set():
                records = ring.peek_many(1000)
                for record in records:
                    if record[18:20] == b"\0\1":
                        self.packets.append((number, int.from_bytes(record[10:18], "big")))
                        self.sessions.setdefault(number, set()).add(record[:10])
                ring.commit(len(records))
                if not records:
                    time.sleep(0.002)

    def has(self) -> set[int]:
        """The partitions that are read here."""
        numbers = range(PARTITIONS)
        return {n for n in numbers if self.ingest.number("away", f"{TOPIC}-{n}") == 0
                and self.ingest.number("stands", f"{TOPIC}-{n}") == 0}  # fmt: skip

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT)
        self.ingest.__exit__(None, None, None)


@contextlib.contextmanager
def load(servers: str, rate: int) -> Iterator[list[int]]:
    """Yields how many quotes went to each partition, at a rate in all, until the context is left."""
    counts, over = [0] * PARTITIONS, threading.Event()

    def work() -> None:
        producer, begun = make_producer(Kafka(servers=servers)), time.monotonic()
        while not over.is_set():
            while sum(counts) < int((time.monotonic() - begun) * rate):
                number = sum(counts) % PARTITIONS
                producer.produce(TOPIC, QUOTE % (1 + counts[number]), partition=number)
                counts[number] += 1
            producer.poll(0)
            time.sleep(0.005)
        assert producer.flush(LIMIT) == 0

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join(LIMIT)


@pytest.fixture
def cluster() -> Iterator[MockKafka]:
    with run_mock_kafka() as cluster:
        cluster.create_topic(TOPIC, PARTITIONS)
        yield cluster


NAMES = ["shard-a", "shard-b"]


@pytest.fixture
def hosts(request: pytest.FixtureRequest, cluster: MockKafka, tmp_path: Path) -> Iterator[dict[str, list[str]]]:
    """By name, the words that run a command in a host."""
    if request.param == "one network":
        yield {name: [] for name in NAMES}
        return
    if os.geteuid() != 0:
        pytest.skip("needs root, for networks of their own")
    with make_hosts(NAMES, cluster.servers, tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    ("hosts", "protocol"),
    [
        ("one network", "consumer"),
        ("namespaces", "classic"),
        pytest.param("one network", "classic", marks=pytest.mark.long),
        pytest.param("namespaces", "consumer", marks=pytest.mark.long),
    ],
    indirect=["hosts"],
)
def test_partitions_move_between_two_hosts_under_load(
    cluster: MockKafka, hosts: dict[str, list[str]], tmp_path: Path, protocol: str
) -> None:
    a, b = (Host(tmp_path / name, cluster.servers, name) for name in NAMES)
    for host in (a, b):
        host.ingest.host = hosts[host.name]
        host.ingest.set("session_ms = 6000", f'session_ms = 6000\nprotocol = "{protocol}"')
    try:
        with load(cluster.servers, 4_000) as counts:
            a.ingest.start()
            a.read()
            wait(lambda: a.has() == set(range(PARTITIONS)), "the only member has not all of them")
            b.ingest.start()
            b.read()
            wait(lambda: len(b.has()) == 2 and len(a.has()) == 2, "the new member has not half of them", 60)
            assert a.has().isdisjoint(b.has())
            time.sleep(1)
            moved = b.has()
            assert a.ingest.text("problem", "") == b.ingest.text("problem", "") == ""
            # Ended, and not back within the session's time: what it had goes back.
            assert b.ingest.end(limit=8)[0] == 0
            wait(lambda: a.has() == set(range(PARTITIONS)), "what the other had does not come back", 60)
            time.sleep(1)
        wanted = {(n, 1 + i) for n in range(PARTITIONS) for i in range(counts[n])}
        wait(lambda: len(a.packets) + len(b.packets) >= len(wanted), "not all came")
        found = a.packets + b.packets
        said = {host.name: host.ingest.end()[1] for host in (a, b) if host.ingest.is_there()}
        assert len(found) == len(set(found)), f"{len(a.packets)} and {len(b.packets)}, some came twice: {said}"
        assert set(found) == wanted
        for number in range(PARTITIONS):  # what comes back is a session of its own: no gap to the engine
            assert len(a.sessions[number]) == (2 if number in moved else 1)
        assert len([n for n, _ in b.packets]) > 500
    finally:
        a.end()
        b.end()


#: Of the protocol: the request, and the errors of a broker whose group rebalances, or that cannot tell now.
OFFSET_COMMIT, REBALANCE_IN_PROGRESS, NOT_COORDINATOR = 8, 27, 16


@pytest.mark.parametrize("error", [REBALANCE_IN_PROGRESS, pytest.param(NOT_COORDINATOR, marks=pytest.mark.long)])
def test_who_comes_waits_for_what_the_broker_did_not_take(cluster: MockKafka, tmp_path: Path, error: int) -> None:
    a, b = (Host(tmp_path / name, cluster.servers, name) for name in NAMES)
    for host in (a, b):  # no commit before the last one
        host.ingest.set("[ingest]", "[ingest]\ncommit_ms = 60000")
    try:
        produce(cluster.servers, make_quotes(0, 500), TOPIC, 0)
        produce(cluster.servers, make_quotes(0, 500), TOPIC, 3)
        a.ingest.start()
        a.read()
        wait(lambda: len(a.packets) == 1000, "not all came")
        cluster.push_errors(OFFSET_COMMIT, *[error] * 3)
        b.ingest.start()
        b.read()
        wait(lambda: len(b.has()) == 2 and len(a.has()) == 2, "the new member has not half of them", 60)
        produce(cluster.servers, make_quotes(500, 100), TOPIC, 0)
        produce(cluster.servers, make_quotes(500, 100), TOPIC, 3)
        wait(lambda: len(a.packets) + len(b.packets) >= 1200, "not all came")
        time.sleep(0.5)
        assert sorted(a.packets + b.packets) == sorted((n, 1 + i) for n in (0, 3) for i in range(600))
    finally:
        a.end()
        b.end()


def test_who_comes_behind_a_member_that_is_dead_does_not_wait_for_ever(cluster: MockKafka, tmp_path: Path) -> None:
    a, b = (Host(tmp_path / name, cluster.servers, name) for name in NAMES)
    try:
        produce(cluster.servers, make_quotes(0, 500), TOPIC, 0)
        a.ingest.start()
        a.read()
        wait(lambda: len(a.packets) == 500 and a.ingest.number("commits", "") > 0, "not all came")
        a.ingest.kill()
        b.ingest.start()
        b.read()
        wait(lambda: b.ingest.text("problem", f"{TOPIC}-0").startswith("handover: "), "not said", 60)
        wait(lambda: b.has() == set(range(PARTITIONS)), "waited for too long", 20)
        produce(cluster.servers, make_quotes(500, 100), TOPIC, 0)
        # What the dead member had not committed comes to the other one again.
        wait(lambda: len(set(a.packets + b.packets)) >= 600, "not all came")
        assert set(a.packets + b.packets) == {(0, 1 + i) for i in range(600)}
        assert b.ingest.text("problem", f"{TOPIC}-0") == ""
    finally:
        a.end()
        b.end()


def test_a_member_that_is_killed_goes_on_where_its_rings_are(cluster: MockKafka, tmp_path: Path) -> None:
    host = Host(tmp_path / "shard-a", cluster.servers, "shard-a")
    try:
        with load(cluster.servers, 2_000) as counts:
            host.ingest.start()
            host.read()
            for _ in range(2):
                wait(lambda: host.has() == set(range(PARTITIONS)), "it has not all of them", 60)
                time.sleep(0.7)
                host.ingest.kill()
                host.ingest.start()
        wanted = {(n, 1 + i) for n in range(PARTITIONS) for i in range(counts[n])}
        wait(lambda: len(host.packets) >= len(wanted), "not all came", 60)
        assert len(host.packets) == len(wanted) and set(host.packets) == wanted
        assert all(len(sessions) == 1 for sessions in host.sessions.values())
    finally:
        host.end()


def test_an_engine_trades_only_while_its_host_has_the_partition_and_has_caught_up(
    cluster: MockKafka, stage: Stage, tmp_path: Path
) -> None:
    topic = f'partitions = [0]\nengine = "{stage.segment}"'
    host = Host(tmp_path / "shard-a", cluster.servers, "shard-a", topic)
    ring = host.folder / "0.ring"

    def kill() -> int:
        return shm.read(stage.segment).limits["kill"]

    produce(cluster.servers, [QUOTE % (1 + n) for n in range(5_000)])
    try:
        Ring.create(ring, 1 << 16).close()  # 600 quotes: the engine is waited for
        feed_by_ring(stage, ring)
        stage.agent()
        host.ingest.start()
        wait(lambda: read_counters(stage)["messages"] >= 5_000 and kill() == 0, "not opened")
        wait(lambda: host.ingest.number("gate_closed") == 0, "not said")
        decisions = [r for r in read_journal(stage)["records"] if r["kind"] == "limits" or "kill" in str(r)]
        assert len(decisions) >= 2, "neither closed nor opened, by the journal"
        # The group takes from it what it has.
        assert host.ingest.process is not None
        host.ingest.process.send_signal(signal.SIGSTOP)
        time.sleep(7)  # longer than session_ms
        host.ingest.process.send_signal(signal.SIGCONT)
        wait(lambda: host.ingest.number("revoked", "") >= 1, "it has not lost its partition")
        wait(lambda: kill() == 0 and host.ingest.number("assigned", "") >= 2, "it has not got its partition back")
        # An operator's decision stays.
        assert stage.run("kill", str(stage.segment)) and kill() == 1
        assert host.ingest.end(limit=5)[0] == 0
        host.ingest.start()
        wait(lambda: host.ingest.number("stands") == 0 and host.ingest.number("away") == 0, "not back")
        time.sleep(1)
        assert kill() == 1
    finally:
        host.end()


def test_a_member_without_a_name_is_refused(cluster: MockKafka, tmp_path: Path) -> None:
    host = Host(tmp_path / "shard-a", cluster.servers, "shard-a")
    host.ingest.set('member = "shard-a"\n', "")
    with pytest.raises(AssertionError, match=r"kafka\.member: missing, and required with ingest.group"):
        host.ingest.start()
