"""Messages that an engine has missed come from Kafka, by MoldUDP64's requests."""

import socket
import struct
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from benchmarks.agent.drive import free_port
from desk.ingest import requests
from desk.ingest.sessions import name_session

from ...agent.stage import Stage
from ...waiting import wait
from ..mock_kafka import MockKafka
from .setting import TOPIC, Ingest, feed_by_ring, make_quotes, produce, read_counters

SESSION = name_session(TOPIC, 0, "1")


def ask(port: int, request: bytes) -> list[bytes]:
    """Returns the messages of the answer, none where nothing answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(2)
        sock.send(request)
        try:
            packet = sock.recv(1 << 17)
        except TimeoutError:
            return []
    assert packet[:18] == request[:18]
    found, at = [], 20
    while at < len(packet):
        size = int.from_bytes(packet[at : at + 2], "big")
        found.append(packet[at + 2 : at + 2 + size])
        at += 2 + size
    assert len(found) == int.from_bytes(packet[18:20], "big") and at == len(packet)
    return found


def wanted(sequence: int, count: int, session: bytes = SESSION) -> bytes:
    return struct.pack(">10sQH", session, sequence, count)


def test_a_request_is_answered_with_what_fits_into_a_packet(mock: MockKafka, tmp_path: Path) -> None:
    values = [*make_quotes(0, 2_000), b"x" * 65_000, b"", b"y" * 65_001, b"last"]
    produce(mock.servers, values)
    port = free_port(socket.SOCK_DGRAM)
    with Ingest(tmp_path, mock.servers, f"[ingest.requests]\nport = {port}").start() as ingest:
        wait(lambda: ingest.number("lag") == 0, "not all came")
        at = 0
        while at < 2_000:
            found = ask(port, wanted(1 + at, 1_000))
            assert 10 <= len(found) <= 20 and found == values[at : at + len(found)][: len(found)]
            at += len(found)
        assert ask(port, wanted(1500, 3)) == values[1499:1502]
        assert ask(port, wanted(2001, 5)) == [b"x" * 65_000]
        assert ask(port, wanted(2002, 5)) == [b""]
        assert ask(port, wanted(2004, 5)) == [b"last"]
        # Nothing answers what the log has not, and what is no request.
        for request in (wanted(2003, 1), wanted(2005, 1), wanted(0, 1), wanted(1 << 63, 1), wanted(1, 0), b"",
                        wanted(1, 1, b"ELSEWHERE "), wanted(1, 1)[:19], wanted(1, 1) + b"x"):  # fmt: skip
            assert ask(port, request) == []
        wait(lambda: ingest.number("requests_unanswered", "") == 9, "not counted")
        assert ingest.number("requests", "") > 100
        assert ingest.end(limit=4)[0] == 0


def test_an_engine_that_begins_late_gets_the_whole_session(mock: MockKafka, stage: Stage, tmp_path: Path) -> None:
    produce(mock.servers, make_quotes(0, 3_000))
    port = free_port(socket.SOCK_DGRAM)
    with Ingest(tmp_path, mock.servers, f"[ingest.requests]\nport = {port}").start() as ingest:
        ingest.take(3_000)  # an engine that ran before
        feed_by_ring(stage, ingest.ring)
        stage.set(start="1", request=f'{{ address = "127.0.0.1", port = {port} }}')
        stage.agent()
        produce(mock.servers, make_quotes(3_000, 10))
        wait(lambda: read_counters(stage)["messages"] >= 3_010, "not all came")
        found = read_counters(stage)
        # Those behind the gap that had no room to wait are asked for, too.
        assert (found["lost"], found["messages"], found["sessions"]) == (0, 3_010, 1) and found["healed"] >= 3_000
        assert found["packets_retransmitted"] > 100
        assert ingest.end(limit=4)[0] == 0


def test_a_port_that_is_taken_is_named(mock: MockKafka, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        ingest = Ingest(tmp_path, mock.servers, f"[ingest.requests]\nport = {other.getsockname()[1]}")
        try:
            ingest.start()
        except AssertionError as error:
            assert f"ingest.requests 127.0.0.1:{other.getsockname()[1]}: Address already in use" in str(error)
        else:
            raise AssertionError("it has begun")


def test_what_the_client_raises_is_no_answer_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Consumer:
        def assign(self, partitions: object) -> None:
            raise KafkaException(KafkaError(KafkaError._FATAL))

    monkeypatch.setattr(requests, "keep", lambda consumer: None)
    log = requests.Log(Consumer())
    assert [log.read((TOPIC, 0), 7, 3) for _ in range(2)] == [[], []]
