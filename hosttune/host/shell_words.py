"""Which texts between quotes a script of shell only says to somebody: `die "run sysctl -w x=1 first"` runs nothing.

A text that is a command by its first word may be run later, by way of a variable or a function: it is doubtful.
Sources: "Quoting" and "Shell Commands" in POSIX.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hosttune.patterns import late_pattern

_PART = late_pattern(r"""\\.|"((?:[^"\\]|\\.)*)"|'([^']*)'""")
# What names something that a check looks for.
_MARK = late_pattern(r"sysctl|/proc/|/sys/|hugeadm|ulimit")
# What runs the text behind it, as shell or in another language.
_RUNS = late_pattern(r"(?:\s-\w*[ce]|--command|\beval|\btrap)[ \t=]*(?:--[ \t]+)?\$?$|\b[gmn]?awk\b[^;|&]*$")
# What hands a text on, but to a terminal or to a log.
_HANDS_ON = late_pattern(
    r"""(?<!\|)\|(?!\|)(?![ \t]*(?:/\S*/)?(?:logger\b|tee[ \t]+(?:-a[ \t]+)?/var/log/))
    |(?<!>)>(?!>?[ \t]*(?:&[12]\b|/dev/(?:null|std(?:out|err)|tty)\b|/var/log/))""",
    re.VERBOSE,
)
_PRINTS = late_pattern(r"(?:^|[;|&({])[ \t]*(?:(?:then|do|else)[ \t]+)?(?:echo|printf|logger|log)[ \t][^;|&(){}]*$")
_SENTENCE = late_pattern(
    r"(?:\$\{?\w{1,30}\}?:[ \t]+|\[[\w -]{1,30}\][ \t]*|[*-][ \t]+)?([A-Za-z][A-Za-z']{0,30})[.,:;!?]?[ \t]+\S",
    re.ASCII,
)
# Another command behind the first; a command that waits for its arguments; a value and where to write it.
_SEVERAL = late_pattern(r"(?:[;|&\n]|\\n)[ \t]*(?:(?:sudo|then|do|else)[ \t]+)?(?:/[^\s;|&]{0,100}/)?(\w[\w-]*)")
_OPEN = late_pattern(r"sysctl(?:[ \t]+-\S+)*[ \t]*$")
_VALUE = late_pattern(
    r"(?:always|never|madvise|inherit|[0-9a-f,]{1,80}|bbr|cubic|reno|fq|fq_codel|pfifo_fast)[ \t]+/", re.ASCII
)
# Words that begin a command of those that are looked for.
_COMMANDS = frozenset(
    {
        *("sysctl", "echo", "printf", "tee", "hugeadm", "ulimit", "cat", "sed", "modprobe", "systemctl", "udevadm"),
        *("sudo", "su", "env", "exec", "command", "builtin", "eval", "source", "time", "timeout", "nice", "ionice"),
        *("nohup", "flock", "taskset", "chrt", "numactl", "setsid", "xargs", "stdbuf", "sleep", "mkdir", "mount"),
        *("sh", "bash", "dash", "ksh", "zsh", "python", "perl", "awk"),
        *("if", "for", "while", "until", "case", "test", "true", "false", "cd", "export"),
    }
)
# A line that ends within quotes, and what ends them.
_OPENS = late_pattern(r"""((?:[^"'\\]|\\.|"(?:[^"\\]|\\.)*+"|'[^']*+')*+)(?:(")(?:[^"\\]|\\.)*+|'[^']*+)$""")
_ENDS = {'"': late_pattern(r'^(?:[^"\\]|\\.)*+"'), None: late_pattern("'")}
_MOST_LINES = 64
# What runs a command within a text in double quotes.
_SUBSTITUTION = late_pattern(r"\$\(|`")
# Of a line before a text: characters that are looked at.
_BEFORE = 256


def split_told(text: str) -> tuple[str, str]:
    """Returns shell without the texts between quotes that no shell runs, and those of them that may be run later."""
    if not _MARK.search(text):
        return text, ""
    doubtful: list[str] = []
    left = [_drop(line, doubtful) if _MARK.search(line) else line for line in _join_printed(text.split("\n"))]
    return "\n".join(left), "\n".join(doubtful)


def _join_printed(lines: list[str]) -> Iterator[str]:
    """Yields the lines, and a text over several lines that is printed as one of them."""
    at = 0
    while at < len(lines):
        opens = _OPENS.match(lines[at])
        end = at
        if opens is not None and _PRINTS.search(opens[1][-_BEFORE:]):
            following = range(at + 1, min(at + _MOST_LINES, len(lines)))
            end = next((later for later in following if _ENDS[opens[2]].search(lines[later])), at)
        yield "\n".join(lines[at : end + 1])
        at = end + 1


def _drop(line: str, doubtful: list[str]) -> str:
    kept: list[str] = []
    at = 0
    reads = line.find("<<")
    hands_on = max((match.start() for match in _HANDS_ON.finditer(line)), default=-1)
    for match in _PART.finditer(line):
        told = match[1] if match[1] is not None else match[2]
        if told is None or not _MARK.search(told) or len(told.split(maxsplit=1)) < 2:
            continue
        start, end = match.span()
        before = line[max(0, start - _BEFORE) : start]
        if 0 <= reads < start or hands_on >= end or _RUNS.search(before):
            continue
        runs = _SUBSTITUTION.search(told) if match[1] is not None else None
        if runs is not None and _MARK.search(told, runs.end()):
            continue
        sentence = _SENTENCE.match(told)
        prints = _PRINTS.search(before)
        if sentence is None and not _is_command(told) and not prints:
            continue
        if not prints and (sentence is None or sentence[1] in _COMMANDS or _may_be_run(told)):
            doubtful.append(told)
        kept += [line[at:start], '""']
        at = end
    return "".join([*kept, line[at:]])


def _may_be_run(text: str) -> bool:
    """Returns whether a text that begins as a sentence may be a command, or a part of one, all the same."""
    several = any(match[1] in _COMMANDS for match in _SEVERAL.finditer(text))
    return several or _OPEN.search(text) is not None or _VALUE.match(text) is not None


def _is_command(text: str) -> bool:
    """Returns whether the first word is the path of a program: not a value, and not the arguments of another one."""
    word = text.split(maxsplit=1)[0]
    return word.startswith("/") and word.rpartition("/")[2] in _COMMANDS
