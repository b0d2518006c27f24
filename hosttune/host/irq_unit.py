"""Which service puts interrupts in their place again at the next boot, and with what settings.

The kernel keeps no affinity over a reboot. A service that sets it is recognised by what it does, not by
its name: it is enabled, and one of its commands, or a script that it runs, writes `smp_affinity`. Its settings
are taken from the YAML or JSON file that its command line or that script names.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from hosttune.host import commands, irq_writes, shell, start_commands, systemd, yaml_text
from hosttune.host.forms import CPU_LIST, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root, derive, make_unreadable
from hosttune.host.shell import UNKNOWN
from hosttune.patterns import late_pattern

# Numbers that YAML 1.1 reads in base 8 or 60, and kernel lists in base 10.
_AMBIGUOUS = late_pattern(r"[-+]?0[0-9_]+|[-+]?[0-9_]+(:[0-9_]+)+")
_NULL = ("", "~", "null", "Null", "NULL")


class Applier(msgspec.Struct, frozen=True):
    """A service that sets affinities at boot: `settings` is the mapping in its file, section
    `irq_affinity` if it has one; `writes` is what its commands and scripts say themselves; `doubt` says why it may not
    do it at boot."""

    unit: str
    settings: Fact[dict[str, Any]]
    writes: list[irq_writes.Write] = []
    doubt: str = ""

    @property
    def understood(self) -> bool:
        """Whether all that it writes is known: by settings that have a word on it, or since it says so itself."""
        return bool(self.settings.value) or all(each.path != UNKNOWN for each in self.writes)


def find_appliers(root: Root) -> Fact[list[Applier]]:
    """Returns all such services that are enabled, and what /etc/rc.local does."""
    units = start_commands.read_units(root)
    if units.value is None:
        return make_unreadable(units.source, units.reason)
    found = [each for each in (_find_applier(root, unit) for unit in units.value) if each is not None]
    return Fact("value", found, units.source)


def _find_applier(root: Root, unit: systemd.Unit) -> Applier | None:
    doubt = systemd.doubt_start(unit)
    started = start_commands.list_writing(unit)
    writes: dict[irq_writes.Write, None] = {}
    named = [path for setting in started for path in commands.find_settings(setting.value)]
    for setting in started:
        own = irq_writes.parse_command(setting.value)
        for path, text in start_commands.read_scripts(root, setting.value, "irqs", reduce_script):
            if text.state == "unreadable":
                unread = make_unreadable(unit.source, f"{path} could not be read: {text.reason}")
                return Applier(unit.name, unread, [irq_writes.Write(UNKNOWN, UNKNOWN)], doubt)
            own += irq_writes.parse(text.value or "")
            named += _find_settings(text.value or "")
        writes.update(dict.fromkeys(start_commands.mark_conditional(unit, setting, own)))
    if not writes:
        return None
    if not named:
        unnamed = make_unreadable(unit.source, "names no settings file that could be compared")
        return Applier(unit.name, unnamed, list(writes), doubt)
    settings = derive(root, named[0], partial(_read_settings, named[0])).map(parse_settings)
    return Applier(unit.name, settings, list(writes), doubt)


def _find_settings(text: str) -> list[str]:
    return [path for path in commands.find_paths(text) if path.endswith(commands.SETTINGS)]


def reduce_script(text: str) -> str:
    """Returns of a script what it writes to affinities, and the settings file that it names, behind the `#!` by which
    it can be started; else empty text."""
    writes = irq_writes.parse_script(text)
    if not writes:
        return ""
    start = "#!/bin/sh\n" if shell.can_start(text) else ""
    return start + "; ".join([irq_writes.write(writes), *_find_settings(text)[:1]])


def reduce_settings(text: str) -> str:
    """Returns a settings file with what a check compares, as JSON, which is YAML too. Raises ValueError."""
    return msgspec.json.encode({"irq_affinity": parse_settings(text)}).decode()


def _read_settings(path: str, root: Root) -> Fact[str]:
    return root.read(path).map(reduce_settings)


def parse_settings(text: str) -> dict[str, Any]:
    """Returns `housekeeping` and `queues` of a settings file, as far as it has them. Raises ValueError."""
    content = yaml_text.parse(text)
    section = content.get("irq_affinity", content)
    if not isinstance(section, dict):
        raise ValueError("its section irq_affinity is not a mapping")
    if "<<" in section or "<<" in content:
        raise ValueError("it has a merge key (<<)")
    queues = section.get("queues")
    found: dict[str, Any] = {}
    if section.get("housekeeping", "") not in _NULL:
        found["housekeeping"] = _keep_cpus(section["housekeeping"])
    if isinstance(queues, dict):
        found["queues"] = {name: _keep_cpus(cpus) for name, cpus in queues.items() if _is_interface(name, cpus)}
    return found


def _keep_cpus(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    understood = consists_of(text, CPU_LIST, 4096) and not _AMBIGUOUS.fullmatch(text)
    return text if text and understood else UNINTELLIGIBLE


def _is_interface(name: Any, cpus: Any) -> bool:
    return isinstance(name, str) and consists_of(name, f"{NAME}.@:+", 15) and cpus not in _NULL
