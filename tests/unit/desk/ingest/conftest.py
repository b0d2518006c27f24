from collections.abc import Iterator
from pathlib import Path

import pytest

from ...agent.stage import Stage
from ..mock_kafka import MockKafka
from .setting import TOPIC


@pytest.fixture
def mock(mock: MockKafka) -> MockKafka:
    """librdkafka's mock cluster, with the tests' topic."""
    mock.create_topic(TOPIC)
    return mock


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as stage:
        yield stage
