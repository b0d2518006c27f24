"""hosttune_settings: a run may end before any of its system calls, or any of them may fail, and nothing is lost."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.interrupted import CHANGING, READING, run_killed, start, watched
from tests.unit.roles.machine import (
    BACKLOG,
    CONFIG,
    FILES,
    RMEM,
    THEIRS,
    Machine,
    files,
    make_machine,
    run,
    settings,
)

UNIT = "/etc/systemd/system/demo.service.d/limits.conf"
MASK = "/etc/systemd/system/other.service"
MORE = {**FILES, THEIRS: "ours\n", UNIT: "[Service]\n", MASK: {"link": "/dev/null"}}
LESS = {CONFIG: "a = 2\n", MASK: {"link": "/dev/zero"}}

# What a run is asked for on an untouched host, and the run after it that is interrupted.
CASES: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "first": (None, {"files": MORE}),
    "change": ({"files": MORE}, {"files": LESS, "values": {BACKLOG: 300, RMEM: [1, 2, 3]}}),
    "revert": ({"files": MORE}, {"state": "absent", "files": MORE}),
    "image": (None, {"files": MORE, "offline": True}),
}


def prepare(root: Path, case: str) -> Machine:
    machine = make_machine(root)
    machine.write(THEIRS, b"theirs \xff\r\n")
    machine.at(THEIRS).chmod(0o640)
    if os.geteuid() == 0:
        os.chown(machine.at(THEIRS), 1001, 1001)
    before = CASES[case][0]
    if before:
        run(machine, reload=lambda: None, **before)
    return machine


def undisturbed(root: Path, case: str) -> tuple[Any, Any, Any]:
    """Returns the options of the run, and the trees after it and after a revert."""
    machine = prepare(root, case)
    options = {"reload": lambda: None, **CASES[case][1]}
    run(machine, **options)
    after = machine.tree()
    run(machine, **{**options, "state": "absent"})
    return options, after, machine.tree()


@pytest.mark.parametrize(
    ("case", "then"),
    # What was there before an image was built is not known, so its revert is not what it was.
    [(case, then) for case in CASES for then in ("again", "revert") if (case, then) != ("image", "revert")],
)
def test_killed_before_any_change(memory_path: Path, case: str, then: str) -> None:
    options, after, reverted = undisturbed(memory_path / "whole", case)
    for at in range(1, 1000):
        machine = prepare(memory_path / str(at), case)
        finished = run_killed(machine, at, **options)
        run(machine, **(options if then == "again" else {**options, "state": "absent"}))
        assert machine.tree() == (after if then == "again" else reverted), f"killed before call {at}"
        if finished:
            assert at > 15
            return
    pytest.fail("never came to the end")


@pytest.mark.long
def test_killed_before_any_system_call(memory_path: Path) -> None:
    options = {"files": {UNIT: "[Service]\n"}, "values": {BACKLOG: 300}}
    whole = make_machine(memory_path / "whole")
    run(whole, **options)
    for at in range(1, 3000):
        machine = make_machine(memory_path / str(at))
        finished = run_killed(machine, at, READING | CHANGING, **options)
        run(machine, **options)
        assert machine.tree() == whole.tree(), f"killed before call {at}"
        if finished:
            assert at > 200
            return
    pytest.fail("never came to the end")


@pytest.mark.parametrize("case", ["first", "change", "revert"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=lambda code: errno.errorcode[code])
def test_any_system_call_may_fail(memory_path: Path, case: str, code: int) -> None:
    options, after, _ = undisturbed(memory_path / "whole", case)

    def fail(call: int, name: str, arguments: tuple[Any, ...]) -> None:
        if call == at and not (code == errno.ENOSPC and name in ("rmdir", "unlink")):
            raise OSError(code, os.strerror(code))

    for at in range(1, 1000):
        machine = prepare(memory_path / str(at), case)
        with watched(fail) as calls:
            try:
                run(machine, **options)
            except settings.Refused as problem:
                assert os.strerror(code) in str(problem) and "/" in str(problem)
        run(machine, **options)
        assert machine.tree() == after, f"failed at call {at}"
        if calls.number < at:
            return
    pytest.fail("never came to the end")


def test_a_disk_that_takes_only_so_much(memory_path: Path) -> None:
    options, after, _ = undisturbed(memory_path / "whole", "first")
    for most in (0, 1, 3, 5, 7, 20, 500, 1500):
        machine = prepare(memory_path / str(most), "first")
        child = os.fork()
        if child == 0:
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
                run(machine, **options)
            except settings.Refused:
                os._exit(3)
            finally:
                os._exit(4)
        assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 3
        assert not [path for path in machine.tree() if files.DRAFT.search(path)]
        run(machine, **options)
        assert machine.tree() == after


@pytest.mark.parametrize("case", ["first", "change", "revert"])
def test_names_are_on_the_disk_before_the_next_step(memory_path: Path, case: str) -> None:
    """After a rename, or the removal of a file, the next change is the fsync of a directory; data goes before names."""
    machine = prepare(memory_path, case)
    steps: list[str] = []
    with watched(lambda _, name, arguments: steps.append(name), CHANGING - {"open"}):
        run(machine, reload=lambda: steps.append("reload"), **CASES[case][1])
    for step, following in zip(steps, [*steps[1:], "end"], strict=True):
        if step in ("rename", "mkdir") or (step == "unlink" and following != "rmdir"):
            assert following == "fsync", steps
        if step == "fchmod":
            assert following == "fsync", steps
    first = steps.index("rename")
    assert "write" in steps[:first]
    assert case == "revert" or not machine.look("/var/lib/hosttune/lock")


def test_the_record_is_durable_before_the_first_change(memory_path: Path) -> None:
    machine = prepare(memory_path, "first")
    renamed: list[str] = []
    with watched(lambda _, name, arguments: name == "rename" and renamed.append(arguments[1])):
        run(machine, files=MORE)
    assert renamed[0] == "original.json"
    assert renamed[-1] == "original.json" or len(renamed) == len(MORE) + 1


@pytest.mark.parametrize("case", ["first", "change", "revert"])
def test_a_run_waits_for_another_at_any_of_its_changes(memory_path: Path, case: str) -> None:
    """Stop one run before each of its changes: no other goes on beside it, and it names the one that is stopped."""
    options, _, reverted = undisturbed(memory_path / "whole", case)
    refused = 0
    for at in range(1, 1000):
        machine = prepare(memory_path / str(at), case)
        child = start(machine, at, signal.SIGSTOP, **options)
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            assert refused > 10
            return
        try:
            run(machine, **{**options, "state": "absent"}, wait=0)
        except settings.Refused as problem:
            assert f"process {child}" in str(problem) or "another run" in str(problem)
            refused += 1
        finally:
            os.kill(child, signal.SIGCONT)
            _, status = os.waitpid(child, 0)
        assert os.WEXITSTATUS(status) == 0
        run(machine, **{**options, "state": "absent"})
        assert machine.tree() == reverted, f"stopped before call {at}"
    pytest.fail("never came to the end")


def test_many_runs_at_once_leave_nothing_and_lose_nothing(memory_path: Path) -> None:
    machine = prepare(memory_path, "first")
    untouched = machine.tree()
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            try:
                for turn in range(6):
                    state = "absent" if (number + turn) % 3 == 0 else "present"
                    run(machine, state=state, name=("demo", "more")[number % 2], files=MORE if number % 2 else FILES)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.WEXITSTATUS(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    for name in ("more", "demo", "more", "demo"):
        run(machine, name=name, state="absent", files=MORE)
    assert machine.tree()[THEIRS] == untouched[THEIRS]
    assert not [path for path in machine.tree() if "hosttune" in path]


def test_a_lock_that_somebody_removed_meanwhile(machine: Machine) -> None:
    """The run goes on to its end, and does not take away the lock of the run that began in between."""
    lock = machine.at("/var/lib/hosttune/lock")

    def meddle() -> None:
        lock.unlink()
        lock.write_text("another run's")
        lock.chmod(0o600)

    assert run(machine, reload=meddle)["changed"]
    assert lock.read_text() == "another run's"


def test_what_a_killed_run_left_is_removed_and_nothing_else(machine: Machine) -> None:
    directory = machine.at("/etc/sysctl.d")
    (directory / ".hosttune-0123abcd").write_text("half")
    (directory / ".hosttune-0123abce").symlink_to("/dev/null")
    (directory / ".hosttune-abcdefg2").mkdir()  # of an earlier release
    (directory / ".hosttune-abcdefg2/link").symlink_to("/dev/null")
    theirs = [
        ".hosttune-settings",
        ".hosttune-override",
        ".hosttune-not-ours",
        ".hosttune-ABCDEF01",
        ".hosttune-0123abc",
    ]
    for name in theirs:
        (directory / name).write_text("theirs")
    (directory / ".hosttune-manually").symlink_to("theirs")
    (directory / ".hosttune-abcdefg3").mkdir()
    (directory / ".hosttune-abcdefg4").mkdir()
    (directory / ".hosttune-abcdefg4/theirs").write_text("theirs")
    run(machine)
    left = {Path(CONFIG).name, *theirs, ".hosttune-manually", ".hosttune-abcdefg3", ".hosttune-abcdefg4"}
    assert {path.name for path in directory.iterdir()} == left


def test_check_mode_removes_nothing_and_waits_as_well(machine: Machine) -> None:
    (machine.at("/etc/sysctl.d") / ".hosttune-0123abcd").write_text("half")
    child = start(machine, 12, signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    before = machine.tree()
    with pytest.raises(settings.Refused, match=rf"lock is held by process {child}, .*demo.*waited 0 s"):
        run(machine, check=True, wait=0)
    assert machine.tree() == before
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    run(machine, check=True, wait=0)
    assert machine.tree() == before


def test_a_directory_that_a_killed_run_emptied_is_removed_at_the_revert(machine: Machine) -> None:
    """The file is dropped, the run ends before the directory is: nothing is below it any more that names it."""
    before = machine.tree()
    both = {**FILES, UNIT: "[Service]\n"}
    for at in range(1, 100):
        run(machine, files=both)
        finished = run_killed(machine, at, files=FILES)
        run(machine, files=FILES)
        run(machine, state="absent", files=FILES)
        assert {path: what for path, what in machine.tree().items() if path.startswith("/etc")} == {
            path: what for path, what in before.items() if path.startswith("/etc")
        }
        if finished:
            return
    pytest.fail("never came to the end")
