"""Runs in the profiled process: how long each call of some Python functions took, so that there is a median of it.

Written for the process's own interpreter: the standard library only. From Python 3.12 on the interpreter is told which
functions these are, and all others run as they are (sys.monitoring, PEP 669); before, a function of this module is
called for each call there is (sys.setprofile), whose time is in that of the callers. A generator, a coroutine and what
waits for them are left out: one of their calls is many.
"""

import sys
import threading
from array import array
from time import perf_counter_ns
from typing import Any

#: Calls of one function that are kept: the last ones.
MOST_CALLS = 65_536
#: inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR, whose module is slow to import.
_RESUMED = 0x20 | 0x80 | 0x200


class Calls:
    """The calls of the functions that a list names by file and qualified name."""

    def __init__(self, functions: "list[list[str]]") -> None:
        self._wanted = {(file, name) for file, name in functions}
        self._lengths: dict[tuple[str, str, int], array[int]] = {}
        self._counts: dict[tuple[str, str, int], int] = {}
        self._keys: dict[Any, Any] = {}  # of a code object: its key, or None for one that is not timed
        self._begun: dict[int, list[tuple[Any, int]]] = {}  # of a thread: the calls that are under way

    def start(self) -> None:
        """Time calls from now on, in all threads."""
        monitoring = getattr(sys, "monitoring", None)
        if monitoring is None:
            threading.setprofile(self._note)
            sys.setprofile(self._note)
            return
        tool, events = monitoring.PROFILER_ID, monitoring.events
        monitoring.use_tool_id(tool, "desk profile")
        disable = monitoring.DISABLE
        monitoring.register_callback(tool, events.PY_START, lambda code, at: None if self._begin(code) else disable)
        monitoring.register_callback(
            tool, events.PY_RETURN, lambda code, at, value: None if self._end(code) else disable
        )
        monitoring.register_callback(tool, events.PY_UNWIND, lambda code, at, error: self._end(code) and None)
        monitoring.set_events(tool, events.PY_START | events.PY_RETURN | events.PY_UNWIND)

    def stop(self) -> None:
        """Time no more."""
        monitoring = getattr(sys, "monitoring", None)
        if monitoring is None:
            sys.setprofile(None)
            threading.setprofile(None)
        else:
            monitoring.set_events(monitoring.PROFILER_ID, 0)
            monitoring.free_tool_id(monitoring.PROFILER_ID)

    def list_rows(self) -> "list[dict[str, Any]]":
        """Returns a row for each function that was called, with the median of a call in microseconds."""
        return [
            {"file": file, "function": name, "line": line, "calls": self._counts[file, name, line],
             "p50_us": sorted(lengths)[len(lengths) // 2] / 1e3}
            for (file, name, line), lengths in self._lengths.items()
            if lengths
        ]  # fmt: skip

    def _find(self, code: Any) -> Any:
        try:
            return self._keys[code]
        except KeyError:
            name = getattr(code, "co_qualname", code.co_name)
            key = (code.co_filename, name, code.co_firstlineno)
            if (code.co_filename, name) not in self._wanted or code.co_flags & _RESUMED:
                key = None  # type: ignore[assignment]
            else:
                self._lengths.setdefault(key, array("q"))
                self._counts.setdefault(key, 0)
            self._keys[code] = key
            return key

    def _note(self, frame: Any, event: str, value: Any) -> None:
        if event == "call":
            self._begin(frame.f_code)
        elif event == "return":
            self._end(frame.f_code)

    def _begin(self, code: Any) -> bool:
        """Returns whether the code is one that is timed."""
        if self._find(code) is None:
            return False
        thread = threading.get_ident()
        self._begun.setdefault(thread, []).append((code, perf_counter_ns()))
        return True

    def _end(self, code: Any) -> bool:
        """Returns whether the code is one that is timed."""
        key = self._find(code)
        if key is None:
            return False
        now = perf_counter_ns()
        begun = self._begun.get(threading.get_ident())
        while begun:  # what has not ended is a call whose end was not told
            which, since = begun.pop()
            if which is code:
                lengths, count = self._lengths[key], self._counts[key]
                if count < MOST_CALLS:
                    lengths.append(now - since)
                else:
                    lengths[count % MOST_CALLS] = now - since
                self._counts[key] = count + 1
                break
        return True
