"""Configuration that is merged from drop-in directories, as systemd, sysctl.d and limits.d do it."""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import partial

from hosttune.host.root import MAX_LINKS, NOT_CAPTURED, NOT_REGULAR, Fact, Root, derive, make_unreadable

_TOPS = ("/etc", "/run", "/usr/local/lib", "/usr/lib")
_NOTHING = "/dev/null"
_IN_MEMORY = ("/run/", "/var/run/", "/dev/", "/proc/", "/sys/", "/tmp/")


def holds(names: list[str], name: str) -> bool:
    """Returns whether a sorted listing has a name: a directory of thousands is asked once for each unit."""
    at = bisect_left(names, name)
    return at < len(names) and names[at] == name


def outlives_boot(path: str) -> bool:
    """Returns whether a file at an absolute path is still there after the next boot: `/run` is empty then.

    Sources: file-hierarchy(7), `/run/`, `/dev/`, `/proc/`, `/sys/`, `/tmp/`.
    """
    return not f"{posixpath.normpath(path)}/".startswith(_IN_MEMORY)


def choose_lasting(directories: Iterable[str]) -> list[str]:
    """Returns those of the directories whose files the next boot finds, in the same order.

    `read_merged` with `lasting` goes by it: a file in `/run` neither sets anything at the next boot, nor masks a file
    of its name, nor overrules one.
    """
    return [directory for directory in directories if outlives_boot(directory)]


def find_directories(root: Root, name: str) -> list[str]:
    """Returns the directories that systemd and kmod merge, such as those called `sysctl.d`, the first of them first.

    `/lib` is one more where it is no link to `/usr/lib`; where it is one, the files in it are known already.
    """
    unmerged = f"/lib/{name}"
    return [*(f"{top}/{name}" for top in _TOPS), *([unmerged] if root.list(unmerged).state != "absent" else [])]


def list_merged(root: Root, directories: Iterable[str], suffix: str) -> Fact[list[str]]:
    """Returns the paths of the files that count, in the order in which they are applied: by file name.

    Of files with one name the one in the earliest directory counts (`/etc` before `/usr/lib`). Absent if
    no directory exists; unreadable if any could not be listed, since a file in it could win.
    """
    chosen: dict[str, str] = {}
    source = ""
    for directory in directories:
        names = root.list(directory)
        source = source or names.source
        if names.state == "unreadable":
            return make_unreadable(directory, names.reason)
        for name in names.value or []:
            if name.endswith(suffix) and not name.startswith("."):
                chosen.setdefault(name, f"{directory}/{name}")
    if not chosen:
        return Fact("absent", None, source, "ENOENT")
    return Fact("value", [chosen[name] for name in sorted(chosen)], source)


def read_merged(
    root: Root, directories: Sequence[str], suffix: str, *, lasting: bool = False
) -> Fact[list[tuple[str, str]]]:
    """Returns the path and the text of each file that counts, in the order in which they are applied: by file name.

    Of files with one name the one in the earliest directory counts; a directory of such a name, or a file whose name
    begins with a dot, is passed over as systemd passes it over. `lasting`: only what the next boot finds. Unreadable
    if any directory could not be listed or any file not be read.
    """
    candidates: dict[str, list[str]] = {}
    for directory in choose_lasting(directories) if lasting else directories:
        names = root.list(directory)
        if names.state == "unreadable":
            return make_unreadable(directory, names.reason)
        for name in names.value or []:
            if name.endswith(suffix) and not name.startswith("."):
                candidates.setdefault(name, []).append(f"{directory}/{name}")
    found: list[tuple[str, str]] = []
    for name in sorted(candidates):
        for path in candidates[name]:
            text = (read_lasting if lasting else read_fragment)(root, path)
            if text.reason == "EISDIR" and root.link(path).value is None:
                continue
            if text.state == "unreadable":
                return make_unreadable(path, text.reason)
            if text.value is not None:
                found.append((path, text.value))
            break
    return Fact("value", found, directories[0])


def read_fragment(root: Root, path: str) -> Fact[str]:
    """Returns the text of a listed drop-in: empty for a link to /dev/null, absent for one that leads nowhere."""
    fact = root.read(path)
    if fact.value is not None or (fact.state == "unreadable" and fact.reason not in (NOT_CAPTURED, NOT_REGULAR)):
        return fact
    link = root.link(path)
    if link.value is None:
        return fact
    target = _find_target(path, link.value)
    return Fact("value", "", path) if target == _NOTHING else root.read(target)


def read_files(root: Root, paths: Iterable[str]) -> Fact[list[tuple[str, str]]]:
    """Returns the path and the text of each of these files that the next boot finds; unreadable if one is."""
    found: list[tuple[str, str]] = []
    for path in paths:
        text = read_lasting(root, path)
        if text.state == "unreadable":
            return text.drop_value()
        if text.value is not None:
            found.append((path, text.value))
    return Fact("value", found)


_LOST = ", which the next boot does not find"


def is_lost(fact: Fact[str]) -> bool:
    """Returns whether read_lasting() found a link to a file that is gone at the next boot."""
    return fact.state == "absent" and fact.reason.endswith(_LOST)


def read_lasting(root: Root, path: str) -> Fact[str]:
    """Returns the text that the next boot finds in a listed drop-in: absent for a link to a file that is gone then,
    by way of whatever other links."""
    link = root.link(path)
    if link.value is not None and _find_target(path, link.value) != _NOTHING:
        target = derive(root, f"{path}:links", partial(_follow_links, path))
        if target.value is None:
            return make_unreadable(path, target.reason)
        if target.value == _NOTHING:
            return Fact("value", "", path)
        if not outlives_boot(target.value):
            return Fact("absent", None, path, f"a link to {target.value}{_LOST}")
    return read_fragment(root, path)


def _follow_links(path: str, root: Root) -> Fact[str]:
    """Returns where a path leads, by all links of files and directories: to /dev/null, to
    the first place that is gone at the next boot, or to a file."""
    left = MAX_LINKS
    current, parts = posixpath.dirname(path), [posixpath.basename(path)]
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        step = posixpath.normpath(f"{current.rstrip('/')}/{part}")
        rest = "/".join([step, *reversed(parts)])
        if rest == _NOTHING:
            return Fact("value", _NOTHING)
        if not outlives_boot(step):
            return Fact("value", rest)
        target = root.link(step).value
        if target is None:
            current = step
            continue
        if not left:
            return make_unreadable(path, "ELOOP")
        left -= 1
        current = "/" if target.startswith("/") else current
        parts += reversed(target.split("/"))
    return Fact("value", current)


def _find_target(path: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
