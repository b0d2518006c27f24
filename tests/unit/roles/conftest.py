from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.irq_tree import Tree


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that another user can get into, which tmp_path is not."""
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place)


@pytest.fixture
def tree(open_place: Path) -> Tree:
    return Tree(open_place)


@pytest.fixture
def machine(memory_path: Path) -> Any:
    from tests.unit.roles.machine import make_machine  # which skips where there is no Ansible

    return make_machine(memory_path / "host")


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A directory where fsync takes no time."""
    place = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(dir=place if os.access(place, os.W_OK) else None))
    try:
        yield root
    finally:
        shutil.rmtree(root)
