"""systemd's configuration as its files have it: what the next boot will do, read without asking it.

Sources: systemd-system.conf(5), systemd.unit(5), systemd.syntax(7). Files below /run are left out on
purpose: they do not outlive this boot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from hosttune.host import dropins
from hosttune.host.root import Fact, Root, make_unreadable

MANAGER = ("/etc/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
UNITS = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)


class Setting(msgspec.Struct, frozen=True):
    """One assignment and the file it is in."""

    section: str
    key: str
    value: str
    source: str


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


def list_values(settings: Iterable[Setting], section: str, key: str) -> list[str]:
    """Returns all values of a list setting that are left after resets."""
    left: list[str] = []
    for setting in settings:
        if (setting.section, setting.key) == (section, key):
            if setting.value:
                left.append(setting.value)
            else:
                left.clear()
    return left


def parse(text: str, source: str) -> list[Setting]:
    """Read one file: sections, `key=value`, comments, lines continued by a backslash."""
    settings: list[Setting] = []
    section = ""
    pending: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not pending):
            continue
        if line.endswith("\\"):
            pending.append(line[:-1])
            continue
        if pending:
            line = " ".join([*pending, line])
            pending.clear()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            settings.append(Setting(section, key.strip(), value.strip(), source))
    return settings


def read_manager(root: Root) -> Fact[list[Setting]]:
    """Returns the settings of `system.conf` and its drop-ins, in the order in which they are applied."""
    files: list[str] = []
    for directory in MANAGER:
        main = dropins.read_text(root, f"{directory}/system.conf")
        if main.state == "unreadable":
            return make_unreadable(main.source, main.reason)
        if main.state == "value":
            files.append(main.source)
            break
    fragments = dropins.list_merged(root, [f"{directory}/system.conf.d" for directory in MANAGER], ".conf")
    return _read_settings(root, files, fragments, "/etc/systemd/system.conf")


def read_unit(root: Root, name: str, wanted: Fact[frozenset[str]] | None = None) -> Fact[Unit]:
    """Read a unit; unreadable if any directory that could hold a part of it is.

    `wanted` is the result of :func:`read_wanted_units`, for callers that read several units.
    """
    for directory in UNITS:
        names = dropins.list_names(root, directory)
        if names.state == "unreadable":
            return make_unreadable(directory, names.reason)
        if not dropins.holds(names.value or [], name):
            continue
        path = f"{directory}/{name}"
        if root.link(path).value == "/dev/null" or root.read(path).value == "":
            return Fact("value", Unit(name, "masked", source=path), path)
        fragments = dropins.list_merged(root, [f"{d}/{name}.d" for d in UNITS], ".conf")
        settings = _read_settings(root, [path], fragments, path)
        wanted = wanted or read_wanted_units(root)
        if settings.value is None:
            return make_unreadable(settings.source, settings.reason)
        if wanted.value is None:
            return make_unreadable(wanted.source, wanted.reason)
        return Fact("value", Unit(name, "installed", name in wanted.value, settings.value, path), path)
    fragments = dropins.list_merged(root, [f"{d}/{name}.d" for d in UNITS], ".conf")
    settings = _read_settings(root, [], fragments, UNITS[0])
    if settings.value is None:
        return make_unreadable(settings.source, settings.reason)
    return Fact("value", Unit(name, "absent", settings=settings.value), UNITS[0])


def read_wanted_units(root: Root) -> Fact[frozenset[str]]:
    """Returns the names of all units that a `.wants` or `.requires` directory pulls in."""
    found: set[str] = set()
    for directory in UNITS:
        names = dropins.list_names(root, directory)
        if names.state == "unreadable":
            return make_unreadable(directory, names.reason)
        for name in names.value or []:
            if name.endswith((".wants", ".requires")):
                links = root.list(f"{directory}/{name}")
                if links.state == "unreadable":
                    return make_unreadable(links.source, links.reason)
                found.update(links.value or [])
    return Fact("value", frozenset(found), UNITS[0])


def read_local_services(root: Root) -> Fact[list[Unit]]:
    """Returns the services that this host's administrator installed or changed (in /etc), with their settings."""
    names = dropins.list_names(root, UNITS[0])
    if names.state == "unreadable":
        return make_unreadable(names.source, names.reason)
    units: list[Unit] = []
    wanted = read_wanted_units(root)
    services = {name.removesuffix(".d") for name in names.value or [] if name.endswith((".service", ".service.d"))}
    for name in sorted(services):
        # A link to a vendor's unit is an alias of it, or masks it.
        link = root.link(f"{UNITS[0]}/{name}")
        if link.state == "unreadable":
            return make_unreadable(link.source, link.reason)
        if link.value is None:
            fact = read_unit(root, name, wanted)
            if fact.value is None:
                return make_unreadable(fact.source, fact.reason)
            units.append(fact.value)
    return Fact("value", units, UNITS[0])


def _read_settings(root: Root, files: list[str], fragments: Fact[list[str]], source: str) -> Fact[list[Setting]]:
    if fragments.state == "unreadable":
        return make_unreadable(fragments.source, fragments.reason)
    found: list[Setting] = []
    for path in [*files, *(fragments.value or [])]:
        text = dropins.read_fragment(root, path)
        if text.value is None:
            return make_unreadable(path, text.reason)
        found += parse(text.value, path)
    return Fact("value", found, source)
