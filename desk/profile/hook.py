"""Runs in the profiled process, before the program and at its end: `python hook.py --into DIRECTORY ... -- PROGRAM`.

It runs the program in the same interpreter as `python PROGRAM` would, waits before that until the profiler is attached,
and writes what only the process itself knows: pauses of its garbage collector, where Numba put which function, and what
cProfile, line_profiler, memray or the timer of calls measured. Written for the program's own interpreter: the standard
library only.

Without --into it only keeps the map of Numba's functions: `python -m desk.profile.hook PROGRAM`, for a program that
`desk profile --pid` is to look at later.
"""

import atexit
import gc
import importlib.util
import json
import os
import runpy
import sys
import time
from array import array
from types import ModuleType
from typing import Any

#: Pauses of the collector, and rows of a profiler, that are kept.
MOST_PAUSES, MOST_ROWS = 1_000_000, 300
RESULT = "hook.json"
#: Is there as soon as this process waits for the profiler.
AT_GATE = "at-gate"
#: Why a program that is not Python could not be started.
NOT_STARTED = "not-started"
MEMORY = "memray.bin"
#: In the same directory: the functions whose calls are timed, [[file, qualified name], ...].
FUNCTIONS = "functions.json"


def _load(name: str) -> Any:
    """Returns the module beside this one, whatever sys.path is."""
    spec = importlib.util.spec_from_file_location(
        f"_desk_profile_{name}", os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pauses:
    """How long each collection stopped the program."""

    def __init__(self) -> None:
        self.lengths = array("q")
        self.count, self.total, self.longest, self._begun = [0, 0, 0], 0, 0, 0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, about: "dict[str, int]") -> None:
        if phase == "start":
            self._begun = time.perf_counter_ns()
        elif self._begun:
            length = time.perf_counter_ns() - self._begun
            self._begun = 0
            self.count[min(about["generation"], 2)] += 1
            self.total += length
            self.longest = max(self.longest, length)
            if len(self.lengths) < MOST_PAUSES:
                self.lengths.append(length)

    def sum_up(self) -> "dict[str, Any]":
        """Returns numbers by generation, and the pauses in microseconds."""
        ordered = sorted(self.lengths)
        return {
            "collections": self.count,
            "total_us": self.total / 1e3,
            "p50_us": ordered[len(ordered) // 2] / 1e3 if ordered else 0.0,
            "max_us": self.longest / 1e3,
        }


class Recorder:
    """What is written at the end."""

    def __init__(self, directory: str, profiler: str) -> None:
        self.directory, self.profiler = directory, profiler
        self.begun_wall, self.begun_cpu = time.perf_counter(), time.process_time()
        self.pid = os.getpid()
        self.map = _load("numba_map").Map()
        self.map.install()
        self.tool: Any = None
        self.rows: list[dict[str, Any]] = []
        self.problem = ""
        self.pauses = Pauses() if directory else None

    def write(self) -> None:
        """Write the result, whole or not at all. A child that was forked writes nothing."""
        if os.getpid() != self.pid or not self.directory or not self.pauses:
            return
        result = {
            "wall_s": time.perf_counter() - self.begun_wall,
            "cpu_s": time.process_time() - self.begun_cpu,
            "gc": self.pauses.sum_up(),
            "numba": [[*row, *_find_source(row[2], row[3])] for row in self.map.functions],
            "numba_problem": self.map.problem,
            "rows": self.rows,
            "problem": self.problem,
        }
        draft = os.path.join(self.directory, f".{RESULT}")
        with open(draft, "w", encoding="ascii") as file:
            json.dump(result, file)
        os.replace(draft, os.path.join(self.directory, RESULT))

    def run(self, run: Any) -> None:
        """Run the program under the profiler that works from within."""
        try:
            if self.profiler == "memray":
                import memray

                with memray.Tracker(os.path.join(self.directory, MEMORY)):
                    run()
            elif self.profiler == "cprofile":
                import cProfile

                self.tool = cProfile.Profile()
                self.tool.enable()
                try:
                    run()
                finally:
                    self.tool.disable()
                    self.rows = _list_calls(self.tool)
            elif self.profiler == "line_profiler":
                import line_profiler

                class Lines(line_profiler.LineProfiler):  # type: ignore[misc]
                    """Notes a function and leaves it as it is: Numba compiles no wrapper."""

                    def __call__(self, function: Any) -> Any:
                        self.add_callable(function)
                        return function

                self.tool = Lines()
                self.tool.enable_by_count()
                try:
                    run(self.tool)
                finally:
                    self.tool.disable_by_count()
                    self.rows = _list_lines(self.tool)
            elif self.profiler == "calls":
                with open(os.path.join(self.directory, FUNCTIONS), encoding="utf-8", errors="surrogateescape") as file:
                    self.tool = _load("calls").Calls(json.load(file))
                self.tool.start()
                try:
                    run()
                finally:
                    self.tool.stop()
                    self.rows = self.tool.list_rows()
            else:
                run()
        except ModuleNotFoundError as error:
            if error.name != self.profiler:
                raise
            self.problem = f"{self.profiler} is not installed for {sys.executable}"


def _find_source(module: str, name: str) -> "tuple[str, int]":
    """Returns the file and the first line of a function that Numba compiled, ("", 0) where they are not found."""
    for home in (module, "__main__"):
        value: Any = sys.modules.get(home)
        for part in name.split("."):
            value = getattr(value, part, None)
        value = getattr(value, "py_func", getattr(value, "_pyfunc", value))
        code = getattr(value, "__code__", None)
        if code is not None:
            return os.path.abspath(code.co_filename), code.co_firstlineno
    return "", 0


def _list_calls(tool: Any) -> "list[dict[str, Any]]":
    """Returns the functions of cProfile in which most time was spent, callees not counted."""
    rows = []
    for entry in tool.getstats():
        code = entry.code
        if isinstance(code, str):  # compiled: "<built-in method time.sleep>"
            place = {"function": code, "file": "", "line": 0}
        else:
            name = getattr(code, "co_qualname", code.co_name)
            place = {"function": name, "file": code.co_filename, "line": code.co_firstlineno}
        rows.append({**place, "calls": entry.callcount, "seconds": entry.inlinetime, "total": entry.totaltime})
    return sorted(rows, key=lambda row: -row["seconds"])[:MOST_ROWS]


def _list_lines(tool: Any) -> "list[dict[str, Any]]":
    """Returns the lines of line_profiler in which most time was spent."""
    stats = tool.get_stats()
    rows = [
        {"function": name, "file": file, "line": line, "calls": hits, "seconds": took * stats.unit}
        for (file, _, name), lines in stats.timings.items()
        for line, hits, took in lines
    ]
    return sorted(rows, key=lambda row: -row["seconds"])[:MOST_ROWS]


def _make_program(words: "list[str]") -> Any:
    """Returns a function that runs what `python WORDS` would run, and sets sys.argv and sys.path[0] as that does. With
    a line_profiler.LineProfiler, it is told of every function of the program's own file."""
    first = words[0]
    safe = getattr(sys.flags, "safe_path", False) or sys.flags.isolated
    if first == "-m":
        sys.argv = words[1:]
        place = os.getcwd()

        def run(lines: Any = None) -> None:
            if lines is None:
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
            else:
                spec = importlib.util.find_spec(words[1])
                _run_lines(lines, spec.origin if spec and spec.origin else words[1], words[1])

    elif first == "-c":
        sys.argv = ["-c", *words[2:]]
        place = ""

        def run(lines: Any = None) -> None:
            _execute(compile(words[1], "<string>", "exec"), "")

    else:
        sys.argv = words
        place = os.path.dirname(os.path.abspath(os.path.realpath(first)))

        def run(lines: Any = None) -> None:
            if lines is not None:
                _run_lines(lines, first, "")
            elif os.path.isdir(first) or first.endswith((".zip", ".pyz")):
                runpy.run_path(first, run_name="__main__")
            else:
                with open(first, "rb") as file:
                    code = compile(file.read(), first, "exec")
                _execute(code, first)

    if not safe:
        sys.path.insert(0, place)
    return run


def _execute(code: Any, file: str) -> None:
    module = ModuleType("__main__")
    module.__dict__.update(__file__=file, __builtins__=__builtins__, __spec__=None)
    if not file:
        del module.__dict__["__file__"]
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _run_lines(lines: Any, file: str, name: str) -> None:
    from line_profiler.autoprofile import autoprofile

    module = ModuleType("__main__")
    module.__dict__.update(__file__=file, __builtins__=__builtins__, __spec__=None, prof=lines, profile=lines)
    sys.modules["__main__"] = module
    autoprofile.run(file, module.__dict__, prof_mod=[file], as_module=bool(name))


def main(words: "list[str]") -> None:
    """Run the program that the words name."""
    own = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0]) == own:  # of this file, not of the program
        del sys.path[0]
    into = profiler = ""
    gate = -1
    while words and words[0] in ("--into", "--with", "--gate", "--"):
        option = words.pop(0)
        if option == "--":
            break
        value = words.pop(0)
        if option == "--into":
            into = value
        elif option == "--with":
            profiler = value
        else:
            gate = int(value)
    if profiler == "exec":  # no Python program: only wait for the profiler
        _pass_gate(gate, into)
        try:
            os.execv(words[0], words)
        except OSError as error:
            with open(os.path.join(into, NOT_STARTED), "w", encoding="ascii") as file:
                file.write(str(error.strerror))
            os._exit(126)  # as a shell
    run = _make_program(words)
    recorder = Recorder(into, profiler)
    atexit.register(recorder.write)
    if gate >= 0:
        _pass_gate(gate, into)
        recorder.begun_wall, recorder.begun_cpu = time.perf_counter(), time.process_time()
    recorder.run(run)


def _allow_parent() -> None:
    """Let a profiler that this process's parent starts look at this process, where only ancestors may. Source:
    Documentation/admin-guide/LSM/Yama.rst of Linux; prctl(2), PR_SET_PTRACER."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            if file.read().strip() != "1":
                return
        import ctypes

        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(os.getppid()), 0, 0, 0)
    except (ImportError, OSError):
        pass  # the profiler says what it was refused


def _pass_gate(gate: int, into: str) -> None:
    """Wait until whoever started this process lets it go on: until the pipe's other end is closed."""
    _allow_parent()
    with open(os.path.join(into, AT_GATE), "w"):
        pass
    while os.read(gate, 1):
        pass
    os.close(gate)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("hook: a program is missing")
    main(sys.argv[1:])
