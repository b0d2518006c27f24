"""A run of the tests under sudo leaves nothing of root's in a tree that is another user's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]
CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
OWNER = 65534


def test_nothing_of_roots_is_left(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "tests/test_some.py").write_text("def test_some(): open('made', 'w').close()\n")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, OWNER, OWNER)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-m", "pytest", "tests"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {str(path.relative_to(tmp_path)): path.lstat().st_uid for path in tmp_path.rglob("*")}
    assert {"made", ".pytest_cache", "tests/__pycache__"} <= set(found)
    assert set(found.values()) == {OWNER}
