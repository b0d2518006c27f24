"""Other programs that set what hosttune's roles set: how each is known, and what a profile of TuneD's sets.

Standard library only: the roles' plans, on a controller that may have nothing else, judge by the same table and rules.
Sources: tuned.conf(5), tuned-main.conf(5), tuned-adm(8); `daemon/daemon.py`, `utils/commands.py`, `profiles/loader.py`,
`plugins/plugin_sysctl.py`, `plugin_vm.py`, `plugin_sysfs.py`, `plugin_script.py`, `plugin_scheduler.py`,
`plugin_irqbalance.py` and `plugin_systemd.py` of TuneD 2.20 and 2.24; numad(8); the unit files of the
distributions.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from hosttune.host import globs
from hosttune.patterns import late_pattern

#: A knob is `sysctl KEY`, with dots, `file PATTERN` of files below /sys, or one of these.
TRANSPARENT, ISOLATION = "transparent huge pages", "isolated CPUs"
PLACEMENT, FREQUENCY = "the CPUs of processes", "the CPUs' frequency"

ACTIVE_PROFILE, TUNED_MAIN = "/etc/tuned/active_profile", "/etc/tuned/tuned-main.conf"
#: Whether TuneD chooses the profile by itself, and one profile that comes behind those of ACTIVE_PROFILE.
PROFILE_MODE, POST_LOADED = "/etc/tuned/profile_mode", "/etc/tuned/post_loaded_profile"
_MODES = ("", "auto", "manual")
PROFILES = ("/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned")
#: A profile includes no more others than this.
_MOST_PROFILES = 16
#: Characters of a profile: the longest that comes with TuneD has 6,000.
_LONGEST = 1 << 15
_PROFILE_NAME = late_pattern(r"[A-Za-z0-9_.-]+", re.ASCII)
# Of a section: it counts on some machines only, which nothing here knows.
_CONDITIONS = frozenset({"uname_regex", "cpuinfo_regex"})
_OF_UNIT = frozenset({"type", "enabled", "replace", "drop"}) | _CONDITIONS
_TRUE = ("1", "True", "true")
_TRANSPARENT_OPTIONS = ("transparent_hugepages", "transparent_hugepage")
_POLICIES = ("always", "madvise", "never")
_BOOT_PARAMETERS = late_pattern(r"\b(isolcpus|nohz_full|rcu_nocbs|irqaffinity)=")
# Of a section, by its type, what moves interrupts and processes between CPUs; and values that change nothing.
_PLACING = {
    "scheduler": ("isolated_cores", "default_irq_smp_affinity"),
    "irqbalance": ("banned_cpus",),
    "irq": ("affinity",),
    "systemd": ("cpu_affinity",),
}
_NOT_PLACING = ("", "calc", "ignore")
FILE = "file "
# Pools and policies of huge pages. Names of files may be patterns of glob(7).
_PAGES = ("/sys/kernel/mm/transparent_hugepage/", "/sys/kernel/mm/hugepages/", "/sys/devices/system/node/")
_FILE_NAME = late_pattern(r"/sys/[\w./*?\[\]!^-]{1,250}", re.ASCII)
_FILE_VALUE = late_pattern(r"always|madvise|never|inherit|[0-9]{1,20}", re.ASCII)
_SYSCTL_KEY = late_pattern(r"[a-z0-9_]+([./][A-Za-z0-9_:@-]+)+", re.ASCII)


class Owner(NamedTuple):
    """A program: its name, its service, the name of its process, its programs, and the knobs that it sets whatever its
    configuration says. TuneD's are those of its profile."""

    name: str
    service: str
    process: str
    programs: tuple[str, ...]
    knobs: frozenset[str] = frozenset()


TUNED = Owner("TuneD", "tuned.service", "tuned", ("/usr/sbin/tuned",))
OWNERS = (
    TUNED,
    Owner("numad", "numad.service", "numad", ("/usr/bin/numad", "/usr/sbin/numad"), frozenset({PLACEMENT})),
    Owner(
        "power-profiles-daemon",
        "power-profiles-daemon.service",
        "power-profiles-",
        ("/usr/libexec/power-profiles-daemon", "/usr/lib/power-profiles-daemon"),
        frozenset({FREQUENCY}),
    ),
    Owner("thermald", "thermald.service", "thermald", ("/usr/sbin/thermald",), frozenset({FREQUENCY})),
)


class Setting(NamedTuple):
    """What an owner makes of a knob: None for a value that only the program itself can work out. `place` says where."""

    value: str | None
    place: str


class Tuned(NamedTuple):
    """What TuneD sets: `profile` in words, `settings` by knob, `reapplies` whether the host's own sysctl files win, and
    `problem`, why it cannot be told (empty if it can)."""

    profile: str
    settings: Mapping[str, Setting]
    reapplies: bool = True
    problem: str = ""


