"""The broker of the tests of this room: librdkafka's mock cluster."""

from collections.abc import Iterator

import pytest

from ..mock_kafka import MockKafka, run_mock_kafka


@pytest.fixture
def mock() -> Iterator[MockKafka]:
    with run_mock_kafka() as cluster:
        yield cluster
