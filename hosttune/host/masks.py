"""Whether a service that applies configuration at boot is masked: systemd does not start it then, whatever wants it;
and whether it is still the distribution's own, of which it is known what it applies.

Sources: systemctl(1), `mask`; systemd-debug-generator(8), `systemd.mask=`; systemd.unit(5), "Drop-ins", `[Unit]`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any

from hosttune.host import boot, cmdline, systemd
from hosttune.host.root import NOT_CAPTURED, Fact, Root, make_unreadable
from hosttune.host.systemd_lines import TRUE, Setting

# What may keep a service from its work, or give it another; `Type=` also how many commands it may have.
_CHANGING = ("ExecStart", "ExecStartPre", "ExecCondition", "Type", "User", *systemd.CONFINING)
_SWITCHES = ("DynamicUser", "ProtectKernelTunables", "PrivateNetwork")
# Other names that Debian gives them, by links beside the units.
_ALIASES = {
    "systemd-sysctl.service": ("procps.service",),
    "systemd-modules-load.service": ("kmod.service", "module-init-tools.service"),
}
_OF_VENDOR = ("/usr/lib/systemd/", "/lib/systemd/")
_CHANGED = " is changed there: what it applies at boot is not known"


def read(root: Root, service: str) -> Fact[bool]:
    """Returns whether the administrator masked a service: by a file, or by the next boot's command line.

    Where that line cannot be read, this boot's is asked.
    """
    directory = systemd.UNITS[0]
    names = root.list(directory)
    if names.state == "unreadable":
        return names.drop_value()
    path = f"{directory}/{service}"
    if service in (names.value or []):
        link = root.link(path)
        if link.state == "unreadable":
            return link.drop_value()
        if link.value == "/dev/null" or root.read(path).value == "":
            return Fact("value", True, path)
    line = boot.read_line(root)
    masked = line.map(cmdline.split_arguments).map(_list_masked).value or ()
    return Fact("value", True, f"{line.source} (systemd.mask=)") if service in masked else Fact("value", False, path)


def read_applier(root: Root, service: str) -> Fact[bool]:
    """Returns whether a service of the distribution that applies configuration is masked; unreadable where a file of
    the administrator's takes its place, or a drop-in changes what it starts, or whether: is_changed() tells that."""
    masked = read(root, service)
    if masked.value is not False:
        return masked
    unit = systemd.read_unit(root, service)
    if unit.value is None:
        # Where units were not captured, what services write at boot is unknown, and is told by that.
        return masked if unit.reason == NOT_CAPTURED else unit.drop_value()
    own = unit.value.state == "installed" and not unit.value.source.startswith(_OF_VENDOR)
    if own and not _leads_to_vendor(root, unit.value.source):
        return make_unreadable(unit.value.source, f"{service}{_CHANGED}")
    added = [each for each in unit.value.settings if each.source != unit.value.source]
    for alias in _ALIASES.get(service, ()):
        if any(posixpath.basename(root.link(f"{top}system/{alias}").value or "") == service for top in _OF_VENDOR):
            other = systemd.read_unit(root, alias)
            if other.value is None:
                return other.drop_value()
            added += [each for each in other.value.settings if each.source != other.value.source]
    changing = next(filter(_changes, added), None)
    if changing is None and systemd.has_condition(systemd.Unit(service, "installed", settings=added)):
        changing = [each for each in added if systemd.is_condition(each) and each.value][-1]
    return masked if changing is None else make_unreadable(changing.source, f"{service}{_CHANGED}")


def is_changed(fact: Fact[Any]) -> bool:
    """Returns whether a fact is unreadable for what read_applier() found."""
    return fact.state == "unreadable" and fact.reason.endswith(_CHANGED)


def _leads_to_vendor(root: Root, path: str) -> bool:
    """Returns whether a file of a unit is a link to the distribution's own."""
    link = root.link(path).value
    return link is not None and link.startswith(_OF_VENDOR) and posixpath.basename(link) == posixpath.basename(path)


def _changes(setting: Setting) -> bool:
    if setting.key in _SWITCHES:
        return setting.section == "Service" and setting.value.lower() in TRUE
    return setting.section == "Service" and setting.key in _CHANGING


def _list_masked(arguments: Iterable[tuple[str, str | None]]) -> frozenset[str]:
    """Returns the names of the units that a command line masks; one without a type is a service's."""
    names = [value for key, value in arguments if key == "systemd.mask" and value]
    return frozenset(name if "." in name else f"{name}.service" for name in names)
