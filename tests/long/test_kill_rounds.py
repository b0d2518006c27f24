"""A hundred rounds of kill, SIGKILL and start: no order leaves before `agent resume`."""

from pathlib import Path

import pytest

from ..unit.agent.kill_rounds import run_rounds
from ..unit.agent.stage import Stage

pytestmark = pytest.mark.long
pytest.importorskip("numba")


@pytest.mark.parametrize("part", range(10))
def test_no_order_leaves_a_killed_engine(tmp_path: Path, part: int) -> None:
    with Stage(tmp_path) as stage:
        run_rounds(stage, 10, seed=part)
