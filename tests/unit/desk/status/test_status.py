"""`desk status` over real processes: engines, workers and runs that live, hang, were killed, have ended."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.shm import identity
from agent.shm.ring import Ring
from desk import counters
from desk.cli.main import main
from desk.counters import Counters
from desk.status import reading

from ...agent.shm.small_segment import build
from ...agent.stage import Stage
from ...house.hostile import find_orders
from ..worker import places
from .conftest import Look, put_engine, wait_until

MODULE = "from desk.bus import *\n@on(EngineState)\ndef show(event, bus): ...\n"


@pytest.fixture
def run(directory: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process `desk run`, which has published."""
    (tmp_path / "mine.py").write_text(MODULE)
    process = subprocess.Popen([sys.executable, "-P", "-m", "desk", "run", str(tmp_path / "mine.py")])
    try:
        path = directory / "run.mine.counters"
        wait_until(lambda: path.exists() and read_numbers(path))
        yield process
    finally:
        process.kill()
        process.wait(20)


def read_numbers(path: Path) -> dict[str, float]:
    """Returns what a process has published; nothing, before it has."""
    try:
        return counters.read(path).numbers
    except counters.CountersError:
        return {}


def find(data: dict[str, Any], part: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in data[part] if name in (one.get("name"), one.get("path"))]
    return dict(found)


def test_nothing_here_is_not_known(look: Look) -> None:
    code, data = look()
    assert (code, data["verdict"]) == (3, "unknown")
    assert data["unknown"] == ["no engine and no process of the desk has run here"]


def test_an_engine_that_runs_is_well(look: Look, directory: Path) -> None:
    path = put_engine(directory, state=2)
    code, data = look()
    assert (code, data["findings"], data["unknown"]) == (0, [], [])
    engine = find(data, "engines", str(path))
    assert engine["state"] == "running"
    usage = engine["usage"]
    own = psutil.Process()
    assert usage["threads"] == own.num_threads()
    assert usage["cpus"] == sorted(os.sched_getaffinity(0))
    assert 0.2 < usage["rss"] / own.memory_info().rss < 5
    assert (usage["nice"], usage["policy"]) == (os.nice(0), "other")


