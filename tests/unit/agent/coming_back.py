"""An engine that is killed while its exchange's session goes on, and started again without its journal, with an old
copy of it, or on another host; and what the exchange's log says about it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent.shm import place
from agent.shm import segment as shm

from .stage import Stage, read_journal

#: What becomes of the journal.
LOST, OLD, STANDBY, KEPT = "lost", "old", "standby", "kept"


def prepare(stage: Stage) -> None:
    """An order for each tick, and patience."""
    stage.strategy("every_tick")
    stage.set(reconnect_s="60", max_size="1000", max_position="0")


def start_exchange(stage: Stage, *arguments: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "agent", "exchange", "--feed-to", f"127.0.0.1:{stage.feed}", "--listen",
         f"127.0.0.1:{stage.orders}", "--no-spin", "--linger", "1", "--wait", "30", "--format", "json", "--feed",
         "generated", "--rate", "1000", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=stage.folder, env=stage.environment)  # fmt: skip
    stage.children.append(child)
    return child


def read_log(path: Path) -> list[bytes]:
    """The sequenced messages in a simulator's state file."""
    data, place, found = path.read_bytes(), 18, []
    while place + 2 <= len(data):
        size = int.from_bytes(data[place : place + 2], "big")
        found.append(data[place + 3 : place + 2 + size])
        place += 2 + size
    return found


def add_up(log: list[bytes]) -> tuple[int, set[int]]:
    """(position, open orders) that an exchange's log says."""
    sides: dict[int, int] = {}
    leaves: dict[int, int] = {}
    position = 0
    for m in log:
        id = int.from_bytes(m[9:13], "big")
        quantity = int.from_bytes(m[13:17], "big")
        if m[:1] == b"A":
            assert id not in sides, f"order {id} was accepted twice"
            sides[id], leaves[id] = (1 if m[13:14] == b"B" else -1), int.from_bytes(m[14:18], "big")
        elif m[:1] in (b"E", b"C"):
            position += sides[id] * quantity if m[:1] == b"E" else 0
            leaves[id] -= quantity
    return position, {id for id, units in leaves.items() if units}


def kill(stage: Stage, agent: subprocess.Popen[str]) -> None:
    """The engine and the process that writes its journal."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    agent.kill()
    agent.communicate(timeout=10)
    for child in map(int, children):
        try:
            handle = os.pidfd_open(child)
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
        os.close(handle)


def wait_until_running(stage: Stage) -> None:
    """Until the gate of the engine that was just started is open."""
    limit = time.monotonic() + 30
    while shm.read(stage.segment).state != "running":
        assert time.monotonic() < limit
        time.sleep(0.01)


def play(stage: Stage, rounds: int, rng: random.Random, ways: tuple[str, ...]) -> dict[str, Any]:
    """Kill and start again so many times, each time with another fate of the journal. Returns the exchange's report;
    what the last engine and its journal say is compared with the exchange's log."""
    log = stage.folder / "exchange.state"
    agent = stage.agent()
    referee = start_exchange(stage, "--messages", str(20_000 * (rounds + 1)), "--reconnect", "30", "--state", str(log),
                             "--timeout", str(60 * (rounds + 1)))  # fmt: skip
    copies: list[Path] = []
    for number in range(rounds):
        wait_until_running(stage)
        time.sleep(0.1 + rng.random() * 0.6)
        state = Path(stage.environment["STATE_DIRECTORY"])
        if rng.random() < 0.5:
            copies.append(stage.folder / f"copy-{number}")
            shutil.copy(state / "main.journal", copies[-1])
        kill(stage, agent)
        way = rng.choice(ways)
        if way == STANDBY:
            stage.environment["STATE_DIRECTORY"] = str(stage.folder / f"host-{number}")
            stage.segment = stage.folder / f"segment-{number}"
            stage.set(shm=f'"{stage.segment}"')
        elif way != KEPT:
            place.ring_of(stage.segment).unlink(missing_ok=True)
            (state / "main.journal").unlink()
            if way == OLD and copies:
                shutil.copy(rng.choice(copies), state / "main.journal")
        agent = stage.agent()
    wait_until_running(stage)
    time.sleep(0.3)
    stage.run("kill", str(stage.segment))
    limit = time.monotonic() + 20
    while (seen := shm.read(stage.segment)).counters["orders_open"] or seen.counters["orders_sent"] == 0:
        assert time.monotonic() < limit, seen.counters
        time.sleep(0.05)
    position, still_open = add_up(read_log(log))
    assert seen.symbols[0].position == position
    assert seen.counters["contradicted"] == seen.counters["exchange_malformed"] == 0
    held = settle(stage)
    assert held["positions"].get("BTCUSDT", 0) == position
    assert {o["id"] for o in held["open_orders"]} == still_open == set()
    referee.terminate()
    report: dict[str, Any] = json.loads(referee.communicate(timeout=30)[0])
    assert report["orders"]["duplicates"] == report["orders"]["out_of_order"] == 0
    assert report["orders"]["acknowledged"] > 20 * rounds
    return report


def settle(stage: Stage) -> dict[str, Any]:
    """The journal once nothing is left in its ring."""
    held: dict[str, Any] = {}
    for _ in range(100):
        time.sleep(0.1)
        again = read_journal(stage)
        if held and len(again["records"]) == len(held["records"]):
            break
        held = again
    return held
