"""An engine comes back into a session that goes on: without its journal, with an old one, on another host."""

import random

import pytest

from ..coming_back import LOST, OLD, STANDBY, play, prepare
from ..stage import Stage


@pytest.fixture
def stage(stage: Stage) -> Stage:
    prepare(stage)
    return stage


@pytest.mark.parametrize("way", [LOST, OLD, STANDBY])
def test_no_order_is_doubled_and_no_execution_is_lost(stage: Stage, way: str) -> None:
    play(stage, 2, random.Random(way), (way,))
