"""An agent that loses money kills itself, says why, and stays so; and the day's orders are counted over a restart."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..stage import Stage

pytest.importorskip("numba")

#: Buys three times, and would go on.
BUYER = """
from agent.strategy import BOOK, BUY, SCALE, Strategy

def on_event(state, event, orders):
    state.seen += 1
    order = orders[0]
    order.size, order.symbol, order.id, order.tag, order.action = 1, 0, 0, 0, 0
    order.side, order.price = BUY, event.ask * SCALE
    return state.seen <= 3 or event.ask < 9_900_000_000

strategy = Strategy(on_event, [("seen", "i8")])
"""
#: Prices that fall, from 100.00 / 100.01.
FALLING = "timestamp_ns,symbol,bid,bid_size,ask,ask_size\n" + "".join(
    f"{i * 10**6},BTCUSDT,{100 - i / 100:.2f},10,{100.01 - i / 100:.2f},10\n" for i in range(1, 1001)
)


@pytest.fixture
def stage(stage: Stage, tmp_path: Path) -> Stage:
    (tmp_path / "buyer.py").write_text(BUYER)
    (tmp_path / "falling.csv").write_text(FALLING)
    stage.strategy("buyer:strategy")
    stage.set(format='"csv"')
    return stage


def play(stage: Stage) -> int:
    """Play the falling prices. Returns the orders that the exchange saw."""
    run = stage.exchange("--feed", str(stage.folder / "falling.csv"), "--rate", "1000")
    return int(json.loads(run.stdout)["orders"]["orders"])


def end(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode == 0


def command(stage: Stage, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-m", "agent", *words], capture_output=True, text=True, timeout=30,
                          cwd=stage.folder, env=stage.environment)  # fmt: skip


def test_a_loss_beyond_its_limit_kills_and_a_restart_is_killed_still(stage: Stage) -> None:
    stage.set(max_loss="2.0")
    child = stage.agent()
    orders = play(stage)
    found = stage.stats()
    assert (found["limits"]["kill"], found["counters"]["loss_kills"]) == (1, 1) and found["counters"]["reject_killed"]
    assert found["tripped"].startswith("max_loss: found ") and found["tripped"].endswith(", allowed: 2.0000")
    assert 3 <= orders < 50  # those that leave before the executions of the first ones have come
    assert f"beyond its limit: {found['tripped']}\n" in command(stage, "limits", str(stage.segment)).stdout
    for words in (["resume", str(stage.segment)], ["limits", str(stage.segment), "--set", "kill=0"]):
        resumed = command(stage, *words)
        assert resumed.returncode == 1 and "confirmed" not in resumed.stdout
        assert "killed again at once, beyond its limit: max_loss: found " in resumed.stderr
    end(child)
    assert "limit kill is 1, set by the engine at " in command(stage, "journal", "state/main.journal").stdout
    child = stage.agent()
    assert play(stage) == 0
    assert stage.stats()["limits"]["kill"] == 1 and "max_loss: found" in stage.stats()["tripped"]
    assert command(stage, "limits", str(stage.segment), "--set", "max_loss=1e9").returncode == 0
    assert command(stage, "resume", str(stage.segment)).returncode == 0
    assert stage.stats()["tripped"] == "" and play(stage) > 100


def test_orders_of_the_day_are_counted_over_a_restart(stage: Stage) -> None:
    stage.set(max_orders_per_day="30")
    child = stage.agent()
    assert play(stage) == 30
    assert stage.stats()["counters"]["orders_today"] == 30
    end(child)
    stage.agent()
    assert play(stage) == 0
    assert stage.stats()["counters"]["reject_daily"] > 100
