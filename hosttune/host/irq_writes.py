"""What a command line or a script writes to the affinities of interrupts, as far as its text tells.

A line of shell such as `echo f3 > /proc/irq/default_smp_affinity` is understood. Whatever else names these files, or
the script with which makers of network cards set them (`set_irq_affinity`), writes nobody knows what.
"""

from __future__ import annotations

import msgspec

from hosttune.host import commands, shell
from hosttune.host.shell import UNKNOWN
from hosttune.patterns import late_pattern

DEFAULT = "/proc/irq/default_smp_affinity"
#: In a path, in place of the number of an interrupt.
ANY = "*"
_MOST = 64

_MARK = late_pattern(r"smp_affinity|set_irq_affinity|\b(?:tuna|sfcaffinity_config|mlnx_affinity|mlnx_tune)\b")
_ECHO = shell.build_echo("[0-9a-fA-FN,:/-]{1,300}")
_PATH = late_pattern(
    r"/proc/irq/(?:default_smp_affinity|(?:[0-9]{1,10}|\*|\$+\w{1,64}|\$+\{\w{1,64}\})/(smp_affinity(?:_list)?))"
)
# What reads such a file, or looks whether it is there. Not what lists names, which a loop may write to.
_LOOKS = late_pattern(
    r"(?:\[\[?|\btest)[ \t]+(?:![ \t]+)?-[a-z][ \t]+\S+"
    r"|\b(?:cat|head|tail|wc)[ \t][^;|&<>\n]*"
)


class Write(msgspec.Struct, frozen=True):
    """`path` is DEFAULT, or the file of an interrupt with ANY for its number; `value` is a mask, and for a file with
    `_list` in its name a list of CPUs; `maybe` says that there is a condition in shell."""

    path: str
    value: str
    maybe: bool = False


def parse(text: str) -> list[Write]:
    """Returns what shell writes to affinities, each once."""
    if not _MARK.search(text):
        return []
    if len(text) > shell.MAX_TEXT:
        return [Write(UNKNOWN, UNKNOWN)]
    parts = shell.split_sure(text)
    sure, conditional, doubtful = (
        "\n".join(line for line in part.splitlines() if _MARK.search(line)) for part in parts
    )
    found: dict[Write, None] = {}
    for part, maybe in ((sure, False), (conditional, True)):
        for match in _ECHO.finditer(part):
            path = _PATH.fullmatch(match[4])
            if path:
                found[Write(f"/proc/irq/{ANY}/{path[1]}" if path[1] else DEFAULT, match[2], maybe)] = None
            elif _MARK.search(match[4]):
                found[Write(UNKNOWN, UNKNOWN)] = None
    rest = "\n".join([_ECHO.sub("\n", sure), _ECHO.sub("\n", conditional), doubtful])
    if len(found) > _MOST or _MARK.search(_LOOKS.sub("", rest)):
        found[Write(UNKNOWN, UNKNOWN)] = None
    return list(found)[-_MOST:]


def parse_command(command: str) -> list[Write]:
    """Returns what a service's command line writes by itself: the scripts that it runs are read on their own."""
    if not _MARK.search(command):
        return []
    if len(command) > shell.MAX_TEXT:
        return [Write(UNKNOWN, UNKNOWN)]
    found: dict[Write, None] = {}
    for text, by_shell in commands.list_writing(command):
        if by_shell:
            found.update(dict.fromkeys(parse(text)))
        elif _MARK.search(text):
            found[Write(UNKNOWN, UNKNOWN)] = None
    return list(found)


def parse_script(text: str) -> list[Write]:
    """Returns what a script writes; what is not of shell is not understood."""
    if not _MARK.search(text):
        return []
    if text.startswith("#!") and not shell.is_interpreter(text):
        return [Write(UNKNOWN, UNKNOWN)]
    return parse(text)


def write(writes: list[Write]) -> str:
    """Returns commands that are parsed as these writes."""
    known = (
        shell.write_condition(f"echo {each.value} > {each.path}", each.maybe) for each in writes if each.path != UNKNOWN
    )
    unknown = ["tee smp_affinity"] if any(each.path == UNKNOWN for each in writes) else []
    return "; ".join([*known, *unknown])


def reduce_command(command: str) -> str:
    """Returns of a command line what it writes to affinities, as commands; else empty text."""
    return write(parse_command(command))
