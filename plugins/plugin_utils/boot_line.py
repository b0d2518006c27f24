# SPDX-License-Identifier: Apache-2.0
"""What the kernel's command line of the next boot comes to, with a role's own words in it, and who takes them back.

GRUB's files are evaluated with the role's fragment in its place, and the line is judged by the functions that the check
judges it by. Where they hold shell that is not understood, nothing is said.

Sources: those of hosttune.host.grub_default and hosttune.host.cmdline.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from hosttune.host import grub_default
from hosttune.host.cmdline import Arguments, is_of_grub, split_arguments
from hosttune.host.module_names import BLACKLISTS, find_line_blocks

from . import cpu_lists
from .host_facts import Host

CMDLINE = "/proc/cmdline"
_DEFAULT = "/etc/default/grub"
#: What a plan asks of the host.
READS = (_DEFAULT, f"files:{_DEFAULT}.d/*.cfg", CMDLINE)


class Fragment(NamedTuple):
    """What a role has GRUB do: take words that fit `removed` (`NAME=*`, or a size) out, then add the arguments."""

    role: str
    removed: Collection[str]
    arguments: Collection[str]

    @property
    def path(self) -> str:
        """The file that the role writes."""
        return f"{_DEFAULT}.d/80-hosttune-{self.role}.cfg"

    def write(self) -> str:
        """Returns what the file comes to, as :func:`grub_default.reduce` writes it."""
        removals = [f"{grub_default.REMOVE} {name} {' '.join(self.removed)}" for name in grub_default.VARIABLES]
        name = grub_default.VARIABLES[-1]
        return "\n".join([*removals, f'{name}="${name} {" ".join(self.arguments)}"', ""])


class Wanted(NamedTuple):
    """Something that the line has to bring: in words, the parameters that decide over it, and what judges a line."""

    text: str
    names: Collection[str]
    holds: Callable[[Arguments], bool]


def find_problems(host: Host, own: Fragment | None, wanted: Iterable[Wanted]) -> list[str]:
    """Returns a line for each word of a file that keeps the next boot from what is wanted, which has `own` do it."""
    result = grub_default.evaluate(_list_files(host, own))
    if result.line is None:
        return []
    try:
        line, ours = split_arguments(result.line), split_arguments(" ".join(own.arguments if own else ()))
        # What the role's words do not bring even alone is not the files' fault.
        broken = [one for one in wanted if not one.holds(line) and one.holds(ours)]
        lost = [each for each in ours if each not in line and any(each[0] in one.names for one in broken)]
        found = [_describe_lost(result.steps, own, lost)] if lost and own else []
        for one in broken:
            if not any(name in one.names for name, _ in lost):
                found += _describe(result.steps, own, line, ours, one)
        return list(dict.fromkeys(found))
    except ValueError:
        return []  # too long, or a list that needs to know the last CPU


def is_whole(line: Arguments) -> bool:
    """Returns whether a line is all that the kernel gets: with bootconfig the initrd holds more."""
    return all(name != "bootconfig" for name, _ in line)


def find_other_loader(host: Host, text: str) -> list[str]:
    """Returns a line if this boot came by another boot loader than GRUB. text: what boot arguments are needed for."""
    line = host.read(CMDLINE)
    try:
        if not line or is_of_grub(split_arguments(line)):
            return []
    except ValueError:
        return []
    return [
        f"{text}: this boot did not come through GRUB ({CMDLINE} has no BOOT_IMAGE=), but by systemd-boot, say, or "
        "over the network, and what update-grub writes would not be read: boot the host by GRUB, or do not ask for it"
    ]


def find_blocked(host: Host, modules: Collection[str]) -> list[str]:
    """Returns a line for each word that keeps modules from being loaded, in this boot or at the next one."""

    def holds(line: Arguments) -> bool:
        return find_line_blocks(line, "").keys().isdisjoint(modules)

    wanted = Wanted(f"the modules {', '.join(modules)} to be loaded", BLACKLISTS, holds)
    problems = find_problems(host, None, [wanted])
    try:
        booted = split_arguments(host.read(CMDLINE) or "")
    except ValueError:
        booted = ()
    if problems or holds(booted):
        return problems
    words = " ".join(_show(each) for each in booted if not holds((each,)))
    return [f"{CMDLINE} has {cpu_lists.show(words)}, where the role wants {wanted.text}: reboot without it"]


def _list_files(host: Host, own: Fragment | None) -> dict[str, str]:
    """Returns path and text of GRUB's files in the order in which they are read; of the role's own, what it is to
    hold."""
    names = {path for path in host.found if path.startswith(f"{_DEFAULT}.d/") and path.endswith(".cfg")}
    names = {path for path in names if not posixpath.basename(path).startswith(".")}
    drop_ins = sorted(names | ({own.path} if own else set()), key=str.encode)
    texts = {path: host.read(path) for path in (_DEFAULT, *drop_ins)}
    if own:
        texts[own.path] = own.write()
    return {path: f"{text}\n" for path, text in texts.items() if text is not None}


def _describe_lost(steps: Mapping[str, str], own: Fragment, lost: Collection[tuple[str, str | None]]) -> str:
    """Returns in words what takes the role's own words off the line."""
    shown = cpu_lists.show(" ".join(map(_show, lost)))
    for path, text in steps.items():
        if "--" in text.split():
            return f'{path} has "--", behind which the kernel does not read {shown}: take it out there'
    later = list(steps)[list(steps).index(own.path) + 1 :]
    for path in later:
        if any(each not in split_arguments(steps[path]) for each in lost):
            return (
                f"{path} is read after the role's own file and takes {shown} out: have it add to what "
                f"${grub_default.VARIABLES[-1]} holds, or give it a name that is read before"
            )
    return f"{_DEFAULT}, or a file in {_DEFAULT}.d, has a quote that does not end before {shown}: take it out there"


