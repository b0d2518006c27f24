"""What a sampling profiler saw: stacks of frames, and how long each was seen."""

import os
from typing import Any, NamedTuple

import msgspec

from desk.errors import DeskError
from desk.profile.decode import decode_json
from desk.profile.names import PYTHON, find_component, is_runtime, read_address, show_function

#: Frames, samples and frames of one stack in a file that is read.
_MOST_FRAMES, _MOST_SAMPLES, _MOST_DEPTH = 1_000_000, 10_000_000, 10_000
#: Characters of a name that are kept.
_MOST_NAME = 300


class Frame(NamedTuple):
    """One function at one line; file is a source or a library, "" where it is not known."""

    component: str
    function: str
    file: str
    line: int


class Stacks(NamedTuple):
    """Seconds by stack, outermost frame first."""

    seconds: dict[tuple[Frame, ...], float]
    samples: int


class Function(NamedTuple):
    """A function of a map: where its code lies, and its source."""

    address: int
    size: int
    name: str
    file: str
    line: int


class _Frame(msgspec.Struct):
    name: str
    file: str | None = None
    line: int | None = None


class _Shared(msgspec.Struct):
    frames: list[_Frame]


class _Profile(msgspec.Struct):
    samples: list[list[int]]
    weights: list[float]
    unit: str = "seconds"


class _Speedscope(msgspec.Struct):
    shared: _Shared
    profiles: list[_Profile]


def parse_speedscope(data: bytes, functions: list[Function], left_out: str = "/nowhere") -> Stacks:
    """Returns the stacks in a sampled profile of speedscope's format, as py-spy writes it. functions: what names an
    address that the profiler could not. left_out: a directory of files whose frames are not the program's.

    Raises DeskError for bytes that are none. Source: speedscope.app/file-format-schema.json.
    """
    try:
        given = decode_json(data, _Speedscope)
    except ValueError as error:
        raise DeskError(f"the profiler's result is not of speedscope's format: {error}") from None
    count = sum(len(profile.samples) for profile in given.profiles)
    if len(given.shared.frames) > _MOST_FRAMES or count > _MOST_SAMPLES:
        raise DeskError(f"the profiler's result has {count:,} samples, allowed: at most {_MOST_SAMPLES:,}")
    frames = [_name_frame(frame, functions) for frame in given.shared.frames]
    seconds: dict[tuple[Frame, ...], float] = {}
    known: dict[tuple[int, ...], tuple[Frame, ...]] = {}
    for profile in given.profiles:
        if len(profile.samples) != len(profile.weights) or profile.unit != "seconds":
            raise DeskError("the profiler's result has another number of weights than of samples, or another unit")
        for sample, weight in zip(profile.samples, profile.weights, strict=True):
            key = tuple(sample)
            if key not in known:
                if len(key) > _MOST_DEPTH or not all(0 <= index < len(frames) for index in key):
                    raise DeskError("the profiler's result names a frame that it does not describe")
                known[key] = _keep_program([frame for index in key if (frame := frames[index])], left_out)
            if known[key]:
                seconds[known[key]] = seconds.get(known[key], 0.0) + weight
    return Stacks(seconds, count)


def _keep_program(stack: list[Frame], left_out: str) -> tuple[Frame, ...]:
    """Returns the program's frames of a stack; none where what is left out worked itself, or waited."""
    own = [number for number, frame in enumerate(stack) if os.path.dirname(frame.file) == left_out]
    if own and all(is_runtime(*frame[:3]) for frame in stack[own[-1] + 1 :]):
        return ()
    return tuple(frame for number, frame in enumerate(stack) if number not in own)


def _name_frame(frame: _Frame, functions: list[Function]) -> Frame | None:
    """Returns what a frame is; None for an address of which nothing is known: its caller stands for it."""
    name, file, line = frame.name[:_MOST_NAME], frame.file or "", frame.line or 0
    address = read_address(name)
    if address is not None:
        if found := find_function(address, functions):
            return Frame("Numba", found.name[:_MOST_NAME], found.file, found.line)
        if file in ("", "?"):
            return None
    component = find_component(name, file)
    if component == PYTHON and file.startswith("<frozen"):
        file = file.strip("<>")
    return Frame(component, show_function(name, component), file, line)


def find_function(address: int, functions: list[Function]) -> Function | None:
    """Returns the function in whose code an address lies; the last one made, where one was put over another."""
    return next((one for one in reversed(functions) if one.address <= address < one.address + one.size), None)


def parse_map(text: str) -> list[Function]:
    """Returns the functions of a perf map; lines of another form are passed over. Source:
    tools/perf/Documentation/jit-interface.txt of Linux."""
    found = []
    for line in text.splitlines():
        words = line.split(" ", 2)
        try:
            address, size = (int(word, 16) for word in words[:2])
        except ValueError:
            continue
        if len(words) == 3 and 0 < address < 1 << 64 and 0 < size < 1 << 32:
            found.append(Function(address, size, words[2].removeprefix("numba:")[:_MOST_NAME], "", 0))
    return found


def read_functions(rows: Any) -> list[Function]:
    """Returns the functions that the hook has written (numba_map.Map). Raises DeskError for rows of another form."""
    try:
        given = msgspec.convert(rows, list[tuple[int, int, str, str, str, int]])
    except msgspec.ValidationError as error:
        raise DeskError(f"the hook's list of Numba's functions: {error}") from None
    return [Function(address, size, name, file, line) for address, size, _, name, file, line in given]
