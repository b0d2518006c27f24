"""Which commands of a service write as root when it starts, and which scripts they run.

Only root writes to the files of huge pages and of interrupts, and what another user's service runs may be that user's
to change. Sources: systemd.service(5), "Command lines"; systemd.exec(5), `User=`, `ProtectKernelTunables=`;
`PermissionsStartOnly=` in `src/core/service.c` of systemd.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import msgspec

from hosttune.host import boot_jobs, commands, rc_local, shell, systemd, systemd_lines
from hosttune.host.root import NOT_CAPTURED, PROGRAM, Fact, Root, derive, make_unreadable, read_once
from hosttune.host.systemd import Unit
from hosttune.host.systemd_lines import Setting
from hosttune.patterns import late_pattern

KEYS = ("ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost")
#: What runs at boot, too, where a service does not stay after its start.
STOP_KEYS = ("ExecStop", "ExecStopPost")
#: Settings of a service, all of them booleans, that decide which of its commands write.
SWITCHES = ("DynamicUser", "PermissionsStartOnly", "PrivateNetwork", "ProtectKernelTunables", "RemainAfterExit")

W = TypeVar("W", bound=msgspec.Struct)

_ROOT = ("root", "0")
# Scripts that run scripts.
_DEEP = 3
# Of all scripts that are looked into for one purpose; four times as many for the names of others.
_MOST_CHARACTERS = 1 << 18
_NAMES = "names"
# As run-parts(8) of Debian takes the names in a directory.
_RUN_PART = late_pattern(r"[A-Za-z0-9_-]+", re.ASCII)
#: Where the next boot finds nothing that is there now.
GONE_AT_BOOT = ("/run/", "/var/run/", "/dev/", "/tmp/", "/proc/", "/sys/")
# What stands for the text of a program, which nobody can read, of a file that a copied tree does not hold, and of a
# directory.
_NO_SCRIPT = (PROGRAM, NOT_CAPTURED, "EISDIR")


class _Reading:
    """What is known while the scripts of a host are read: the names in directories of programs, None for one that could
    not be listed; and how many characters were looked into for each purpose."""

    def __init__(self) -> None:
        self.listings: dict[str, frozenset[str] | None] = {}
        self.spent: Counter[str] = Counter()

    def list_programs(self, root: Root) -> None:
        """List the directories where programs are looked for, once."""
        for directory in commands.SEARCHED if not self.listings else ():
            names = root.list(directory)
            self.listings[directory] = None if names.state == "unreadable" else frozenset(names.value or ())

    def find_program(self, name: str) -> str:
        """Returns the path of a program that is named without one; empty text where there is none. A directory that
        could not be listed may have it."""
        places = (directory for directory, names in self.listings.items() if names is None or name in names)
        return next((f"{directory}/{name}" for directory in places), "")

    def spend(self, kind: str, characters: int = 0) -> None:
        """Raises ValueError where it is more than any host has."""
        self.spent[kind] += characters
        most = _MOST_CHARACTERS << (2 if kind == _NAMES else 0)
        if self.spent[kind] > most:
            raise ValueError(f"one of scripts of more than {most >> 10} KiB together")


class Write(msgspec.Struct, frozen=True):
    """What a command writes to a file below /sys, or below /proc/sys, where the `path` is only the rest.

    The path may be a pattern; `value` and path are UNKNOWN of :mod:`shell` where they are not understood. `place` is
    the file that says so, with the script or the line in it. `unit` is the unit's name, `alone` whether it does nothing
    but such writes; `doubt` says why it may not come to this write at all, `maybe` that there is a condition in shell,
    and `unread` what could not be read to tell.
    """

    path: str
    value: str
    place: str
    unit: str = ""
    alone: bool = False
    doubt: str = ""
    unread: str = ""
    maybe: bool = False


@read_once
def read_units(root: Root) -> Fact[list[Unit]]:
    """Returns the services that something starts at boot, those of timers too, /etc/rc.local, and the jobs of
    :mod:`boot_jobs`."""
    services = systemd.read_started_services(root, timed=True)
    if services.value is None:
        return services
    jobs = boot_jobs.read(root)
    if jobs.value is None:
        return jobs
    found = [unit for unit in services.value if unit.state == "installed"]
    if not rc_local.is_masked(root):
        found.append(rc_local.make_unit(root))
    return Fact("value", found + jobs.value, services.source)


def list_all(unit: Unit) -> list[Setting]:
    """Returns the commands that a start runs, in their order."""
    kind = systemd_lines.find_last(unit.settings, "Service", "Type")
    starts = systemd_lines.list_settings(unit.settings, "Service", "ExecStart")
    stays = is_on(unit, "RemainAfterExit") and systemd_lines.list_settings(unit.settings, "Service", "ExecStop")
    oneshot = kind is not None and kind.value == "oneshot"
    ends = oneshot and starts and not is_on(unit, "RemainAfterExit")
    if unit.name.endswith(".service") and (len(starts) > 1 or not starts) and not (oneshot and (starts or stays)):
        return []  # systemd refuses it (service_verify() in `src/core/service.c`)
    found = [
        each
        for key in (*KEYS, *(STOP_KEYS if ends else ()))
        for each in systemd_lines.list_settings(unit.settings, "Service", key)
    ]
    if not unit.name.endswith(".service"):
        return found  # nothing of systemd
    return [each._replace(value=systemd.expand(each.value, unit.name)) for each in found]


def list_writing(unit: Unit) -> list[Setting]:
    """Returns those that run as root and may write to the kernel's files."""
    users = unit.values("Service", "User")
    as_root = users[-1] in _ROOT if users else not is_on(unit, "DynamicUser")
    as_root = as_root or bool(unit.values("Service", "AmbientCapabilities"))
    protected = is_on(unit, "ProtectKernelTunables")
    main_only = is_on(unit, "PermissionsStartOnly")

    def may_write(setting: Setting) -> bool:
        free = main_only and setting.key != "ExecStart"
        privilege = "+" if free else commands.find_privilege(setting.value)
        if protected and privilege != "+":
            return False
        return bool(as_root or privilege) and not commands.leaves_root(setting.value)

    return [each for each in list_all(unit) if may_write(each)]


