"""Fifty SIGKILLs of `desk sync` at 10,000 events a second: the engine's feed has lost nothing, and the last limit is in
force."""

from pathlib import Path

import pytest

from ..unit.agent.stage import Stage
from ..unit.desk.sync.killing import kill_under_load
from ..unit.desk.sync.servers import Server

pytestmark = pytest.mark.long


def test_killed_fifty_times(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    try:
        with Stage(tmp_path) as stage:
            kill_under_load(stage, server, 50)
    finally:
        server.end()
