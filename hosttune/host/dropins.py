"""Configuration that is merged from drop-in directories, as systemd, sysctl.d and limits.d do it."""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections.abc import Iterable

from hosttune.host.root import Fact, Root, make_unreadable

_NOTHING = "/dev/null"
_IN_MEMORY = ("/run/", "/var/run/", "/dev/", "/proc/", "/sys/", "/tmp/")


def holds(names: list[str], name: str) -> bool:
    """Returns whether a sorted listing has a name: a directory of thousands is asked once for each unit."""
    at = bisect_left(names, name)
    return at < len(names) and names[at] == name


def list_names(root: Root, path: str) -> Fact[list[str]]:
    """Returns the names in a directory that may be missing; what is absent from a captured tree, the tree says."""
    return root.list(path)


def read_text(root: Root, path: str) -> Fact[str]:
    """Returns the text of a file that may be missing, with the same rule."""
    return root.read(path)


def outlives_boot(path: str) -> bool:
    """Returns whether a file at an absolute path is still there after the next boot: `/run` is empty then.

    Sources: file-hierarchy(7), `/run/`, `/dev/`, `/proc/`, `/sys/`, `/tmp/`.
    """
    return not f"{posixpath.normpath(path)}/".startswith(_IN_MEMORY)


def choose_lasting(directories: Iterable[str]) -> list[str]:
    """Returns those of the directories whose files the next boot finds, in the same order.

    What such a program applies at boot is `list_merged(root, choose_lasting(DIRECTORIES), ".conf")`, with the texts
    from `read_lasting`: a file in `/run` neither sets anything there, nor masks a file of its name, nor overrules one.
    """
    return [directory for directory in directories if outlives_boot(directory)]


def list_merged(root: Root, directories: Iterable[str], suffix: str) -> Fact[list[str]]:
    """Returns the paths of the files that count, in the order in which they are applied: by file name.

    Of files with one name the one in the earliest directory counts (`/etc` before `/usr/lib`). Absent if
    no directory exists; unreadable if any could not be listed, since a file in it could win.
    """
    chosen: dict[str, str] = {}
    source = ""
    for directory in directories:
        names = list_names(root, directory)
        source = source or names.source
        if names.state == "unreadable":
            return make_unreadable(directory, names.reason)
        for name in names.value or []:
            if name.endswith(suffix):
                chosen.setdefault(name, f"{directory}/{name}")
    if not chosen:
        return Fact("absent", None, source, "ENOENT")
    return Fact("value", [chosen[name] for name in sorted(chosen)], source)


def read_fragment(root: Root, path: str) -> Fact[str]:
    """Returns the text of a listed drop-in: empty for a link to /dev/null, absent for one that leads nowhere."""
    fact = root.read(path)
    if fact.state == "value":
        return fact
    link = root.link(path)
    if link.value is None:
        return fact
    target = _find_target(path, link.value)
    return Fact("value", "", path) if target == _NOTHING else read_text(root, target)


def read_lasting(root: Root, path: str) -> Fact[str]:
    """Returns the text that the next boot finds in a listed drop-in: absent for a link to a file that is gone then."""
    link = root.link(path)
    if link.value is not None:
        target = _find_target(path, link.value)
        if target != _NOTHING and not outlives_boot(target):
            return Fact("absent", None, path, f"a link to {target}, which the next boot does not find")
    return read_fragment(root, path)


def _find_target(path: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
