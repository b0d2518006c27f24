"""Which threads launch finds on a CPU, and that it says what it could not read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hosttune.host.root import Live
from hosttune.launch import facts
from hosttune.launch.plan import Plan
from tests.unit.hosttune import golden

SOURCE = "/proc/*/task/*/{stat,status}"


def read(host: Any, cpus: set[int]) -> Any:
    return facts._read_ordinary(host, frozenset(cpus), frozenset({2, 3}))


@pytest.fixture
def host(fake_host: type[Any]) -> Any:
    return golden.make_host(fake_host)


def test_threads_of_the_fair_class_that_may_run_there(host: Any) -> None:
    assert read(host, {2}).value == ["900 (agent)"]
    assert read(host, {3}).value == []


def test_of_threads_that_run_elsewhere_only_the_affinity_is_read(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger may have ten thousand of them."""
    asked: list[str] = []
    read_file = host.read
    monkeypatch.setattr(host, "read", lambda path: asked.append(path) or read_file(path))
    assert read(host, {3}).value == []
    assert [path for path in asked if path.endswith("/stat")] == []
    assert len(asked) == len(set(asked)) == sum(path.endswith("/status") and "/task/" in path for path in host.files)


@pytest.mark.parametrize("path", ["/proc/900/task", "/proc/900/task/901/status", "/proc/900/task/900/stat"])
def test_a_part_that_was_refused_makes_the_whole_unknown(host: Any, path: str) -> None:
    host.deny(path)
    fact = read(host, {2})
    assert (fact.state, fact.source, fact.reason) == ("unreadable", SOURCE, f"{path}: EACCES")


@pytest.mark.parametrize("text", ["", "garbage", "Name:\tagent\n", "Cpus_allowed_list:\t2-\n"])
def test_a_status_that_is_not_understood_makes_the_whole_unknown(host: Any, text: str) -> None:
    host.files["/proc/900/task/901/status"] = text
    assert read(host, {2}).state == "unreadable"


def test_a_thread_that_has_ended_is_none(host: Any) -> None:
    for name in ("status", "stat"):
        del host.files[f"/proc/900/task/900/{name}"]
    assert read(host, {2}).value == []


def read_all(command: str, tmp_path: Path, **changes: Any) -> facts.Facts:
    return facts.read(Live(), Plan(command=[command], run_directory=str(tmp_path / "run"), **changes))


def test_a_program_that_is_there_and_may_be_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_all(sys.executable, tmp_path)
    assert (found.path, found.executable) == (os.path.abspath(sys.executable), "ok")
    assert found.program is not None and found.program.problem == ""
    assert (found.uid, found.run_directory) == (os.geteuid(), "ok")
    assert found.online.value and found.online.value >= found.trial.cpus
    assert (found.fair_server, found.ordinary.value, found.holders) == ({}, [], {})
    monkeypatch.setattr(facts, "LIBRARY", str(tmp_path / "lockall.so"))
    assert read_all(sys.executable, tmp_path).library == "ENOENT"
    (tmp_path / "lockall.so").write_text("")
    assert read_all(sys.executable, tmp_path).library == "ok"


def test_a_program_that_may_not_be_executed_and_one_that_is_not_there(tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    found = read_all(str(program), tmp_path)
    assert (found.path, found.executable) == (str(program), "EACCES")
    found = read_all(str(tmp_path / "none"), tmp_path)
    assert (found.path, found.program, found.executable) == (None, None, "ENOENT")


def test_the_fair_server_concerns_those_who_poll_in_real_time(tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    polls: dict[str, Any] = {"policy": "fifo", "priority": 1, "cpus": frozenset({cpu})}
    assert set(read_all(sys.executable, tmp_path, **polls).fair_server) == {cpu}
    assert read_all(sys.executable, tmp_path, **polls, busy_poll=False).fair_server == {}
    assert read_all(sys.executable, tmp_path, cpus=frozenset({cpu})).fair_server == {}
