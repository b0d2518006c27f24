"""Whether sshd opens PAM sessions: UsePAM in its files, of which nothing else is read.

Source: sshd_config(5), `UsePAM`, `Include` and `Match`: the first value counts, files that are included are read in the
place of the line, and UsePAM stands in no `Match`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from hosttune.host import dropins
from hosttune.host.forms import NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.patterns import late_pattern

CONFIGURATION = "/etc/ssh/sshd_config"
DROP_INS = "/etc/ssh/sshd_config.d"
#: What the drop-in of Fedora and RHEL includes: ciphers alone, but it is read too.
POLICIES = "/etc/crypto-policies/back-ends/opensshserver.config"

_ALL = f"{DROP_INS}/*.conf"
_MAX_FILES = 256
_LINE = late_pattern(
    r"^[ \t]*(UsePAM|Include|Match)(?:[ \t]*=[ \t]*|[ \t]+)(.*)$", re.IGNORECASE | re.MULTILINE | re.ASCII
)
_FLAGS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


def read_use_pam(root: Root) -> Fact[bool]:
    """Returns whether sshd opens PAM sessions after the next boot; absent without its configuration."""
    main = root.read(CONFIGURATION)
    if main.value is None:
        return main.drop_value()
    waiting = [(CONFIGURATION, parse(main.value))]
    left = _MAX_FILES
    while waiting:
        path, lines = waiting[-1]
        keyword, value = next(lines, ("", ""))
        if not keyword:
            waiting.pop()
        elif value == UNINTELLIGIBLE or left < 0:
            return make_unreadable(path, f"a line with {keyword} is not understood")
        elif keyword == "UsePAM":
            return Fact("value", value == "yes", path)
        else:
            included = _read_included(root, value)
            if included.value is None:
                return included.drop_value()
            left -= len(included.value)
            waiting += [(name, parse(text)) for name, text in reversed(included.value)]
    return Fact("value", False, CONFIGURATION)


def reduce(text: str) -> str:
    """Returns what a file of sshd_config(5) says of PAM, and which files it includes before."""
    return "".join(f"{keyword} {value}\n" for keyword, value in parse(text))


def parse(text: str) -> Iterator[tuple[str, str]]:
    """Yield ("UsePAM", "yes" or "no") and ("Include", path or pattern) of the lines before the first `Match`, with
    UNINTELLIGIBLE for what is not understood; no line after UsePAM counts."""
    for match in _LINE.finditer(text.replace("\r\n", "\n")):
        keyword = match[1].lower()
        words = [word.strip('"') for word in match[2].partition("#")[0].split()]
        if keyword == "match":
            return
        if keyword == "usepam":
            yield "UsePAM", _FLAGS.get(words[0].lower(), UNINTELLIGIBLE) if len(words) == 1 else UNINTELLIGIBLE
            return
        for word in words or [UNINTELLIGIBLE]:
            yield "Include", _find_file(word)


def _find_file(word: str) -> str:
    path = posixpath.join(posixpath.dirname(CONFIGURATION), word)
    name = path.removeprefix(f"{DROP_INS}/").removesuffix(".conf")
    plain = path == f"{DROP_INS}/{name}.conf" and name[:1] != "." and consists_of(name, f"{NAME}.", 64)
    return path if path in (_ALL, POLICIES) or (name and plain) else UNINTELLIGIBLE


def _read_included(root: Root, path: str) -> Fact[list[tuple[str, str]]]:
    """Returns path and text of each file that a line includes, in order."""
    names = dropins.list_merged(root, [DROP_INS], ".conf") if path == _ALL else Fact("value", [path], path)
    if names.state == "unreadable":
        return names.drop_value()
    return dropins.read_files(root, names.value or [])
