"""A profile as it is printed, saved and compared: a document with its machine, its rounds and its table."""

from pathlib import Path
from typing import Any

import msgspec

from desk.errors import DeskError
from desk.profile.decode import decode_json
from desk.profile.show import show_lines, show_spots
from desk.profile.table import HotSpot, Line
from hosttune import files
from hosttune.host.load import QUIET

#: Bytes of a saved profile that are read.
_MOST_BYTES = 16 << 20
KIND = "desk profile 1"


class Round(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One run of the program under the main profiler. others: the share of the machine's CPU time that others used, or
    a hypervisor took. None: not known."""

    wall_s: float
    cpu_s: float | None
    samples: int
    others: float
    exit: int | None


class Profiler(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What became of one profiler: `why` says it for one that has not run, or whose result is not whole."""

    name: str
    ran: bool
    why: str = ""


class Pauses(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The garbage collector of one run: collections of generation 0, 1 and 2, and the time that they stopped it."""

    collections: list[int]
    total_us: float
    p50_us: float
    max_us: float


class Profile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A profile. main: the profiler whose shares the table has, "" for none. Its views are those of
    hosttune.report.document."""

    kind: str = KIND
    of: str
    machine: dict[str, Any]
    rate: int
    native: bool
    rounds: list[Round]
    profilers: list[Profiler]
    pauses: Pauses | None
    pauses_why: str = ""
    main: str
    spots: list[HotSpot]
    lines: list[Line]
    notes: list[str] = []

    @property
    def busy(self) -> list[int]:
        """The numbers, from 1, of the rounds in which the machine was busy."""
        return [number for number, one in enumerate(self.rounds, 1) if one.others > QUIET]

    def as_data(self) -> Any:
        """Returns the profile."""
        return self

    def as_text(self, page: Any) -> str:
        """Returns the table, for people."""
        return _show_profile(self)

    def as_template(self) -> Path:
        """Returns the template of the page."""
        return Path(__file__).with_name("profile.html")


def _show_profile(profile: Profile) -> str:
    machine = profile.machine
    lines = [
        f"profile of {profile.of}",
        f"  machine       {machine.get('host')}, Linux {machine.get('kernel')}, {machine.get('cpus')} x "
        f"{machine.get('cpu')}, {machine.get('time')}",
    ]
    for number, one in enumerate(profile.rounds, 1):
        cpu = "not known" if one.cpu_s is None else f"{one.cpu_s:.2f} s"
        busy = ", BUSY" if number in profile.busy else ""
        lines.append(
            f"  round {number:<7} {one.wall_s:.2f} s, CPU {cpu}, {one.samples:,} samples at {profile.rate}/s"
            f"{', native frames' if profile.native else ''}; others used {one.others:.0%} of the machine{busy}"
        )
    for tool in profile.profilers:
        if tool.why or not tool.ran:
            lines.append(f"  {tool.name:<13} {'' if tool.ran else 'not measured: '}{tool.why}")
    lines.append(f"  GC pauses     {_show_pauses(profile)}")
    lines += [f"  note          {note}" for note in profile.notes]
    lines += show_spots(profile.spots, len(profile.rounds))
    lines += show_lines(profile.lines)
    return "\n".join(lines) + "\n"


def _show_pauses(profile: Profile) -> str:
    pauses = profile.pauses
    if pauses is None:
        return f"not known: {profile.pauses_why}"
    by_generation = "/".join(f"{count:,}" for count in pauses.collections)
    return (
        f"{sum(pauses.collections):,} collections (generations 0/1/2: {by_generation}), p50 {pauses.p50_us:.0f} us, "
        f"longest {pauses.max_us:.0f} us, {pauses.total_us / 1e3:.1f} ms in all"
    )


def read_profile(path: Path) -> Profile:
    """Returns a saved profile. Raises DeskError, which names the file."""
    try:
        data = files.read_given(path, _MOST_BYTES)
        found = decode_json(data, Profile)
    except OSError as error:
        raise DeskError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise DeskError(f"{path}: not a profile that `desk profile --out` has written: {error}") from None
    if found.kind != KIND:
        raise DeskError(f"{path}: found a profile of kind {found.kind[:60]!r}, allowed: {KIND!r}")
    if any(len(spot.seconds) > len(found.rounds) for spot in found.spots) or not found.rounds:
        raise DeskError(f"{path}: found another number of times than of rounds")
    return found
