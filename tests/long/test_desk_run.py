"""`desk run` killed fifty times at 10,000 records a second, beside an engine that it watches: nothing is lost on either
side."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.journal import file as journal

from ..unit.agent.stage import Stage
from ..unit.desk.bus.conftest import Start, directory, stage, start
from ..unit.desk.bus.kills import kill_often, ring_table

__all__ = ["directory", "stage", "start"]
pytestmark = pytest.mark.long
#: Seconds for which the engine's feed goes on, and messages a second of it.
SECONDS, RATE = 60, 5_000


def test_an_engine_misses_nothing_while_a_run_beside_it_is_killed(
    start: Start, stage: Stage, directory: Path, tmp_path: Path
) -> None:
    stage.segment = directory / "main.segment"
    stage.set(shm=f'"{stage.segment}"')
    engine = stage.agent()
    file = Path(stage.environment["STATE_DIRECTORY"]) / "main.journal"
    config = ring_table(
        directory, f'engines = [{{name = "main", interval_ms = 5}}]\n'
        f'journals = [{{name = "journal", file = "{file}", begin = "first", interval_ms = 1}}]',
    )  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "agent", "exchange", "--feed", "generated", "--feed-to",
         f"127.0.0.1:{stage.feed}", "--listen", f"127.0.0.1:{stage.orders}", "--agent-shm", str(stage.segment),
         "--no-spin", "--messages", str(RATE * SECONDS), "--rate", str(RATE), "--timeout", str(10 * SECONDS),
         "--format", "json"],
        env=stage.environment, stdout=subprocess.DEVNULL,
    ) as exchange:  # fmt: skip
        try:
            limit = time.monotonic() + 5 * SECONDS
            while not stage.stats()["counters"]["messages"]:  # the feed is generated first
                assert time.monotonic() < limit
                time.sleep(0.5)
            kill_often(start, directory, tmp_path / "out", 50, config, 10_000)
            assert exchange.wait(5 * SECONDS) == 0
            counters = stage.stats()["counters"]
        finally:
            exchange.kill()
            exchange.communicate(timeout=60)
    assert (counters["lost"], counters["gaps"], counters["kernel_drops"]) == (0, 0, 0)
    assert counters["messages"] == SECONDS * RATE
    assert counters["orders_sent"] > 100
    engine.terminate()
    engine.wait(30)
    symbols, state = journal.load(file)
    assert len(symbols) == 1
    assert state.records > 200
