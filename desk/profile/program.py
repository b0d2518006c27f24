"""The profiled program: how a command is run under the hook, and how its signals and its exit code go through."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from desk.errors import DeskError
from desk.profile.decode import decode_json
from desk.profile.hook import AT_GATE, NOT_STARTED, RESULT
from desk.profile.numba_map import map_path

HOOK = Path(__file__).with_name("hook.py")
#: Bytes of the hook's result that are read.
_MOST_BYTES = 64 << 20
#: Seconds between two looks at whether the program is over.
_LOOKS = 0.05
#: Seconds that an interpreter may take to start.
_STARTS = 60.0
_INTERPRETER = re.compile(r"python(\d+(\.\d+)*)?")
#: Options of the interpreter that have a value of their own.
_WITH_VALUE = {"-W", "-X", "--check-hash-based-pycs"}
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Command(msgspec.Struct, frozen=True):
    """A command: the words before the hook, which are the interpreter's, and those behind it. python: whether it runs
    Python."""

    before: list[str]
    program: list[str]
    python: bool


class Result(msgspec.Struct, kw_only=True):
    """What the hook wrote at the end of a run."""

    wall_s: float
    cpu_s: float
    gc: dict[str, Any]
    numba: list[Any]
    numba_problem: str
    rows: list[dict[str, Any]]
    problem: str


def split_command(words: Sequence[str]) -> Command:
    """Returns the parts of a command. Raises DeskError for a program that is not there, and for an interpreter that is
    given no program.

    Source: Python's documentation, "Command line and environment"; execve(2), "Interpreter scripts".
    """
    path = shutil.which(words[0])
    if path is None:
        raise DeskError(f"{words[0]}: found no program of this name, or none that may be run")
    if _INTERPRETER.fullmatch(os.path.basename(words[0])):
        return _split_interpreter(path, list(words[1:]))
    with contextlib.suppress(OSError), open(path, "rb") as file:
        line = file.readline(256).decode("ascii", "replace")
        if line.startswith("#!"):
            parts = line[2:].split()
            if parts and os.path.basename(parts[0]) == "env" and len(parts) > 1 and not parts[1].startswith("-"):
                parts = [shutil.which(parts[1]) or parts[1], *parts[2:]]
            if parts and _INTERPRETER.fullmatch(os.path.basename(parts[0])) and shutil.which(parts[0]):
                return Command(parts, [path, *words[1:]], True)
    return Command([], [path, *words[1:]], False)


def _split_interpreter(path: str, words: list[str]) -> Command:
    before = [path]
    while words:
        word = words[0]
        if word in ("-m", "-c") or not word.startswith("-") or word == "-":
            break
        count = 2 if word in _WITH_VALUE else 1
        before += words[:count]
        del words[:count]
    if not words or words[0] == "-" or (words[0] in ("-m", "-c") and len(words) < 2):
        raise DeskError(
            "found an interpreter without a program, allowed: python FILE, python -m MODULE, python -c CODE"
        )
    return Command(before, words, True)


class Child:
    """The program, started and waiting at its gate for the profiler."""

    def __init__(self, command: Command, profiler: str, directory: Path) -> None:
        reading, self._gate = os.pipe()
        hook = [str(HOOK), "--into", str(directory), "--with", profiler, "--gate", str(reading), "--"]
        own = command.before or [_own_python(), "-I", "-S"]
        try:
            self.process = subprocess.Popen([*own, *hook, *command.program], pass_fds=[reading])
        except OSError as error:
            os.close(self._gate)
            raise DeskError(f"{own[0]}: {error.strerror}") from None
        finally:
            os.close(reading)
        self._directory, self._name = directory, command.program[0]
        self.asked_to_end = False

    def wait_at_gate(self) -> None:
        """Wait until the program's interpreter has started, so that a profiler does not see that, or has ended."""
        limit = time.monotonic() + _STARTS
        while self.process.poll() is None and time.monotonic() < limit:
            if os.path.exists(self._directory / AT_GATE):
                break
            time.sleep(0.002)

    def open_gate(self) -> None:
        """Let the program begin."""
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def wait(self, over: Callable[[], None]) -> int:
        """Returns the exit code when the program has ended: 128 and the signal's number for one that a signal ended, as
        a shell says it. over: is called when a Python program itself is over, and its interpreter goes on to end."""
        while self.process.poll() is None and not self._wrote_result():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_LOOKS)
        if self.process.returncode is None:
            over()
        code = self.process.wait()
        return 128 - code if code < 0 else code

    def _wrote_result(self) -> bool:
        return os.path.exists(self._directory / RESULT)

    def check_started(self) -> None:
        """Raise DeskError when the kernel has refused to run a program that is not Python."""
        from hosttune import files

        with contextlib.suppress(FileNotFoundError):
            why = files.read_file(self._directory / NOT_STARTED, 1000).decode("ascii", "replace")
            raise DeskError(f"{self._name}: {why}")

    def read_result(self) -> Result | None:
        """Returns what the hook wrote; None: nothing, since the program ended without its exit handlers, or is not
        Python. Raises DeskError for a file of another form."""
        from hosttune import files

        try:
            data = files.read_file(self._directory / RESULT, _MOST_BYTES)
            return decode_json(data, Result)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DeskError(f"the hook's result: {error}") from None

    def close(self) -> None:
        """End what is still there, and remove the map that the hook has made."""
        self.open_gate()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            path = map_path(self.process.pid)
            if os.lstat(path).st_uid == os.geteuid():
                os.unlink(path)

    @contextlib.contextmanager
    def forward_signals(self) -> Iterator[None]:
        """Hand on to the program the signals that this process gets."""

        def forward(number: int, frame: object) -> None:
            self.asked_to_end = True
            if number in (signal.SIGINT, signal.SIGQUIT) and _is_of_terminal():
                return  # the terminal has sent it to the program, too
            self.open_gate()
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

        before = {number: signal.signal(number, forward) for number in _FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _own_python() -> str:
    import sys

    return sys.executable


def _is_of_terminal() -> bool:
    """Returns whether this process is in the group that a terminal sends its signals to."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
