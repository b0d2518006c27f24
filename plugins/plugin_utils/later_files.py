# SPDX-License-Identifier: Apache-2.0
"""Files of others that are read after a role's own file and set the same otherwise: the next boot would have theirs.

Of tmpfiles.d the first line for a path counts, and after it those for patterns that name the path.

Sources: sysctl.d(5), systemd-system.conf(5), limits.conf(5), tmpfiles.d(5).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from hosttune.host import tmpfiles_lines
from hosttune.host.module_names import parse_blocks

from . import cpu_lists
from .host_facts import Host

#: Of drop-ins with one name the first directory's counts, and the others' are not read.
_TOPS = ("/etc", "/run", "/usr/local/lib", "/usr/lib")
SYSCTL = tuple(f"{top}/sysctl.d" for top in _TOPS)
SYSTEMD = tuple(f"{top}/systemd/system.conf.d" for top in _TOPS)
# What is written there counts at the next boot, which does not find what /run holds.
TMPFILES = tuple(f"{top}/tmpfiles.d" for top in _TOPS if top != "/run")
MODPROBE = tuple(f"{top}/modprobe.d" for top in _TOPS)
LIMITS = ("/etc/security/limits.d",)


def list_reads(directories: Iterable[str]) -> list[str]:
    """Returns what a plan asks of the host."""
    return [f"files:{directory}/*.conf" for directory in directories]


def find_sysctl(host: Host, own: str, wanted: Mapping[str, object]) -> list[str]:
    """Returns a line for each key that a later file sets otherwise. own: the role's file; wanted: key to value.

    A glob sets no key that a file names.
    """
    found: dict[str, tuple[str, str]] = {}
    for path, text in _list_later(host, SYSCTL, own):
        for line in text.splitlines():
            key, equals, value = line.strip().partition("=")
            if equals and not key.startswith(("#", ";")):
                found[_name_path(key.strip().removeprefix("-"))] = path, " ".join(value.split())
    problems = []
    for key, asked in wanted.items():
        path, set_to = found.get(_name_path(key), ("", ""))
        shown = " ".join(map(str, asked)) if isinstance(asked, list) else str(asked)
        if path and set_to != shown:
            problems.append(_describe(path, key, set_to, shown))
    return problems


def find_systemd(host: Host, own: str, wanted: Mapping[str, str]) -> list[str]:
    """Returns a line for each key of [Manager] that a later file sets otherwise."""
    found: dict[str, tuple[str, str]] = {}
    for path, text in _list_later(host, SYSTEMD, own):
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and key.strip() in wanted:
                found[key.strip()] = path, value.strip()
    return [
        _describe(path, key, value, wanted[key]) for key, (path, value) in sorted(found.items()) if value != wanted[key]
    ]


def find_limits(host: Host, own: str, wanted: Mapping[tuple[str, str], str]) -> list[str]:
    """Returns a line for each limit that a later file sets otherwise. wanted: (user, item) to value, as in the file."""
    problems = []
    for path, text in _list_later(host, LIMITS, own):
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) < 4 or (words[0], words[2].lower()) not in wanted:
                continue
            value = wanted[words[0], words[2].lower()]
            if words[3] != value:
                problems.append(_describe(path, " ".join(words[:3]), words[3], value))
    return list(dict.fromkeys(problems))


def find_tmpfiles(host: Host, own: str, wanted: Mapping[str, object], totals: Mapping[str, Iterable[str]]) -> list[str]:
    """Returns a line for each path that has something else in the end than the role's own file has written there. own:
    the role's file; wanted: path to value; totals: path to the other ones that set it too."""
    files = {posixpath.basename(path): (path, text) for path, text in _list_files(host, TMPFILES)}
    files[own] = own, "".join(f"w {path} - - - - {value}\n" for path, value in wanted.items())
    lines: list[tmpfiles_lines.Line] = []
    for name in sorted(files):
        path, text = files[name]
        try:
            lines += tmpfiles_lines.parse(text, path)
        except ValueError as error:
            return [f"{path} is not understood: {error}"]
    problems = []
    lines = tmpfiles_lines.order(lines)
    for path, asked in wanted.items():
        paths = (path, *totals.get(path, ()))
        key, last = [(key, line) for line in lines for key in paths if tmpfiles_lines.names(line, key)][-1]
        if key != path or last.value != str(asked):
            file = last.place.rpartition(":")[0]
            set_to = "something that the host decides" if last.value is None else last.value
            when = "before" if posixpath.basename(file) < own else "after"
            problems.append(_describe(file, key, set_to, str(asked), when))
    return problems


def find_kept_out(host: Host, modules: Iterable[str]) -> list[str]:
    """Returns a line for each line of modprobe.d(5) that keeps a module from being loaded at boot."""
    wanted = set(modules)
    return [
        f"{block.place} keeps the module {name} from being loaded: take the line out there"
        for path, text in _list_files(host, MODPROBE)
        for name, block in parse_blocks(text, path).items()
        if name in wanted
    ]


def _list_later(host: Host, directories: tuple[str, ...], own: str) -> Iterator[tuple[str, str]]:
    """Returns path and text of the files that are read after the role's own, in the order in which they are."""
    return (one for one in _list_files(host, directories) if posixpath.basename(one[0]) > posixpath.basename(own))


def _list_files(host: Host, directories: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    chosen: dict[str, str] = {}
    for directory in directories:
        for path in host.found:
            if posixpath.dirname(path) == directory:
                chosen.setdefault(posixpath.basename(path), path)
    for name in sorted(chosen):
        yield chosen[name], host.read(chosen[name]) or ""


def _name_path(key: str) -> str:
    """Returns the path below /proc/sys: the separator that comes first is the one between its parts."""
    first = re.search("[./]", key)
    return key if first is None or first[0] == "/" else key.translate(str.maketrans("./", "/."))


def _describe(path: str, key: str, found: str, wanted: str, when: str = "after") -> str:
    return (
        f"{path} is read {when} the role's own file and sets {key} to {cpu_lists.show(found)}, the role to "
        f"{cpu_lists.show(wanted)}: take it out there, or ask for the same"
    )
