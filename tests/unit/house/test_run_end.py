"""What tests/conftest.py says at the end of a run: every skipped test by its name, with what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[2] / "conftest.py"
TESTS = """
import os
import subprocess
import pytest

needs_rustc = pytest.mark.skipif(True, reason="needs rustc")

@needs_rustc
@pytest.mark.parametrize("n", [1, 2])
def test_rust(n): pass

@needs_rustc
def test_more_rust(): pass

def test_plot(): pytest.importorskip("no_such_package", reason="needs matplotlib")

def test_locale(): assert os.environ["LC_ALL"] == "C.UTF-8"
"""


def test_skips_are_named_and_the_locale_is_utf8(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "tests/test_some.py").write_text(TESTS)
    (tmp_path / "tests/test_whole.py").write_text('import pytest\npytest.skip("needs root", allow_module_level=True)\n')
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests", "-p", "no:xdist"],
        cwd=tmp_path, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    some = "tests/test_some.py::"
    assert lines[-4:-1] == [
        f"1 skipped: needs matplotlib: {some}test_plot",
        "1 skipped: needs root: tests/test_whole.py",
        f"3 skipped: needs rustc: {some}test_more_rust, {some}test_rust (2)",
    ]
    assert "1 passed, 5 skipped in " in lines[-1]
