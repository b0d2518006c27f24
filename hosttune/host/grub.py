"""What GRUB will hand to the kernel, worked out from its files. Pure: text in, plain data out.

Sources: the GRUB manual ("default", "load_env"), `grub-core/normal/menu.c` of GRUB, the output of `grub-mkconfig` on
Debian, Ubuntu and Fedora, and the Boot Loader Specification (type 1 entries).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hosttune.host import grub_script
from hosttune.host.grub_run import Entry, Files, Kernel, Run
from hosttune.host.grub_script import MAX_DEPTH, UNKNOWN

#: Of one file: longer than any menu.
MAX_LENGTH = 1 << 20
#: Bytes of a command line that a kernel takes on x86 and arm64 (COMMAND_LINE_SIZE), with GRUB's BOOT_IMAGE= in front;
#: and how many of them no file tells, as the device in BOOT_IMAGE=.
MAX_LINE, _MARGIN = 2047, 16
_NO_ENTRY = "it has no menu entry"
_UNSETTLED = "which entry is its default hangs on what is in none of its files"
# How grub-mkconfig marks what it takes from a script, and scripts whose text it takes as it is, from their third line.
_SECTION = re.compile(r"^### BEGIN (/etc/grub\.d/[0-9]{1,3}_custom) ###$", re.MULTILINE)


class Default(NamedTuple):
    """The entry that GRUB boots if nobody touches a key: its title, the kernel's command line, the kernel's file, and
    whether the menu takes entries of the Boot Loader Specification. `place`: FILE:LINE of its kernel, if a file holds
    that as it is and no tool writes it."""

    title: str
    line: str
    kernel: str
    bls: bool = False
    place: str = ""


def parse_environment(text: str) -> dict[str, str]:
    """Returns the variables of a GRUB environment block (`grubenv`): `name=value` lines, `#` padding."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.replace("\\\\", "\\") for name, equals, value in pairs if equals}


def find_default_entry(
    config: str,
    env: dict[str, str],
    bls: dict[str, str] | None = None,
    custom: str | None = None,
    keep: Callable[[str], str] = str,
) -> Default:
    """Returns the default entry. `config` is grub.cfg, `env` its environment block, `bls` the Boot Loader Specification
    entries by file name without `.conf`, `custom` custom.cfg; `keep`: what of a command line matters.

    Raises ValueError if there is no entry to find, or if what matters hangs on what is in none of the files.
    """
    if max(map(len, (config, custom or "", *env.values(), *(bls or {}).values()))) > MAX_LENGTH:
        raise ValueError(f"a file of it has more than {MAX_LENGTH:,} characters")
    run = Run(Files(env, custom, bls))
    run.run(grub_script.parse(config, "grub.cfg"))
    found: list[Default] = []
    for entry, kernel in _follow(run, 0):
        if kernel is None:
            raise ValueError("its default entry has no kernel command")
        title = entry.titles[0] if len(entry.titles) == 1 else UNKNOWN
        place = _find_place(kernel, config)
        path = "".join(kernel.words[:1])
        found += (
            Default(title, keep(line), path, run.took_bls, place) for line in _cut(_write_line(kernel, keep), path)
        )
    if not found:
        raise ValueError(_NO_ENTRY)
    if len({(each.line, each.kernel) for each in found}) > 1:
        raise ValueError("what its default entry boots hangs on what is in none of its files, or is cut off")
    return found[0]


def _follow(run: Run, depth: int) -> Iterator[tuple[Entry, Kernel | None]]:
    """Yields the entries that may be the default one, and what each may boot."""
    if depth > MAX_DEPTH:
        raise ValueError("its menus are nested too deep")
    for default in run.get("default"):
        for entry, rest in _select(run.menu, default):
            if entry.submenu:
                yield from _follow(run.open(entry, rest), depth + 1)
            else:
                yield from ((entry, kernel) for kernel in run.boot(entry))


def _select(menu: list[Entry], default: str) -> Iterator[tuple[Entry, str]]:
    """Yields what `submenu>entry` may name in a menu, and what is left of it; each part is an id, a title or an index,
    and what is not found means the first. A `>>` is a `>` of a title."""
    if UNKNOWN in default:
        raise ValueError(_UNSETTLED)
    part, _, rest = re.sub(">>", "\1", default).partition(">")
    part, rest = part.replace("\1", ">"), rest.replace("\1", ">>")
    if not menu:
        raise ValueError(_NO_ENTRY)
    for entry in menu:
        names = {*entry.titles, *entry.ids}
        if part and (part in names or any(UNKNOWN in name for name in names)):
            yield entry, rest
            if entry.sure and (entry.titles == (part,) or entry.ids == (part,)):
                return
    index = int(part) if part.isdecimal() and len(part) < 7 else 0
    sure = 0
    for number, entry in enumerate(menu):
        if sure <= index <= number:
            yield entry, rest
        sure += entry.sure
    if index >= sure:  # there may be none of this number
        yield from _select(menu, "0") if index else ()


def _write_line(kernel: Kernel, keep: Callable[[str], str]) -> str:
    """Returns a command line without words of which nothing matters but what is not known. Raises ValueError."""
    words = []
    for word in kernel.words[1:]:
        if UNKNOWN in word:
            name, equals, _ = word.partition("=")
            if not equals or UNKNOWN in name or keep(f"{name}=0"):
                raise ValueError("an argument of its default entry hangs on what is in none of its files")
            word = f"{name}="
        words.append(f'"{word}"' if " " in word and '"' not in word else word)
    return " ".join(words)


def _cut(line: str, path: str) -> set[str]:
    """Returns what may be left of a command line: GRUB leaves out arguments that do not fit, and kernels cut off bytes.

    Source: `grub-core/lib/cmdline.c` of GRUB (grub_create_loader_cmdline).
    """
    whole = line.encode("utf-8", "replace")
    room = MAX_LINE - len(f"BOOT_IMAGE={path} ".encode("utf-8", "replace"))
    if len(whole) + _MARGIN <= room:
        return {line}
    found = set()
    for size in (max(0, room), max(0, room - _MARGIN)):
        text = whole[:size].decode("utf-8", "ignore")
        found.add(text)
        if len(whole) > size:
            found.add(text.rpartition(" ")[0])
    return found


def _find_place(kernel: Kernel, config: str) -> str:
    if kernel.file != "grub.cfg" or not kernel.line:
        return f"{kernel.file}:{kernel.line}" if kernel.line else ""
    for match in reversed(list(_SECTION.finditer(config))):
        begin = config.count("\n", 0, match.start()) + 1
        if begin < kernel.line:
            inside = config.find(f"### END {match[1]} ###", match.end())
            ended = inside >= 0 and config.count("\n", 0, inside) + 1 < kernel.line
            return "" if ended else f"{match[1]}:{kernel.line - begin + 2}"
    return ""
