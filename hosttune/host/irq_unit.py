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
    started = [each.value for each in start_commands.list_writing(unit)]
    texts: dict[str, None] = {}
    for command in started:
        for path, text in start_commands.read_scripts(root, command, "irqs", reduce_script):
            if text.state == "unreadable":
                writes = [irq_writes.Write(UNKNOWN, UNKNOWN)]
                unread = make_unreadable(unit.source, f"{path} could not be read: {text.reason}")
                return Applier(unit.name, unread, writes, systemd.doubt_start(unit))
            texts[text.value or ""] = None
    found = _make_applier(root, unit.name, unit.source, started, list(texts))
    if found and all(start_commands.is_conditional(unit, each) for each in start_commands.list_writing(unit)):
        writes = [msgspec.structs.replace(each, maybe=True) for each in found.writes]
        found = msgspec.structs.replace(found, writes=writes)
    return found and msgspec.structs.replace(found, doubt=systemd.doubt_start(unit))


def _make_applier(root: Root, name: str, source: str, started: list[str], texts: list[str]) -> Applier | None:
    """Returns what a service with these commands, and these reduced scripts, sets; None if it sets no affinity."""
    writes = [each for command in started for each in irq_writes.parse_command(command)]
    writes = list(dict.fromkeys([*writes, *(each for text in texts for each in irq_writes.parse(text))]))
    if not writes:
        return None
    named = [path for command in started for path in commands.find_settings(command)]
    named += [path for text in texts for path in commands.find_paths(text) if commands.SETTINGS.search(path)]
    if not named:
        return Applier(name, make_unreadable(source, "names no settings file that could be compared"), writes)
    return Applier(name, derive(root, named[0], partial(_read_settings, named[0])).map(parse_settings), writes)


def reduce_script(text: str) -> str:
    """Returns of a script what it writes to affinities, and the settings file that it names, behind the `#!` by which
    it can be started; else empty text."""
    writes = irq_writes.parse_script(text)
    if not writes:
        return ""
    settings = [path for path in commands.find_paths(text) if commands.SETTINGS.search(path)]
    start = "#!/bin/sh\n" if shell.can_start(text) else ""
    return start + "; ".join([irq_writes.write(writes), *settings[:1]])


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
