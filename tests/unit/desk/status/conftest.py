import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.shm import identity, place
from agent.shm import segment as shm
from desk.cli.main import main

from ...agent.shm.small_segment import build


@pytest.fixture
def directory(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The agent's own directory; that of the service is not there."""
    monkeypatch.setattr(place, "SYSTEM", tmp_path / "system")
    return directory


Look = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def look(directory: Path, capsys: pytest.CaptureFixture[str]) -> Look:
    """Returns exit code and document of `desk status`."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main(["status", "--format", "json", "--interval", "0.05", *arguments])
        return code, json.loads(capsys.readouterr().out)

    return run


def put_engine(directory: Path, name: str = "main", **head: Any) -> Path:
    """Write the segment of an engine that is this process, and runs."""
    pid, start_time = identity.own()
    path = directory / f"{name}.segment"
    given = {"pid": pid, "start_time": start_time, "boot_id": identity.read_boot_id().encode(), "word": 0,
             "heartbeat_ns": shm.now_ns(), **head}  # fmt: skip
    path.write_bytes(build(**given))
    return path


def wait_until(done: Callable[[], Any], seconds: float = 20) -> Any:
    """Returns what done() returns, once it is true."""
    limit = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found
