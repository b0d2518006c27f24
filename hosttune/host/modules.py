"""Kernel modules: whether one is built in, whether the next boot loads it, and what keeps it from that.

Sources: modules-load.d(5), modprobe.d(5), kernel-command-line(7) (`modules_load=`), `module_blacklist=` in
`Documentation/admin-guide/kernel-parameters.txt`, `Documentation/kbuild/kbuild.rst` (modules.builtin); kmod
`libkmod/libkmod-config.c`; systemd `src/modules-load/modules-load.c`.
"""

from __future__ import annotations

import posixpath
import re

import msgspec

from hosttune.host import boot, cmdline, dropins, identity, masks, systemd_lines
from hosttune.host.module_names import Block, find_blocks, find_line_blocks, is_sought, normalise_name, parse_lines
from hosttune.host.root import Fact, Root
from hosttune.patterns import late_pattern

DIRECTORIES = (
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
)

#: It loads them at boot.
SERVICE = "systemd-modules-load.service"

_CMDLINE = "/proc/cmdline"
_FIRST_WORD = late_pattern(r"^[^\S\n]*(\S+)", re.MULTILINE)


class Modules(msgspec.Struct, frozen=True):
    """`loaded`: modules that are loaded now, absent for a kernel without modules. `builtin`: modules that are part of
    the kernel. `at_boot`: name to the `FILE:LINE` that loads it at the next boot, absent where nothing reads them.
    `blocks`: name to what keeps it from that. `needs`: name to the modules that it brings in. `release`: of the running
    kernel. `booted`: those that this boot's command line loads, with what could not be read of the next one's.
    Names have `_`, not `-`."""

    loaded: Fact[frozenset[str]]
    builtin: Fact[frozenset[str]]
    at_boot: Fact[dict[str, str]]
    blocks: Fact[dict[str, Block]]
    needs: Fact[dict[str, frozenset[str]]]
    release: Fact[str]
    booted: dict[str, Fact[str]]


def read(root: Root, needs: bool = True) -> Modules:
    """Read all of them; `builtin` and `needs` are those of the running kernel's release.

    `needs`: whether to read what each module brings in, of which there is half a megabyte.
    """
    loaded = root.read("/proc/modules").map(_list_loaded).map(frozenset)
    release = root.read(identity.RELEASE).map(str.strip)
    arguments = root.read(_CMDLINE).map(cmdline.split_arguments).value or ()
    builtin: Fact[frozenset[str]] = release.drop_value()
    brings: Fact[dict[str, frozenset[str]]] = release.drop_value() if needs else Fact("value", {})
    if release.value is not None:
        builtin = root.read(f"/lib/modules/{release.value}/modules.builtin").map(_parse_builtin)
        if needs:
            brings = root.read(f"/lib/modules/{release.value}/modules.dep").map(_parse_needs)
    coming = boot.read_coming(root)
    at_boot = _read_at_boot(root, coming)
    blocks = _read_blocks(root, arguments, coming)
    unread = coming.drop_value() if coming.value is None else None
    booted = dict.fromkeys(_list_line(arguments), unread) if unread is not None else {}
    return Modules(loaded, builtin, at_boot, blocks, brings, release, booted)


def find_load(found: Modules, module: str) -> Fact[str]:
    """Returns where it says that a module is there before sysctls are applied at the next boot.

    That is a line of modules-load.d, for it or for one that needs it, or `built in`. Absent if it says so nowhere, with
    the reason; unreadable if that cannot be told.
    """
    if found.builtin.value is not None and module in found.builtin.value:
        return Fact("value", "built in", found.builtin.source)
    if found.loaded.state == "absent":
        return Fact("value", "built in", found.loaded.source)
    for fact in (found.at_boot, found.blocks):
        if fact.value is None:
            return fact.drop_value()
    blocks, at_boot = found.blocks.value or {}, found.at_boot.value or {}
    own, reason = blocks.get(module), ""
    for name, place in at_boot.items():
        if name != module and module not in (found.needs.value or {}).get(name, ()):
            continue
        block = blocks.get(name) or (own if own is not None and own.kind == "never" else None)
        if block is None:
            return Fact("value", place, place)
        reason = f"{block.place} keeps it from being loaded"
    if reason:
        return Fact("absent", None, DIRECTORIES[0], reason)
    if module in found.booted:
        return found.booted[module]
    # Another one that is loaded at boot may need it; and it may be built in.
    if found.needs.state == "unreadable" and any(map(is_sought, at_boot)):
        return found.needs.drop_value()
    if found.builtin.state == "unreadable":
        return found.builtin.drop_value()
    return Fact("absent", None, DIRECTORIES[0], "")


