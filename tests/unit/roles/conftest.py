from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
