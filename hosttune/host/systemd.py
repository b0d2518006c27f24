"""systemd's configuration as its files have it: what the next boot will do, read without asking it.

Sources: systemd-system.conf(5), systemd.unit(5), systemd.syntax(7). Files below /run do not outlive this boot: they are
read only where the question is what a service gets now.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Literal

import msgspec

from hosttune.host import dropins
from hosttune.host.root import NOT_CAPTURED, Fact, Root, make_unreadable, read_once
from hosttune.host.systemd_lines import Setting, find_last, list_values, parse
from hosttune.patterns import late_pattern

MANAGER = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
#: Where units are, first what goes before: also where `systemctl set-property` and portablectl(1) put them.
SEARCH = (
    *("/etc/systemd/system.control", "/run/systemd/system.control"),
    *("/etc/systemd/system", "/etc/systemd/system.attached", "/run/systemd/system", "/run/systemd/system.attached"),
    *UNITS[2:],
)
_VENDOR = ("/usr/lib/systemd/system", "/lib/systemd/system")
_SERVICES = (".service", ".service.d")
# Targets that a boot into the default target does not reach. Source: systemd.special(7).
_NOT_AT_BOOT = frozenset(
    f"{name}.target"
    for name in (
        *("ctrl-alt-del", "emergency", "exit", "factory-reset", "final", "halt", "hibernate", "hybrid-sleep"),
        *("kbrequest", "kexec", "poweroff", "reboot", "rescue", "runlevel0", "runlevel1", "runlevel6", "shutdown"),
        *("sigpwr", "sleep", "soft-reboot", "storage-target-mode", "suspend", "suspend-then-hibernate"),
        *("system-update", "system-update-pre", "umount"),
    )
)
# Targets that a boot reaches by way of the default one, or since a device or a service of the distribution is there;
# the last one only where the default target is not before it. Source: systemd.special(7).
_AT_BOOT = frozenset(
    f"{name}.target"
    for name in (
        *("default", "multi-user", "basic", "sysinit", "timers", "sockets", "paths", "slices", "swap", "getty"),
        *("local-fs", "local-fs-pre", "remote-fs", "remote-fs-pre", "network", "network-pre", "network-online"),
        *("time-sync", "time-set", "nss-lookup", "nss-user-lookup", "rpcbind", "machines", "cryptsetup"),
        *(f"runlevel{level}" for level in "2345"),
        "graphical",
    )
)
#: Of a unit, which other units it has started with it.
DEPENDENCIES = ("Wants", "Requires", "BindsTo", "Upholds", "OnSuccess")
STARTERS = (".timer", ".path", ".socket")
# Of one boot: more than any host has.
_MOST_UNITS = 4096
# Conditions that hold on any host whose huge pages a check looks at.
_PATH_CONDITIONS = ("PathExists", "PathIsDirectory", "PathIsReadWrite", "FileNotEmpty")
_KERNEL_PATHS = ("/sys/kernel/mm/", "/sys/devices/system/node")
_SPECIFIER = late_pattern("%.?")


class Unit(msgspec.Struct, frozen=True):
    """A unit as its files describe it.

    `started` says whether something that is enabled pulls it in at boot. `settings` are all assignments
    of the fragment and its drop-ins, in the order in which they are applied; drop-ins may be there before
    the unit itself is.
    """

    name: str
    state: Literal["absent", "masked", "installed"]
    started: bool = False
    settings: list[Setting] = []
    source: str = ""

    def values(self, section: str, key: str) -> list[str]:
        """Returns the values of a setting that may be given several times; an empty one resets those before it."""
        return list_values(self.settings, section, key)


def read_manager(root: Root, *, now: bool = False) -> Fact[list[Setting]]:
    """Returns the settings of `system.conf` and its drop-ins, in the order in which they are applied.

    now: also those below /run, which the next boot does not have.
    """
    directories = [each for each in MANAGER if dropins.outlives_boot(each) or (now and _is_known(root, each))]
    files: list[str] = []
    for directory in directories:
        main = root.read(f"{directory}/system.conf")
        if main.state == "unreadable":
            return make_unreadable(main.source, main.reason)
        if main.state == "value":
            files.append(main.source)
            break
    fragments = dropins.list_merged(root, [f"{directory}/system.conf.d" for directory in directories], ".conf")
    return _read_settings(root, files, fragments, "/etc/systemd/system.conf", now)


def read_unit(root: Root, name: str, *, now: bool = False) -> Fact[Unit]:
    """Read a unit; unreadable if any directory that could hold a part of it is. now: as read_manager()."""
    index = _read_index(root, now)
    return index.drop_value() if index.value is None else _read_unit(root, index.value, name)


def read_wanted_units(root: Root) -> Fact[frozenset[str]]:
    """Returns the names of all units that a boot comes to: by the links of `.wants` and `.requires` directories, and by
    what the units that it comes to ask for themselves."""
    index = _read_index(root, False)
    return index.drop_value() if index.value is None else Fact("value", index.value.wanted, UNITS[0])


def read_names(root: Root) -> Fact[frozenset[str]]:
    """Returns the names of all units that the next boot finds."""
    index = _read_index(root, False)
    if index.value is None:
        return index.drop_value()
    return Fact("value", frozenset(name for names in index.value.names.values() for name in names), UNITS[0])


def read_local_services(root: Root) -> Fact[list[Unit]]:
    """Returns the services that this host's administrator installed or changed (in /etc), with their settings."""
    index = _read_index(root, False)
    if index.value is None:
        return index.drop_value()
    services = [name.removesuffix(".d") for name in index.value.names[UNITS[0]] if name.endswith(_SERVICES)]
    return _read_units(root, index.value, {name for name in services if name not in index.value.links})