def find_prevention(found: Modules, module: str) -> Block | None:
    """Returns what keeps a module that is not built in from being loaded when the kernel asks for it.

    The kernel asks for a congestion control by the module's name, which a blacklist does not concern; from Linux 6.9 on
    for a queueing discipline by an alias (`net/sched/sch_api.c`: net-sch-NAME), which it does.
    """
    block = (found.blocks.value or {}).get(module)
    if block is None or found.loaded.state == "absent" or module in (found.builtin.value or ()):
        return None
    by_alias = module.startswith("sch_") and (found.release.map(identity.parse_release).value or (0, 0)) >= (6, 9)
    return block if block.kind == "never" or by_alias else None


def reduce_loaded(text: str) -> str:
    """Returns the names in /proc/modules that a check may look for."""
    return "".join(f"{name}\n" for name in _list_loaded(text) if is_sought(name))


def _list_loaded(text: str) -> list[str]:
    """Returns the first word of each line of /proc/modules, each word once."""
    found: dict[str, None] = {}
    start = 0
    while start < len(text):  # by pieces: the words of all lines at once take twenty times the text's memory
        end = text.find("\n", start + (1 << 20))
        end = len(text) if end < 0 else end
        found.update(dict.fromkeys(_FIRST_WORD.findall(text, start, end)))
        start = end
    return list(found)


def reduce_builtin(text: str) -> str:
    """Returns the names in modules.builtin that a check may look for."""
    return "".join(f"{name}\n" for name in sorted(_parse_builtin(text)) if is_sought(name))


def reduce_at_boot(text: str) -> str:
    """Returns the lines of a modules-load.d file that a check may look for, each where it was."""
    lines = (line.strip(systemd_lines.SPACES) for line in systemd_lines.split_lines(text))
    return "".join(f"{line if is_sought(line) else ''}\n" for line in lines)


def reduce_needs(text: str) -> str:
    """Returns what modules that a check may look for bring in, a line each: `NAME: OTHER OTHER`."""
    needs = {name: sorted(filter(is_sought, others)) for name, others in _parse_needs(text).items() if is_sought(name)}
    return "".join(f"{name}: {' '.join(others)}\n" for name, others in needs.items() if others)


def reduce_blocks(text: str) -> str:
    """Returns the lines of a modprobe.d file that say whether a module which a check may look for is loaded."""
    words = {
        "blacklist": "blacklist {}",
        "never": "install {} false",
        "loads": "install {} modprobe",
        "another": "alias {} -",
    }
    kept = {
        int(line.place[1:]): words[line.kind].format(line.name)
        for line in parse_lines(text, "")
        if is_sought(line.name)
    }
    return "".join(f"{kept.get(number, '')}\n" for number in range(1, max(kept, default=0) + 1))


def _parse_name(path: str) -> str:
    return normalise_name(posixpath.basename(path).split(".ko")[0])


def _parse_builtin(text: str) -> frozenset[str]:
    return frozenset(map(_parse_name, text.split()))


def _parse_needs(text: str) -> dict[str, frozenset[str]]:
    found = {}
    for line in text.splitlines():
        name, colon, others = line.partition(":")
        if colon and others.strip():
            found[_parse_name(name)] = frozenset(map(_parse_name, others.split()))
    return found


def _list_line(arguments: cmdline.Arguments) -> list[str]:
    """Returns the modules that a command line has loaded."""
    lists = [names or "" for key, names in arguments if key == "modules_load"]
    return [normalise_name(name) for names in lists for name in names.split(",") if name]


def _read_at_boot(root: Root, coming: Fact[str]) -> Fact[dict[str, str]]:
    files = dropins.read_merged(root, dropins.find_directories(root, "modules-load.d"), ".conf", lasting=True)
    if files.value is None:
        return files.drop_value()
    masked = masks.read_applier(root, SERVICE)
    if masked.value is None:
        return masked.drop_value()
    if masked.value:
        return Fact("absent", None, masked.source, f"{SERVICE} is masked: no file of modules-load.d is read at boot")
    found = dict.fromkeys(_list_line(coming.map(cmdline.split_arguments).value or ()), coming.source)
    for file, text in files.value:
        for number, raw in enumerate(systemd_lines.split_lines(text), 1):
            line = raw.strip(systemd_lines.SPACES)
            if line and line[0] not in "#;":
                found.setdefault(normalise_name(line), f"{file}:{number}")
    return Fact("value", found, DIRECTORIES[0])


def _read_blocks(root: Root, arguments: cmdline.Arguments, coming: Fact[str]) -> Fact[dict[str, Block]]:
    directories = dropins.find_directories(root, "modprobe.d")
    files = dropins.read_merged(root, directories, ".conf", lasting=True)
    if files.value is None:
        return files.drop_value()
    found = find_blocks(line for file, text in files.value for line in parse_lines(text, file))
    found.update(find_line_blocks(coming.map(cmdline.split_arguments).value or (), coming.source))
    found.update(find_line_blocks(arguments, _CMDLINE))
    return Fact("value", found, directories[0])
