"""Two saved profiles side by side: medians, ranges, and whether the difference is one."""

import statistics
from pathlib import Path
from typing import Any

import msgspec

from desk.profile.result import Profile
from desk.profile.table import HotSpot
from hosttune.host.load import QUIET
from hosttune.report.columns import clip, pad

#: Rounds of each side, fewer of which have no range that says anything.
LEAST_ROUNDS = 3
#: Rows that are kept, and the share of the time on either side from which on a function is one.
_MOST_ROWS, LEAST_SHARE = 40, 0.01


class Side(msgspec.Struct, frozen=True):
    """One side's rounds, in seconds."""

    median: float
    low: float
    high: float


class Change(msgspec.Struct, frozen=True):
    """A function, or the whole run (component ""), before and after. ratio: after to before, of the medians; None: it
    was not there before."""

    component: str
    function: str
    file: str
    before: Side
    after: Side
    ratio: float | None
    verdict: str


class Comparison(msgspec.Struct, frozen=True):
    """What two profiles differ in. refused: why nothing is told; then there are no changes."""

    before: str
    after: str
    refused: list[str]
    changes: list[Change]

    def as_data(self) -> Any:
        """Returns the comparison."""
        return self

    def as_text(self, page: Any) -> str:
        """Returns the table, for people."""
        return _show_comparison(self)

    def as_template(self) -> Path:
        """Returns the template of the page."""
        return Path(__file__).with_name("compare.html")


def compare(before: Profile, after: Profile, names: tuple[str, str]) -> Comparison:
    """Returns the comparison. It is refused when the machine was busy in a round of either, when a side has too few
    rounds, and when the two were not measured alike."""
    refused = []
    for profile, name in zip((before, after), names, strict=True):
        if profile.busy:
            worst = max(one.others for one in profile.rounds)
            refused.append(
                f"{name}: the machine was busy in {len(profile.busy)} of {len(profile.rounds)} rounds: others used up "
                f"to {worst:.0%} of it, allowed {QUIET:.0%}"
            )
        if len(profile.rounds) < LEAST_ROUNDS:
            refused.append(f"{name}: {len(profile.rounds)} rounds, allowed: at least {LEAST_ROUNDS} (--rounds)")
    if before.machine.get("host") != after.machine.get("host") or before.machine.get("cpu") != after.machine.get("cpu"):
        refused.append("the two profiles are of two machines")
    if (before.main, before.native, before.rate) != (after.main, after.native, after.rate):
        refused.append("the two profiles were not measured alike (--with, --native, --rate)")
    return Comparison(names[0], names[1], refused, [] if refused else _list_changes(before, after))


def _list_changes(before: Profile, after: Profile) -> list[Change]:
    """Returns the whole run, and then the functions whose time has changed most."""
    whole = _change(
        "", "the whole run", "", [one.wall_s for one in before.rounds], [one.wall_s for one in after.rounds]
    )
    sides = ({spot.key: spot for spot in before.spots}, {spot.key: spot for spot in after.spots})
    changes = []
    for key in sides[0] | sides[1]:
        old, new = (side.get(key) for side in sides)
        some = old or new
        if some and max((spot.share or 0.0) for spot in (old, new) if spot) >= LEAST_SHARE:
            changes.append(_change(some.component, some.function, some.file, _fill(old, before), _fill(new, after)))
    changes.sort(key=lambda each: -abs(each.after.median - each.before.median))
    return [whole, *changes[:_MOST_ROWS]]


def _fill(spot: HotSpot | None, profile: Profile) -> list[float]:
    seconds = spot.seconds if spot else []
    return [*seconds, *[0.0] * (len(profile.rounds) - len(seconds))]


def _change(component: str, function: str, file: str, before: list[float], after: list[float]) -> Change:
    one, two = (Side(statistics.median(side), min(side), max(side)) for side in (before, after))
    if two.high < one.low:
        verdict = "less"
    elif two.low > one.high:
        verdict = "more"
    else:
        verdict = "no difference shown"
    return Change(component, function, file, one, two, two.median / one.median if one.median else None, verdict)


def _show_comparison(comparison: Comparison) -> str:
    lines = [f"before: {comparison.before}", f"after:  {comparison.after}"]
    if comparison.refused:
        return "\n".join([*lines, *(f"COULD NOT BE TOLD: {why}" for why in comparison.refused)]) + "\n"
    lines.append(f"{'before, s (range)':>22} {'after, s (range)':>22} ratio  verdict              component function")
    for change in comparison.changes:
        ratio = "    -" if change.ratio is None else f"{change.ratio:5.2f}"
        sides = [f"{side.median:.3f} ({side.low:.3f}-{side.high:.3f})" for side in (change.before, change.after)]
        name = clip(change.function, 48)
        lines.append(f"{sides[0]:>22} {sides[1]:>22} {ratio}  {pad(change.verdict, 19)}  {change.component:<9} {name}")
    return "\n".join(lines) + "\n"