def read_started_services(root: Root, *, timed: bool = False) -> Fact[list[Unit]]:
    """Returns the services that a boot comes to, as far as files describe them.

    timed: also those that a timer, a path or a socket starts which it comes to; they are not `started`.
    """
    index = _read_index(root, False)
    if index.value is None:
        return index.drop_value()
    names = {name for name in index.value.wanted if name.endswith(".service")}
    if timed:
        starters = _read_units(root, index.value, {name for name in index.value.wanted if name.endswith(STARTERS)})
        if starters.value is None:
            return starters.drop_value()
        names.update(_find_started(starter) for starter in starters.value if starter.state == "installed")
    return _read_units(root, index.value, names)


def _find_started(starter: Unit) -> str:
    """Returns the name of the service that a timer, path or socket starts (systemd.timer(5), `Unit=`;
    systemd.socket(5), `Service=`); of another unit one of none."""
    plain, _, kind = starter.name.rpartition(".")
    own = f"{plain}.service"
    unit = find_last(starter.settings, kind.capitalize(), "Service" if kind == "socket" else "Unit")
    name = own if unit is None else expand(unit.value, starter.name)
    return name if name.endswith(".service") else own


def is_condition(setting: Setting) -> bool:
    """Returns whether a unit may not be started for what this assignment says: `Condition*=` and `Assert*=`."""
    if setting.section != "Unit" or not setting.key.startswith(("Condition", "Assert")):
        return False
    kind = setting.key.removeprefix("Condition").removeprefix("Assert")
    is_there = kind in _PATH_CONDITIONS and setting.value.startswith(_KERNEL_PATHS)
    return not is_there and (kind, setting.value) != ("Virtualization", "!container")


#: Settings of a service that may keep it from the kernel's files, or give it others (systemd.exec(5)).
CONFINING = (
    *("ReadOnlyPaths", "InaccessiblePaths", "RootDirectory", "RootImage", "NetworkNamespacePath"),
    *("BindPaths", "BindReadOnlyPaths", "TemporaryFileSystem"),
)


def has_condition(unit: Unit) -> bool:
    """Returns whether a unit has a condition of which nobody here knows whether it holds; an empty one resets all."""
    found = {"Condition": False, "Assert": False}
    for setting in unit.settings:
        if is_condition(setting):
            found["Assert" if setting.key.startswith("Assert") else "Condition"] = bool(setting.value)
    return any(found.values())


def doubt_start(unit: Unit) -> str:
    """Returns why a unit that is pulled in at boot, or by a timer, may not be started then; else empty text."""
    if has_condition(unit):
        return "whether its conditions hold is not known"
    confined = next((key for key in CONFINING if unit.values("Service", key)), "")
    if confined:
        return f"{confined}= may keep it from the kernel's files"
    return "" if unit.started else "something else than the boot starts it, nobody knows when"


def read_services(root: Root, *, now: bool = False) -> Fact[list[Unit]]:
    """Returns all services that files describe, an instance of a template where something names it.

    now: as read_manager(). One of the distribution whose file a capture does not hold is left out.
    """
    index = _read_index(root, now)
    if index.value is None:
        return index.drop_value()
    found = [
        name.removesuffix(".d") for names in index.value.names.values() for name in names if name.endswith(_SERVICES)
    ]
    services = {
        name for name in found if name not in index.value.links and name != "service" and not name.endswith("-.service")
    }
    services.update(name for name in index.value.wanted if name.endswith(".service") and "@" in name)
    services.difference_update({_find_template(name) for name in services})  # what has instances is judged by them
    return _read_units(root, index.value, services)


