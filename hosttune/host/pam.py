"""What a login gets from pam_limits: its files, their grammar, and which of their lines wins.

Sources: limits.conf(5), pam_limits(8), pam.d(5); `modules/pam_limits/pam_limits.c` of Linux-PAM, which has the grammar,
and Debian's patches of it: wildcards and groups do not reach root, and what no line sets comes from process 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from hosttune.host import dropins
from hosttune.host.forms import NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.limits import ITEMS, UNLIMITED, Limit, User
from hosttune.host.root import Fact, Root, make_unreadable

#: How a line is split into words: up to 1.5 as scanf does, of which the fifth does not count; from 1.6 on at blanks and
#: tabs, and all that is left is the value.
Grammar = Literal["1.5", "1.6"]
GRAMMARS: tuple[Grammar, ...] = ("1.5", "1.6")

DIRECTORY = "/etc/security"
OS_RELEASE = "/etc/os-release"
_RELEASE_LINE = re.compile(
    r"""^(ID|VERSION_ID)=["']?([a-z]{1,16}|[0-9]{1,4}(?:\.[0-9]{1,4})?)["']?$""", re.MULTILINE | re.ASCII
)
# Characters that isspace(3) takes for blanks.
_BLANKS = " \t\n\v\f\r"
_WORDS = re.compile(rf"[{_BLANKS}]*([^{_BLANKS}]+)(?:[{_BLANKS}]+([^{_BLANKS}]+))?"
                    rf"(?:[{_BLANKS}]+([^{_BLANKS}]+)[{_BLANKS}]+([^{_BLANKS}]+))?")  # fmt: skip
_split = re.compile(f"[{_BLANKS}]+").split
_ODD_BLANKS = frozenset("\v\f\r")
_NUMBER = re.compile(r"[-+]?[0-9]+")
_UNLIMITED_WORDS = ("-1", "-", "unlimited", "infinity")
# Up to 1.5 a line is read in pieces of so many bytes.
_MAX_LINE = 1022
_MAX_WORD = 66
_DOMAIN = f"{NAME}@%.:$*\\+"
# A uid_t.
_MAX_ID = 2**32 - 1
# Soft limit of open files that pam_limits takes from process 1 at most (FD_SETSIZE).
_INHERITED_NOFILE = 1024


class Line(msgspec.Struct, frozen=True):
    """One line that can decide a limit: `item` and `value` are empty where it takes its domain off all limits
    (`NAME -`). `value` is as setrlimit(2) counts; None for open files without a limit, which fs.nr_open then gives."""

    domain: str
    kind: str
    item: str
    value: int | None
    place: str


class Session(msgspec.Struct, frozen=True):
    """Of a service that people log in by: the files that each run of pam_limits reads, with their text."""

    runs: list[list[tuple[str, str]]]


def parse(text: str, path: str) -> dict[Grammar, list[Line]]:
    """Returns the lines of one file that can decide a limit which a check asks for; others are as good as comments.

    Raises ValueError for a line so long that releases up to 1.5 read it as several, if that may decide something.
    """
    found = [
        _parse_line(raw, f"{path}:{number}")
        for number, raw in enumerate(text.split("\n"), 1)
        if raw and not _is_long(raw, number)
    ]
    return {
        "1.5": [old for old, _ in found if old is not None],
        "1.6": [new for _, new in found if new is not None],
    }


def resolve(
    runs: Iterable[list[Line]], who: User, first: dict[str, Limit], nr_open: int | None
) -> dict[str, Fact[Limit]]:
    """Returns the limits that a login of `who` gets, by item; an item that no line sets is not listed.

    runs: of pam_limits, one after the other. first: the limits of process 1, with which Debian's pam_limits begins.
    A line for the user beats one for a group, which beats `*`; among equals the later wins.
    """
    result: dict[str, Fact[Limit]] = {}
    for lines in runs:
        found = _choose(lines, who)
        for item in ITEMS:
            soft, hard = found.get((item, "soft")), found.get((item, "hard"))
            if soft is None and hard is None:
                continue
            result[item] = _join(item, soft, hard, first.get(item), nr_open)
    return result


