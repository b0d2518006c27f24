"""The rows of a profile as text."""

import os

from desk.profile.names import PYTHON
from desk.profile.table import HotSpot, Line
from hosttune.report.columns import clip

#: Rows of the table, and lines, that text shows; all are in JSON.
SHOWN, SHOWN_LINES = 20, 8
NO_P50 = "calls are timed for Python's functions only: no profiler here sees a single call of a compiled one"


def show_spots(spots: list[HotSpot], rounds: int) -> list[str]:
    """Returns the table of hot spots; rounds: more than one has a range."""
    if not spots:
        return ["no hot spot: no profiler has a result"]
    spread = f"{'range':>9} " if rounds > 1 else ""
    lines = [
        f"component {'share':>6} {spread}{'callees':>7} {'perf':>6} {'p50 us':>9} {'mean us':>9} {'calls':>10} "
        f"{'allocs':>8} {'MB':>7}  function (file:line)"
    ]
    shown = spots[:SHOWN]
    lines += [_show_spot(spot, rounds) for spot in shown]
    if len(spots) > len(shown):
        lines.append(f"{len(spots) - len(shown)} more rows are in the JSON")
    if any(spot.component != PYTHON for spot in shown) and any(spot.call_p50_us is not None for spot in shown):
        lines.append(f"p50: {NO_P50}")
    return lines


def show_lines(lines: list[Line]) -> list[str]:
    """Returns line_profiler's lines; none for none."""
    head = f"{'lines':>9} {'share':>6} {'hits':>10} {'us a hit':>9}  function (file:line)"
    return [head, *map(_show_line, lines[:SHOWN_LINES])] if lines else []


def _show_spot(spot: HotSpot, rounds: int) -> str:
    spread = ""
    if rounds > 1:
        low_high = "-"
        if spot.share_low is not None and spot.share_high is not None:
            low_high = f"{100 * spot.share_low:.0f}-{spot.share_high:.0%}"
        spread = f"{low_high:>9} "
    size = None if spot.allocated_bytes is None else spot.allocated_bytes / 1e6
    shares = f"{_show(spot.share, '.1%'):>6} {spread}{_show(spot.total_share, '.1%'):>7}"
    calls = f"{_show(spot.call_p50_us, ',.1f'):>9} {_show(spot.call_mean_us, ',.1f'):>9} {_show(spot.calls, ',d'):>10}"
    memory = f"{_show(spot.allocations, ',d'):>8} {_show(size, ',.1f'):>7}"
    return f"{spot.component:<9} {shares} {_show(spot.perf_share, '.1%'):>6} {calls} {memory}  {_show_place(spot)}"


def _show_line(line: Line) -> str:
    each = line.seconds / line.hits * 1e6 if line.hits > 0 else None
    return f"{'':9} {line.share:>6.1%} {line.hits:>10,} {_show(each, ',.1f'):>9}  {_show_place(line)}"


def _show_place(place: HotSpot | Line) -> str:
    name = os.path.basename(place.file)
    where = f"{name}:{place.line}" if place.line else name
    return f"{clip(place.function, 60)}{f' ({clip(where, 60)})' if where else ''}"


def _show(value: float | int | None, form: str) -> str:
    return "-" if value is None else format(value, form)
