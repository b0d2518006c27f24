"""`desk sync` is killed again and again while an engine trades on a feed of 10,000 events a second."""

import random
import signal
import subprocess
import sys
import time

from agent.shm import segment as shm

from ...agent.stage import Stage
from .servers import Desk, Server, limit, wait
from .test_sync import key

RATE = 10_000


def kill_under_load(stage: Stage, server: Server, times: int) -> None:
    """Kill a `desk sync` so many times, with limits that change; the feed has lost nothing, and the last value is in
    force."""
    stage.strategy("every_tick")
    stage.agent()
    seconds = 3 + 1.5 * times
    feed = subprocess.Popen(
        [sys.executable, "-P", "-m", "agent", "exchange", "--feed-to", f"127.0.0.1:{stage.feed}", "--listen",
         f"127.0.0.1:{stage.orders}", "--agent-shm", str(stage.segment), "--no-spin", "--linger", "0.3", "--wait",
         "120", "--timeout", str(round(seconds) + 120), "--feed", "generated", "--rate", str(RATE), "--messages",
         str(round(RATE * seconds)), "--format", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=stage.folder, env=stage.environment,
    )  # fmt: skip
    stage.children.append(feed)
    wait(lambda: shm.read(stage.segment).counters["messages"] > RATE // 10, "the feed does not begin", 180)
    client, chance, value, during = server.client(), random.Random(1), 0, 0
    for _ in range(times):
        desk = Desk(stage, server).start()
        for _ in range(5):
            value = value % 900 + 100
            client.set(key(stage, "max_size"), value)
            time.sleep(chance.random() * 0.02)
        during += feed.poll() is None
        desk.end(signal.SIGKILL)
    report, errors = feed.communicate(timeout=seconds + 120)
    desk = Desk(stage, server).start()
    wait(lambda: limit(stage, "max_size") == value, "the last value is not in force")
    desk.end()
    found = shm.read(stage.segment)
    counters = found.counters
    assert found.up and during >= times * 0.8, f"the feed was there for {during} of {times}"
    assert (counters["lost"], counters["gaps"]) == (0, 0), counters
    assert counters["messages"] >= round(RATE * seconds), f"{counters}\n{errors}\n{report[-3000:]}"
    assert counters["orders_sent"] > 0