def read_grammars(root: Root) -> tuple[Grammar, ...]:
    """Returns the grammar that this system's release of PAM has, all of them where that is not known: of Debian up to
    12, and of Ubuntu up to 24.04, it is 1.5 or older."""
    release = dict(_RELEASE_LINE.findall(root.read(OS_RELEASE).value or ""))
    last = {"debian": 12, "ubuntu": 24}.get(release.get("ID", ""))
    version = release.get("VERSION_ID", "").partition(".")[0]
    if last is None or not version.isdecimal():
        return GRAMMARS
    if int(version) <= last:
        return ("1.5",)
    return ("1.6",) if release["ID"] == "debian" else GRAMMARS


def reduce_release(text: str) -> str:
    """Returns of os-release(5) which system it is, and its version."""
    return "".join(f"{name}={value}\n" for name, value in _RELEASE_LINE.findall(text))


def read_sessions(root: Root) -> Fact[dict[str, Session]]:
    """Returns for each service that people log in by what pam_limits does in its session."""
    names = root.list("/etc/pam.d")
    if names.state == "unreadable":
        return make_unreadable(names.source, names.reason)
    sessions: dict[str, Session] = {}
    known = [name for name in ("sshd", "login") if name in (names.value or [])]
    for service in known:
        runs: list[list[tuple[str, str]]] = []
        configurations = _find_runs(root, service)
        if configurations.value is None:
            return configurations.drop_value()
        for configuration in configurations.value:
            files = _read_files(root, configuration)
            if files.value is None:
                return files.drop_value()
            runs.append(files.value)
        sessions[service] = Session(runs)
    if not known:  # of other services the files are what can be told
        files = _read_files(root, "")
        if files.value is None:
            return files.drop_value()
        sessions["other"] = Session([files.value])
    return Fact("value", sessions, "/etc/pam.d")


def list_files(sessions: dict[str, Session]) -> list[tuple[str, str]]:
    """Returns the files of all sessions, each once."""
    return list(dict.fromkeys(file for session in sessions.values() for run in session.runs for file in run))


def find_exemptions(lines: Iterable[Line], who: User) -> list[Line]:
    """Returns the lines `NAME -` that take this user off all limits."""
    return [line for line in lines if not line.item and _rank_domain(line, who) is not None]


def reduce_limits(text: str) -> str:
    """Returns the lines of limits.conf that can decide a limit which a check asks for, each where it was: words alone,
    and of what may follow them only that something does. Raises ValueError as parse()."""
    lines = enumerate(text.split("\n"), 1)
    return "\n".join(_reduce_line(raw) if raw and not _is_long(raw, number) else "" for number, raw in lines)


def reduce_service(text: str) -> str:
    """Returns what a file of pam.d includes, and whether it runs pam_limits in a session."""
    lines = []
    for kind, name in _parse_session(text):
        if kind == "include":
            lines.append(f"@include {name}")
        else:
            lines.append("session - pam_limits.so" + (f" conf={name}" if name else ""))
    return "".join(f"{line}\n" for line in lines)


def _read_files(root: Root, configuration: str) -> Fact[list[tuple[str, str]]]:
    """Returns what one run reads: the file that its argument conf= names, else limits.conf and limits.d, by name in the
    order of their bytes."""
    if configuration and not re.fullmatch(r"/etc/security/[\w.-]+\.conf", configuration, re.ASCII):
        return make_unreadable(
            configuration, "pam_limits has an argument conf= that names it, outside of /etc/security/*.conf"
        )
    facts = [root.read(configuration or f"{DIRECTORY}/limits.conf")]
    if not configuration:
        fragments = dropins.list_merged(root, [f"{DIRECTORY}/limits.d"], ".conf")
        if fragments.state == "unreadable":
            return fragments.drop_value()
        facts += [dropins.read_lasting(root, path) for path in fragments.value or []]
    for fact in facts:
        if fact.state == "unreadable":
            return fact.drop_value()
    return Fact("value", [(fact.source, fact.value) for fact in facts if fact.value is not None], DIRECTORY)