def mark_conditional(unit: Unit, setting: Setting, writes: list[W]) -> list[W]:
    """Returns the writes of one of a unit's commands, as `maybe` if it is run only where ExecCondition= succeeds."""
    if setting.key == "ExecCondition" or not systemd_lines.list_settings(unit.settings, "Service", "ExecCondition"):
        return writes
    return [msgspec.structs.replace(each, maybe=True) for each in writes]


def is_on(unit: Unit, key: str) -> bool:
    """Returns whether one of SWITCHES is on."""
    setting = systemd_lines.find_last(unit.settings, "Service", key)
    return setting is not None and setting.value.lower() in systemd_lines.TRUE


def read_scripts(root: Root, command: str, kind: str, reduce: Callable[[str], str]) -> Iterator[tuple[str, Fact[str]]]:
    """Yields the path of each script that a command runs, and of those that these run themselves, with what is left of
    it by `reduce`: kept as a fact of that `kind`.

    Nothing is left of what systemd starts itself and that does not say what runs it. Unreadable where nobody knows what
    a script has, and where there are too many.
    """
    words = commands.split_commands(command)
    reading = _start_reading(root)
    paths, unread = _list_scripts(root, command, reading)

    def reduce_bounded(text: str) -> str:
        reading.spend(kind)
        left = reduce(text)
        if left:
            reading.spend(kind, len(text))
        return left

    yield from unread
    for path in paths[: commands.MAX_PATHS]:
        text = derive(root, f"{path}:{kind}", partial(_read_script, path=path, reduce=reduce_bounded))
        lost = text.value and commands.runs(words, path) and not shell.can_start(text.value)
        yield path, Fact("value", "", path) if lost else text
    for path in paths[commands.MAX_PATHS :][:1]:
        yield path, make_unreadable(path, f"one of more than {commands.MAX_PATHS} scripts")


