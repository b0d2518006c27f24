"""What another user of the host, or a file that such a user could have written, does to `hosttune launch` and `attest`:
nothing, and nobody waits for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .launching import AS_NOBODY, BOUND, CPU, SLEEP, Launch, read_back, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]

STRANGER = 12345
#: Seconds that anything of a stranger's may cost root's commands.
QUICK = 1.0


def as_stranger(attack: Callable[[], object], uid: int = STRANGER) -> int:
    """Start a process of another user that does something until it is killed; returns its number."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            attack()
        finally:
            os._exit(0)
    return child


@contextlib.contextmanager
def stranger(attack: Callable[[], object], uid: int = STRANGER) -> Iterator[None]:
    child = as_stranger(attack, uid)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class TestRecord:
    def path(self, tmp_path: Path, process: subprocess.Popen[str]) -> Path:
        file = tmp_path / "run" / "launch" / f"{process.pid}.json"
        until(file.exists)
        return file

    def test_one_of_3_gb_is_refused_at_once(self, launch: Launch, tmp_path: Path) -> None:
        process = launch("--", SLEEP, "60")
        assert read_back(tmp_path, process.pid)[0] == 0
        os.truncate(self.path(tmp_path, process), 3 << 30)
        begun = time.monotonic()
        bound = ("prlimit", f"--as={1 << 30}")
        code, said = read_back(tmp_path, process.pid, prefix=bound)
        assert code == 3 and "more than" in said and time.monotonic() - begun < QUICK + 1
        # Nor does the next launch read it.
        assert launch("--", "/bin/true", prefix=bound).wait(BOUND) == 0

    def lend(self, file: Path) -> None:
        os.chown(file, STRANGER, STRANGER)

    def open_to_all(self, file: Path) -> None:
        file.chmod(0o666)

    def link_to_one_of_strangers(self, file: Path) -> None:
        other = file.with_suffix(".other")
        shutil.copy(file, other)
        file.unlink()
        file.symlink_to(other)

    def be_a_fifo(self, file: Path) -> None:
        file.unlink()
        os.mkfifo(file)

    def be_in_a_directory_of_all(self, file: Path) -> None:
        file.parent.chmod(0o777)

    def be_in_a_directory_of_a_stranger(self, file: Path) -> None:
        os.chown(file.parent.parent, STRANGER, STRANGER)

    def have_no_end(self, file: Path) -> None:
        file.write_bytes(b"[" * (1 << 20))

    def hold_a_long_number(self, file: Path) -> None:
        file.write_text(file.read_text().replace('"pid": ', '"pid": ' + "9" * 5000))

    def hold_another_kind(self, file: Path) -> None:
        file.write_text(re.sub(r'"cpus": "[^"]*"', '"cpus": "0-999999999999"', file.read_text()))

    def name_a_limit_that_is_none(self, file: Path) -> None:
        file.write_text(file.read_text().replace('"rlimits": {', '"rlimits": {"none": [1, 1], '))

    def be_of_another_process(self, file: Path) -> None:
        file.write_text(re.sub(r'"pid": \d+', '"pid": 1', file.read_text()))

    @pytest.mark.parametrize(
        "deed",
        [lend, open_to_all, link_to_one_of_strangers, be_a_fifo, be_in_a_directory_of_all,
         be_in_a_directory_of_a_stranger, have_no_end, hold_a_long_number, hold_another_kind, name_a_limit_that_is_none,
         be_of_another_process],
    )  # fmt: skip
    def test_one_that_others_could_have_written_is_not_believed(
        self, launch: Launch, tmp_path: Path, deed: Callable[[Any, Path], None]
    ) -> None:
        process = launch("--rlimit", "nofile=512", "--", SLEEP, "60")
        assert read_back(tmp_path, process.pid)[0] == 0
        deed(self, self.path(tmp_path, process))
        begun = time.monotonic()
        code, said = read_back(tmp_path, process.pid)
        assert code == 3 and said.count("\n") == 1 and time.monotonic() - begun < QUICK + 1

    def test_a_run_directory_that_others_own_or_write_to(self, launch: Launch, open_folder: Path) -> None:
        (open_folder / "run").mkdir()
        (open_folder / "link").symlink_to(open_folder / "run")
        for name, spoil in (
            ("run", lambda: (open_folder / "run").chmod(0o777)),
            ("link/below", lambda: (open_folder / "run").chmod(0o777)),
            ("run", lambda: os.chown(open_folder / "run", STRANGER, STRANGER)),
            ("run/below", lambda: os.chown(open_folder / "run", STRANGER, STRANGER)),
            ("link/below", lambda: os.chown(open_folder / "link", STRANGER, STRANGER, follow_symlinks=False)),
        ):
            spoil()
            begun = time.monotonic()
            process = launch("--run-dir", str(open_folder / name), "--", "/bin/true")
            said = process.communicate(timeout=BOUND)[1]
            assert "launch.run_directory: fail" in said and process.returncode == 1
            assert time.monotonic() - begun < QUICK + 2
            os.chown(open_folder / "run", 0, 0)
            (open_folder / "run").chmod(0o755)
        assert [path for path in (open_folder / "run").rglob("*") if not path.is_dir()] == []


