"""Files in shared memory, in a directory of their own that is removed behind each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hosttune-test-") as folder:
        yield Path(folder) / "ring"
