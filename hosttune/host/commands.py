"""What the command line of a service tells a check: which files it names, and which user its program shall become.

Source: systemd.service(5), "Command lines"; the manuals of runuser(1), setpriv(1) and sudo(8). Nothing else of a
command line is kept or shown: arguments hold passwords.
"""

from __future__ import annotations

import re

#: Programs that start another one as another user, and the options that name the user.
LAUNCHERS = frozenset({"hosttune", "runuser", "setpriv", "sudo"})
USER_OPTIONS = ("--user", "-u", "--reuid")
#: A command line names no more files than this.
MAX_PATHS = 64

SETTINGS = re.compile(r"\.(ya?ml|json)$")
# Programs of the distribution: not scripts that set affinities, and large.
_VENDOR = ("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/lib/", "/lib/")

# A whole word, or the value after `=`: a slash within a word, such as a password's, begins no path.
_PATH = re.compile(r"(?:^|(?<=[\s\"'=;|&(<>]))[@:+!|-]{0,8}(/(?!/)[\w./@+-]+)", re.ASCII)
USER = re.compile(r"[A-Za-z_][\w.-]{0,31}\$?", re.ASCII)


def find_paths(text: str) -> list[str]:
    """Returns the absolute paths that a command line or a script names, each once, in order; at most MAX_PATHS."""
    found: dict[str, None] = {}
    for match in _PATH.finditer(text):
        found[match[1]] = None
        if len(found) == MAX_PATHS:
            break
    return list(found)


def find_scripts(command: str) -> list[str]:
    """Returns the paths that may be programs of this host's administrator: no values of options."""
    paths = [path for path in find_paths(command) if path.count("/") > 1 and not path.startswith(_VENDOR)]
    return [path for path in paths if not SETTINGS.search(path) and f"={path}" not in command]


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
    words = [*find_scripts(command), *(path for path in find_paths(command) if SETTINGS.search(path))]
    user = find_user(command)
    if user is not None:
        words += ["hosttune", f"--user={user}"]
    return " ".join(words)
