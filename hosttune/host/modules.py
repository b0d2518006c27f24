"""Kernel modules: whether one is built in, and whether the next boot loads it.

Sources: modules-load.d(5), kernel-command-line(7) (`modules_load=`), `Documentation/kbuild/kbuild.rst`
(modules.builtin).
"""

from __future__ import annotations

import posixpath

import msgspec

from hosttune.host import cmdline, dropins, identity
from hosttune.host.forms import NAME, consists_of
from hosttune.host.root import Fact, Root

DIRECTORIES = (
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
)

# Modules of congestion controls: the only ones that a profile can ask for.
_SOUGHT = ("tcp_", "tcp-")


class Modules(msgspec.Struct, frozen=True):
    """`loaded`: modules that are loaded now, absent for a kernel without modules. `builtin`: modules that
    are part of the kernel. `at_boot`: name to the `FILE:LINE` that loads it. Names have `_`, not `-`."""

    loaded: Fact[frozenset[str]]
    builtin: Fact[frozenset[str]]
    at_boot: Fact[dict[str, str]]


def read(root: Root) -> Modules:
    """Read all three; `builtin` is that of the running kernel's release."""
    loaded = root.read("/proc/modules").map(
        lambda text: frozenset(line.split()[0] for line in text.splitlines() if line.strip())
    )
    release = root.read(identity.RELEASE).map(str.strip)
    builtin: Fact[frozenset[str]]
    if release.value is None:
        builtin = release.drop_value()
    else:
        builtin = root.read(f"/lib/modules/{release.value}/modules.builtin").map(_parse_builtin)
    return Modules(loaded, builtin, _read_at_boot(root))


def normalise_name(text: str) -> str:
    """Returns the name with `_` for `-`: the kernel treats both alike."""
    return text.replace("-", "_")


def _is_sought(name: str) -> bool:
    return name.startswith(_SOUGHT) and consists_of(name, NAME, 64)


def reduce_loaded(text: str) -> str:
    """Returns the names in /proc/modules that a check may look for."""
    names = (line.split(None, 1)[0] for line in text.splitlines() if line.strip())
    return "".join(f"{name}\n" for name in names if _is_sought(name))


def reduce_builtin(text: str) -> str:
    """Returns the names in modules.builtin that a check may look for."""
    return "".join(f"{name}\n" for name in sorted(_parse_builtin(text)) if _is_sought(name))


def reduce_at_boot(text: str) -> str:
    """Returns the lines of a modules-load.d file that a check may look for, each where it was."""
    lines = map(str.strip, text.splitlines())
    return "".join(f"{line if _is_sought(line) else ''}\n" for line in lines)


def _parse_builtin(text: str) -> frozenset[str]:
    return frozenset(normalise_name(posixpath.basename(line).removesuffix(".ko")) for line in text.split())


def _read_at_boot(root: Root) -> Fact[dict[str, str]]:
    files = dropins.list_merged(root, DIRECTORIES, ".conf")
    if files.state == "unreadable":
        return files.drop_value()
    found: dict[str, str] = {}
    for key, names in root.read("/proc/cmdline").map(cmdline.split_arguments).value or ():
        if key == "modules_load" and names:
            found.update({normalise_name(module): "/proc/cmdline" for module in names.split(",") if module})
    for file in files.value or []:
        text = dropins.read_fragment(root, file)
        if text.state == "unreadable":
            return text.drop_value()
        for number, raw in enumerate((text.value or "").splitlines(), 1):
            line = raw.strip()
            if line and line[0] not in "#;":
                found.setdefault(normalise_name(line), f"{file}:{number}")
    return Fact("value", found, DIRECTORIES[0])
