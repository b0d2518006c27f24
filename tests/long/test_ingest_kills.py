"""kill -9 of `desk ingest` at random moments, at 10,000 events a second: the engine on its ring has each event once.
INGEST_KILLS is how many (50)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..unit.agent.stage import Stage
from ..unit.desk.ingest.setting import TOPIC
from ..unit.desk.ingest.test_ingest import kill_at_random
from ..unit.desk.mock_kafka import MockKafka, run_mock_kafka

pytestmark = pytest.mark.long


@pytest.fixture
def mock() -> Iterator[MockKafka]:
    with run_mock_kafka() as cluster:
        cluster.create_topic(TOPIC)
        yield cluster


def test_an_ingest_that_is_killed_often_goes_on_where_its_ring_is(mock: MockKafka, tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        kill_at_random(mock, stage, tmp_path, int(os.environ.get("INGEST_KILLS", "50")))