def _list_scripts(root: Root, command: str, reading: _Reading) -> tuple[list[str], list[tuple[str, Fact[str]]]]:
    """Returns their paths, and those of which nobody knows which others they run."""
    found: dict[str, None] = {}
    unread: list[tuple[str, Fact[str]]] = []
    named = commands.find_scripts(command)
    for depth in range(_DEEP + 1):
        if len(named) > commands.MAX_NAMED:
            return [*found, *named][: commands.MAX_PATHS + 1], unread
        if not depth:
            named = list(filter(None, (_find_path(root, name, reading) for name in named)))
        named, closed = _open_directories(root, named)
        unread += closed
        level = [path for path in dict.fromkeys(named) if path not in found and _may_be_script(root, path)]
        found.update(dict.fromkeys(level))
        if len(found) > commands.MAX_PATHS:
            break
        names = [(path, _read_names(root, path, reading)) for path in level]
        unread += [(path, fact) for path, fact in names if fact.state == "unreadable"]
        named = [name for _, fact in names for name in (fact.value or "").split()]
    return list(found), unread


def _open_directories(root: Root, named: list[str]) -> tuple[list[str], list[tuple[str, Fact[str]]]]:
    """Returns the paths with those in the directories among them, which end with a slash, and those of which nobody
    knows what they hold."""
    found: list[str] = []
    closed: list[tuple[str, Fact[str]]] = []
    for path in named:
        if not path.endswith("/"):
            found.append(path)
            continue
        names = derive(root, f"{path}:parts", partial(_list_parts, directory=path))
        found += [path + name for name in (names.value or "").split()]
        closed += [(path, names)] if names.state == "unreadable" else []
    return found, closed


def _list_parts(root: Root, directory: str) -> Fact[str]:
    """Returns the names in a directory that run-parts(8) takes; none of what is none, or is not in a copied tree."""
    names = root.list(directory[:-1])
    if names.reason in (NOT_CAPTURED, "ENOTDIR"):
        return Fact("value", "", directory)
    return names.map(lambda names: " ".join(filter(_RUN_PART.fullmatch, names)))


@read_once
def _start_reading(_: Root) -> _Reading:
    return _Reading()


def _find_path(root: Root, name: str, reading: _Reading) -> str:
    """Returns the path of a program that is named without one; empty text where there is none."""
    if "/" in name:
        return name
    return derive(root, f"{name}:program", partial(_look_up, name=name, reading=reading)).value or ""


def _look_up(root: Root, name: str, reading: _Reading) -> Fact[str]:
    reading.list_programs(root)
    return Fact("value", reading.find_program(name))


def _may_be_script(root: Root, path: str) -> bool:
    """Returns whether there is a script, where other programs are, too."""
    if not path.startswith((*commands.VENDOR, *commands.SEARCHED)):
        return True
    return derive(root, f"{path}:script", partial(_read_script, path=path, reduce=_reduce_start)).value != ""


def _reduce_start(text: str) -> str:
    return "#!" if text else ""


def _read_names(root: Root, path: str, reading: _Reading) -> Fact[str]:
    """Returns the paths of the programs that a script names, each a line."""
    return derive(root, f"{path}:scripts", partial(_find_names, path=path, reading=reading))


def _find_names(root: Root, path: str, reading: _Reading) -> Fact[str]:
    def reduce(text: str) -> str:
        if len(text) > shell.MAX_TEXT or (text.startswith("#!") and not shell.is_interpreter(text)):
            return ""
        reading.spend(_NAMES, len(text))
        filled = shell.fill_in("\n".join(shell.split_run(text)), path.rpartition("/")[0])
        reading.list_programs(root)
        return "\n".join(commands.find_scripts_in(filled, reading.find_program))

    return _read_script(root, path, reduce)


def _read_script(root: Root, path: str, reduce: Callable[[str], str]) -> Fact[str]:
    """Returns what is left of a script by `reduce`; of a large program nothing. Unreadable where nobody knows what it
    has. What lies where the next boot finds nothing is not run."""
    if path.startswith(GONE_AT_BOOT):
        return Fact("value", "", path)
    text = root.read(path)
    return Fact("value", "", path) if text.reason in _NO_SCRIPT else text.map(reduce)
