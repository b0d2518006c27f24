"""What the files that all login shells read do to limits: `ulimit`, behind what PAM gave the login.

Files below a home directory are not read: they are the user's own, and a home directory may be another machine's, which
need not answer. Sources: "ulimit" in POSIX, bash(1) and dash(1); setrlimit(2); /etc/profile of Debian and of RHEL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from hosttune.host import dropins, shell
from hosttune.host.limits import Limit
from hosttune.host.limits_lines import UNLIMITED
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.patterns import late_pattern

DIRECTORY, END = "/etc/profile.d", ".sh"
#: Without the directory.
FILES = (
    *("/etc/profile", "/etc/profile.d/sh.local", "/etc/profile.local"),
    *("/etc/bash.bashrc", "/etc/bash.bashrc.local", "/etc/bashrc"),
)

# The options of bash and dash, and the unit of each in what setrlimit(2) counts.
_ITEMS = {"l": ("memlock", 1024), "n": ("nofile", 1), "e": ("nice", 1), "r": ("rtprio", 1)}
_LETTERS = {item: letter for letter, (item, _) in _ITEMS.items()}
_CALL = late_pattern(
    shell.START
    + r"""(?:(?:then|do|else|elif|if|while|until|!|time|command|builtin|[A-Za-z_]\w*=\S*)[ \t]+){0,4}
    (?:eval[ \t]+["']?)?
    ulimit[ \t]+((?:\$\([^()\n]*\)|[0-9]?>{1,2}&?[ \t]*[^\s;|&<>()]+|[^;|&<>()\n])*)""",
    re.VERBOSE,
)
_REDIRECTION = late_pattern(r"[0-9]?>{1,2}&?[ \t]*[^\s;|&<>()]+")
# The hard limit, as a command prints it.
_OWN_HARD = late_pattern(r"\$\([ \t]*ulimit[ \t]+-H[ \t]*-?([A-Za-z])[ \t]*\)")
_OPTION = late_pattern(r"-([SH]*)([A-RT-Za-z]?)")
_NUMBER = late_pattern(r"[0-9]{1,19}", re.ASCII)
# What decides by who logs in.
_WHO = late_pattern(r"\bid[ \t]+-\w*u|\bE?UID\b|\bwhoami\b")
#: More calls than any host has.
_MOST = 256
# Of one host, for one item: more than conditions leave open.
_MOST_LIMITS = 64

#: A number as setrlimit(2) counts, one of the limits that are there, or None for what is not understood.
Value = int | Literal["soft", "hard"] | None
_WORDS: dict[str, Value] = {"unlimited": UNLIMITED, "soft": "soft", "hard": "hard"}


class Call(NamedTuple):
    """What one `ulimit` sets: of `kinds` that have S the soft limit, H the hard one; none means both. With both letters
    bash sets both, and dash the last one. `maybe` if a condition decides."""

    item: str
    value: Value
    kinds: str = ""
    maybe: bool = False
    source: str = ""


def read(root: Root) -> Fact[list[Call]]:
    """Returns the calls in the order in which a shell reads the files."""
    names = dropins.list_merged(root, [DIRECTORY], END)
    if names.state == "unreadable":
        return names.drop_value()
    # /etc/profile goes through the directory at its end.
    files = dropins.read_files(root, [FILES[0], *(names.value or ()), *FILES[1:]])
    if files.value is None:
        return files.drop_value()
    found = [call._replace(source=path) for path, text in files.value for call in parse(text)]
    if len(found) > _MOST:
        return make_unreadable(found[0].source, f"more than {_MOST} calls of ulimit")
    return Fact("value", found, FILES[0])


def parse(text: str) -> list[Call]:
    """Returns what shell sets; for a text that is too long, that all may be set."""
    if "ulimit" not in text:
        return []
    if len(text) > shell.MAX_TEXT:
        return [Call(item, None, maybe=True) for item, _ in _ITEMS.values()]
    sure, conditional, doubtful = shell.split_sure(text)
    # A condition on root, which holds at boot, does not hold here.
    parts = ((sure, _WHO.search(text) is not None), (conditional, True), (doubtful, True))
    return [call._replace(maybe=maybe or call.maybe) for part, maybe in parts for call in _find_calls(part)]


def _find_calls(text: str) -> Iterable[Call]:
    for match in _CALL.finditer(text):
        if text[max(0, match.start() - 1) : match.start()] == "(":
            continue  # a shell of its own
        arguments = _REDIRECTION.sub(" ", _OWN_HARD.sub(r" hard-\1 ", match[1]))
        yield from _parse_arguments(arguments.replace('"', "").replace("'", ""))


def _parse_arguments(text: str) -> Iterable[Call]:
    # dash takes one limit at a time, and refuses more.
    several = sum(word[:1] == "-" and word.strip("-SH") != "" for word in text.split()) > 1
    kinds = letter = ""
    for word in text.split():
        option = _OPTION.fullmatch(word)
        if option is not None and (option[2] or not letter):
            kinds, letter = kinds + option[1], option[2]
            continue
        if word.startswith("-"):  # bash takes what follows a letter for its value, dash does not
            yield from (Call(_ITEMS[each][0], None) for each in letter + word if each in _ITEMS)
        elif letter in _ITEMS:
            item, unit = _ITEMS[letter]
            yield Call(item, _read_value(word.removesuffix(f"-{letter}"), unit), kinds, several)
        letter = ""


def _read_value(word: str, unit: int) -> Value:
    if word in _WORDS:
        return _WORDS[word]
    return min(int(word) * unit, UNLIMITED) if _NUMBER.fullmatch(word) else None


def apply(limit: Limit, calls: Iterable[Call], item: str) -> list[Limit] | Call:
    """Returns the limits that a shell of an unprivileged user may have then, or the call that is not understood.

    A limit that was changed has the call's file as its source. What the kernel refuses changes nothing: a soft limit
    above the hard one, a hard one that is raised.
    """
    found = [limit]
    for call in calls:
        if call.item != item:
            continue
        if call.value is None or len(found) > _MOST_LIMITS:
            return call
        ways = dict.fromkeys((call.kinds or "SH", call.kinds[-1:] or "SH"))
        changed = [_set(each, call, kinds) for each in found for kinds in ways]
        # dash does not know the words, and bash takes `unlimited` for the hard limit.
        kept = found if call.maybe or call.value in ("soft", "hard", UNLIMITED) else ()
        found = list(dict.fromkeys([*kept, *changed]))
    return found


def _set(limit: Limit, call: Call, kinds: str) -> Limit:
    named = {"soft": limit.soft, "hard": limit.hard}
    value = call.value if isinstance(call.value, int) else named[str(call.value)]
    value = limit.hard if value == UNLIMITED and kinds == "S" else value
    soft, hard = value if "S" in kinds else limit.soft, value if "H" in kinds else limit.hard
    refused = soft > hard or hard > limit.hard or (soft, hard) == (limit.soft, limit.hard)
    return limit if refused else Limit(soft, hard, call.source)


def write_fix(call: Call) -> str:
    """Returns a sed(1) script that has a file no longer set this limit: the call becomes words of `:`."""
    leading = "(then|do|else|elif|if|while|until|!|time|command|builtin|eval|[A-Za-z_][A-Za-z0-9_]*=[^[:space:];&|]*)"
    words = f"({leading}[[:space:]]+)*[\"']?"
    begins = f"(^|[;&|{{}}])([[:space:]]*{words})"
    sets = f"[[:space:]][^;&|]*-[SH]*{_LETTERS[call.item]}[[:space:]]+[^;&|[:space:])]"
    return rf"s/{begins}ulimit({sets})/\1\2: ulimit\5/g"


def reduce(text: str) -> str:
    """Returns the calls alone, as shell."""
    return "".join(f"{shell.write_condition(_write(call), call.maybe)}\n" for call in parse(text))


def _write(call: Call) -> str:
    item, value = call.item, call.value
    unit = _ITEMS[_LETTERS[item]][1]
    shown = "$x" if value is None else "unlimited" if value == UNLIMITED else value
    if isinstance(shown, int):
        shown //= unit
    return f"ulimit -{call.kinds}{_LETTERS[item]} {shown}"
