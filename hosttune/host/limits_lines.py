"""The lines of limits.conf(5), and which of them counts for a user: for the check and for the roles.

Standard library only: the controller's planning of the roles reads files with it.
Sources: limits.conf(5); `modules/pam_limits/pam_limits.c` of Linux-PAM, which has the grammar, and Debian's patches of
it: wildcards and groups do not reach root.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from hosttune.host.forms import NAME, consists_of
from hosttune.host.users import User
from hosttune.patterns import late_pattern

UNLIMITED = 2**64 - 1
#: Those that a profile may ask for: the item of limits.conf, and the setting of a systemd unit.
ITEMS = {"memlock": "LimitMEMLOCK", "rtprio": "LimitRTPRIO", "nice": "LimitNICE", "nofile": "LimitNOFILE"}
#: How a line is split into words: up to 1.5 as scanf does, of which the fifth does not count; from 1.6 on at blanks and
#: tabs, and all that is left is the value.
Grammar = Literal["1.5", "1.6"]
GRAMMARS: tuple[Grammar, ...] = ("1.5", "1.6")

# Characters that isspace(3) takes for blanks.
_BLANKS = " \t\n\v\f\r"
_WORDS = late_pattern(rf"[{_BLANKS}]*([^{_BLANKS}]+)(?:[{_BLANKS}]+([^{_BLANKS}]+))?"
                    rf"(?:[{_BLANKS}]+([^{_BLANKS}]+)[{_BLANKS}]+([^{_BLANKS}]+))?")  # fmt: skip
_SEPARATOR = late_pattern(f"[{_BLANKS}]+")
_ODD_BLANKS = frozenset("\v\f\r")
_NUMBER = late_pattern(r"[-+]?[0-9]+")
_UNLIMITED_WORDS = ("-1", "-", "unlimited", "infinity")
# Up to 1.5 a line is read in pieces of so many bytes.
_MAX_LINE = 1022
_MAX_WORD = 66
_DOMAIN = f"{NAME}@%.:$*\\+"
# A uid_t.
_MAX_ID = 2**32 - 1
# The hard limit of open files that systemd begins with: services raise theirs up to it.
_SYSTEMD_NOFILE = 524288


class Line(NamedTuple):
    """One line that can decide a limit: `item` and `value` are empty where it takes its domain off all limits
    (`NAME -`). `value` is as setrlimit(2) counts; None for open files without a limit, which fs.nr_open then gives."""

    domain: str
    kind: str
    item: str
    value: int | None
    place: str


def write_systemd(item: str, value: int | str) -> str:
    """Returns the value of LimitX= and DefaultLimitX= that gives at least a limit.

    systemd takes a nice value without a sign for the kernel's own number of the limit, 20 less the value.
    """
    if value == "unlimited":
        return "infinity"
    if item == "nofile":
        return f"{value}:{max(int(value), _SYSTEMD_NOFILE)}"
    return f"{int(value):+d}" if item == "nice" else str(value)


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


def find_exemptions(lines: Iterable[Line], who: User) -> list[Line]:
    """Returns the lines `NAME -` that take this user off all limits."""
    return [line for line in lines if not line.item and _rank_domain(line, who) is not None]


def _is_long(raw: str, number: int) -> bool:
    if len(raw) <= _MAX_LINE // 4 or len(data := raw.encode(errors="surrogatepass")) <= _MAX_LINE:
        return False
    size = _MAX_LINE + 1
    pieces = [raw, *(data[at : at + size].decode(errors="replace") for at in range(0, len(data), size))]
    if any(line is not None for piece in pieces for line in _parse_line(piece, "")):
        raise ValueError(f"line {number} is longer than {_MAX_LINE} bytes")
    return True


def _parse_line(raw: str, place: str) -> tuple[Line | None, Line | None]:
    """Returns what releases up to 1.5 and those from 1.6 on read; most lines are the same to both."""
    text = raw.partition("#")[0].partition("\0")[0].lstrip(_BLANKS)
    words = _SEPARATOR.split(text, 5)[:6]
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


def choose(lines: list[Line], who: User) -> dict[tuple[str, str], tuple[int, Line]]:
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


def list_possible(lines: list[Line], who: User) -> list[dict[tuple[str, str], tuple[int, Line]]]:
    """Returns what choose() may return where a directory service may know more of a user: without that, with the least
    and with the most that lines for what it knows may give, and with nothing at all if one of them may do that."""
    found = choose(lines, who)
    if not who.directory:
        return [found]
    low, high = dict(found), dict(found)
    exempt = False
    for line in lines:
        rank = _rank_by_directory(line, who)
        if rank is None:
            continue
        exempt = exempt or not line.item
        for kind in ("soft", "hard") if line.kind == "-" else (line.kind,):
            at = (line.item, kind)
            if line.item and not (at in found and found[at][0] < rank):
                low[at] = min(low.get(at, (rank, line)), (rank, line), key=_measure)
                high[at] = max(high.get(at, (rank, line)), (rank, line), key=_measure)
    return [found, low, high, *([{}] if exempt else [])]


def _measure(chosen: tuple[int, Line]) -> int:
    return UNLIMITED if chosen[1].value is None else chosen[1].value


def _rank_by_directory(line: Line, who: User) -> int | None:
    """Returns the rank of a line that is not for what is known of a user, and for what a directory service may know."""
    domain = line.domain
    is_group, is_range = domain[:1] == "@", ":" in domain
    if not (is_group or is_range):
        return None
    if _rank_domain(line, who) is not None or (is_group and line.item and who.uid == 0):
        return None
    span = _parse_range(domain.removeprefix("@")) if is_range else None
    if is_range and span is None:
        return None
    # The primary group, and what is of the user alone, are those of /etc/passwd.
    needed = "group" if is_group and (span is None or span[0]) else "passwd"
    return (1 if is_group else 0) if needed in who.directory else None


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


def reduce(text: str) -> str:
    """Returns the lines of limits.conf that can decide a limit which a check asks for, each where it was: words alone,
    and of what may follow them only that something does. Raises ValueError as parse()."""
    lines = enumerate(text.split("\n"), 1)
    return "\n".join(_reduce_line(raw) if raw and not _is_long(raw, number) else "" for number, raw in lines)


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
