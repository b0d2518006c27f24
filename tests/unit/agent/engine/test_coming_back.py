"""An engine comes back into a session that goes on: without its journal, with an old one, on another host."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..coming_back import LOST, OLD, STANDBY, play
from ..stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.strategy("every_tick")
    stage.set(reconnect_s="60", max_size="1000", max_position="0")
    yield stage
    for child in stage.children:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.communicate(timeout=10)


@pytest.mark.parametrize("way", [LOST, OLD, STANDBY])
def test_no_order_is_doubled_and_no_execution_is_lost(stage: Stage, way: str) -> None:
    play(stage, 2, random.Random(way), (way,))