def expand(value: str, name: str) -> str:
    """Returns a value with what systemd puts in the place of `%i`, `%p`, `%n`, `%N` and `%%` for a unit of this name
    (systemd.unit(5), "Specifiers"); a value with another specifier stays as it is."""
    plain = name.rpartition(".")[0]
    prefix, _, instance = plain.partition("@")
    known = {"%%": "%", "%i": instance, "%I": instance, "%p": prefix, "%P": prefix, "%n": name, "%N": plain}
    return _SPECIFIER.sub(lambda match: known.get(match[0], match[0]), value)


class _Index(msgspec.Struct):
    """What the directories of units hold: `names` by directory, first what goes before; `links` are the names that are
    links to other units or to /dev/null, `aliases` the other names of each unit; `wanted` what boot starts."""

    names: dict[str, list[str]]
    links: set[str]
    aliases: dict[str, list[str]]
    wanted: frozenset[str]
    now: bool

    def find_file(self, name: str) -> str | None:
        """Returns the file that describes a unit, or the template that it is an instance of."""
        for each in filter(None, (name, _find_template(name))):
            for directory, names in self.names.items():
                if dropins.holds(names, each):
                    return f"{directory}/{each}"
        return None

    def list_drop_ins(self, names: list[str]) -> list[str]:
        """Returns the directories of drop-ins that apply to a unit with these names, first what goes before.

        As unit_file_find_dropin_paths() in `src/shared/dropin.c` of systemd has it: below each directory those of a
        name, of its template, and of each part of the name that ends in a dash; last those of the type.
        """
        parts = [_list_name_parts(name) for name in names]
        found = [f"{top}/{part}.d" for each in parts for top in self.names for part in each]
        found += [f"{top}/{names[0].rpartition('.')[2]}.d" for top in self.names]
        return [
            path
            for path in dict.fromkeys(found)
            if dropins.holds(self.names[path.rpartition("/")[0]], path.rpartition("/")[2])
        ]


@read_once
def _read_index(root: Root, now: bool) -> Fact[_Index]:
    found: dict[str, list[str]] = {}
    links: set[str] = set()
    aliases: dict[str, list[str]] = {}
    for directory in SEARCH:
        if not now and not dropins.outlives_boot(directory):
            continue
        names = root.list(directory)
        if names.state == "unreadable" and (dropins.outlives_boot(directory) or names.reason != NOT_CAPTURED):
            return make_unreadable(directory, names.reason)
        found[directory] = names.value or []
        if directory in _VENDOR:
            continue  # hundreds of names; an alias there is read as a unit of its own
        for name in found[directory]:
            if not name.endswith(".service"):
                continue
            link = root.link(f"{directory}/{name}")
            if link.state == "unreadable":
                return make_unreadable(link.source, link.reason)
            target = link.value
            linked = None if target is None else _find_linked(directory, target)
            if target == "/dev/null" or linked not in (None, name):
                links.add(name)
            if linked is not None and linked != name:
                aliases.setdefault(linked, []).append(name)
    index = _Index(found, links, aliases, frozenset(), now)
    wanted = _follow(root, index)
    if wanted.value is None:
        return wanted.drop_value()
    index.wanted = wanted.value
    return Fact("value", index, UNITS[0])


def _follow(root: Root, index: _Index) -> Fact[frozenset[str]]:
    """Returns the names of the units that a boot comes to."""
    pulled: dict[str, set[str]] = {}
    for directory in dropins.choose_lasting(SEARCH):
        names = root.list(directory)
        if names.state == "unreadable":
            return make_unreadable(directory, names.reason)
        for name in names.value or []:
            if name.endswith((".wants", ".requires", ".upholds")):
                links = root.list(f"{directory}/{name}")
                if links.state == "unreadable":
                    return make_unreadable(links.source, links.reason)
                pulled.setdefault(name.rpartition(".")[0], set()).update(links.value or [])
    reached: dict[str, None] = dict.fromkeys(_list_starts(root, index, pulled))
    left = list(reached)
    while left:
        if len(reached) > _MOST_UNITS:
            return make_unreadable(UNITS[0], f"more than {_MOST_UNITS:,} units that want one another")
        name = left.pop()
        asked = set(pulled.get(name, ())) | pulled.get(_find_template(name) or "", set())
        if name.endswith((".service", ".target", *STARTERS)):
            unit = _read_unit(root, index, name)
            if unit.value is None and unit.reason != NOT_CAPTURED:
                return unit.drop_value()
            settings = unit.value.settings if unit.value is not None and unit.value.state != "masked" else []
            for key in DEPENDENCIES:
                for value in list_values(settings, "Unit", key):
                    asked.update(expand(word, name) for word in value.split())
        new = [each for each in asked if each not in reached and each not in _NOT_AT_BOOT]
        reached.update(dict.fromkeys(new))
        left += new
    return Fact("value", frozenset(reached), UNITS[0])


