"""What the command line of a service tells a check: which files it names, and which user its program shall become.

Source: systemd.service(5), "Command lines"; the manuals of runuser(1), setpriv(1) and sudo(8). Nothing else of a
command line is kept or shown: arguments hold passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from hosttune.patterns import late_pattern

#: Programs that start another one as another user, and the options that name the user.
LAUNCHERS = frozenset({"hosttune", "runuser", "setpriv", "sudo"})
USER_OPTIONS = ("--user", "-u", "--reuid")
#: A command line names no more files than this.
MAX_PATHS = 64

SETTINGS = late_pattern(r"\.(ya?ml|json)$")
# Programs of the distribution: not scripts that set affinities, and large.
_VENDOR = ("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/lib/", "/lib/")
# Programs whose first argument is a script, or the script's text after -c.
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})
_INTERPRETERS = late_pattern(r"(python|perl|ruby)[0-9.]{0,8}|env")
_MAX_NESTED = 3  # commands in arguments of commands

# A whole word, or the value after `=`: a slash within a word, such as a password's, begins no path.
_PATH = late_pattern(r"(?:^|(?<=[\s\"'=;|&(<>]))[@:+!|-]{0,8}(/(?!/)[\w./@+-]+)", re.ASCII)
_WHOLE_PATH = late_pattern(r"/(?!/)[\w./@+-]+", re.ASCII)
_OPTION = late_pattern(r"--?[A-Za-z][\w-]{0,63}=", re.ASCII)
_ASSIGNMENT = late_pattern(r"[A-Za-z_]\w{0,63}=", re.ASCII)
# Blanks are in a word between quotes and after a backslash. A quote without an end goes to the end of the line.
_PIECE = r"""[^\s"'\\]+|\\.?|"(?:[^"\\]|\\.?)*"?|'[^']*'?"""
_WORD = late_pattern(f"(?:{_PIECE})+", re.DOTALL)
_QUOTED = late_pattern(r"""\\(.?)|"((?:[^"\\]|\\.?)*)"?|'([^']*)'?""", re.DOTALL)
_COMMAND_END = late_pattern(r"[;|&()\n]+")
USER = late_pattern(r"[A-Za-z_][\w.-]{0,31}\$?", re.ASCII)


def find_paths(text: str) -> list[str]:
    """Returns the absolute paths that a script names, each once, in order; at most MAX_PATHS."""
    found: dict[str, None] = {}
    for match in _PATH.finditer(text):
        found[match[1]] = None
        if len(found) == MAX_PATHS:
            break
    return list(found)


def find_programs(command: str) -> list[str]:
    """Returns the absolute paths of the program and, if that is an interpreter, of its script; at most MAX_PATHS."""
    found = dict.fromkeys(_find_programs(command, 0))
    return list(found)[:MAX_PATHS]


def find_scripts(command: str) -> list[str]:
    """Returns those of the programs that may be of this host's administrator."""
    paths = [path for path in find_programs(command) if path.count("/") > 1 and not path.startswith(_VENDOR)]
    return [path for path in paths if not SETTINGS.search(path)]


def find_settings(command: str) -> list[str]:
    """Returns the settings files among the arguments: a whole word, or the value of an option; at most MAX_PATHS."""
    words = (_OPTION.sub("", word, count=1) for word in _find_words(command, 0))
    found = dict.fromkeys(word for word in words if SETTINGS.search(word) and _WHOLE_PATH.fullmatch(word))
    return list(found)[:MAX_PATHS]


@lru_cache(4096)  # each service's is asked for each limit of each user
def find_user(command: str) -> str | None:
    """Returns the user that a command line tells its program to become, None if it tells none."""
    words = [word.strip("\"'") for word in command.split()]
    words = words[: words.index("--")] if "--" in words else words
    start = next((n for n, word in enumerate(words) if word.rpartition("/")[2] in LAUNCHERS), len(words))
    for word, following in zip(words[start:], [*words[start + 1 :], ""], strict=False):
        option, equals, value = word.partition("=")
        if option in USER_OPTIONS:
            user = value if equals else following
            return user if USER.fullmatch(user) else None
    return None


def reduce(command: str) -> str:
    """Returns a command line that names the same files and the same user, and has no other word."""
    scripts = find_scripts(command)
    words = [f"sh -c '{';'.join(scripts)}'"] if len(scripts) > 1 else scripts
    words += find_settings(command)
    user = find_user(command)
    if user is not None:
        words += ["hosttune", f"--user={user}"]
    return " ".join(words)


def _split_words(command: str) -> list[str]:
    """Returns the words as the program gets them, without their quotes."""
    return [_QUOTED.sub(_unquote, word) for word in _WORD.findall(command)]


def _unquote(match: re.Match[str]) -> str:
    bare, double, single = match.groups()
    return single or re.sub(r"\\(.)", r"\1", double or "", flags=re.DOTALL) or bare or ""


def _find_programs(command: str, depth: int) -> Iterator[str]:
    words = _split_words(command)
    while words and (_ASSIGNMENT.match(words[0]) or words[0] == "exec") and depth:
        words.pop(0)
    if not words:
        return
    first = words[0].lstrip("@:+!|-")
    if _WHOLE_PATH.fullmatch(first):
        yield first
    nested = _find_nested(words) if depth < _MAX_NESTED else None
    if nested is not None:
        for each in _COMMAND_END.split(nested):
            yield from _find_programs(each, depth + 1)
        return
    if first.rpartition("/")[2] in LAUNCHERS:
        script = words[words.index("--") + 1 :] if "--" in words else words[1:]
    elif _is_interpreter(first):
        script = words[1:]
        while script and (_ASSIGNMENT.match(script[0]) if first.endswith("env") else script[0][:1] == "-"):
            if script.pop(0) in ("-c", "-e", "-m"):
                return
    else:
        return
    if script and _WHOLE_PATH.fullmatch(script[0]):
        yield script[0]


def _is_interpreter(program: str) -> bool:
    name = program.rpartition("/")[2]
    return name in _SHELLS or _INTERPRETERS.fullmatch(name) is not None


def _find_nested(words: list[str]) -> str | None:
    """Returns the text that a shell is given to run, None for any other command."""
    if words[0].lstrip("@:+!|-").rpartition("/")[2] not in _SHELLS:
        return None
    for at, word in enumerate(words[1:-1], 1):
        if word[:1] != "-":
            return None
        if word.startswith("--"):
            continue
        if word.endswith("c"):
            return words[at + 1]
    return None


def _find_words(command: str, depth: int) -> Iterator[str]:
    """Yield the words of a command line, and for what a shell is given to run, the words of that."""
    words = _split_words(command)
    nested = _find_nested(words) if words and depth < _MAX_NESTED else None
    for word in words:
        if word == nested:
            for each in _COMMAND_END.split(nested):
                yield from _find_words(each, depth + 1)
        else:
            yield word