def _describe(
    steps: Mapping[str, str], own: Fragment | None, line: Arguments, ours: Arguments, wanted: Wanted
) -> list[str]:
    """Returns in words what takes back the role's own words, which are on the line."""
    return [
        f"{_find_file(steps, own, line[number])} has {cpu_lists.show(_show_at(line, number))} on the kernel's command "
        f"line, where the role wants {wanted.text}: take it out there"
        for number in _find_culprits(line, _find_own(line, ours), wanted)
    ]


def _find_own(line: Arguments, ours: Arguments) -> range:
    """Returns where in a line the role's own words stand."""
    for start in range(len(line) - len(ours), -1, -1):
        if line[start : start + len(ours)] == ours:
            return range(start, start + len(ours))
    return range(0)


def _find_culprits(line: Arguments, own: Collection[int], wanted: Wanted) -> list[int]:
    """Returns which word alone decides, the last one if several do; all that may, where no one does alone."""
    suspects = [number for number, (name, _) in enumerate(line) if name in wanted.names and number not in own]
    for number in reversed(suspects):
        if wanted.holds(line[:number] + line[number + 1 :]):
            return [number]
    return suspects


def _find_file(steps: Mapping[str, str], own: Fragment | None, word: tuple[str, str | None]) -> str:
    """Returns the last file that brings a word in, of those that are not the role's own."""
    found, before = _DEFAULT, 0
    for path, text in steps.items():
        count = split_arguments(text).count(word)
        if count > before and (own is None or path != own.path):
            found = path
        before = count
    return found


def _show_at(line: Arguments, number: int) -> str:
    """Returns a word as it is written, and of a page size the number of pages with it."""
    paired = line[number][0].endswith("hugepagesz") and [name for name, _ in line[number + 1 : number + 2]]
    return " ".join(map(_show, line[number : number + (2 if paired == ["hugepages"] else 1)]))


def _show(word: tuple[str, str | None]) -> str:
    name, value = word
    return name if value is None else f"{name}={value}"
