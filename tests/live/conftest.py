"""What the live tests share."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def readable() -> Iterator[Path]:
    """What `hosttune launch` imports, where every user can read it: the checkout may be in a home that is closed."""
    folder = Path(tempfile.mkdtemp(prefix="hosttune-live-"))
    try:
        folder.chmod(0o755)
        for name in ("hosttune", "msgspec", "yaml", "_yaml", "pyroute2"):
            found = importlib.util.find_spec(name)
            assert found is not None and found.origin is not None
            shutil.copytree(Path(found.origin).parent, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder)
