"""The benchmark of a launch, once and for real: an ordinary user may not lock as much memory as the agent has."""

import os
from pathlib import Path

import pytest

from benchmarks.agent import launch
from benchmarks.agent.sample import BenchError

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]


def test_a_launch_is_timed_to_its_first_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "LAUNCHES", 1)
    monkeypatch.setattr(launch, "LIMITS", {"Cython": ("every_tick_cython", 150.0)})
    plays = launch.rounds(tmp_path)
    try:
        samples = list(next(plays))
    except BenchError as error:
        pytest.fail(str(error))
    finally:
        plays.close()  # type: ignore[attr-defined]
    assert all(s.ours > 0 for s in samples)
