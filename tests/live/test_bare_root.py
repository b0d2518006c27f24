"""tools/bare_root.py ends what a command left running in its mount namespace, and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import bare_root
import pytest

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]


def test_what_is_left_is_ended(tmp_path: Path) -> None:
    inside = subprocess.Popen(["unshare", "--mount", "sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"],
                              stdout=subprocess.PIPE)  # fmt: skip
    outside = subprocess.Popen(["sleep", "60"])
    try:
        assert inside.stdout is not None and inside.stdout.readline() == b"\n"
        (tmp_path / "root.namespace").write_text(os.readlink(f"/proc/{inside.pid}/ns/mnt"))
        said = bare_root.end_processes(tmp_path / "root")
        assert any("while :; do sleep 1; done" in words for words in said)
        assert inside.wait(10) == -9 and outside.poll() is None
    finally:
        inside.kill()
        outside.kill()
        outside.wait(10)
