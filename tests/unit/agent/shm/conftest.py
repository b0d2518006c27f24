"""Files in shared memory, removed behind each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def path() -> Iterator[Path]:
    found = Path(f"/dev/shm/hosttune-test-ring-{os.getpid()}")
    found.unlink(missing_ok=True)
    yield found
    found.unlink(missing_ok=True)
