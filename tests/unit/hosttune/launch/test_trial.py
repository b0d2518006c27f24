"""What only a trial tells: permissions, placement, and the run directory."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosttune.launch import trial
from hosttune.launch.plan import Plan, User

ROOT = os.geteuid() == 0
NOBODY = User("nobody", 65534, 65534, [65534], "/", "/bin/sh")
OWN = Plan(command=["a"])


@pytest.fixture
def file() -> Iterator[Path]:
    """A program where every user gets to it, as below pytest's own directory nobody does."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        (Path(directory) / "program").write_text("#!/bin/sh\n")
        yield Path(directory) / "program"


def test_a_call_by_its_errno() -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "no space")

    def fail_without_number() -> None:
        raise OSError("unknown")

    assert trial.try_call(lambda: None) == "ok"
    assert trial.try_call(fail) == "ENOSPC"
    assert trial.try_call(fail_without_number) == "unknown"


def test_a_program_has_to_be_executable(file: Path) -> None:
    file.chmod(0o644)
    assert trial.try_call(lambda: trial.require_executable(str(file))) == "EACCES"
    file.chmod(0o755)
    assert trial.try_call(lambda: trial.require_executable(str(file))) == "ok"
    assert trial.try_call(lambda: trial.require_executable(str(file) + "x")) == "EACCES"
    assert trial.try_call(lambda: trial.require_readable(str(file))) == "ok"
    assert trial.try_call(lambda: trial.require_readable(str(file) + "x")) == "ENOENT"


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
@pytest.mark.parametrize(
    ("mode", "executable", "readable"),
    [(0o755, "ok", "ok"), (0o711, "ok", "EACCES"), (0o744, "EACCES", "ok"), (0o700, "EACCES", "EACCES")],
)
def test_permissions_are_the_other_users(file: Path, mode: int, executable: str, readable: str) -> None:
    file.chmod(mode)
    plan = Plan(command=["a"], user=NOBODY)
    assert trial.try_as_user(plan, lambda: trial.require_executable(str(file))) == executable
    assert trial.try_as_user(plan, lambda: trial.require_readable(str(file))) == readable
    assert trial.try_as_user(OWN, lambda: trial.require_readable(str(file))) == "ok"
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_without_the_right_to_become_a_user_the_own_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it needs no other process"))
    assert trial.try_as_user(Plan(command=["a"], user=NOBODY), lambda: None) == "ok"
    own = User("me", 1000, 1000, [], "/", "/bin/sh")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "geteuid", lambda: own.uid)
    assert trial.try_as_user(Plan(command=["a"], user=own), lambda: None) == "ok"


def test_placement_is_tried_on_a_child_and_leaves_nothing_behind() -> None:
    before, policy = os.sched_getaffinity(0), os.sched_getscheduler(0)
    cpu = max(before)
    found = trial.try_placement(OWN, frozenset({cpu}))
    assert found == trial.Trial(0, frozenset({cpu}), 0)
    wrong = trial.try_placement(OWN, frozenset({8191}))
    assert (wrong.affinity_errno, wrong.cpus, wrong.policy_errno) == (errno.EINVAL, frozenset(before), 0)
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0)) == (before, policy)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_run_directory_is_made(tmp_path: Path) -> None:
    place = tmp_path / "run"
    tmp_path.chmod(0o700)
    assert trial.try_run_directory(str(place)) == "ok"
    assert sorted(each.name for each in place.iterdir()) == ["launch", "lease"]
    (tmp_path / "file").write_text("")
    assert trial.try_run_directory(str(tmp_path / "file" / "run")).startswith(str(tmp_path / "file"))


def test_a_run_directory_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, effective_ids: not path.endswith("/lease"))
    assert trial.try_run_directory(str(tmp_path / "run")) == f"{tmp_path}/run/lease: Permission denied"
