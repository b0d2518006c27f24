"""What the profilers that work within the program have measured: rows of the table out of what the hook wrote."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from desk.profile.decode import decode_json
from desk.profile.hook import FUNCTIONS, MEMORY
from desk.profile.names import PYTHON, C, find_component
from desk.profile.program import Result
from desk.profile.table import Line, Row
from desk.profile.tools import MOST_BYTES, ToolError
from hosttune import files
from hosttune.output import escape

#: The directory of the modules that run in the profiled process: theirs is not the program's time.
OWN = os.path.dirname(os.path.abspath(__file__))
#: Lines that are kept.
MOST_LINES = 100
#: Seconds until memray has read its own file.
_READ = 300.0


def write_functions(directory: Path, functions: Sequence[tuple[str, str]]) -> None:
    """Write the functions whose calls are to be timed, by file and qualified name. Raises OSError."""
    text = json.dumps(functions)
    files.replace_file(directory / FUNCTIONS, text.encode("ascii"), 0o600)


def read_rows(name: str, directory: Path, result: Result | None) -> tuple[list[Row], list[Line], str]:
    """Returns the rows of a profiler that works within the process, line_profiler's lines, and why there are none."""
    if result is None:
        return [], [], f"{name}: the program ended without its exit handlers, which write the result, or is not Python"
    if result.problem:
        return [], [], result.problem
    try:
        if name == "memray":
            rows, lines = read_memray(directory / MEMORY), list[Line]()
        elif name == "calls":
            rows, lines = make_timed(result.rows), []
        elif name == "line_profiler":
            rows, lines = [], make_lines(result.rows)
        else:
            rows, lines = make_rows(result.rows), []
    except ToolError as error:
        return [], [], str(error)
    what = "line of a file of the program's (-c has none)" if name == "line_profiler" else "function of the program"
    return rows, lines, "" if rows or lines else f"{name} saw no {what}"


class _Given(msgspec.Struct):
    function: str
    file: str
    line: int
    calls: int
    seconds: float
    total: float


class _GivenLine(msgspec.Struct):
    function: str
    file: str
    line: int
    calls: int
    seconds: float


class _GivenCalls(msgspec.Struct):
    function: str
    file: str
    line: int
    calls: int
    p50_us: float


def make_rows(given: list[dict[str, Any]]) -> list[Row]:
    """Returns the rows that the hook has written for cProfile. Raises ToolError for another form."""
    return [
        Row(component=PYTHON if one.file else C, function=one.function[:300], file=_name_file(one.file), line=one.line,
            seconds=one.seconds, total=one.total, calls=one.calls,
            call_mean_us=one.total / one.calls * 1e6 if one.calls > 0 else None)
        for one in _convert(given, _Given, "cprofile") if not _is_own(one.file)
    ]  # fmt: skip


def make_timed(given: list[dict[str, Any]]) -> list[Row]:
    """Returns the rows that the hook has written of timed calls. Raises ToolError for another form."""
    return [
        Row(component=PYTHON, function=one.function[:300], file=_name_file(one.file), line=one.line, calls=one.calls,
            call_p50_us=one.p50_us)
        for one in _convert(given, _GivenCalls, "calls")
    ]  # fmt: skip


def make_lines(given: list[dict[str, Any]]) -> list[Line]:
    """Returns the lines that the hook has written for line_profiler, the most time first. Raises ToolError for another
    form."""
    lines = [one for one in _convert(given, _GivenLine, "line_profiler") if not _is_own(one.file)]
    whole = sum(one.seconds for one in lines)
    found = [
        Line(function=one.function[:300], file=_name_file(one.file), line=one.line, seconds=one.seconds,
             hits=one.calls, share=one.seconds / whole if whole else 0.0)
        for one in lines
    ]  # fmt: skip
    return sorted(found, key=lambda line: -line.seconds)[:MOST_LINES]


def _convert(given: list[dict[str, Any]], kind: Any, profiler: str) -> Any:
    try:
        return msgspec.convert(given, list[kind])
    except msgspec.ValidationError as error:
        raise ToolError(f"{profiler}'s result: {error}") from None


def _name_file(file: str) -> str:
    return os.path.abspath(file) if file and not file.startswith("<") else file


def _is_own(file: str) -> bool:
    return os.path.dirname(file) == OWN


class _Place(msgspec.Struct):
    location: str
    size: int = 0
    count: int = 0


class _Memory(msgspec.Struct):
    top_allocations_by_size: list[_Place]
    top_allocations_by_count: list[_Place]


def read_memray(path: Path) -> list[Row]:
    """Returns a row for each of the functions that allocated most, in bytes or in number. Raises ToolError. Source:
    memray stats --json."""
    if not path.exists():
        raise ToolError("memray wrote nothing: the program ended without its exit handlers")
    target = path.with_suffix(".json")
    words = [sys.executable, "-P", "-m", "memray", "stats", "--json", "-n", "100", "-f", "-o", str(target), str(path)]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_READ)
    except subprocess.TimeoutExpired:
        raise ToolError(f"memray stats: no result within {_READ:g} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ToolError(escape(f"memray stats ended with {done.returncode}: {said[-1][:300] if said else ''}"))
    try:
        given = decode_json(files.read_file(target, MOST_BYTES), _Memory)
    except (OSError, ValueError) as error:
        raise ToolError(f"memray's result: {error}") from None
    return sum_places(given)


def sum_places(given: _Memory) -> list[Row]:
    """Returns a row for each function: memray tells its lines apart, and has those of the most bytes and those of the
    most allocations."""
    places: dict[tuple[str, str], dict[int, list[int | None]]] = {}
    for at, column in enumerate((given.top_allocations_by_size, given.top_allocations_by_count)):
        for place in column:
            function, file, line = _split_location(place.location)
            if not _is_own(file):
                lines = places.setdefault((function, file), {})
                lines.setdefault(line, [None, None])[at] = (place.size, place.count)[at]
    rows = []
    for (function, file), lines in places.items():
        sizes = [size for size, _ in lines.values() if size is not None]
        counts = [count for _, count in lines.values() if count is not None]
        rows.append(
            Row(component=find_component(function, file), function=function, file=file,
                line=max(lines, key=lambda line: lines[line][0] or 0), allocations=sum(counts) if counts else None,
                allocated_bytes=sum(sizes) if sizes else None)
        )  # fmt: skip
    return rows


def _split_location(text: str) -> tuple[str, str, int]:
    head, _, line = text.rpartition(":")
    function, _, file = head.partition(":")
    return function[:300], file, int(line) if line.isdigit() and len(line) < 10 else 0