def read_tuned(read: Callable[[str], str | None]) -> Tuned:
    """Returns what the active profile of TuneD sets.

    read: returns the text of a file, None if it is not there; what it raises ends the reading.
    """
    reapplies = not re.search(
        r"^[ \t]*reapply_sysctl[ \t]*=[ \t]*(0|false|no|off)\b", read(TUNED_MAIN) or "", re.M | re.I
    )
    try:
        names = _list_profiles(read)
    except ValueError as error:
        return Tuned("", {}, reapplies, str(error))
    chosen = [name for name in names if _PROFILE_NAME.fullmatch(name)]
    if names and not chosen:
        return Tuned("", {}, reapplies, f"{ACTIVE_PROFILE} holds no name of a profile")
    units: dict[str, _Unit] = {}
    seen: list[str] = []
    try:
        for name in chosen:
            _add_profile(name, read, units, seen)
    except ValueError as error:
        return Tuned(" ".join(chosen), {}, reapplies, str(error))
    counting = [unit for unit in units.values() if unit.enabled and not unit.conditional]
    settings = dict(pair for unit in counting for pair in _list_settings(unit))
    scripts = (unit.options["script"] for unit in counting if unit.type == "script" and "script" in unit.options)
    script = next((path for value, path in scripts if value), "")
    problem = f"a script of its profile, {script}, may set anything" if script else ""
    return Tuned(" ".join(chosen), settings, reapplies, problem)


def _list_profiles(read: Callable[[str], str | None]) -> list[str]:
    """Returns the words of a start of TuneD. Raises ValueError if TuneD chooses by itself, or refuses to start."""
    active, mode, post_loaded = ((read(path) or "").strip() for path in (ACTIVE_PROFILE, PROFILE_MODE, POST_LOADED))
    if mode not in _MODES:
        raise ValueError(f"{PROFILE_MODE} holds neither auto nor manual")
    if mode == "auto":
        raise ValueError(f"{PROFILE_MODE} is auto, and TuneD chooses a profile by itself at each start")
    if not active and mode != "manual":
        raise ValueError(f"{ACTIVE_PROFILE} names none, and TuneD chooses a profile by itself")
    if len(post_loaded.split()) > 1:
        raise ValueError(f"{POST_LOADED} holds more than one word")
    return [*([] if active == "off" else active.split()), *post_loaded.split()]


def reduce_profile(text: str) -> str:
    """Returns what is kept of a profile: which others it includes, and what it says of the knobs. Raises ValueError."""
    lines: list[str] = []
    for section, options in _parse(text).items():
        kept = [f"{option}={value}" for option, value in _choose(section, options)]
        lines += [f"[{section}]", *kept] if kept or options == {} else []
    return "\n".join([*lines, ""])


def reduce_active(text: str) -> str:
    """Returns the names of the profiles, and of other words that there are some."""
    return " ".join(word if _PROFILE_NAME.fullmatch(word) and len(word) < 65 else "?" for word in text.split()) + "\n"


def reduce_mode(text: str) -> str:
    """Returns the word that TuneD takes, and of another that there is one."""
    return f"{text.strip() if text.strip() in _MODES else '?'}\n"


def reduce_main(text: str) -> str:
    """Returns the line that says whether the host's own sysctl files win."""
    found = re.findall(r"^[ \t]*reapply_sysctl[ \t]*=[ \t]*(\w{1,5})\b", text, re.M)
    return "".join(f"reapply_sysctl = {word}\n" for word in found)


def find_file(tuned: Tuned, path: str) -> list[Setting]:
    """Returns what TuneD may write to a file below /sys, in no order."""
    return [
        setting
        for knob, setting in tuned.settings.items()
        if knob.startswith(FILE) and globs.matches(path, knob.removeprefix(FILE))
    ]


def is_overruled(knob: str, wanted: str, setting: Setting) -> bool | None:
    """Tells whether an owner's value is another than the wanted one; None if only the program could tell."""
    if setting.value is None:
        return None
    value = setting.value
    limit = re.fullmatch(r"=?([<>])(\d+)", value)  # only where what is there is less, or more
    if limit and wanted.isascii() and wanted.isdigit():
        return int(wanted) < int(limit[2]) if limit[1] == ">" else int(wanted) > int(limit[2])
    return value.split() != wanted.split()


class _Unit:
    """A section of the merged profile: its type, whether it counts, and its options with the file of each."""

    def __init__(self, name: str, options: Mapping[str, str], path: str) -> None:
        self.type = options.get("type", name)
        self.enabled = options.get("enabled", "1") in _TRUE
        self.conditional = bool(_CONDITIONS & set(options))
        self.options = {option: (value, path) for option, value in options.items() if option not in _OF_UNIT}

    def merge(self, newer: _Unit, drop: str | None) -> None:
        self.type, self.enabled = newer.type, newer.enabled
        self.conditional |= newer.conditional
        for option in re.split(r"\b\s*[,;]\s*", drop or ""):
            self.options.pop(option, None)
        self.options.update(newer.options)


