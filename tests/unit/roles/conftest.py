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
def tree() -> Iterator[Tree]:
    # Not tmp_path: another user has to get into it.
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    try:
        yield Tree(root)
    finally:
        shutil.rmtree(root)


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
