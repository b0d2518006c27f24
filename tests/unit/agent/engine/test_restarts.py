"""An operator's decisions in engines that are killed and started again, as processes, against the simulator."""

import signal
import subprocess
import sys
import time

import pytest

from agent.shm import segment as shm

from ...waiting import wait
from ..kill_rounds import count, run_rounds, start_exchange
from ..stage import Stage, read_journal

pytest.importorskip("numba")


def command(stage: Stage, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-P", "-m", "agent", *words], capture_output=True, text=True, timeout=30,
                          cwd=stage.folder, env=stage.environment)  # fmt: skip


def test_no_order_leaves_a_killed_engine_that_is_started_again(stage: Stage) -> None:
    run_rounds(stage, 4)
    decisions = [r for r in read_journal(stage)["records"] if r["kind"].startswith("limit")]
    assert {(r["name"], r["old"], r["new"]) for r in decisions} == {("kill", 0, 1), ("kill", 1, 0)}


def test_a_changed_limit_lasts_and_is_said_at_the_start(stage: Stage) -> None:
    stage.set(receive_buffer="65536")  # what every user can have, so that a start has nothing to say about it
    stage.agent()
    out = command(stage, "limits", str(stage.segment), "--set", "max_size=50", "--set", "max_orders_per_second=20")
    assert out.returncode == 0 and "max_size: " in out.stdout and " -> 50 whole units, confirmed" in out.stdout
    for _ in range(2):  # a normal end, then SIGKILL
        child = stage.children[-1]
        child.send_signal(signal.SIGKILL if _ else signal.SIGTERM)
        child.communicate(timeout=30)
        again = stage.agent()
        now = shm.read(stage.segment)
        assert now.limits["max_size"] == 50 and now.limits["rate_interval_ns"] == 50_000_000
    again.send_signal(signal.SIGTERM)
    _, error = again.communicate(timeout=30)
    assert "agent: limit max_size is 50, set by " in error and "; agent.toml says " in error
    assert f"; `agent limits {stage.segment} --reset max_size` takes agent.toml's\n" in error
    assert "agent: limit max_orders_per_second is 20, set by " in error
    stage.agent()
    out = command(stage, "limits", str(stage.segment), "--reset", "max_size", "--reset", "max_orders_per_second")
    assert out.returncode == 0 and "max_size: 50 -> " in out.stdout
    stage.children[-1].send_signal(signal.SIGTERM)
    stage.children[-1].communicate(timeout=30)
    last = stage.agent()
    last.send_signal(signal.SIGTERM)
    assert last.communicate(timeout=30)[1] == ""


def test_a_kill_of_an_engine_that_has_ended_is_lost_by_no_start_that_fails(stage: Stage) -> None:
    child = stage.agent()
    child.kill()
    child.communicate(timeout=30)
    out = command(stage, "kill", str(stage.segment))
    assert out.returncode == 1 and "its next start begins killed" in out.stderr
    good = stage.config.read_text()
    other_symbol = good.replace('"BTCUSDT"', '"ETHUSDT"')
    no_directory = good.replace("# capacity = 0 ", "capacity = 512\npath = '/none/x' # ")
    for broken in (other_symbol, no_directory):
        assert broken != good
        stage.write(broken)
        out = command(stage, "run", str(stage.config))
        assert out.returncode == 2, (out.stdout, out.stderr)
    stage.write(good)
    stage.agent()
    assert shm.read(stage.segment).limits["kill"] == 1
    assert sorted(p.name for p in stage.folder.glob(".segment*")) == []


def test_the_confirmation_says_what_is_open_and_what_is_gone(stage: Stage) -> None:
    """The generated feed trades away from most of the orders: some are open when the kill comes."""
    stage.strategy("every_tick")
    agent = stage.agent()
    start_exchange(stage, 1)
    wait(lambda: count(stage, "orders_sent") > 50, "no order goes out")
    out = command(stage, "kill", str(stage.segment))
    assert out.returncode == 0, out.stderr
    first = out.stdout.splitlines()[0]
    assert first.startswith(f"{stage.segment}: killed, confirmed by its loop; ")
    assert "open at the exchange" in first
    if "no order is open" not in first:
        assert f"{stage.segment}: " in out.stdout.splitlines()[1] and " gone since; no order is open" in out.stdout
    sent = count(stage, "orders_sent")
    time.sleep(0.2)
    assert count(stage, "orders_sent") == sent and count(stage, "orders_open") == 0
    agent.send_signal(signal.SIGSTOP)
    try:
        for words in (["kill"], ["resume"], ["limits", "--set", "max_size=7"]):
            out = command(stage, words[0], str(stage.segment), *words[1:])
            assert out.returncode == 1 and f"process {agent.pid} is stopped (SIGSTOP, or a debugger)" in out.stderr
    finally:
        agent.send_signal(signal.SIGCONT)
