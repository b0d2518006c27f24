"""Rounds of kill, SIGKILL and start of an engine that trades on every tick, against the simulator."""

import random
import signal
import subprocess
import sys

from agent import cli
from agent.shm import request
from agent.shm import segment as shm

from ..waiting import wait
from .stage import Stage

#: Messages a second of the feed, and seconds that a start and its round may take.
RATE, SECONDS = 1000, 8


def start_exchange(stage: Stage, rounds: int) -> "subprocess.Popen[str]":
    seconds = 10 + rounds * SECONDS
    exchange = subprocess.Popen(
        [sys.executable, "-P", "-m", "agent", "exchange", "--feed-to", f"127.0.0.1:{stage.feed}", "--listen",
         f"127.0.0.1:{stage.orders}", "--no-spin", "--linger", "0.3", "--wait", "20", "--timeout", str(seconds + 60),
         "--format", "json", "--feed", "generated", "--messages", str(seconds * RATE), "--rate", str(RATE),
         "--reconnect", "25"],
        stdout=subprocess.PIPE, text=True, cwd=stage.folder, env=stage.environment)  # fmt: skip
    stage.children.append(exchange)
    return exchange


def count(stage: Stage, name: str) -> int:
    return shm.read(stage.segment).counters[name]


def run_rounds(stage: Stage, rounds: int, seed: int = 1) -> None:
    """Kill in one of three ways, end the process with SIGKILL, start again: no order goes out until `agent resume`."""
    rng = random.Random(seed)
    stage.strategy("every_tick")
    agent = stage.agent()
    start_exchange(stage, rounds)
    for number in range(rounds):
        wait(lambda: count(stage, "orders_sent") > 5, f"round {number}: no order goes out")
        way = rng.choice(("confirmed", "written", "frozen"))
        if way == "confirmed":
            assert cli.main(["kill", str(stage.segment)]) == 0
        elif way == "frozen":
            agent.send_signal(signal.SIGSTOP)
        if way != "confirmed":
            request.set_limits(stage.segment, {"kill": 1})
        agent.kill()
        agent.communicate(timeout=30)
        if way == "confirmed" and rng.random() < 0.5:
            stage.segment.unlink()  # the journal alone has to know
        agent = stage.agent()
        # It is logged in and sees ticks, and what the strategy wants is refused.
        wait(lambda: count(stage, "reject_killed") > 20 and shm.read(stage.segment).state == "running", "no tick came")
        assert count(stage, "orders_sent") == count(stage, "replaces_sent") == 0, f"round {number}: {way}"
        assert cli.main(["resume", str(stage.segment)]) == 0
