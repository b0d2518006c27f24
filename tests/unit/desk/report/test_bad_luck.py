"""`desk report` where there is no space, and where a result cannot be told or written: what was measured is not
lost, and what was not is not told."""

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from desk.cli.main import main
from desk.report import before, engine, measure
from desk.report.round import Round
from desk.report.table import Machine, make_report

from ..programs import find_program


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is there at once, in which nothing was measured."""
    machine = Machine(about={"host": "here"}, cpus=(0, 1))
    monkeypatch.setattr(measure, "measure", lambda rounds, seed, say: make_report([Round()], machine))


@pytest.mark.parametrize("how", ["a directory", "no directory", "html"])
def test_what_was_measured_is_printed_where_it_cannot_be_written(
    measured: None, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-o", str(tmp_path if how == "a directory" else tmp_path / "none" / "report")]
    if how == "html":
        monkeypatch.setitem(sys.modules, "jinja2", None)
        words = ["--format", "html"]
    assert main(["report", *words]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("here: ") and "pipeline" in out
    assert ("jinja2" if how == "html" else "cannot be written") in err


def test_a_rate_that_one_look_saw_whole_is_not_measured() -> None:
    watch: Any = object.__new__(engine._Watch)
    watch._name, watch._wanted, watch._seen, watch._at = "messages", 1_000, 0, time.monotonic_ns()
    watch.begun = 0
    with pytest.raises(engine.EngineError, match="one look saw all 1,000"):
        watch.find_rate()
    watch.begun, watch._seen = watch._at - 10**9, 500
    assert watch.find_rate() == 500.0


@pytest.mark.parametrize("text", [None, "[[["])
def test_an_engine_that_says_nothing_of_itself_is_not_measured(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "own").write_text(text)
    with pytest.raises(engine.EngineError, match="ended with -9"):
        engine._read_own(tmp_path / "own", -9)


def test_no_space_is_why_a_row_is_not_measured() -> None:
    one = Round()
    with measure._noting(one, "paced"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/dev/shm/x")
    assert one.why == {"paced": "/dev/shm/x: No space left on device"}


@pytest.mark.parametrize("words", [["report"], ["profile", "--", sys.executable, "-c", "1"]])
def test_no_place_for_files_gives_no_traceback(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    monkeypatch.setattr(measure, "make_feed", lambda ticks: None)
    monkeypatch.setattr(measure, "find_cpus", lambda: (0, 0))
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "No such file or directory" in err and "Traceback" not in err


def test_who_takes_the_orders_ends_when_nobody_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before, "_MOST_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        pid = before._take_orders(server, min(os.sched_getaffinity(0)))
        process = psutil.Process(pid)
        try:
            assert process.wait(10) == -signal.SIGALRM
        finally:
            if process.is_running():
                process.kill()


def test_a_terminal_that_is_closed_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    program = find_program("redis-server")
    path = f"{Path(program.path).parent}:{os.environ['PATH']}"
    child = subprocess.Popen([sys.executable, "-P", "-m", "desk", "report", "--rounds", "3"], stderr=subprocess.PIPE,
                             text=True, env=os.environ | program.environment | {"PATH": path})  # fmt: skip
    try:
        assert child.stderr and "round 1 of 3" in child.stderr.readline()
        family = psutil.Process(child.pid).children(recursive=True)
        assert family
        child.send_signal(signal.SIGHUP)
        child.communicate(timeout=60)
        _, alive = psutil.wait_procs(family, timeout=10)
        assert (child.returncode, alive) == (130, [])
    finally:
        child.kill()
        for process in family:
            if process.is_running():
                process.kill()