class TestStrangers:
    def test_locks_on_all_that_can_be_opened(self, launch: Launch, open_folder: Path) -> None:
        """From before the launch on: also a draft that is there for a moment."""
        run = open_folder / "run"

        def lock_everything() -> None:
            held = {}
            while True:
                for folder, _, names in os.walk(run):
                    for path in (folder, *(os.path.join(folder, name) for name in names)):
                        with contextlib.suppress(OSError):
                            if path not in held:
                                held[path] = os.open(path, os.O_RDONLY)
                            fcntl.flock(held[path], fcntl.LOCK_EX | fcntl.LOCK_NB)

        with stranger(lock_everything):
            for _ in range(3):
                begun = time.monotonic()
                process = launch("--run-dir", str(run), "--attest", *AS_NOBODY, "--cpus", str(CPU), "--", SLEEP, "2")
                said = process.communicate(timeout=BOUND)[1]
                assert process.returncode == 0 and "attest: holds" in said
                assert time.monotonic() - begun < 2 + 3 * QUICK

    def test_names_made_before(self, launch: Launch, open_folder: Path) -> None:
        """In a sticky directory anybody may make the run directory first; then it is not used, and root told so."""
        place = open_folder / "sticky"
        place.mkdir()
        place.chmod(0o1777)
        for number, make in enumerate((Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc"), Path.touch)):
            run = place / f"run{number}"
            os.waitpid(as_stranger(lambda run=run, make=make: make(run)), 0)  # type: ignore[misc]
            assert os.lstat(run).st_uid == STRANGER
            begun = time.monotonic()
            process = launch("--run-dir", str(run), "--", "/bin/true")
            assert "launch.run_directory: fail" in process.communicate(timeout=BOUND)[1]
            assert process.returncode == 1 and time.monotonic() - begun < QUICK + 2

    def test_the_programs_user_cannot_stop_the_launcher_that_tries_things_as_this_user(self, launch: Launch) -> None:
        nobody = pwd.getpwnam("nobody").pw_uid
        for _ in range(3):
            process = launch(*AS_NOBODY, "--", "/bin/true", status="fail")
            children = f"/proc/{process.pid}/task/{process.pid}/children"

            def stop_children(path: str = children) -> None:
                while True:
                    with contextlib.suppress(OSError), open(path) as file:
                        for pid in file.read().split():
                            with contextlib.suppress(OSError):
                                os.kill(int(pid), signal.SIGSTOP)

            begun = time.monotonic()
            with stranger(stop_children, nobody):
                process.communicate(timeout=BOUND)
            assert process.returncode == 1 and time.monotonic() - begun < 2 + QUICK

    def test_signals_to_the_launcher(self, launch: Launch) -> None:
        process = launch("--attest", "--", SLEEP, "1", seconds=0.3)

        def signal_everything() -> None:
            while True:
                for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
                    with contextlib.suppress(OSError):
                        os.kill(process.pid, number)

        with stranger(signal_everything):
            said = process.communicate(timeout=BOUND)[1]
        assert process.returncode == 0 and "attest: holds" in said
