"""What the command line of a service tells a check: which files it names, and which user its program shall become.

Source: systemd.service(5), "Command lines"; the manuals of runuser(1), su(1), setpriv(1), sudo(8), chpst(8) and
start-stop-daemon(8). Nothing else of a command line is kept or shown: arguments hold passwords.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Literal

from hosttune.patterns import late_pattern

#: Programs that start another one as another user, and the options that name the user; with none of them it is the
#: first argument that is no option of those in _NAMING.
LAUNCHERS = {
    "hosttune": ("--user", "-u"),
    "runuser": ("--user", "-u"),
    "su": (),
    "sudo": ("--user", "-u"),
    "doas": ("-u",),
    "setpriv": ("--reuid", "--ruid"),
    "start-stop-daemon": ("--chuid", "-c"),  # --user only looks for processes
    "chpst": ("-u",),
    "setuidgid": (),
    "s6-setuidgid": (),
    "gosu": (),
    "su-exec": (),
}
_NAMING = frozenset({"runuser", "su", "setuidgid", "s6-setuidgid", "gosu", "su-exec"})
#: Those that open a PAM session, in which pam_limits may run.
SESSION_OPENERS = frozenset({"runuser", "su", "sudo"})
# Those by which the programs of a user become root's, where they name nobody.
_TO_ROOT = late_pattern(r"(?<![\w.-])(?:sudo|doas)(?=\s)")
# Options of su(1) and runuser(1) with a value of their own.
_VALUED = frozenset(
    {
        *("-c", "--command", "-C", "--session-command", "-g", "--group", "-G", "--supp-group", "-s", "--shell"),
        *("-w", "--whitelist-environment"),
    }
)
#: Of one command: more scripts and settings files than anybody has it run or read.
MAX_PATHS = 64
#: Of one command: programs that are looked for, to see whether they are scripts.
MAX_NAMED = 1024

#: How the names of settings files end.
SETTINGS = (".yml", ".yaml", ".json")
# Where programs of the distribution are.
VENDOR = ("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/lib/", "/lib/")
# Programs whose first argument is a script, or the script's text after -c.
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})
_INTERPRETERS = late_pattern(r"(python|perl|ruby)[0-9.]{0,8}|env")
# Programs that run their arguments, among others of theirs.
_WRAPPERS = frozenset(
    {
        *("taskset", "timeout", "nice", "ionice", "chrt", "numactl", "flock", "nohup", "setsid", "systemd-cat"),
        *("systemd-run", "stdbuf", "time", "env", "xargs", "unshare", "setarch", "prlimit", "cgexec", "run-parts"),
    }
)
# What stands before a command of shell, and what has it read a script.
_LEADING = frozenset({"if", "then", "do", "else", "elif", "while", "until", "!", "{", "exec", "command", "builtin"})
_SOURCING = frozenset({".", "source"})
# Where a program may be named, words of shell that are none.
_WORDS = frozenset(
    {
        *("alias", "break", "case", "cd", "continue", "declare", "done", "esac", "eval", "exit", "export", "fi", "for"),
        *("function", "getopts", "hash", "in", "let", "local", "read", "readonly", "return", "select", "set", "shift"),
        *("shopt", "times", "trap", "type", "typeset", "ulimit", "umask", "unalias", "unset", "wait"),
    }
)
#: Where systemd and a shell that it starts find a program that is named without its directory, in this order.
SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
_PLAIN_NAME = late_pattern(r"\w[\w.+-]{0,63}", re.ASCII)
# Programs that write to no file: without a shell, what looks like a redirection is words to them.
_PRINTERS = frozenset({"echo", "printf", "logger", "cat", "grep", "ls", "test", "[", "true", "false", "sleep"})
_RUNNING = _SHELLS | _WRAPPERS | LAUNCHERS.keys() | _SOURCING | {"cd"}
# Programs of the distribution whose arguments are read.
_TUNERS = frozenset({"sysctl", "systemd-sysctl", "hugeadm", "dpdk-hugepages", "dpdk-hugepages.py", "tuna"})
_KNOWN = _SHELLS | _WRAPPERS | _PRINTERS | _TUNERS | {"tee"}
_MAX_NESTED = 3  # commands in arguments of commands
_MAX_TRIED = 8  # words that are called as a program that names its user first
_PREFIXES = "@:+!|-"

# A whole word, or the value after `=`: a slash within a word, such as a password's, begins no path.
_PATH = late_pattern(r"(?:^|(?<=[\s\"'=;|&(<>]))[@:+!|-]{0,8}(/(?!/)[\w./@+-]+)", re.ASCII)
_WHOLE_PATH = late_pattern(r"/(?!/)(?:[\w./@+-]|%[iIpPnN])+", re.ASCII)
_OPTION = late_pattern(r"--?[A-Za-z][\w-]{0,63}=", re.ASCII)
_ASSIGNMENT = late_pattern(r"[A-Za-z_]\w{0,63}=", re.ASCII)
# Blanks are in a word between quotes and after a backslash. A quote without an end goes to the end of the line.
_PIECE = r"""[^\s"'\\]+|\\.?|"(?:[^"\\]|\\.?)*"?|'(?:[^'\\]|\\.?)*'?"""
_WORD = late_pattern(f"(?:{_PIECE})+", re.DOTALL)
_QUOTED = late_pattern(
    r"""(\\(?:x[0-9a-fA-F]{2}|[0-7]{3}|.?))|"((?:[^"\\]|\\.?)*)"?|'((?:[^'\\]|\\.?)*)'?""", re.DOTALL
)
# As cunescape_one() in `src/basic/escape.c` of systemd has it; of what it refuses the letter stays.
_ESCAPE = late_pattern(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|(.?))", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_COMMAND_END = late_pattern(r"[;|&()\n]+")
# A name or a number; systemd.unit(5), "Specifiers", of those that it may be made of.
USER = late_pattern(r"(?:[A-Za-z0-9_.]|%[iIpPnN])(?:[\w.-]|%[iIpPnN]){0,31}\$?", re.ASCII)
# Shell in which each word is a whole one: behind a sign of shell there may be a part of a password.
_PLAIN_TEXT = late_pattern(r"(?:(?<![\w./-])[\w./][\w./-]*|[ \t\n;]|&&|\|\|)*", re.ASCII)
# What goes before a command in a shell's text.
_BEFORE = frozenset({"-c", "exec", "&&", "||", ";", "|", "{", "("})


def find_paths(text: str) -> list[str]:
    """Returns the absolute paths that a script names, each once, in order; at most MAX_PATHS."""
    found: dict[str, None] = {}
    for match in _PATH.finditer(text):
        found[match[1]] = None
        if len(found) == MAX_PATHS:
            break
    return list(found)


def find_programs(command: str) -> list[str]:
    """Returns the program and, if that runs others, those, each by its absolute path or as a name without one."""
    return list(dict.fromkeys(_find_programs(_split_words(command), 0, True)))


def find_scripts_in(text: str, find: Callable[[str], str]) -> list[str]:
    """Returns the paths of the programs that shell names that may be scripts; `find` gives that of a name without one,
    and empty text where there is none."""
    parts = (part for part in _COMMAND_END.split(text) if _may_name(part, find))
    found = _choose_scripts(_find_in_text("\n".join(parts), 1, True))
    return list(dict.fromkeys(filter(None, (each if "/" in each else find(each) for each in found))))


def _may_name(part: str, find: Callable[[str], str]) -> bool:
    """Returns whether a command of shell may name a script: most do not, and are not looked into."""
    if "/" in part or '"' in part or "'" in part:
        return True
    word = next((word for word in part.split() if word not in _LEADING and "=" not in word), "")
    return word in _RUNNING or find(word) != ""


def find_privilege(command: str) -> Literal["+", "!", ""]:
    """Returns by what a command runs as root whatever `User=` says: the prefix `+`, which also lifts what confines the
    service, or `!` (systemd.service(5)), as which a program counts that makes a part of it root's again."""
    prefixes = command[: len(command) - len(command.lstrip(_PREFIXES))]
    if "+" in prefixes:
        return "+"
    return "!" if "!" in prefixes or (_TO_ROOT.search(command) and not leaves_root(command)) else ""


def leaves_root(command: str) -> bool:
    """Returns whether a command line is one program that starts another one as a user who is not root."""
    if _find_first(command) not in LAUNCHERS or find_user(command) in (None, "root", "0"):
        return False
    return len(split_commands(command)) == 1


def _find_first(command: str) -> str:
    """Returns the name of the first program of a command line."""
    word = command.split(maxsplit=1)[0] if command.strip() else ""
    return word.strip("\"'").lstrip(_PREFIXES).rpartition("/")[2]


def find_scripts(command: str) -> list[str]:
    """Returns those of the programs that may be scripts; of more than MAX_NAMED no others."""
    return list(_list_scripts(command))


@lru_cache(256)  # each section asks for them
def _list_scripts(command: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for path in _choose_scripts(_find_programs(_split_words(command), 0, True)):
        found[path] = None
        if len(found) > MAX_NAMED:
            break
    return tuple(found)


def _choose_scripts(paths: Iterable[str]) -> Iterator[str]:
    """Yields the paths below a directory, and the names without one, but for those of settings and known programs."""
    for path in paths:
        known = path.startswith(VENDOR) and _is_known(path.rpartition("/")[2])
        if not known and path.rfind("/") and not path.endswith(SETTINGS):
            yield path


def _is_known(name: str) -> bool:
    """Returns whether a program of the distribution by this name is no script, or none that sets anything itself."""
    return name in _KNOWN or name in LAUNCHERS or _INTERPRETERS.fullmatch(name) is not None


def find_settings(command: str) -> list[str]:
    """Returns the settings files among the arguments: a whole word, or the value of an option; at most MAX_PATHS."""
    words = (_OPTION.sub("", word, count=1) for word in _find_words(command, 0))
    found = dict.fromkeys(word for word in words if word.endswith(SETTINGS) and _WHOLE_PATH.fullmatch(word))
    return list(found)[:MAX_PATHS]


def find_user(command: str) -> str | None:
    """Returns the user that a command line tells its program to become, by name or number, None if it tells none."""
    found = find_launch(command)
    return None if found is None else found[1]


@lru_cache(4096)  # each service's is asked for each limit of each user
def find_launch(command: str) -> tuple[str, str] | None:
    """Returns the program that a command line starts another one by as another user, and this user; None for none."""
    written = command.split()
    words = [word.strip("\"'") for word in written]
    tried = 0
    for at, word in enumerate(words):
        launcher = word.lstrip(_PREFIXES).rpartition("/")[2]
        if launcher in LAUNCHERS:
            user = _find_option(LAUNCHERS[launcher], words[at + 1 :])
            if user is None and launcher in _NAMING and _begins_command(words, at):
                user = _find_argument(written[at + 1 :])
            if user is None and launcher in _NAMING and not LAUNCHERS[launcher]:
                tried += 1
                if tried == _MAX_TRIED:
                    return None
                continue  # a word like another
            user = (user or "").removeprefix("#")  # sudo(8): a number
            if launcher in ("start-stop-daemon", "chpst", "gosu", "su-exec"):
                user = user.removeprefix(":").partition(":")[0]
            return (launcher, user) if USER.fullmatch(user) else None
    return None


def _find_option(options: tuple[str, ...], words: list[str]) -> str | None:
    """Returns the value of the first of these options."""
    words = words[: words.index("--")] if "--" in words else words
    for word, following in zip(words, [*words[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        if option in options:
            return value if equals else following
    return None


def _begins_command(words: list[str], at: int) -> bool:
    return at == 0 or words[at].startswith("/") or words[at - 1] in _BEFORE or words[at - 1].endswith(";")


def _find_argument(words: list[str]) -> str | None:
    """Returns the first argument that is no option, and no value of one."""
    left = iter(words)
    for word in left:
        if word in _VALUED:
            value = next(left, "")
            quote = value[:1] if value[:1] in ("'", '"') else ""
            while quote and (value == quote or not value.endswith(quote)):
                value = next(left, quote * 2)
        elif not word.startswith("-"):
            return word.strip("\"'")
    return None


def reduce(command: str) -> str:
    """Returns a command line that names the same files and the same user, and has no other word."""
    scripts = find_scripts(command)
    words = [f"sh -c '{';'.join(scripts)}'"] if len(scripts) > 1 else scripts
    direct = len(scripts) == 1 and command.lstrip(_PREFIXES).startswith(scripts[0])
    if len(scripts) == 1 and not direct and not runs(split_commands(command), scripts[0]):
        # Another program reads it, which takes one without `#!` too; a name is looked for by a shell alone.
        words = ["sh", *scripts] if "/" in scripts[0] else [f"sh -c {scripts[0]}"]
    words += find_settings(command)
    launch = find_launch(command)
    if launch is not None:
        start = ["runuser" if launch[0] in SESSION_OPENERS else "hosttune", f"--user={launch[1]}"]
        words = [*start, "--", *words] if leaves_root(command) else [*words, *start]
    return " ".join(words)


def split_commands(line: str) -> list[list[str]]:
    """Returns the words of each command of a service's command line: a semicolon that is a word ends one."""
    found: list[list[str]] = [[]]
    for word in _split_words(line):
        if word == ";":
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def list_writing(line: str) -> Iterator[tuple[str, bool]]:
    """Yields what each command of a service's command line may write by, and whether that is text which it has a shell
    run: only a shell redirects, so one that just prints writes nothing. Without the scripts, which are read themselves.
    """
    scripts = {path for path in find_scripts(line) if path.startswith("/") and not path.startswith(VENDOR)}

    def drop_script(match: re.Match[str]) -> str:
        return match[0].removesuffix(match[1]) if match[1] in scripts else match[0]

    for words in split_commands(line):
        text = find_shell_text(words)
        if text is not None:
            yield _PATH.sub(drop_script, text).replace("$$", "$"), True
        elif not prints(words):
            yield " ".join(word for word in words if word.lstrip(_PREFIXES) not in scripts), False


def prints(words: list[str]) -> bool:
    """Returns whether a command that no shell runs is one that writes to no file."""
    return words[0].lstrip(_PREFIXES).rpartition("/")[2] in _PRINTERS


def runs_arguments(words: list[str]) -> bool:
    """Returns whether a command is a program that runs its arguments."""
    name = words[0].lstrip(_PREFIXES).rpartition("/")[2]
    return name in _WRAPPERS or name in LAUNCHERS


def runs(parts: list[list[str]], program: str) -> bool:
    """Returns whether one of the commands of a line is a program itself: not what another program starts or reads."""
    return any(words[0].lstrip(_PREFIXES) == program for words in parts)


def find_shell_text(words: list[str]) -> str | None:
    """Returns the text that a command has a shell run, by itself or through env(1); None for a command of no shell."""
    if words and words[0].lstrip(_PREFIXES).rpartition("/")[2] == "env":
        start = next((at for at, word in enumerate(words[1:], 1) if not _ASSIGNMENT.match(word) and word != "-i"), 0)
        words = words[start:] if start else []
    return _find_nested(words) if words else None


def find_wrapped_text(words: list[str]) -> str | None:
    """Returns the text that a command has a shell run, also where it starts that by a program; None for no shell."""
    at = next((at for at, word in enumerate(words) if word.lstrip(_PREFIXES).rpartition("/")[2] in _SHELLS), None)
    return None if at is None else _find_nested(words[at:])


def _split_words(command: str) -> list[str]:
    """Returns the words as the program gets them, without their quotes."""
    return [_QUOTED.sub(_unquote, word) for word in _WORD.findall(command)]


def _unquote(match: re.Match[str]) -> str:
    return _ESCAPE.sub(_unescape, next((group for group in match.groups() if group), ""))


def _unescape(match: re.Match[str]) -> str:
    hexadecimal, octal, letter = match.groups()
    if hexadecimal or octal:
        return chr(int(hexadecimal, 16) if hexadecimal else int(octal, 8) & 255)
    return _LETTERS.get(letter, letter)


def _find_programs(words: list[str], depth: int, names: bool) -> Iterator[str]:
    """Yield the programs and scripts of one command, given as its words; `names`: those without a directory, too."""
    at = 0
    while depth and at < len(words) - 1 and (words[at] in _LEADING or _ASSIGNMENT.match(words[at])):
        at += 1
    words = words[at:]
    if not words:
        return
    first = words[0].lstrip(_PREFIXES)
    name = first.rpartition("/")[2]
    if _WHOLE_PATH.fullmatch(first) or (names and _is_name(first)):
        yield first
    nested = _find_nested(words) if depth < _MAX_NESTED else None
    if nested is not None:
        yield from _find_in_text(nested, depth + 1, names and (depth > 0 or bool(_PLAIN_TEXT.fullmatch(nested))))
    elif name in LAUNCHERS and "--" in words:
        script = words[words.index("--") + 1 :]
        yield from (script[:1] if script and _WHOLE_PATH.fullmatch(script[0]) else ())
    elif name in _WRAPPERS or name in LAUNCHERS:
        yield from _find_wrapped(words, depth, names)
    elif _is_interpreter(first):
        yield from _find_script(words)
    elif name in _SOURCING and depth:
        yield from (word for word in words[1:2] if _WHOLE_PATH.fullmatch(word))


def _find_wrapped(words: list[str], depth: int, names: bool) -> Iterator[str]:
    """Yield what a program may start that runs its arguments; with a slash at its end, a directory of run-parts(8)."""
    for at, word in enumerate(words[1:], 1):
        if word.rpartition("/")[2] in _SHELLS or word.rpartition("/")[2] in _WRAPPERS:
            yield from _find_programs(words[at:], depth, names)
            return
        if word == "-c" and words[0].rpartition("/")[2].lstrip(_PREFIXES) in _NAMING and depth < _MAX_NESTED:
            yield from _find_in_text("".join(words[at + 1 : at + 2]), depth + 1, False)
        if _WHOLE_PATH.fullmatch(word):
            yield word.rstrip("/") + "/" * (words[0].endswith("run-parts") and "--test" not in words)


def _find_script(words: list[str]) -> Iterator[str]:
    """Yield the script that an interpreter is given."""
    left = iter(words[1:])
    given = ("-c",) if words[0].lstrip(_PREFIXES).rpartition("/")[2] in _SHELLS else ("-c", "-e", "-m")
    for word in left:
        if word in given:
            return
        if word[:1] in "-+":
            if word.endswith("o"):
                next(left, "")  # as `-euo pipefail` does
        elif not _ASSIGNMENT.match(word):
            yield from ([word] if _WHOLE_PATH.fullmatch(word) else ())
            return


def _find_in_text(text: str, depth: int, names: bool) -> Iterator[str]:
    """Yield the programs and scripts that shell names, those of a directory that it changes to as well."""
    directory = ""
    for part in _COMMAND_END.split(text):
        words = _split_words(part)
        if words[:1] == ["cd"] and len(words) > 1 and _WHOLE_PATH.fullmatch(words[1]):
            directory = words[1].rstrip("/")
        if directory:
            words = [directory + word[1:] if word.startswith("./") else word for word in words]
        yield from _find_programs(words, depth, names)


def _is_name(word: str) -> bool:
    return _PLAIN_NAME.fullmatch(word) is not None and not _is_known(word) and word not in _WORDS


def _is_interpreter(program: str) -> bool:
    name = program.rpartition("/")[2]
    return name in _SHELLS or _INTERPRETERS.fullmatch(name) is not None


def _find_nested(words: list[str]) -> str | None:
    """Returns the text that a shell is given to run, None for any other command."""
    if words[0].lstrip(_PREFIXES).rpartition("/")[2] not in _SHELLS:
        return None
    takes_name = False  # as `-o pipefail` does
    for at, word in enumerate(words[1:-1], 1):
        if takes_name or word.startswith("--"):
            takes_name = False
            continue
        if word[:1] != "-":
            return None
        if word.endswith("c"):
            return words[at + 1]
        takes_name = word.endswith("o")
    return None


def _find_words(command: str, depth: int) -> Iterator[str]:
    """Yield the words of a command line, and for what a shell is given to run, the words of that."""
    words = _split_words(command)
    nested = _find_nested(words) if words and depth < _MAX_NESTED else None
    # Who writes such a quotation means another word by it than systemd makes of it: it may be a part of a password.
    is_doubtful = '\\"' in command or "\\'" in command
    for word in words:
        if word == nested and is_doubtful:
            continue
        if word == nested:
            for each in _COMMAND_END.split(nested):
                yield from _find_words(each, depth + 1)
        else:
            yield word
