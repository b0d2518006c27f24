"""Which services write to the pools and policies of huge pages at boot, and what: those that are enabled.

Most such services are a line of shell, `ExecStart=/bin/sh -c 'echo never > /sys/kernel/mm/...'`, or run a script of
such lines. Another form of writing is not understood, and then nobody can say here what the next boot has. Without a
shell there is no redirection: `ExecStart=/bin/echo never > /sys/...` writes nothing.
Sources: systemd.service(5), "Command lines"; systemd-rc-local-generator(8); execve(2) on `#!`; hugeadm(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from hosttune.host import commands, globs, hugetlb, shell, start_commands, systemd, tmpfiles_lines
from hosttune.host.forms import DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.hugetlb import MARKS
from hosttune.host.root import Fact, Root
from hosttune.host.shell import UNKNOWN
from hosttune.host.start_commands import Write
from hosttune.patterns import late_pattern

_MOST = 64

_PATH = late_pattern(r"(?:/proc)?/sys/[^\s\"'`;|&()<>]*|\?(?:transparent_hugepage|nr_hugepages)\b")
# One that shell may make out of a part of its name.
_GLOB = late_pattern(r"/sys/(?:kernel|devices)/[^\s\"'`;|&()<>*?\[]{0,120}[*?\[][^\s\"'`;|&()<>]*")
_ECHO = shell.build_echo("[a-z]+|[0-9]{1,20}")
# What reads such a file, looks whether it is there, or prints words: but for those that a program gets by a pipe.
_LOOKS = late_pattern(
    r"""(?:\[\[?|\btest)[ \t]+(?:![ \t]+)?-[a-z][ \t]+\S+|\b(?:cat|grep|ls)[ \t][^;|&<>\n]*
        |(?:^|(?<=[;|&(){}\n"']))[ \t]*(?:echo|printf|logger)[ \t][^;|&<>\n]*+(?!\|(?!\|))
        |\bsysctl[ \t][^;|&<>\n=]{0,200}(?=$|[;|&<>\n)"'])""",
    re.VERBOSE,
)
# Programs that set pools without naming a file.
_PROGRAMS = late_pattern(r"\bhugeadm\b|\bdpdk-hugepages(?:\.py)?+\b(?!\s+(?:-s|--show)\b)")
_POLICY_OPTION = late_pattern(r"\s--thp-")
_SHELL_VARIABLE = late_pattern(r"\$\{?\w+\}?")
# Of shell, what does nothing by itself.
_IDLE = late_pattern(
    r"""\d?>{1,2}\s*(?:/dev/null|&\d)|[\s;|&(){}\[\]"':]+|\b(?:if|then|else|fi|true|test|set\s+-\w+|exit(?:\s+\d+)?)\b""",
    re.VERBOSE,
)


def find(writes: Iterable[Write], path: str) -> list[Write]:
    """Returns those that may write to a path, the ones that are not understood too."""
    mark = MARKS[MARKS[1] in path]
    return [each for each in writes if globs.matches(path, each.path) or (each.path == UNKNOWN + mark)]


def read(root: Root) -> Fact[list[Write]]:
    """Returns what enabled services write, in no order, and what /etc/rc.local does."""
    units = start_commands.read_units(root)
    return units.map(lambda units: [each for unit in units for each in _find_writes(root, unit)])


def _find_writes(root: Root, unit: systemd.Unit) -> list[Write]:
    found: list[Write] = []
    started = start_commands.list_writing(unit)
    alone = len(started) == len(start_commands.list_all(unit))
    for setting in started:
        own = parse_command(setting.value, setting.source)
        words = commands.split_commands(setting.value)
        texts: list[str] = []
        for script, text in start_commands.read_scripts(root, setting.value, "writes", reduce_script):
            if text.state == "unreadable":
                unread = f"{script} could not be read: {text.reason}"
                own += [Write(UNKNOWN + mark, UNKNOWN, setting.source, unread=unread) for mark in MARKS]
            place = f"{setting.source} ({script})"
            own += (parse_script if commands.runs(words, script) else parse)(text.value or "", place)
            texts.append(text.value or "")
        found += start_commands.mark_conditional(unit, setting, own)
        alone = alone and (all(map(_only_writes, texts)) if texts else all(map(_is_only_writing, words)))
    doubt = systemd.doubt_start(unit) if found else ""
    return [msgspec.structs.replace(each, unit=unit.name, alone=alone, doubt=doubt) for each in found]


def parse_command(line: str, place: str) -> list[Write]:
    """Returns what a service's command line writes to these files: only a shell redirects."""
    found: dict[Write, None] = {}
    if not _is_of_interest(line):
        return []
    for text, by_shell in commands.list_writing(line):
        found.update(dict.fromkeys((parse if by_shell else _find_others)(text, place)))
    return list(found)[:_MOST]


def parse_script(text: str, place: str) -> list[Write]:
    """Returns what a script writes to these files if it is started by itself: without `#!` it is not, and what is not
    run by a shell is not understood."""
    if not shell.can_start(text):
        return []
    found = parse(text, place)
    if shell.is_interpreter(text):
        return found
    return list(dict.fromkeys(msgspec.structs.replace(each, value=UNKNOWN) for each in found))


def parse(text: str, place: str) -> list[Write]:
    """Returns what shell writes to these files."""
    if not _is_of_interest(text):
        return []
    if len(text) > shell.MAX_TEXT:
        return [Write(UNKNOWN + mark, UNKNOWN, place) for mark in MARKS]
    sure, conditional, doubtful = shell.split_sure(text)
    found: dict[Write, None] = {}
    for part, maybe in ((sure, False), (conditional, True)):
        for match in _ECHO.finditer(part):
            path = _find_pattern(match[4])
            if path:
                found[Write(path, match[2] if path == match[4] else UNKNOWN, place, maybe=maybe)] = None
        # Each naming of such a file that is no such write may be one in other words.
        found.update(dict.fromkeys(_find_others(_ECHO.sub("\n", part), place)))
    found.update(dict.fromkeys(_find_others(doubtful, place)))
    return list(found)[:_MOST]


def _is_of_interest(text: str) -> bool:
    named = any(mark in text for mark in MARKS) or _PROGRAMS.search(text) is not None
    return named or any(map(_find_pattern, _GLOB.findall(text)))


def _find_others(text: str, place: str) -> list[Write]:
    """Returns a write that is not understood for each of these files that is named other than to be looked at."""
    text = _LOOKS.sub("", text)
    names = [path for path in map(_find_pattern, _PATH.findall(text)) if path]
    rest = _PATH.sub("", text)
    names += [UNKNOWN + mark for mark in MARKS if mark in rest]
    if _PROGRAMS.search(rest):
        names += [UNKNOWN + mark for mark in (MARKS if _POLICY_OPTION.search(rest) else MARKS[1:])]
    return [Write(path, UNKNOWN, place) for path in dict.fromkeys(names)]


def _only_writes(text: str) -> bool:
    """Returns whether shell writes to these files, and does nothing else."""
    rest = _IDLE.sub("", _LOOKS.sub("", _ECHO.sub("\n", shell.drop_comments(text))))
    return not rest and bool(parse(text, ""))


def _is_only_writing(words: list[str]) -> bool:
    return _only_writes(commands.find_shell_text(words) or "")


def reduce_script(text: str) -> str:
    """Returns of a script what it writes to these files, as commands, and whether a shell runs it; else empty text."""
    kept = reduce(text)
    start = "#!/bin/sh\n" if shell.is_interpreter(text) else "#!/\n" if shell.can_start(text) else ""
    return start + kept if kept else ""


def reduce_command(line: str) -> str:
    """Returns of a service's command line what it writes to these files, as commands of shell; else empty text."""
    found = parse_command(line, "")
    if not found:
        return ""
    return _write(found, not all(map(_is_only_writing, commands.split_commands(line))))


def reduce(text: str) -> str:
    """Returns of shell what it writes to these files, as commands; else empty text."""
    found = parse(text, "")
    return _write(found, not _only_writes(text)) if found else ""


def _write(writes: list[Write], more: bool) -> str:
    words = [
        shell.write_condition(f"echo {each.value} > {each.path}", each.maybe)
        if _is_known(each.value)
        else f"tee {each.path}"
        for each in writes
    ]
    return "; ".join([*words, *([UNINTELLIGIBLE] if more else [])])


def _is_known(value: str) -> bool:
    return value in (*hugetlb.POLICIES, "inherit") or consists_of(value, DIGITS, 20)


def _find_pattern(name: str) -> str:
    """Returns the path or the pattern of such files that a word of shell stands for; `?` and the kind of file where it
    may be one, and an empty string where it is another."""
    pattern = _SHELL_VARIABLE.sub("*", name)
    mark = next((mark for mark in MARKS if mark in pattern), "")
    if consists_of(pattern, f"{NAME}/*?[]{{}},", 120) and pattern.startswith("/sys/"):
        if tmpfiles_lines.is_sought(pattern):
            return pattern
        if not pattern.endswith(("transparent_hugepage", "transparent_hugepage/")) and "*" not in pattern:
            return ""
    return UNKNOWN + mark if mark else ""
