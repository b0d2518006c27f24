"""What services, and /etc/rc.local, write to sysctls at boot: `sysctl -w KEY=VALUE`, `sysctl -p FILE`, and
`echo VALUE > /proc/sys/...`. They run after systemd-sysctl, in an order that nobody knows.

A form that is not understood, and that names a key, writes nobody knows what to it. Where a command names
vm.nr_hugepages, :mod:`hosttune.host.boot_writes` reads it.
Sources: sysctl(8) and `src/sysctl.c` of procps; `ufw-init-functions` of ufw.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Literal

import msgspec

from hosttune.host import commands, shell, start_commands, sysctl_lines, sysctl_values, systemd
from hosttune.host.forms import NAME, consists_of
from hosttune.host.root import Fact, Root, derive, read_once
from hosttune.host.shell import UNKNOWN
from hosttune.host.start_commands import Write
from hosttune.host.systemd_lines import Setting
from hosttune.patterns import late_pattern

#: What `sysctl -p` without a file reads, and `sysctl --system` last.
CONF = "/etc/sysctl.conf"
_UFW_CONF, _UFW_SWITCH = "/etc/ufw/sysctl.conf", "/etc/ufw/ufw.conf"
# A file of shell.
_UFW_ON = late_pattern(r"^[ \t]*ENABLED=[\"']?yes\b", re.MULTILINE | re.IGNORECASE)
_UFW_DOUBT = "ufw applies it before sysctl.d or after, as it happens"
_MOST = 512

_MARK = late_pattern(r"\bsysctl\b|/proc/+sys\b|\bufw-init\b")
_ECHO = shell.build_echo(r"(?!-[neE])[\w.:+-][\w.:,+\x20\t-]{0,200}")
_COMMAND = late_pattern(
    r"""(?<![\w.-])(systemd-)?sysctl(?![\w./-])
    ((?:[^;|&<>()`"'\n]|"[^"\n]*"|'[^'\n]*'|(?<=[ \t0-9])>{1,2}&?[ \t]*[^\s;|&<>()]+)*)(<)?""",
    re.VERBOSE,
)
_REDIRECTION = late_pattern(r"[0-9]?>{1,2}&?[ \t]*[^\s;|&<>()]+")
_PIPED = late_pattern(
    shell.START
    + r"""(?:echo|printf)[ \t]+(["']?)([^"'|;&<>()\n$`]*)\1[ \t]*\|[ \t]*(?:/\S*/)?
    sysctl[ \t][^;|&<>\n]*(?:-\w*p|--load=?)[ \t]*(?:-|/dev/stdin)(?=$|[ \t]*[;|&)}\n])""",
    re.VERBOSE,
)
_XARGS = late_pattern(r"\bxargs\b[^;|&\n]*$")
_UFW = late_pattern(r"\bufw-init\b")
_FILE = late_pattern(r"/proc/+sys(?![\w-])([^\s\"'`;|&()<>]*)")
_DEEP = 3  # directories below one that a shell may go on from
_VARIABLE = late_pattern(r"\$\{?\w+\}?|\$\([^)]*\)|%[a-zA-Z]")
_WILDCARD = late_pattern(r"\*+|\?|\[[^\]]*\]?|\{[^{}]*\}")
# A key with a value, as a program may be told it in words of its own; and a key alone.
_SET = late_pattern(r"(?<![\w./$*{}-])/?((?:net|fs|kernel)[./][\w./*$\{\}-]+)[\x20\t\"']*=")
_KEY = late_pattern(r"(?<![\w./-])((?:net|fs|kernel)\.[\w.]+)")
# What prints words, but for what goes by a pipe to another program than logger(1), and to one of these files; and
# for what a command among the words prints.
_PRINTS = late_pattern(
    shell.START
    + r"""(?:echo|printf|logger|log)[ \t](?:(?!\$\()[^;|&<>\n"'`]|"(?:(?!\$\()[^"`\n])*"|'[^'\n]*')*+
    (?:\|[ \t]*logger\b[^;|&<>\n]*|>{1,2}[ \t]*(?!["']?/proc/+sys)[^\s;|&<>()]+)?(?![ \t]*[|>])""",
    re.VERBOSE,
)
# What reads such a file, or looks whether it is there.
_LOOKS = late_pattern(
    r"""(?:\[\[?|\btest)[ \t]+(?:![ \t]+)?-[a-z][ \t]+\S+|\b(?:cat|grep|ls|head|awk)[ \t][^;|&<>\n]*
    |<[ \t]*/proc/+sys/[^\s;|&<>()]*""",
    re.VERBOSE,
)
# A regular expression of which it is known how all keys begin that it matches.
_BEGINNING = late_pattern(r"\^([\w.]+)(?:[^|*?{]*|\([^()]*\))", re.ASCII)
_Option = Literal["load", "pattern", "pattern=", "show", "other"]
_PROGRAMS = ("sysctl", "systemd-sysctl")
_LONG_OPTIONS: dict[str, _Option] = {
    **dict.fromkeys(("--load", "--system"), "load"),
    **dict.fromkeys(("--all", "--dry-run", "--help", "--version"), "show"),
    **dict.fromkeys(("--binary", "--deprecated", "--ignore", "--names", "--quiet", "--values", "--write"), "other"),
    "--pattern": "pattern",
}
# With these and a name a value is shown; with those a name has a value, be it in a variable.
_SHOWING = frozenset({"-n", "--values", "-N", "--names", "-b", "--binary"})
_WRITING = frozenset({"-w", "--write"})


class Load(msgspec.Struct, frozen=True):
    """A file that sysctl is told to read; `maybe` as of :class:`Write`."""

    path: str
    maybe: bool = False


def find(writes: Iterable[Write], key: str) -> list[Write]:
    """Returns those that may write to a key, by any of its names."""
    names = sysctl_lines.list_names(key)
    return [
        each for each in writes if each.path == UNKNOWN or any(sysctl_lines.matches(name, each.path) for name in names)
    ]


@read_once
def read(root: Root) -> Fact[list[Write]]:
    """Returns what enabled services write to keys that a profile may name, and what /etc/rc.local does."""
    units = start_commands.read_units(root)
    return units.map(lambda units: [each for unit in units for each in _find_writes(root, unit)])


def _find_writes(root: Root, unit: systemd.Unit) -> list[Write]:
    started = start_commands.list_writing(unit)
    found: list[Write] = []
    for setting in started:
        own = _resolve(root, parse_command(setting.value), setting.source)
        for script, text in start_commands.read_scripts(root, setting.value, "sysctl", reduce_script):
            place = f"{setting.source} ({script})"
            if text.state == "unreadable":
                own.append(Write(UNKNOWN, UNKNOWN, place, unread=f"{script} could not be read: {text.reason}"))
            own += _resolve(root, parse(text.value or ""), place)
        found += start_commands.mark_conditional(unit, setting, own)
    if start_commands.is_on(unit, "PrivateNetwork"):
        found = [each for each in found if not each.path.startswith("net/")]
    if not found:
        return []
    doubt = systemd.doubt_start(unit)
    alone = len(started) == len(start_commands.list_all(unit)) and all(map(_is_only_writing, started))
    return [msgspec.structs.replace(each, unit=unit.name, alone=alone, doubt=each.doubt or doubt) for each in found]


def _is_only_writing(setting: Setting) -> bool:
    words = commands.split_commands(setting.value)
    return len(words) == 1 and commands.find_shell_text(words[0]) is None and bool(parse_command(setting.value))


def _resolve(root: Root, found: Iterable[Write | Load], place: str) -> list[Write]:
    """Returns the writes, and those of the files that sysctl is told to read."""
    writes: dict[Write, None] = {}
    for each in found:
        if isinstance(each, Write):
            writes[msgspec.structs.replace(each, place=place)] = None
            continue
        if each.path.startswith(start_commands.GONE_AT_BOOT):
            continue
        text = derive(root, f"{each.path}:sysctls", partial(_read_file, each.path))
        if text.state == "unreadable":
            unread = f"{each.path} could not be read: {text.reason}"
            writes[Write(UNKNOWN, UNKNOWN, place, unread=unread)] = None
        last = {line.key: line for line in sysctl_lines.parse(text.value or "", each.path) if line.value is not None}
        doubt = _UFW_DOUBT if each.path == _UFW_CONF else ""
        for line in last.values():
            writes[Write(line.key, _read_value(str(line.value)), line.place, doubt=doubt, maybe=each.maybe)] = None
    return list(writes)


def _read_file(path: str, root: Root) -> Fact[str]:
    if path == _UFW_CONF:
        switch = root.read(_UFW_SWITCH)
        if switch.state == "unreadable":
            return switch
        if not _UFW_ON.search(switch.value or ""):
            return Fact("value", "", path)
    return root.read(path).map(_reduce_file)


def _reduce_file(text: str) -> str:
    kept = [""] * (text.count("\n") + 1)
    for line in sysctl_lines.parse(text, ""):
        if _is_sought(line.key) and line.value is not None:
            kept[line.line - 1] = f"/{line.key} = {_keep_value(line.key, line.value)}"
    return "".join(f"{line}\n" for line in kept)


# --- text -------------------------------------------------------------------------------------------------


def parse_command(line: str) -> list[Write | Load]:
    """Returns what a service's command line writes to sysctls by itself: the scripts that it runs are read on their
    own. Places and units are empty."""
    if not _MARK.search(line):
        return []
    found: dict[Write | Load, None] = {}
    if len(line) > shell.MAX_TEXT:
        return [Write(UNKNOWN, UNKNOWN, "")]
    for words in commands.split_commands(line):
        if shell.is_elsewhere(words):
            continue
        text = commands.find_wrapped_text(words)
        if text is not None:
            found.update(dict.fromkeys(parse(text.replace("$$", "$"))))
            continue
        at = next((at for at, word in enumerate(words) if _is_program(word, *_PROGRAMS)), None)
        if at is not None and not commands.prints(words):
            parse_words = _apply if _is_program(words[at], _PROGRAMS[1]) else _parse_arguments
            writes = parse_words(words[at + 1 :])
            if at and not commands.runs_arguments(words):  # an argument to a program that may run it, or not
                writes = [Write(each.path if isinstance(each, Write) else UNKNOWN, UNKNOWN, "") for each in writes]
            found.update(dict.fromkeys(writes))
        elif any(_is_program(word, "ufw-init") for word in words):
            found[Load(_UFW_CONF)] = None
        elif not commands.prints(words):
            found.update(dict.fromkeys(_find_others(" ".join(words))))
    return _bound(found)


def _bound(found: Iterable[Write | Load]) -> list[Write | Load]:
    """Returns them all, or of too many that any key may be written."""
    listed = list(found)
    return listed if len(listed) <= _MOST else [Write(UNKNOWN, UNKNOWN, "")]


def _is_program(word: str, *names: str) -> bool:
    return word.rpartition("/")[2].lstrip("@:+!|-") in names


def parse(text: str) -> list[Write | Load]:
    """Returns what shell writes to sysctls. Places and units are empty."""
    if not _MARK.search(text):
        return []
    if len(text) > shell.MAX_TEXT:
        return [Write(UNKNOWN, UNKNOWN, "")]
    sure, conditional, doubtful = shell.split_sure(text)
    found = dict.fromkeys(_parse_run(sure))
    found.update((msgspec.structs.replace(each, maybe=True), None) for each in _parse_run(conditional))
    found.update(dict.fromkeys(_find_others(doubtful)))
    if _COMMAND.search(doubtful):
        found.update(dict.fromkeys(_doubt(doubtful)))
    return _bound(found)


def _parse_run(run: str) -> dict[Write | Load, None]:
    found: dict[Write | Load, None] = {}
    for match in _ECHO.finditer(run):
        path = _FILE.fullmatch(match[4])
        if path is not None:
            found.update(dict.fromkeys(_make(path[1], match[2], as_path=True)))
    left = _ECHO.sub("\n", run)
    for match in _PIPED.finditer(left):
        for line in sysctl_lines.parse(match[2].replace("\\n", "\n"), ""):
            found.update(dict.fromkeys(_make(f"/{line.key}", line.value or "")))
    left = _PRINTS.sub("", _PIPED.sub("", left))
    for match in _COMMAND.finditer(left):
        found.update(dict.fromkeys(_parse_call(match, left)))
    if _UFW.search(left):
        found[Load(_UFW_CONF)] = None
    found.update(dict.fromkeys(_find_others(_COMMAND.sub(" ", left))))
    return found


def _parse_call(match: re.Match[str], text: str) -> list[Write | Load]:
    """Returns what one call in shell writes; what it reads from a pipe or a substitution, nobody knows."""
    words = _split(_REDIRECTION.sub(" ", match[2]))
    if match[1]:
        return _apply(words)
    rest = text[match.end() : match.end() + 1]
    if match[3] and rest == "(":
        words.append("-")
    if (match[2].endswith("$") and rest == "(") or rest == "`":
        words.append("$x")  # what a command prints
    if _XARGS.search(text, text.rfind("\n", 0, match.start()) + 1, match.start()):
        return [Write(UNKNOWN, UNKNOWN, "")]
    return _parse_arguments(words)


def _apply(words: list[str]) -> list[Write | Load]:
    """Returns what systemd-sysctl writes: the files that it is told, or those of sysctl.d, which are read anyway."""
    files = [word for word in words if not word.startswith("-")]
    return [Load(each) if _is_file(each) else Write(UNKNOWN, UNKNOWN, "") for each in files]


def _split(text: str) -> list[str]:
    return [word for words in commands.split_commands(text) for word in words]


def _doubt(text: str) -> Iterator[Write]:
    """Yields a write that is not understood for each that a part which may not be run has."""
    for match in _COMMAND.finditer(text):
        for each in _parse_call(match, text):
            yield Write(UNKNOWN if isinstance(each, Load) else each.path, UNKNOWN, "")


def parse_script(text: str) -> list[Write | Load]:
    """Returns what a script writes; what is not of shell, and names a key, is not understood."""
    if not _MARK.search(text):
        return []
    if not text.startswith("#!") or shell.is_interpreter(text):
        return parse(text)
    if len(text) > shell.MAX_TEXT:
        return [Write(UNKNOWN, UNKNOWN, "")]
    found = dict.fromkeys(_find_others(text))
    for match in _KEY.finditer(text):
        found.update(dict.fromkeys(_make(match[1], UNKNOWN)))
    return _bound(found)


def _parse_arguments(words: list[str]) -> list[Write | Load]:
    """Returns what sysctl(8) writes with these arguments; with a pattern of keys it is not understood what."""
    names: list[str] = []
    loads, pattern = False, None
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            names += left
            break
        if not word.startswith("-") or word == "-":
            names.append(word)
            continue
        option, file = _parse_option(word)
        if option == "show":
            return []
        loads = loads or option == "load"
        if option == "pattern" and not left:
            return []
        if option.startswith("pattern"):
            pattern = left.pop(0) if option == "pattern" else file
        else:
            names += [file] if file else []
    if pattern is not None and (loads or any("=" in name for name in names)):
        beginning = _BEGINNING.fullmatch(pattern.removesuffix(".*"))
        if beginning is not None:
            return _make(f"{beginning[1]}$x", UNKNOWN)
        if not names:  # of sysctl.d, which is read anyway, and of this file
            return [Load(CONF, maybe=True)]
        return [Write(UNKNOWN, UNKNOWN, "")]
    if loads:
        return [Load(each) if _is_file(each) else Write(UNKNOWN, UNKNOWN, "") for each in names or [CONF]]
    only_shows = not _SHOWING.isdisjoint(words) and _WRITING.isdisjoint(words)
    writes: list[Write | Load] = []
    for word in names:
        key, equals, value = word.partition("=")
        if not equals and _VARIABLE.search(word) and not only_shows:
            writes.append(Write(UNKNOWN, UNKNOWN, ""))
        # A wildcard means something in a file, and nothing here.
        # The kernel refuses an empty value.
        if value.strip() and (key == UNKNOWN or sysctl_lines.WILDCARDS.isdisjoint(key)):
            writes += _make(key.strip(), value.strip())
    return writes


def _parse_option(word: str) -> tuple[_Option, str]:
    """Returns what an option means, and the file in it: `show` is one with which nothing is written; of `pattern` the
    next word is the pattern, and `pattern=` has it in place of a file."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        found = [known for known in _LONG_OPTIONS if known.startswith(name)]
        if len(found) != 1:
            return "show", ""
        kind = _LONG_OPTIONS[found[0]]
        return ("pattern=", value) if kind == "pattern" and equals else (kind, value if kind == "load" else "")
    kind = "other"
    for at, letter in enumerate(word[1:], 2):
        if letter == "p":
            return "load", word[at:]
        if letter == "f":
            kind = "load"
        elif letter in "rs":
            return ("pattern=" if word[at:] else "pattern"), word[at:]
        elif letter not in "beNnwqox":
            return "show", ""
    return kind, ""


def _is_file(name: str) -> bool:
    return name.startswith("/") and not name.startswith(("/dev/", "/proc/")) and consists_of(name, f"{NAME}./+@", 256)


def _find_others(text: str) -> list[Write | Load]:
    """Returns a write that is not understood for each key that is named other than to be looked at."""
    text = _LOOKS.sub("", _PRINTS.sub("", text))
    found: list[Write | Load] = []
    for match in _FILE.finditer(text):
        path = match[1].strip("/")
        found += _make(path or UNKNOWN, UNKNOWN, as_path=True)
        # It may be a directory, from which a shell goes on.
        for below in range(1, _DEEP + 1 if path else 0):
            found += _make(path + "/*" * below, UNKNOWN, as_path=True)
    for match in _SET.finditer(_FILE.sub("", text)):
        found += _make(match[1], UNKNOWN)
    return found


def _make(key: str, value: str, *, as_path: bool = False) -> list[Write | Load]:
    if not as_path and _VARIABLE.match(key):
        return [Write(UNKNOWN, UNKNOWN, "")]
    pattern = _WILDCARD.sub("*", _VARIABLE.sub("*", key))
    path = sysctl_lines.normalise_key(f"/{pattern}" if as_path else pattern)
    if key == UNKNOWN or not consists_of(path, f"{NAME}./*:@+", 256):
        return [Write(UNKNOWN, UNKNOWN, "")]
    # What a variable stands for may have a dot in it.
    last = _VARIABLE.search(key) is not None and path.endswith("*")
    paths = [path + "/*" * below for below in range(1 + (_DEEP if last else 0))]
    value = UNKNOWN if "*" in path else _read_value(value)  # which keys it goes to is not known
    return [Write(each, value, "") for each in paths if _is_of_interest(each)]


def _read_value(value: str) -> str:
    """Returns a value, UNKNOWN where it is not what is written."""
    return UNKNOWN if not value or set("$`?\\%\"'") & set(value) else value


def _is_of_interest(path: str) -> bool:
    """Returns whether a check asks for a key that a command names, or for one that a glob means, here."""
    return not path.startswith("vm/") and _is_sought(path)


def _is_sought(path: str) -> bool:
    return path.startswith(sysctl_values.SOUGHT) or sysctl_values.may_match(path)


# --- what is kept -----------------------------------------------------------------------------------------


def reduce_script(text: str) -> str:
    """Returns of a script what it writes to sysctls, behind the `#!` by which it can be started; else empty text."""
    found = parse_script(text)
    return ("#!/bin/sh\n" if shell.can_start(text) else "") + write(found) if found else ""


def reduce_command(line: str) -> str:
    """Returns of a service's command line what it writes to sysctls, as commands of shell; else empty text."""
    return write(parse_command(line))


def write(found: Iterable[Write | Load]) -> str:
    """Returns commands of shell that are parsed as these."""
    return "; ".join(
        shell.write_condition(
            f"sysctl -p {each.path}" if isinstance(each, Load) else f'sysctl -w "{_write_pair(each)}"', each.maybe
        )
        for each in found
    )


def _write_pair(each: Write) -> str:
    """Returns the words of sysctl(8) for a write; a wildcard stands for what shell puts there."""
    if each.path == UNKNOWN:
        return f"{UNKNOWN}={UNKNOWN}"
    return f"/{each.path.replace('*', '${x}')}={_keep_value(each.path, each.value)}"


def _keep_value(key: str, value: str) -> str:
    value = _read_value(value)
    return UNKNOWN if value == UNKNOWN else _read_value(sysctl_values.keep_value(key, value, frozenset()))