def _is_long(raw: str, number: int) -> bool:
    if len(raw) <= _MAX_LINE // 4 or len(data := raw.encode()) <= _MAX_LINE:
        return False
    size = _MAX_LINE + 1
    pieces = [raw, *(data[at : at + size].decode(errors="replace") for at in range(0, len(data), size))]
    if any(line is not None for piece in pieces for line in _parse_line(piece, "")):
        raise ValueError(f"line {number} is longer than {_MAX_LINE} bytes")
    return True


def _parse_line(raw: str, place: str) -> tuple[Line | None, Line | None]:
    """Returns what releases up to 1.5 and those from 1.6 on read; most lines are the same to both."""
    text = raw.partition("#")[0].partition("\0")[0].lstrip(_BLANKS)
    words = _split(text, 5)[:6]
    if len(words) > 1 and words[-1] == "":
        words.pop()
    if len(words) < 2:
        return None, None
    old = _make_line(words[:4], place)
    if len(words) <= 4 and _ODD_BLANKS.isdisjoint(text):
        return old, old
    words = [word for word in re.split("[ \t]+", text, maxsplit=3) if word]
    return old, _make_line([*words[:3], *(word.strip(" \t") for word in words[3:])], place)


def _make_line(words: list[str], place: str) -> Line | None:
    if len(words) not in (2, 4) or not consists_of(words[0], _DOMAIN, _MAX_WORD):
        return None
    kind = _lower(words[1])
    if len(words) == 2:
        return Line(words[0], "-", "", None, place) if kind[:1] == "-" else None
    item, value = _lower(words[2]), _lower(words[3])
    if item not in ITEMS or kind not in ("soft", "hard", "-"):
        return None
    number = _parse_value(item, value)
    return None if number is None else Line(words[0], kind, item, None if number < 0 else number, place)


def _lower(word: str) -> str:
    """tolower(3) in the locale C."""
    return word.lower() if word.isascii() else word


def _parse_value(item: str, text: str) -> int | None:
    """Returns a value as setrlimit(2) counts, -1 for open files without a limit, None for what is no value.

    strtoull(3) and strtol(3): the digits that a word begins with count, and what follows them does not.
    """
    if item != "nice" and text in _UNLIMITED_WORDS:
        return -1 if item == "nofile" else UNLIMITED
    match = _NUMBER.match(text.lstrip(_BLANKS))
    if not match:
        return None
    sign, digits = match[0].startswith("-"), match[0].lstrip("+-").lstrip("0")
    # One of more digits is out of the range of either function, as one of 20 may be.
    number = int(digits[:21] or "0")
    if item == "nice":
        return 20 - max(-20, min(19, -number if sign else number))
    number = UNLIMITED if number > UNLIMITED else -number & UNLIMITED if sign else number
    if item == "memlock":
        return UNLIMITED if number >= UNLIMITED // 1024 else number * 1024
    return -1 if item == "nofile" and number == UNLIMITED else number


def _choose(lines: list[Line], who: User) -> dict[tuple[str, str], tuple[int, Line]]:
    """Returns the line that wins for each item's soft and hard limit, with its rank."""
    found: dict[tuple[str, str], tuple[int, Line]] = {}
    for line in lines:
        rank = _rank_domain(line, who)
        if rank is None:
            continue
        if not line.item:
            return {}  # pam_limits does nothing at all for this user
        for kind in ("soft", "hard") if line.kind == "-" else (line.kind,):
            known = found.get((line.item, kind))
            if known is not None and known[0] < rank:
                break  # nor is the hard limit looked at where the soft one is taken
            found[line.item, kind] = (rank, line)
    return found


def _rank_domain(line: Line, who: User) -> int | None:
    """Returns how specific a line's domain is for this user, lowest first; None if it is not meant."""
    domain, root = line.domain, who.uid == 0
    if domain == who.name:
        return 0
    mark = domain[:1] if domain[:1] in ("@", "%") else ""
    span = _parse_range(domain.removeprefix(mark)) if ":" in domain else None
    if ":" in domain and span is None:
        return None
    # Of groups that root is in, and of `%`, nothing counts but ranges, which are then of users.
    if line.item and root:
        mark = ""
    elif mark == "%":
        if line.item:
            return None  # it counts logins
        mark = ""
    if span is None:
        if mark == "@":
            return 1 if domain[1:] in who.groups else None
        return 3 if domain == "*" and line.item and not root else None
    one, least, most = span
    if mark == "@":
        # A range looks at the primary group alone, a single number at all groups.
        numbers = who.gids if one else frozenset({who.gid})
        return 1 if any(least <= number <= most for number in numbers) else None
    return 0 if least <= who.uid <= most else None


