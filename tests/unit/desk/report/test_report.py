"""`desk report` with real engines, a real exchange simulator and a real Redis, in small; and where one is missing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from desk.cli.main import main
from desk.errors import DeskError
from desk.report import engine, measure
from desk.report.before import Plan
from desk.report.ticks import make_ticks

from ..programs import find_program

two_cpus = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("BEFORE", 400), ("PACED", 400), ("ORDERS", 2_000), ("FLOOD", 4_000)):
        monkeypatch.setattr(measure, name, count)
    monkeypatch.setattr(measure, "ORDER_RATES", (5_000.0, 1_000.0))
    monkeypatch.setattr(measure, "FLOOD_RATES", (20_000.0, 5_000.0))


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> None:
    program = find_program("redis-server")
    monkeypatch.setenv("PATH", f"{Path(program.path).parent}:{os.environ['PATH']}")
    if libraries := program.environment.get("LD_LIBRARY_PATH"):
        monkeypatch.setenv("LD_LIBRARY_PATH", libraries)


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure.shutil, "which", lambda name: None)


def list_children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@two_cpus
def test_one_command_measures_both_sides(
    small: None, redis: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, affinity = list_children(), os.sched_getaffinity(0)
    for _ in range(3):  # a machine that is busy with a guest may lose ticks of a round
        code = main(["report", "--rounds", "1", "--format", "json", "-o", str(tmp_path / "report.json")])
        assert capsys.readouterr().out == ""
        report = json.loads((tmp_path / "report.json").read_text())
        rows = {row["name"]: row for row in report["rows"]}
        if all(row["why"] == "" for row in rows.values()):
            break
    assert all(row["why"] == "" for row in rows.values()), rows
    assert code == (1 if any(row["met"] is False for row in rows.values()) else 0)
    for name in ("parse", "signal", "risk", "order", "send", "pipeline"):
        assert rows[name]["after"][0] > 0 and 0 < rows[name]["before"][0] < 1e6, rows[name]
    # In any run, however busy the machine: Python's loop over an array is slower than the compiled one.
    assert rows["signal"]["ratio"] > 5 and rows["parse"]["ratio"] > 2
    assert rows["GC pauses"]["after"] == [0.0] and rows["GC pauses"]["met"] is True
    assert 10 < rows["memory"]["before"][0] < 1000 and 10 < rows["memory"]["after"][0] < 2000
    assert rows["pipeline"]["before"][0] >= rows["risk"]["before"][0] > rows["order"]["before"][0]
    assert list_children() == before and os.sched_getaffinity(0) == affinity


@two_cpus
def test_without_redis_the_rest_is_measured(small: None, no_redis: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--rounds", "1"]) == 3
    shown = capsys.readouterr().out
    assert "not measured: redis-server is not installed (apt-get install redis-server)" in shown
    (pipeline,) = [line for line in shown.splitlines() if line.startswith("pipeline ")]
    assert ">=11 not measured" in pipeline
    (parse,) = [line for line in shown.splitlines() if line.startswith("parse ")]
    assert "-" not in parse.split()[1:3]


def test_one_cpu_is_not_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure.os, "sched_getaffinity", lambda pid: {3})
    assert main(["report"]) == 2
    assert "found 1, allowed: at least 2" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--rounds", "101"], ["--rounds", "x"]])
def test_what_cannot_be_asked(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["report", *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2 and "rounds" in capsys.readouterr().err


def test_an_engine_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = engine.make_feed(make_ticks(10, 1))
    monkeypatch.setattr(engine, "_PROGRAM", ("-c", "raise SystemExit('the engine says why')"))
    with pytest.raises(engine.EngineError, match="did not start: the engine says why"):
        engine.run_engine(feed, engine.Wish(), (0, 0))
    monkeypatch.setattr(engine, "_PROGRAM", ("-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(engine, "STARTS", 0.3)
    before = list_children()
    with pytest.raises(engine.EngineError, match="did not start: it said nothing"):
        engine.run_engine(feed, engine.Wish(), (0, 0))
    assert list_children() == before


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Fatal error: no\033[2J memory'; exit 1", "redis-server ended: Fatal error: no\\u001b[2J memory"),
        ("exec sleep 60", "redis-server did not answer within 0.3 s: it said nothing"),
    ],
)
def test_a_redis_that_does_not_start(script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(measure.shutil, "which", lambda name: str(program))
    monkeypatch.setattr(measure, "_ANSWERS", 0.3 if "sleep" in script else 5.0)
    before = list_children()
    with measure.start_redis(tmp_path, min(os.sched_getaffinity(0))) as (path, why):
        assert (path, why) == ("", said)
    assert list_children() == before


def test_redis_is_this_users_alone(redis: None, tmp_path: Path) -> None:
    with measure.start_redis(tmp_path, min(os.sched_getaffinity(0))) as (path, why):
        assert why == "" and os.stat(path).st_mode & 0o077 == 0
        (server,) = list_children()
        assert [one for one in server.net_connections() if one.status == "LISTEN" and one.laddr] in ([], [path])
        cpus = sorted(os.sched_getaffinity(0))
        plan = Plan(ticks=200, seed=1, redis=path, cpus=(cpus[-1], cpus[0]))
        found = measure.run_before(plan)
        assert found.stages["risk"] > 10 and found.rate > 0
    assert not list_children()


def test_a_loop_before_that_fails_is_told(tmp_path: Path) -> None:
    plan = Plan(ticks=10, seed=1, redis=str(tmp_path / "nobody"), cpus=(0, 0))
    with pytest.raises(DeskError, match=r"the design before ended with 1: .*nobody"):
        measure.run_before(plan)


@two_cpus
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_process(number: int, redis: None) -> None:
    child = subprocess.Popen([sys.executable, "-P", "-m", "desk", "report", "--rounds", "3"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert child.stderr and "round 1 of 3" in child.stderr.readline()
        family = []
        end = time.monotonic() + 10
        while time.monotonic() < end:  # until the engine is there, or some other child beside Redis
            family = psutil.Process(child.pid).children(recursive=True)
            if len(family) >= 2:
                break
            time.sleep(0.05)
        child.send_signal(number)
        out, said = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, said
    assert out == "" and "Traceback" not in said
    with contextlib.suppress(psutil.NoSuchProcess):
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive


@two_cpus
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_simulator_runs_ends_all(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cpus = measure.find_cpus()
    before = list_children()
    feed = engine.make_feed(make_ticks(20_000, 1))
    real = engine.simulator.run

    def run(plan: Any) -> Any:  # the signal comes when ticks do
        threading.Timer(2.0, os.kill, (os.getpid(), number)).start()
        return real(plan)

    monkeypatch.setattr(engine.simulator, "run", run)
    with pytest.raises(KeyboardInterrupt):
        engine.run_engine(feed, engine.Wish(rate=1_000.0), cpus)
    assert list_children() == before