def test_real_engines_that_run_hang_were_killed_and_have_stopped(look: Look, directory: Path, tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.segment = directory / "main.segment"
        stage.set(shm=f'"{stage.segment}"')
        engine = stage.agent()
        path = str(stage.segment)
        code, data = look()
        assert (code, data["findings"]) == (1, [f"engine {path}: connecting: the exchange has not let it in"])
        assert find(data, "engines", path)["usage"]["threads"] >= 1
        ring = str(directory / "main.journal-ring")
        wait_until(lambda: find(look()[1], "rings", ring)["reader"])
        engine.send_signal(signal.SIGSTOP)
        wait_until(lambda: find(look()[1], "engines", path)["state"] == "hung")
        code, data = look()
        assert code == 1
        assert "and a signal has stopped it" in data["findings"][0]
        engine.send_signal(signal.SIGCONT)
        wait_until(lambda: find(look()[1], "engines", path)["state"] == "connecting")
        engine.terminate()
        engine.wait(20)
        code, data = look()
        assert (code, data["findings"], find(data, "engines", path)["state"]) == (0, [], "stopped")
        assert find(data, "engines", path)["usage"] is None
        second = stage.agent()
        second.kill()
        second.wait(20)
        code, data = look()
        assert (code, find(data, "engines", path)["state"]) == (1, "died")
        assert f"engine {path}: died: its process {second.pid} is gone" in data["findings"][0]


def test_a_run_that_lives_is_well_and_one_that_was_killed_is_not(
    look: Look, directory: Path, run: subprocess.Popen[bytes]
) -> None:
    code, data = look()
    assert (code, data["findings"]) == (0, [])
    process = find(data, "processes", "run.mine")
    assert (process["state"], process["pid"], process["kind"]) == ("runs", run.pid, "run")
    assert process["usage"]["rss"] > 10 << 20
    run.kill()
    # Also while nobody has waited for it, and its number is still its own.
    wait_until(lambda: psutil.Process(run.pid).status() == psutil.STATUS_ZOMBIE)
    assert look()[1]["findings"][0].startswith(f"desk process run.mine: died: its process {run.pid} is gone")
    run.wait(20)
    code, data = look()
    assert (code, find(data, "processes", "run.mine")["state"]) == (1, "died")
    assert find(data, "processes", "run.mine")["usage"] is None
    assert data["findings"] == [
        f"desk process run.mine: died: its process {run.pid} is gone, and did not say that it ends"
    ]


def test_a_run_that_has_ended_in_order_is_well(look: Look, run: subprocess.Popen[bytes]) -> None:
    run.terminate()
    assert run.wait(20) == 0
    code, data = look()
    assert (code, data["findings"], find(data, "processes", "run.mine")["state"]) == (0, [], "ended")


def test_a_process_that_is_stopped_is_hung(look: Look, run: subprocess.Popen[bytes]) -> None:
    run.send_signal(signal.SIGSTOP)
    # Nobody is called hung before its time.
    assert find(look()[1], "processes", "run.mine")["state"] == "runs"
    wait_until(lambda: find(look()[1], "processes", "run.mine")["state"] == "hung")
    code, data = look()
    assert code == 1
    assert data["findings"][0].startswith("desk process run.mine: hung: it has said nothing for ")
    assert data["findings"][0].endswith("and a signal has stopped it")
    assert find(data, "processes", "run.mine")["usage"]["status"] == "stopped"
    run.send_signal(signal.SIGCONT)
    wait_until(lambda: look()[0] == 0)


def test_the_geospatial_worker_is_shown_as_it_publishes(
    look: Look, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "desk.toml"
    config.write_text(
        f'[worker.geo]\nmodule = "geo_cython"\ninput = "{directory}/in"\noutput = "{directory}/out"\n'
        "parameters = [51.5, -0.12, 1000.0]\n[sync]\nengines = ['main']\n"
    )
    events = places.make_events(0, 500)
    with Ring.create(directory / "in", 1 << 16, places.RECORD.size) as ring:
        worker = subprocess.Popen([sys.executable, "-P", "-m", "desk", "worker", str(config), "geo"])
        try:
            assert ring.push_block(places.pack(events)) == 500
            path = directory / "worker.geo.counters"
            wait_until(lambda: path.exists() and read_numbers(path).get("records") == 500)
            code, data = look(str(config))
            numbers = find(data, "processes", "worker.geo")["numbers"]
            distances = [places.compute(latitude, longitude, (51.5, -0.12)) for _, _, latitude, longitude, _ in events]
            assert numbers["module[mean_km]"] == pytest.approx(sum(map(float, distances)) / 500)  # type: ignore[arg-type]
            assert numbers["module[within_radius]"] == sum(one is not None and one <= 1000 for one in distances)
            rings = {one["path"]: one for one in data["rings"]}
            assert rings[f"{directory}/in"]["used"] == 0
            assert rings[f"{directory}/out"]["used"] == 500 * places.RESULT.size
            # What the configuration has and nobody has started is not known; that nobody reads the results is not well.
            assert data["unknown"] == [
                f"{one}: has never run here, and desk.toml has it" for one in ("engine main", "desk process sync")
            ]
            assert data["findings"] == [f"ring {directory}/out: nobody reads {500 * places.RESULT.size:,} bytes in it"]
            assert code == 1
            assert main(["status", str(config)]) == 1
            text = capsys.readouterr().out
            assert f"module[mean_km] {numbers['module[mean_km]']:,.0f}" in text
            assert "CPUs " in text
        finally:
            worker.kill()
            worker.wait(20)


def test_what_another_process_publishes_is_shown(look: Look, capsys: pytest.CaptureFixture[str]) -> None:
    """As `desk ingest` and `desk sync` do: lags, ages, problems."""
    with Counters.open("ingest", "ingest") as ingest, Counters.open("sync", "sync") as sync:
        ingest.publish({"records": 1000, "lag[ticks-0]": 12, "lag[ticks-1]": 3}, {"problem": ""})
        sync.publish({"redis_age_seconds": 6.5, "connected": 0}, {"problem": "Redis does not answer", "engine[a]": ""})
        code, data = look()
        assert (code, data["findings"]) == (1, ["desk process sync: Redis does not answer"])
        assert main(["status"]) == 1
        text = capsys.readouterr().out
    assert "lag[ticks-0] 12   lag[ticks-1] 3" in text
    assert "redis_age_seconds 6.5" in text
    assert "problem: Redis does not answer" in text


UNREADABLE: dict[str, tuple[Any, str]] = {
    "counters": (lambda path: (path / "x.counters").write_bytes(b"no counters"), "/x.counters: holds no publication"),
    "open counters": (lambda path: ((path / "x.counters").write_bytes(b""), (path / "x.counters").chmod(0o666)),
                      "/x.counters: found mode 0666"),
    "segment": (lambda path: (path / "x.segment").write_bytes(b"no segment"), "/x.segment: 10 bytes, too short"),
    "link": (lambda path: (path / "x.segment").symlink_to("/etc/passwd"), "/x.segment: found a symbolic link"),
    "ring": (lambda path: (path / "x.ring").write_bytes(b"no ring" * 100), "/x.ring: "),
    "directory": (lambda path: path.chmod(0o777), "found mode 0777, allowed: no more than 0755"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_never_well(look: Look, directory: Path, kind: str) -> None:
    put_engine(directory, "other", state=2)
    spoil, words = UNREADABLE[kind]
    spoil(directory)
    code, data = look()
    assert (code, data["verdict"], data["findings"]) == (3, "unknown", [])
    assert any(words in line for line in data["unknown"]), data["unknown"]
    if kind != "directory":
        assert len(data["engines"]) == 1
        put_engine(directory, "dead", pid=2**22, start_time=1)
        assert look()[0] == 1  # and hides nothing


def test_a_ring_that_the_configuration_has_and_that_is_not_there_is_not_known(look: Look, tmp_path: Path) -> None:
    config = tmp_path / "desk.toml"
    config.write_text(f'[worker.geo]\nmodule = "geo"\ninput = "{tmp_path}/none"\n')
    code, data = look(str(config))
    assert code == 3
    assert f"ring: {tmp_path}/none: No such file or directory" in data["unknown"]


def test_a_wrong_configuration_is_an_error(look: Look, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "desk.toml"
    config.write_text("[worker.geo]\nmodul = 'x'\n")
    assert main(["status", str(config)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{config}:2" in captured.err


def test_no_text_of_another_process_gives_the_terminal_an_order(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Counters.open("x", "run") as own:
        own.publish({f"n[\x7f{'a' * 90}]": 1}, {"problem": "a\x1b[2J\nwell\u202e", "module[\x9b]": "\x07"})
        assert main(["status"]) == 1
        assert main(["status", "--format", "json"]) == 1
    out = capsys.readouterr().out
    assert not find_orders(out)
    assert not [line for line in out.splitlines() if line.startswith("well")]


def test_another_process_with_the_same_number_is_not_taken_for_it() -> None:
    pid, start_time = identity.own()
    unknown: list[str] = []
    assert reading.read_usage(pid, start_time, unknown)
    assert reading.read_usage(pid, start_time - 1, unknown) is None
    assert reading.read_usage(2**22, 1, unknown) is None
    assert reading.read_usage(0, 0, unknown) is None
    assert unknown == []


def test_a_process_that_may_not_be_looked_at_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> None:
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", refuse)
    unknown: list[str] = []
    assert reading.read_usage(*identity.own(), unknown) is None
    assert str(os.getpid()) in unknown[0]


def test_watch_shows_screens_until_it_is_interrupted(directory: Path) -> None:
    put_engine(directory, state=2)
    command = [sys.executable, "-P", "-m", "desk", "status", "--watch", "--interval", "0.1"]
    done = subprocess.run([*command, "--count", "3"], capture_output=True, text=True, timeout=20)
    assert done.stdout.count("\nengine ") == 3
    assert "\x1b" not in done.stdout  # no terminal
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while "main" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode in (0, 1, 3)
    assert err == ""


def test_a_look_leaves_no_trace(look: Look, directory: Path) -> None:
    """It reads, and nothing else: no file is made, changed or locked."""
    put_engine(directory, state=2)
    with Ring.create(directory / "a.ring", 4096, 8) as ring, Counters.open("x", "run") as own:
        own.publish({"a": 1})
        ring.push(struct.pack("<Q", 1))
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()}
        look()
        assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()} == before


def test_rings_that_are_too_many_are_not_known(directory: Path, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    put_engine(directory)
    monkeypatch.setattr(reading, "MOST", 2)
    for number in range(3):
        Ring.create(directory / f"{number}.ring", 4096, 8).close()
    code, data = look()
    assert (code, len(data["rings"])) == (3, 2)
    assert data["unknown"] == ["1 more rings than the 2 that are looked at"]


def test_engines_that_the_configuration_has_and_that_are_not_there(directory: Path, tmp_path: Path) -> None:
    there, away = tmp_path / "there.segment", tmp_path / "away.segment"
    there.write_bytes(build())
    found = reading.read(time.monotonic(), reading.Wanted(engines=("mein", str(away), str(there))))
    assert [one.path for one in found.engines] == [str(there)]
    assert found.unknown[0] == "engine mein: has never run here, and desk.toml has it"
    assert len(found.unknown) == 2 and str(away) in found.unknown[1]
