"""The table of hot spots: pure functions from what each profiler measured to rows."""

import os
import statistics
from collections.abc import Iterable, Sequence

import msgspec

from desk.profile.names import PYTHON, is_runtime
from desk.profile.stacks import Frame, Stacks

#: Rows of a table that are kept.
MOST_ROWS = 200


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one profiler measured of one function in one round. seconds: without its callees; total: with them; None:
    not measured. us: of one call, in microseconds."""

    component: str
    function: str
    file: str
    line: int
    seconds: float = 0.0
    total: float | None = None
    calls: int | None = None
    call_p50_us: float | None = None
    call_mean_us: float | None = None
    allocations: int | None = None
    allocated_bytes: int | None = None


class Line(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A line of a Python function, as line_profiler measured it. share: of the time in all lines that it measured."""

    function: str
    file: str
    line: int
    share: float
    seconds: float
    hits: int


class HotSpot(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A row of the table. seconds: of each round, by the profiler that `share` is of; share: the median of the rounds';
    perf_share: perf's, whose samples know no caller. None: not measured."""

    component: str
    function: str
    file: str
    line: int
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    total_share: float | None = None
    perf_share: float | None = None
    seconds: list[float] = []
    calls: int | None = None
    call_p50_us: float | None = None
    call_mean_us: float | None = None
    allocations: int | None = None
    allocated_bytes: int | None = None
    measured_by: list[str] = []

    @property
    def key(self) -> tuple[str, str, str]:
        """By which a function is known again, in another round and by another profiler."""
        return make_key(self)


def make_key(row: Row | HotSpot) -> tuple[str, str, str]:
    """Returns what a function is known by: profilers differ in the path of a file, and for what is compiled in whether
    they know the source or only the library."""
    return row.component, row.function, os.path.basename(row.file) if row.component == PYTHON else ""


def shorten_key(key: tuple[str, str, str]) -> tuple[str, str, str]:
    """Returns a key without what stands before a function's own name, which not all profilers know."""
    return key[0], key[1].rpartition(".")[2], key[2]


def collect_rows(stacks: Stacks) -> list[Row]:
    """Returns a row for each function in the stacks: its own time is that of the stacks in which it is innermost, but
    for the interpreter and C's library, which work for it; its line, that in which most of it was spent."""
    own: dict[tuple[str, str, str], dict[int, float]] = {}
    total: dict[tuple[str, str, str], float] = {}
    for stack, seconds in stacks.seconds.items():
        for place in {frame[:3] for frame in stack}:
            total[place] = total.get(place, 0.0) + seconds
        last = find_innermost(stack)
        lines = own.setdefault(last[:3], {})
        lines[last.line] = lines.get(last.line, 0.0) + seconds
    return [
        Row(component=place[0], function=place[1], file=place[2],
            line=max(lines, key=lambda line: lines[line]) if (lines := own.get(place, {})) else 0,
            seconds=sum(lines.values()), total=all_of_it)
        for place, all_of_it in total.items()
    ]  # fmt: skip


def find_innermost(stack: Sequence[Frame]) -> Frame:
    """Returns the frame of a stack, outermost first, that the time is of."""
    own = (frame for frame in reversed(stack) if not is_runtime(*frame[:3]))
    return next(own, stack[-1])


def share_out(rounds: Sequence[Sequence[Row]], profiler: str) -> list[HotSpot]:
    """Returns the hot spots of several rounds of one profiler, the largest share first: medians, and the range."""
    sums = [sum(row.seconds for row in rows) for rows in rounds]
    found: dict[tuple[str, str, str], list[Row | None]] = {}
    for number, rows in enumerate(rounds):
        for row in rows:
            column = found.setdefault(make_key(row), [None] * len(rounds))
            column[number] = _add_up(column[number], row)
    spots = []
    for column in found.values():
        first = max((row for row in column if row), key=lambda row: row.seconds)
        shares = [row.seconds / of if row and of else 0.0 for row, of in zip(column, sums, strict=True)]
        totals = [row.total / of if row and of and row.total else 0.0 for row, of in zip(column, sums, strict=True)]
        spots.append(
            HotSpot(component=first.component, function=first.function, file=first.file, line=first.line,
                    share=statistics.median(shares), share_low=min(shares), share_high=max(shares),
                    total_share=statistics.median(totals) if first.total is not None else None,
                    seconds=[row.seconds if row else 0.0 for row in column],
                    calls=first.calls, call_p50_us=first.call_p50_us, call_mean_us=first.call_mean_us,
                    allocations=first.allocations, allocated_bytes=first.allocated_bytes, measured_by=[profiler])
        )  # fmt: skip
    return sort_spots(spots)


def _add_up(one: Row | None, other: Row) -> Row:
    """Returns one row for two of the same function, of which a profiler tells libraries or sources apart."""
    if one is None:
        return other
    first = max(one, other, key=lambda row: row.seconds)
    total = None if one.total is None or other.total is None else one.total + other.total
    return msgspec.structs.replace(first, seconds=one.seconds + other.seconds, total=total)


def sort_spots(spots: Iterable[HotSpot]) -> list[HotSpot]:
    """Returns the spots as the table has them: the largest share first, then the most allocated bytes. A row that perf
    alone has is there by perf's share, but for the interpreter's and C's library's: others have that time already."""

    def rank(spot: HotSpot) -> float:
        if spot.share is not None:
            return spot.share
        return 0.0 if is_runtime(spot.component, spot.function, spot.file) else spot.perf_share or 0.0

    return sorted(spots, key=lambda spot: (-rank(spot), -(spot.allocated_bytes or 0), spot.function))


def merge(spots: list[HotSpot], rows: Sequence[Row], profiler: str) -> list[HotSpot]:
    """Returns the table with what another profiler measured in the same functions, and rows for those that the table
    has not. Of their time only perf's is kept, as a share of its own: it is of another run."""
    by_key = {spot.key: spot for spot in spots}
    short: dict[tuple[str, str, str], list[HotSpot]] = {}
    for spot in spots:
        short.setdefault(shorten_key(spot.key), []).append(spot)
    whole = sum(row.seconds for row in rows) if profiler == "perf" else 0.0
    for row in rows:
        key = make_key(row)
        found = by_key.get(key)
        if found is None and "." not in key[1] and len(alike := short.get(shorten_key(key), [])) == 1:
            found = alike[0]
        if found is None:
            found = HotSpot(component=row.component, function=row.function, file=row.file, line=row.line)
            spots.append(found)
            by_key[key] = found
        if whole:
            found.perf_share = (found.perf_share or 0.0) + row.seconds / whole
        for name in ("calls", "call_p50_us", "call_mean_us", "allocations", "allocated_bytes"):
            if (value := getattr(row, name)) is not None:
                setattr(found, name, value)
        if profiler not in found.measured_by:
            found.measured_by.append(profiler)
    return sort_spots(spots)
