"""sysctl: the running value of a key, and the line that decides it at the next boot.

Sources: sysctl.d(5); systemd `src/sysctl/sysctl.c`, `src/basic/sysctl-util.c`; procps `src/sysctl.c`, its init script;
`Documentation/admin-guide/sysctl/` of the Linux kernel, and its `fs/proc/proc_sysctl.c` (do_sysctl_args).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from hosttune.host import (
    boot,
    cmdline,
    dropins,
    identity,
    masks,
    module_names,
    netconf,
    start_commands,
    sysctl_lines,
    sysctl_writes,
)
from hosttune.host.root import NOT_A_LINK, Fact, Root
from hosttune.host.sysctl_lines import Assignment, is_glob, list_names, normalise_key, parse, settle
from hosttune.host.sysctl_values import SOUGHT, WORD_KEYS, is_numeric, keep_value, may_match
from hosttune.host.systemd_lines import split_lines

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
CONF = "/etc/sysctl.conf"

#: Of one key, to tell what a line overrules.
MAX_LINES = 100
# The first kernel that takes sysctls on its command line.
_TAKES_ARGUMENTS = (5, 8)

#: It applies them at boot.
SERVICE = "systemd-sysctl.service"
_INIT_SCRIPT = "/etc/init.d/procps"


class Sysctls(msgspec.Struct, frozen=True):
    """Running values by key as asked for, and what the next boot applies.

    `boot` is what the program that applies sysctls at boot is left with, in the order in which it writes. `lines` are
    the lines of its files, the last MAX_LINES for each key, and `gone` those of files in /run, which that boot does not
    find. All are of the keys that were asked for, by any of their names, and of globs. `arguments` are those of the
    next boot's kernel, which sets them before any program is started. `services` is what services write after all that.
    """

    running: dict[str, Fact[str]]
    boot: Fact[list[Assignment]]
    lines: Fact[list[Assignment]]
    gone: Fact[list[Assignment]]
    arguments: Fact[list[Assignment]]
    services: Fact[list[start_commands.Write]]

    def find_written(self, key: str) -> list[Assignment]:
        """Returns what the next boot writes for a key, the last one first: the lines of its files, then arguments."""
        return [
            *sysctl_lines.find_written(self.boot.value or [], key),
            *reversed(sysctl_lines.find_lines(self.arguments.value or [], key)),
        ]


def read(root: Root, keys: Iterable[str]) -> Sysctls:
    """Read the running value of each key, and all configuration files."""
    running = {key: root.read(build_path(key)).map(str.strip) for key in keys}
    sought = frozenset(name for key in running for name in list_names(key))
    arguments = _read_arguments(root, sought)
    services = sysctl_writes.read(root)
    directories = dropins.find_directories(root, "sysctl.d")
    lines = _read_lines(root, directories, sought, lasting=True)
    gone = _read_lines(root, [each for each in directories if not dropins.outlives_boot(each)], sought)
    if _starts_procps(root):
        conf = root.read(CONF).map(partial(parse, file=CONF))
        lines = conf.drop_value() if conf.state == "unreadable" else lines.map(lambda found: found + (conf.value or []))
        lines = lines.map(partial(_choose_lines, sought))
        return Sysctls(
            running, lines, lines, gone, arguments, services
        )  # `sysctl --system` writes one line after the other
    masked = masks.read_applier(root, SERVICE)
    written = lines.map(settle)
    # Where no line is for a key, nothing is lost. What its other commands write counts as what any service writes.
    if masked.value is None and (lines.value or not masks.is_changed(masked)):
        written = masked.drop_value()
    elif masked.value:
        written = Fact("absent", None, masked.source, f"{SERVICE} is masked: no file of sysctl.d is applied at boot")
    return Sysctls(running, written, lines.map(_choose_last), gone, arguments, services)


def build_path(key: str) -> str:
    """Returns the file below /proc/sys that holds a key."""
    return f"/proc/sys/{normalise_key(key)}"


def reduce(text: str, asked: frozenset[str] = frozenset()) -> str:
    """Returns the lines of a file that can decide a key which a check may ask for, each where it was.

    That is any of net.*, and a few others. A value is kept if it is of numbers; a word only of WORD_KEYS and of what is
    `asked` for (paths below /proc/sys): a key of net.* may hold a cryptographic one. Raises ValueError.
    """
    kept = [""] * len(split_lines(text))
    for line in parse(text, ""):
        if line.key.startswith(SOUGHT) or line.key in asked or may_match(line.key):
            # The slash in front: the first separator says how the key is read.
            kept[line.line - 1] = (
                f"/{line.key} = {keep_value(line.key, line.value, asked)}"
                if line.value is not None
                else f"-/{line.key}"
            )
    return "".join(f"{line}\n" for line in kept)


def reduce_value(text: str) -> str:
    """Returns the text of a file below /proc/sys that holds numbers. Raises ValueError for any other."""
    if not is_numeric(text.strip()):
        raise ValueError("it holds other than numbers")
    return text


def _read_arguments(root: Root, sought: frozenset[str]) -> Fact[list[Assignment]]:
    """Returns what the next boot's command line sets: it sets no key of an interface or a module that comes later, and
    no word, which names a module.

    Where that line cannot be read, there are none if this boot's has none.
    """
    line = boot.read_line(root)
    found = [
        Assignment(path, value, line.source, 0)
        for name, value in cmdline.split_arguments(line.value or "")
        if (path := cmdline.find_sysctl(name)) in sought
        and value
        and path not in WORD_KEYS
        and module_names.find_owner(path) is None
        and not netconf.names_interface(path)
    ]
    release = root.read(identity.RELEASE).map(identity.parse_release)
    if not found or (release.value is not None and release.value < _TAKES_ARGUMENTS):
        return Fact("value", [], line.source)
    if release.value is None:
        return release.drop_value()
    coming = boot.read_coming(root)
    return coming.drop_value() if coming.value is None else Fact("value", found, line.source)


def _starts_procps(root: Root) -> bool:
    """Returns whether the init script of procps applies sysctls at boot: systemd has a service of its own, and a tree
    need not have /sbin/init."""
    directory, _, name = _INIT_SCRIPT.rpartition("/")
    if name not in (root.list(directory).value or []):
        return False
    init = root.link("/sbin/init")
    return init.reason == NOT_A_LINK or (init.value is not None and "systemd" not in init.value)


def _choose_lines(sought: frozenset[str], lines: list[Assignment]) -> list[Assignment]:
    return [line for line in lines if line.key in sought or is_glob(line)]


def _choose_last(lines: list[Assignment]) -> list[Assignment]:
    """Returns the last MAX_LINES lines of each key, in their order."""
    left: dict[str, int] = {}
    chosen = []
    for line in reversed(lines):
        left[line.key] = left.get(line.key, 0) + 1
        if left[line.key] <= MAX_LINES:
            chosen.append(line)
    return chosen[::-1]


def _read_lines(
    root: Root, directories: list[str], sought: frozenset[str], *, lasting: bool = False
) -> Fact[list[Assignment]]:
    files = dropins.read_merged(root, directories, ".conf", lasting=lasting)
    if files.value is None:
        return files.drop_value()
    found: list[Assignment] = []
    for file, text in files.value:
        lines = Fact("value", text, file).map(partial(parse, file=file))
        if lines.value is None:
            return lines.drop_value()
        found += _choose_lines(sought, lines.value)
    return Fact("value", found, DIRECTORIES[0])
