"""`hosttune launch` of another user's program, from a shell on a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .launching import AS_NOBODY, BOUND, CPU, SLEEP, Launcher, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]


class TestTerminal:
    @pytest.fixture
    def on_terminal(self, launcher: Launcher, tmp_path: Path) -> Iterator[Callable[..., tuple[int, int]]]:
        """Launch on a new terminal, which is the controlling one; returns its other end, and the launcher."""
        ended = []

        def start(*words: str) -> tuple[int, int]:
            command, environment = launcher(*words)
            child, terminal = os.forkpty()
            if child == 0:
                os.chdir(tmp_path)
                os.execve(command[0], command, environment)
            ended.append((child, terminal))
            return terminal, child

        yield start
        for child, terminal in ended:
            os.close(terminal)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)

    def read(self, terminal: int, last: str) -> str:
        """Returns what a terminal shows until `last` is in it, or until it is gone."""
        said = b""
        while last.encode() not in said:
            assert select.select([terminal], [], [], BOUND)[0], said
            try:
                said += os.read(terminal, 4096)
            except OSError:  # EIO: nobody has the other end any more
                break
        return said.decode()

    def wait(self, child: int) -> int:
        deadline = time.monotonic() + BOUND
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        raise AssertionError("the launcher did not end")

    def test_it_cannot_be_typed_into_read_changed_or_taken(
        self, on_terminal: Callable[..., tuple[int, int]], build: Callable[[str], str]
    ) -> None:
        terminal, child = on_terminal(*AS_NOBODY, "--", build("take_terminal"), "-", "0")
        said = self.read(terminal, "done")
        assert "could" not in said
        assert self.wait(child) == 0

    def test_the_program_prints_and_orders_nothing(self, on_terminal: Callable[..., tuple[int, int]]) -> None:
        terminal, child = on_terminal(
            *AS_NOBODY, "--", "/bin/sh", "-c", "printf 'a\\033[2Jb\\nä\\377'; echo c >&2; exit 42"
        )
        code = self.wait(child)
        said = self.read(terminal, "\0")
        assert code == 42
        assert "a\\u001b[2Jb\r\nä\\udcff" in said and "c\r\n" in said

    def test_its_input_is_empty(self, on_terminal: Callable[..., tuple[int, int]]) -> None:
        _, child = on_terminal(*AS_NOBODY, "--", "/bin/cat")
        assert self.wait(child) == 0

    def test_signals_are_passed_on_and_the_end_too(self, on_terminal: Callable[..., tuple[int, int]]) -> None:
        loop = 'for s in HUP USR1 TERM; do trap "echo got $s" $s; done; echo ready; while :; do sleep 0.1; done'
        terminal, child = on_terminal(*AS_NOBODY, "--no-mlock", "--", "/bin/sh", "-c", loop)
        self.read(terminal, "ready")
        for name in ("HUP", "USR1", "TERM"):
            os.kill(child, getattr(signal, f"SIG{name}"))
            self.read(terminal, f"got {name}")
        os.write(terminal, b"\x03")  # Control-C
        assert self.wait(child) == 128 + signal.SIGINT

    def test_the_program_ends_with_its_launcher(self, on_terminal: Callable[..., tuple[int, int]]) -> None:
        terminal, child = on_terminal(*AS_NOBODY, "--no-mlock", "--", "/bin/sh", "-c", "echo at $$.; exec sleep 60")
        found = re.search(r"at (\d+)\.", self.read(terminal, "."))
        assert found
        program = int(found[1])
        os.kill(child, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{program}").exists())

    def test_what_it_leaves_behind_does_not_hold_the_launcher(
        self, on_terminal: Callable[..., tuple[int, int]]
    ) -> None:
        flood = "setsid timeout 20 yes & sleep 0.3; exit 7"
        terminal, child = on_terminal(*AS_NOBODY, "--no-mlock", "--", "/bin/sh", "-c", flood)
        reader = os.fork()
        if reader == 0:
            with contextlib.suppress(OSError):
                while os.read(terminal, 4096):
                    pass
            os._exit(0)
        try:
            assert self.wait(child) == 7
        finally:
            os.kill(reader, signal.SIGKILL)
            os.waitpid(reader, 0)

    def test_attest_holds_there(self, on_terminal: Callable[..., tuple[int, int]]) -> None:
        terminal, child = on_terminal(*AS_NOBODY, "--attest", "--cpus", str(CPU), "--", SLEEP, "2")
        said = self.read(terminal, "attest: holds")
        assert "attest.terminal: none" in said
        assert self.wait(child) == 0

    def test_without_another_user_nobody_stays(self, on_terminal: Callable[..., tuple[int, int]]) -> None:
        terminal, child = on_terminal("--no-mlock", "--", "/bin/sh", "-c", "echo at $$.; tty")
        said = self.read(terminal, "/dev/")
        assert f"at {child}." in said
        assert self.wait(child) == 0
