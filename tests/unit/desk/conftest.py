"""What the tests of several rooms start from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .mock_kafka import MockKafka, run_mock_kafka


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The agent's own directory of the process that is tested, and of the tests."""
    found = tmp_path / "run"
    found.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(found))
    return found


@pytest.fixture
def mock() -> Iterator[MockKafka]:
    """librdkafka's mock cluster."""
    with run_mock_kafka() as cluster:
        yield cluster
