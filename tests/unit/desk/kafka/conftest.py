"""Brokers for the tests of this room: librdkafka's mock cluster; and the one that $DESK_KAFKA names, HOST:PORT."""

import os
from collections.abc import Iterator

import pytest

from ..mock_kafka import run_mock_kafka


@pytest.fixture(params=["mock", *(["$DESK_KAFKA"] if "DESK_KAFKA" in os.environ else [])])
def servers(request: pytest.FixtureRequest) -> Iterator[str]:
    """The addresses of a broker that makes topics when something is produced to them, or may be asked to."""
    if request.param != "mock":
        yield os.environ["DESK_KAFKA"]
        return
    with run_mock_kafka() as cluster:
        yield cluster.servers
