"""`desk ingest` at its best: from a broker into rings and engines."""

import random
import time
from pathlib import Path

from desk.ingest.sessions import name_session

from ...agent.stage import Stage
from ...waiting import wait
from ..mock_kafka import MockKafka
from .setting import TOPIC, Ingest, Load, feed_by_ring, produce, read_counters


def test_each_record_is_a_packet_whose_number_is_its_offset_and_one(mock: MockKafka, tmp_path: Path) -> None:
    produce(mock.servers, [b"one", b"", None, b"x" * 65_000])
    with Ingest(tmp_path, mock.servers).start() as ingest:
        session = name_session(TOPIC, 0, "1")
        assert ingest.take(4) == [
            (session, 1, 1, b"one"), (session, 2, 1, b""), (session, 3, 1, b""), (session, 4, 1, b"x" * 65_000)
        ]  # fmt: skip
        wait(lambda: ingest.number("passed") == 4, "what the reader has taken is not seen")
        wait(lambda: ingest.number("commits", "") > 0, "nothing is committed")
        assert ingest.number("records") == 4 and ingest.number("lag") == 0
        assert ingest.text("session") == session.decode() and ingest.text("problem", "") == ""
        code, said = ingest.end(limit=3)
        assert (code, said) == (0, f"ready: ingest: {TOPIC}-0 of {mock.servers}\n")
        assert ingest.say().state == "ended"


def test_an_ingest_that_is_killed_goes_on_where_its_ring_is(mock: MockKafka, stage: Stage, tmp_path: Path) -> None:
    kill_at_random(mock, stage, tmp_path, rounds=5)


def kill_at_random(mock: MockKafka, stage: Stage, tmp_path: Path, rounds: int) -> None:
    """Kill `desk ingest` so many times at 10,000 events a second; an engine has each of them once."""
    chance = random.Random(rounds)
    with Ingest(tmp_path, mock.servers).start() as ingest:
        feed_by_ring(stage, ingest.ring)
        stage.agent()
        with Load(mock.servers, 10_000) as load:
            for _ in range(rounds):
                time.sleep(0.05 + chance.random())
                ingest.kill()
                ingest.start()
        wait(lambda: read_counters(stage)["messages"] >= load.count, "not all came")
        found = read_counters(stage)
        assert {name: found[name] for name in ("messages", "events", "lost", "gaps", "duplicates", "sessions")} == {
            "messages": load.count, "events": load.count, "lost": 0, "gaps": 0, "duplicates": 0, "sessions": 1
        }  # fmt: skip
        assert load.count > 5_000 * rounds and ingest.number("repeated") == 0
        assert ingest.end(limit=3)[0] == 0
