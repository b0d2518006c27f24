"""Helpers for tests that run against a real host; each test asks the kernel, not only `hosttune`.

The layout they expect is that of `inventory/demo`: CPUs 2-3 isolated, the agent on CPU 3, NIC queues on CPU 1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def report(host: Any) -> Callable[..., dict[str, Any]]:
    """Run `hosttune check` on the host and return its report, with the findings by id under `by_id`."""

    def run(*options: str) -> dict[str, Any]:
        done = host.run("hosttune check --format json " + " ".join(options))
        assert done.rc in (0, 1, 3), done.stderr
        parsed: dict[str, Any] = json.loads(done.stdout)
        assert done.rc == {"ready": 0, "not ready": 1, "unknown": 3}[parsed["verdict"]]
        parsed["by_id"] = {finding["id"]: finding for finding in parsed["findings"]}
        return parsed

    return run


@pytest.fixture(scope="module")
def python(host: Any) -> Callable[[str], Any]:
    """Run a Python program on the host as root and return what it prints, parsed as JSON."""

    def run(program: str) -> Any:
        done = host.run("timeout 120 python3 -c %s", program)
        assert done.rc == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def text(host: Any) -> Callable[[str], str]:
    """Read a file of the host; fails where it is not there."""

    def read(path: str) -> str:
        done = host.run("cat %s", path)
        assert done.rc == 0, done.stderr
        return str(done.stdout).strip()

    return read


@pytest.fixture(scope="module")
def fingerprint(python: Callable[[str], Any]) -> dict[str, Any]:
    """All that the roles may change, as it is now."""
    found: dict[str, Any] = python((Path(__file__).parent / "fingerprint.py").read_text())
    return found


@pytest.fixture
def pristine_file() -> Path:
    """Where the image's own fingerprint is kept during a scenario."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "pristine.json"
