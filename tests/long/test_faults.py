"""kill -9 of the engine, of its journal's writer and of the exchange at random moments, and the loss of the journal: no
order is sent twice, and none is unaccounted for behind the restart. FAULT_ROUNDS is how many kills each test does (25);
LOSS_ROUNDS, how often the journal is lost (100)."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.shm import segment as shm

from ..unit.agent.coming_back import KEPT, LOST, OLD, STANDBY, play, prepare, read_log, settle, start_exchange
from ..unit.agent.stage import Stage

pytestmark = pytest.mark.long
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "25"))
LOSSES, SEED = int(os.environ.get("LOSS_ROUNDS", "100")), int(os.environ.get("FAULT_SEED", "3"))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as stage:
        prepare(stage)
        yield stage


def writer_of(pid: int) -> int:
    """The journal's writer: the engine's child."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def account(held: dict[str, Any]) -> dict[str, set[int]]:
    """Ids of the orders by what the journal says of them; no id is entered or accepted twice."""
    found: dict[str, set[int]] = {}
    for kind in ("entered", "accepted", "rejected", "never reached"):
        ids = [r["id"] for r in held["records"] if r["kind"] == kind]
        assert len(ids) == len(set(ids)), Counter(ids).most_common(3)
        found[kind] = set(ids)
    return found


def test_the_engine_and_its_writer_are_killed(stage: Stage) -> None:
    rng = random.Random(int(os.environ.get("FAULT_SEED", "1")))
    agent = stage.agent()
    referee = start_exchange(
        stage, "--messages", str(1200 * ROUNDS), "--reconnect", "30", "--timeout", str(60 + 10 * ROUNDS)
    )
    for _ in range(ROUNDS):
        time.sleep(0.1 + rng.random() * 0.6)
        if rng.random() < 0.3:
            os.kill(writer_of(agent.pid), signal.SIGKILL)
            time.sleep(rng.random() * 0.2)
        agent.kill()
        agent.communicate(timeout=10)
        agent = stage.agent()
    out, error = referee.communicate(timeout=60 + 10 * ROUNDS)
    report = json.loads(out)
    assert report["ended"] == "complete", out + error
    # One that is killed at once may not have logged in.
    assert ROUNDS // 2 < report["session"]["logins"] <= ROUNDS + 1
    orders = report["orders"]
    assert orders["duplicates"] == orders["out_of_order"] == 0
    held = settle(stage)
    found = account(held)
    assert found["entered"] == found["accepted"] | found["never reached"]
    assert not found["accepted"] & found["never reached"]
    assert len(found["accepted"]) == orders["acknowledged"] > 100 * ROUNDS
    executed = [r for r in held["records"] if r["kind"] == "executed"]
    assert len(executed) == orders["executions"]
    assert [s.position for s in shm.read(stage.segment).symbols] == [sum(r["quantity"] * r["side"] for r in executed)]


def test_the_exchange_is_killed(stage: Stage) -> None:
    rng = random.Random(int(os.environ.get("FAULT_SEED", "2")))
    stage.agent()
    state = stage.folder / "exchange.state"
    for killed in range(ROUNDS):
        referee = start_exchange(stage, "--messages", "100000", "--state", str(state), "--timeout", "60")
        limit = time.monotonic() + 20
        # "running" alone may still be about the exchange that was killed just now.
        while (seen := shm.read(stage.segment)).state != "running" or seen.counters["logins"] != killed + 1:
            assert time.monotonic() < limit and referee.poll() is None
            time.sleep(0.01)
        time.sleep(rng.random() * 0.6)
        referee.kill()
        referee.communicate(timeout=10)
    referee = start_exchange(stage, "--messages", "500", "--state", str(state), "--timeout", "60", "--reconnect", "5")
    out, error = referee.communicate(timeout=90)
    assert json.loads(out)["ended"] == "complete", out + error
    found = account(settle(stage))
    accepted = [int.from_bytes(m[9:13], "big") for m in read_log(state) if m[:1] == b"A"]
    assert len(accepted) == len(set(accepted)) > 20 * ROUNDS
    assert set(accepted) == found["accepted"]
    assert found["entered"] == found["accepted"] | found["never reached"]
    live = stage.stats()["counters"]
    assert live["exchange_malformed"] == 0 and live["logins"] == ROUNDS + 1


@pytest.mark.parametrize("part", range(-(-LOSSES // 10)))
def test_the_journal_is_lost(stage: Stage, part: int) -> None:
    """Moved away, in an old copy, or on another host, each by the draw; ten times in a session of the exchange."""
    report = play(stage, 10, random.Random(SEED + part), (LOST, LOST, OLD, STANDBY, KEPT))
    assert report["session"]["replayed"] > report["session"]["sequenced"]
