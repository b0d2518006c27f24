"""The control: what passes on a tuned host has to fail here, file by file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TUNED = Path(__file__).parent.parent / "tuned"


@pytest.mark.parametrize("path", sorted(TUNED.glob("test_*.py")), ids=lambda path: path.stem)
def test_it_fails_on_an_untuned_host(request, path):
    option = request.config.getoption
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(path), "--sudo",
         f"--hosts={option('--hosts')}", f"--ansible-inventory={option('--ansible-inventory')}"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode == 0 and re.search(r"^\d+ skipped in ", done.stdout, re.M):
        pytest.skip(f"none of {path.name} is for this host")
    assert done.returncode == 1, done.stdout + done.stderr  # 1: tests ran, and some failed


def test_the_verify_playbook_fails(request):
    root = Path(__file__).parent.parent.parent.parent
    done = subprocess.run(
        ["ansible-playbook", "-i", str(root / "inventory/demo"), "-i", request.config.getoption("--ansible-inventory"),
         str(root / "playbooks/verify.yml")],
        cwd=root, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "hosttune" in done.stdout
