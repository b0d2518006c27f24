"""Which service puts interrupts in their place again at the next boot, and with what settings.

The kernel keeps no affinity over a reboot. A service that sets it is recognised by what it does, not by
its name: it is enabled, and the script that it runs writes `smp_affinity`. Its settings are taken from the
YAML or JSON file that its command line or that script names.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hosttune.host import systemd
from hosttune.host.root import Fact, Root, make_unreadable

_PATH = re.compile(r"/[\w./@+-]+")
_SETTINGS = re.compile(r"\.(ya?ml|json)$")
# Programs of the distribution: not scripts that set affinities, and large.
_VENDOR = ("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/lib/", "/lib/")


class Applier(msgspec.Struct, frozen=True):
    """A service that sets affinities at boot: `settings` is the mapping in its file, section
    `irq_affinity` if it has one."""

    unit: str
    settings: Fact[dict[str, Any]]


def find_appliers(root: Root) -> Fact[list[Applier]]:
    """Returns all such services that are enabled."""
    units = systemd.read_local_services(root)
    if units.value is None:
        return make_unreadable(units.source, units.reason)
    found = []
    for unit in units.value:
        if unit.started and (applier := _find_applier(root, unit)) is not None:
            found.append(applier)
    return Fact("value", found, units.source)


def _find_applier(root: Root, unit: systemd.Unit) -> Applier | None:
    paths = [path for command in unit.values("Service", "ExecStart") for path in _PATH.findall(command)]
    scripts = [path for path in paths if not path.startswith(_VENDOR) and not _SETTINGS.search(path)]
    texts = [text for path in scripts if "smp_affinity" in (text := root.read(path).value or "")]
    if not texts:
        return None
    named = [path for path in [*paths, *_PATH.findall("\n".join(texts))] if _SETTINGS.search(path)]
    if not named:
        return Applier(unit.name, make_unreadable(unit.source, "names no settings file that could be compared"))
    return Applier(unit.name, root.read(named[0]).map(parse_settings))


def parse_settings(text: str) -> dict[str, Any]:
    """Read a settings file. Raises ValueError."""
    # Late: the profile loader has it already, and a host without such a service does not need it.
    import yaml

    try:
        content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from None
    if not isinstance(content, dict):
        raise ValueError("it is not a mapping")
    section = content.get("irq_affinity", content)
    if not isinstance(section, dict):
        raise ValueError("its section irq_affinity is not a mapping")
    return section
