"""The profilers that are programs of their own: where they are, how they attach, and why they cannot."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from desk.errors import DeskError
from desk.profile.names import NUMBA, find_component, show_function
from desk.profile.table import Row
from hosttune.output import escape

#: Bytes of a result that are read.
MOST_BYTES = 256 << 20
#: Seconds until a profiler is attached, and until it has written its result.
_ATTACH, WRITE = 20.0, 60.0
#: Nothing of the caller's: no preloaded library, no search path, no options of a profiler.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
_SYSTEM = ("/usr/bin", "/usr/local/bin", "/bin")
#: Functions that are kept of perf's.
_MOST_FUNCTIONS = 10_000
_SAMPLE = re.compile(r"\s*[0-9a-f]{1,16} (.{1,4096}) \(([^()]{0,4096}|.{0,4096}[^)])\)")


class ToolError(DeskError):
    """A profiler that is not there, or may not; the message says why."""


def find_tool(name: str) -> str:
    """Returns the path of a profiler: of this Python's own programs, or the system's. Not of $PATH, where another user
    may have put one, which then would see what this user may. Raises ToolError."""
    for place in (sysconfig.get_path("scripts"), *_SYSTEM):
        path = os.path.join(place, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    how = "apt-get install linux-perf" if name == "perf" else "pip install 'hosttune[desk-tools]'"
    raise ToolError(f"{name} is not installed ({how})")


class Attached:
    """A profiler attached to a process."""

    def __init__(self, words: Sequence[str], *, ready: str, files_open: Sequence[int] = ()) -> None:
        """Start it, and wait until it says `ready`; "": it is not waited for. Raises ToolError."""
        self.name = os.path.basename(words[0])
        self._stopped = False
        self.order = -1  # perf ends when the other end of its control pipe is closed
        self._said = tempfile.TemporaryFile()  # noqa: SIM115, closed in finish()
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, env=_ENVIRONMENT,
            start_new_session=True, pass_fds=files_open, cwd="/",
        )  # fmt: skip
        limit = time.monotonic() + _ATTACH
        while ready and ready not in self.read_said():
            late = time.monotonic() > limit
            if late:
                self.process.kill()
            if late or self.process.poll() is not None:
                why = self.finish()
                raise ToolError(f"{self.name} did not attach within {_ATTACH:g} s" if late or not why else why)
            time.sleep(0.002)

    def read_said(self) -> str:
        """Returns what it has printed so far."""
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), min(size, 1 << 16), 0).decode("utf-8", "replace")

    def wait(self, seconds: float) -> None:
        """Wait until it ends, and no longer than so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def interrupt(self) -> None:
        """Ask it to stop, and to write what it has."""
        self._stopped = True
        self.process.send_signal(signal.SIGINT)  # of one that has ended, nothing

    def finish(self) -> str:
        """Wait for its end. Returns why there is no result; "": there is one."""
        try:
            code = self.process.wait(WRITE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = -signal.SIGKILL
        said = self.read_said()
        self._said.close()
        if self.order >= 0:
            os.close(self.order)
            self.order = -1
        if code == 0 or (self._stopped and code == -signal.SIGINT):  # perf ends so when it was asked to
            return ""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        why = next((line for line in lines if "rror" in line or "ermission" in line), lines[-1] if lines else "")
        return escape(f"{self.name} ended with {code}: {why[:300]}{_explain_refusal(self.name, said)}")


def _explain_refusal(name: str, said: str) -> str:
    """Returns what of the kernel's settings forbids a profiler its work."""
    if "ermission" not in said and "EPERM" not in said and "perf_event_paranoid" not in said:
        return ""
    key = "perf_event_paranoid" if name == "perf" else "yama/ptrace_scope"
    try:
        return f" (kernel.{key.replace('/', '.')} is {Path('/proc/sys/kernel', key).read_text().strip()})"
    except OSError:
        return ""


def attach_py_spy(pid: int, rate: int, native: bool, form: str, path: Path, seconds: float | None) -> Attached:
    """Returns py-spy, attached to a process, that writes a result of this form ("speedscope" or "flamegraph") to a
    path, after so many seconds, or when the process ends. Without `native` the process is never stopped. Raises
    ToolError."""
    words = [find_tool("py-spy"), "record", "--pid", str(pid), "--rate", str(rate), "--format", form]
    words += ["--output", str(path), "--native" if native else "--nonblocking", "--full-filenames"]
    words += ["--duration", f"{max(1, round(seconds))}"] if seconds is not None else []
    return Attached(words, ready="Sampling process")


def attach_perf(pid: int, rate: int, path: Path) -> Attached:
    """Returns perf, attached to a process and counting, that writes its samples to a path. Raises ToolError. Source:
    perf-record(1), --control."""
    perf = find_tool("perf")
    control, order = os.pipe()
    answer, acknowledge = os.pipe()
    try:
        words = [perf, "record", "--quiet", "--freq", str(rate), "--output", str(path), "--pid", str(pid)]
        words += ["--delay=-1", f"--control=fd:{control},{acknowledge}"]
        attached = Attached(words, ready="", files_open=(control, acknowledge))
        os.close(acknowledge)
        acknowledge = -1
        os.write(order, b"enable\n")
        if not select.select([answer], [], [], _ATTACH)[0] or not os.read(answer, 16).startswith(b"ack"):
            if attached.process.poll() is None:
                attached.process.kill()
            raise ToolError(attached.finish() or "perf did not attach")
        attached.order, order = order, -1
        return attached
    finally:
        for descriptor in (control, order, answer, acknowledge):
            if descriptor >= 0:
                os.close(descriptor)


@contextlib.contextmanager
def stop_by_signal(attached: Attached) -> Iterator[threading.Event]:
    """Let SIGINT and SIGTERM end the sampling early, and keep what there is until then. Yields what is set then."""
    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:
        stopped.set()
        attached.interrupt()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_perf(path: Path) -> list[Row]:
    """Returns a row for each function that perf saw innermost; seconds: samples. Raises ToolError. Source:
    perf-script(1)."""
    words = [find_tool("perf"), "script", "--input", str(path), "--fields", "ip,sym,dso"]
    with tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(
                words, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.PIPE, timeout=WRITE,
                cwd="/",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ToolError(f"perf script: no result within {WRITE:g} s") from None
        if done.returncode:
            raise ToolError(escape(f"perf script: {done.stderr.decode('utf-8', 'replace').strip()[:300]}"))
        said.seek(0)
        return parse_perf(line.decode("utf-8", "replace") for line in said)


def parse_perf(lines: Iterable[str]) -> list[Row]:
    """Returns the rows of what `perf script` says of each sample: "address symbol (library)"; lines of another form are
    passed over."""
    found = Counter(match.groups() for line in lines if (match := _SAMPLE.fullmatch(line.rstrip("\n"))))
    rows = []
    for (name, file), count in found.most_common(_MOST_FUNCTIONS):
        component = find_component(name, file)
        shown = "a function without a name" if name == "[unknown]" else show_function(name, component)[:300]
        jitted = component == NUMBA or file.startswith("[JIT]")
        rows.append(Row(component=component, function=shown, file="" if jitted else file, line=0, seconds=count))
    return rows