def _add_profile(name: str, read: Callable[[str], str | None], units: dict[str, _Unit], seen: list[str]) -> None:
    """Merge a profile in, after what it includes. Raises ValueError for one that TuneD could not load."""
    found = _find_profile(name, read, seen)
    if found is None:
        return
    path, text = found
    seen.append(path)
    if len(seen) > _MOST_PROFILES:
        raise ValueError(f"{path} includes more than {_MOST_PROFILES} profiles")
    sections = _parse(text)
    include = sections.pop("main", {}).get("include")
    if include is not None:
        if "$" in include:
            raise ValueError(f"{path} includes {include!a}, which only TuneD can work out")
        for each in re.split(r"\s*[,;]\s*", include):
            _add_profile(each, read, units, seen)
    for section, options in sections.items():
        unit = _Unit(section, options, path)
        if section in units and options.get("replace") not in _TRUE:
            units[section].merge(unit, options.get("drop"))
        else:
            units[section] = unit


def _find_profile(name: str, read: Callable[[str], str | None], seen: list[str]) -> tuple[str, str] | None:
    """Returns path and text of the first file of a profile that was not read yet: one in /etc may include its namesake.

    None if they all were, or if a profile with `-` before its name has none. Raises ValueError if there is none.
    """
    known = name.startswith("-")
    for directory in PROFILES:
        path = f"{directory}/{name.removeprefix('-').rpartition('/')[2]}/tuned.conf"
        if path in seen:
            known = True
        elif (text := read(path)) is not None:
            return path, text
    if known:
        return None
    raise ValueError(f"there is no profile {name!a} in {', '.join(PROFILES)}")


def _parse(text: str) -> dict[str, dict[str, str]]:
    """Returns the sections of a profile as TuneD reads them. Raises ValueError."""
    import configparser  # late: few hosts run TuneD

    if len(text) > _LONGEST:
        raise ValueError(f"{len(text)} characters: no profile of TuneD's")
    parser = configparser.ConfigParser(
        delimiters=("=",), inline_comment_prefixes=("#",), strict=False, interpolation=None
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(f"not a profile of TuneD's: {type(error).__name__}") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _choose(section: str, options: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yields the options of a section that are looked at; of values that are no names or numbers that there is one."""
    kind = section if section == "main" else options.get("type", section)
    names = ("include",) if kind == "main" else _PLACING.get(kind, ())
    for option, value in options.items():
        if option in _CONDITIONS:
            yield option, "?"
        elif option == "drop" or option in names:
            yield option, value if re.fullmatch(r"[\w\s.,;:^/-]{0,256}", value, re.ASCII) else "${?}"
        elif option in _OF_UNIT:
            yield option, value if re.fullmatch(r"\w{1,32}", value, re.ASCII) else "?"
        elif kind == "sysctl" and _SYSCTL_KEY.fullmatch(option):
            yield option, value if re.fullmatch(r"""=?[<>]?[\w\s.'"-]{0,64}""", value, re.ASCII) else "${?}"
        elif kind == "vm" and option in _TRANSPARENT_OPTIONS:
            yield option, value if value in _POLICIES else "${?}" if "$" in value else "?"
        elif kind == "bootloader" and option.startswith("cmdline") and _BOOT_PARAMETERS.search(value):
            yield option, " ".join(dict.fromkeys(_BOOT_PARAMETERS.findall(value))) + "="
        elif kind == "sysfs" and _names_pages(option):
            yield option, value if _FILE_VALUE.fullmatch(value) else "${?}" if "$" in value else "?"
        elif (kind, option) == ("script", "script"):
            yield option, "?" if value else ""


def _names_pages(pattern: str) -> bool:
    """Returns whether a pattern of files may name a pool or a policy of huge pages."""
    start = re.split(r"[*?\[]", posixpath.normpath(pattern), maxsplit=1)[0]
    return bool(_FILE_NAME.fullmatch(pattern)) and any(top.startswith(start) or start.startswith(top) for top in _PAGES)


def _list_settings(unit: _Unit) -> Iterator[tuple[str, Setting]]:
    """Yields the knobs of a section."""
    for option, (value, path) in unit.options.items():
        setting = Setting(None if "$" in value else value.strip("\"' "), path)
        if unit.type == "sysctl" and _SYSCTL_KEY.fullmatch(option):
            yield f"sysctl {option.replace('/', '.')}", setting
        elif unit.type == "vm" and option in _TRANSPARENT_OPTIONS and (value in _POLICIES or setting.value is None):
            yield TRANSPARENT, setting  # of other words TuneD warns, and sets nothing
        elif unit.type == "sysfs" and _names_pages(option) and (setting.value is None or _FILE_VALUE.fullmatch(value)):
            yield f"{FILE}{posixpath.normpath(option)}", setting  # the kernel refuses other words
        elif (option in _PLACING.get(unit.type, ()) and value not in _NOT_PLACING) or (
            unit.type == "bootloader" and _BOOT_PARAMETERS.search(value)
        ):
            yield ISOLATION, Setting(None, path)
