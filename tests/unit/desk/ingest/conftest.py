from collections.abc import Iterator
from pathlib import Path

import pytest

from ...agent.stage import Stage
from ..mock_kafka import MockKafka, run_mock_kafka
from .setting import TOPIC


@pytest.fixture
def mock() -> Iterator[MockKafka]:
    with run_mock_kafka() as cluster:
        cluster.create_topic(TOPIC)
        yield cluster


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as stage:
        yield stage