def _list_starts(root: Root, index: _Index, pulled: Iterable[str]) -> Iterable[str]:
    """Returns the units from which all others are found: the targets of a boot; and of those that pull in others the
    distribution's targets, and devices, mounts and such, which may come."""
    default = _find_default(root)
    yield from _AT_BOOT - ({"graphical.target"} if default == "multi-user.target" else set())
    if default:
        yield default
    vendors = [names for directory, names in index.names.items() if directory in _VENDOR]
    for name in pulled:
        if name in _AT_BOOT or name in _NOT_AT_BOOT:
            continue
        is_vendors = name.endswith(".target") and any(dropins.holds(names, name) for names in vendors)
        if is_vendors or not name.endswith((".service", ".target")):
            yield name


def _find_default(root: Root) -> str:
    """Returns the name of the default target, as far as a link of the administrator says so."""
    link = root.link(f"{UNITS[0]}/default.target")
    return "" if link.value is None else link.value.rpartition("/")[2]


def _read_units(root: Root, index: _Index, names: Iterable[str]) -> Fact[list[Unit]]:
    units: list[Unit] = []
    for name in sorted(names):
        fact = _read_unit(root, index, name)
        if fact.value is not None:
            units.append(fact.value)
        elif fact.reason != NOT_CAPTURED or not fact.source.startswith(_VENDOR):
            return make_unreadable(fact.source, fact.reason)
    return Fact("value", units, UNITS[0])


def _read_unit(root: Root, index: _Index, name: str) -> Fact[Unit]:
    template, instance = _find_template(name), name.partition("@")[2]
    aliases = [*index.aliases.get(name, ())]
    if template:
        aliases += [each.replace("@.", f"@{instance.rpartition('.')[0]}.") for each in index.aliases.get(template, ())]
    path = index.find_file(name)
    fragments = dropins.list_merged(root, index.list_drop_ins([name, *aliases]), ".conf")
    if path is None:
        settings = _read_settings(root, [], fragments, UNITS[0], index.now)
        return settings.map(lambda found: Unit(name, "absent", settings=found, source=UNITS[0]))
    text = _read_file(root, path, index.now)
    if text.value == "":
        return Fact("value", Unit(name, "masked", source=path), path)
    settings = _read_settings(root, [path], fragments, path, index.now)
    started = not index.wanted.isdisjoint([name, *aliases])
    return settings.map(lambda found: Unit(name, "installed", started, found, path))


def _is_known(root: Root, directory: str) -> bool:
    """Returns whether a directory is there, or refuses; files of a host that were copied need not have /run."""
    names = root.list(directory)
    return names.state == "value" or (names.state == "unreadable" and names.reason != NOT_CAPTURED)


def _find_linked(directory: str, target: str) -> str | None:
    """Returns the name of the unit that a link in a directory of units leads to; None where it leads out of them, as
    `systemctl link` makes it: then the link itself is the unit's file."""
    where = posixpath.normpath(posixpath.join(directory, target))
    parent, _, name = where.rpartition("/")
    return name if parent in SEARCH else None


def _find_template(name: str) -> str | None:
    """Returns the template that a unit is an instance of, None if it is none."""
    prefix, at, rest = name.partition("@")
    instance, _, kind = rest.rpartition(".")
    return f"{prefix}@.{kind}" if at and instance else None


def _list_name_parts(name: str) -> list[str]:
    """`a-b@i.service` → itself, `a-b@.service`, `a-.service`, `a-@i.service`, `a-@.service`: a part of a template is
    a plain unit. As unit_file_find_dirs() in `src/shared/dropin.c` of systemd has it."""
    parts = [name]
    template = _find_template(name)
    if template:
        parts += _list_name_parts(template)
    plain, _, kind = name.rpartition(".")
    prefix, _, instance = plain.partition("@")
    shorter = prefix.removesuffix("-").rpartition("-")[0]
    if shorter:
        parts += _list_name_parts(f"{shorter}-{instance and '@'}{instance}.{kind}")
    return list(dict.fromkeys(parts))


def _read_file(root: Root, path: str, now: bool) -> Fact[str]:
    """Returns a file of a unit: of the next boot without what a link in /etc finds in /run."""
    return dropins.read_fragment(root, path) if now or path.startswith(_VENDOR) else dropins.read_lasting(root, path)


def _read_settings(
    root: Root, files: list[str], fragments: Fact[list[str]], source: str, now: bool
) -> Fact[list[Setting]]:
    if fragments.state == "unreadable":
        return make_unreadable(fragments.source, fragments.reason)
    found: list[Setting] = []
    for path in [*files, *(fragments.value or [])]:
        text = _read_file(root, path, now)
        if text.state == "unreadable":
            return make_unreadable(path, text.reason)
        found += parse(text.value or "", path)  # a link may lead nowhere
    return Fact("value", found, source)