def _parse_range(text: str) -> tuple[bool, int, int] | None:
    """Read `MIN:`, `MIN:MAX` or `:ONE`; returns whether it is one number, and the least and the most."""
    low, _, high = text.partition(":")
    if not all(_NUMBER.fullmatch(each) for each in (low, high) if each) or (not low and not high):
        return None
    numbers = [int(each[:60]) for each in (low, high) if each]
    if any(abs(number) > UNLIMITED for number in numbers):
        return None
    least, most = numbers[0] & _MAX_ID, numbers[-1] & _MAX_ID
    return not low, least, most if high else _MAX_ID


def _join(
    item: str, soft: tuple[int, Line] | None, hard: tuple[int, Line] | None, first: Limit | None, nr_open: int | None
) -> Fact[Limit]:
    """Returns a limit as pam_limits sets it: the half that no line sets is that of process 1."""
    place = (soft or hard or (0, Line("", "", "", 0, "")))[1].place
    values: list[int] = []
    for half, inherited in ((soft, first.soft if first else None), (hard, first.hard if first else None)):
        value = inherited if half is None else nr_open if half[1].value is None else half[1].value
        if value is None:
            missing = "/proc/1/limits" if half is None else "/proc/sys/fs/nr_open"
            return make_unreadable(place, f"the half that it leaves out comes from {missing}, which could not be read")
        if half is None and item == "nofile" and not values:  # the soft one
            value = min(value, _INHERITED_NOFILE)
        values.append(value)
    return Fact("value", Limit(min(values), values[1], place), place)


def _reduce_line(raw: str) -> str:
    if _parse_line(raw, "") == (None, None):
        return ""
    text = raw.partition("#")[0].partition("\0")[0]
    match = _WORDS.match(text)
    assert match is not None  # a line that decides has words
    tail, kept = text[match.end() :], text[: match.end()].lstrip(_BLANKS)
    if match[4]:
        number = _NUMBER.match(match[4])
        known = _lower(match[4]) in _UNLIMITED_WORDS
        kept = kept.removesuffix(match[4]) + (match[4] if known or number is None else number[0])
    return re.sub("[ \t]+", " ", kept) + (" ..." if tail.strip(" \t") else "")


def _find_runs(root: Root, service: str) -> Fact[list[str]]:
    """Returns the argument conf= of each run of pam_limits in a service's session, empty where there is none; each file
    that is included is looked at once."""
    runs: list[str] = []
    waiting, seen = [service], {service}
    while waiting:
        path = f"/etc/pam.d/{waiting.pop()}"
        text = root.read(path)
        if text.state == "absent":
            continue
        if text.value is None:
            return make_unreadable(path, text.reason)
        included = []
        for kind, name in _parse_session(text.value):
            if kind == "run":
                runs.append(name)
            elif name not in seen:
                seen.add(name)
                included.append(name)
        waiting += reversed(included)
    return Fact("value", runs, f"/etc/pam.d/{service}")


def _parse_session(text: str) -> Iterator[tuple[Literal["run", "include"], str]]:
    """Yield ("run", CONF) for a line that runs pam_limits in a session, ("include", NAME) for one that includes a
    service. CONF is the argument conf=, empty where there is none."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        session = words[0].lstrip("-").lower() == "session"
        at = next((n for n, word in enumerate(words) if word.endswith("pam_limits.so")), 0)
        if session and at:
            named = [
                word.strip("[]").removeprefix("conf=")
                for word in words[at + 1 :]
                if word.strip("[").startswith("conf=")
            ]
            conf = named[-1] if named else ""
            yield "run", conf if consists_of(conf, f"{NAME}./", 256) else UNINTELLIGIBLE
            continue
        name = ""
        if words[0] == "@include" and len(words) > 1:
            name = words[1]
        elif session and len(words) > 2 and words[1] in ("include", "substack"):
            name = words[2]
        if name and name[0] != "." and consists_of(name, f"{NAME}.", 64):
            yield "include", name
