"""Resource limits: what PAM gives a login, what systemd gives a service, what a process has.

Sources: limits.conf(5) and the order of precedence in `pam_limits.c`; systemd.exec(5) ("Process
properties"), systemd-system.conf(5); setrlimit(2); proc_pid_limits(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from hosttune.host import dropins
from hosttune.host.forms import DIGITS, NAME, consists_of
from hosttune.host.root import Fact, Root, make_unreadable

UNLIMITED = 2**64 - 1
_UNLIMITED_WORDS = ("-1", "unlimited", "infinity")
# No value has more digits than an unsigned 64-bit number.
_INTEGER = re.compile(r"[-+]?[0-9]{1,20}")
_SIZE = re.compile(r"([0-9]{1,20})([KMGTPE]?)")
# Names of users and groups, as of useradd(8), and those of a Windows domain; lines of passwd(5) and group(5).
_MAX_ACCOUNT = 66
_ACCOUNT = f"{NAME}.@$\\"
_PASSWD_LINE = re.compile(r"^([A-Za-z0-9_.@$\\-]{1,66}):[^:\n]*:([0-9]{1,10}):([0-9]{1,10})(?=:|$)", re.MULTILINE)
_GROUP_LINE = re.compile(r"^([A-Za-z0-9_.@$\\-]{1,66}):[^:\n]*:([0-9]{1,10}):([^:\n]*)", re.MULTILINE)
_MAX_PROC = 1 << 14  # characters of /proc/PID/limits
_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}

#: Resource limits by the name that setrlimit(2) has after RLIMIT_: how /proc/PID/limits begins their line.
PROC_LINES = {
    "cpu": "Max cpu time",
    "fsize": "Max file size",
    "data": "Max data size",
    "stack": "Max stack size",
    "core": "Max core file size",
    "rss": "Max resident set",
    "nproc": "Max processes",
    "nofile": "Max open files",
    "memlock": "Max locked memory",
    "as": "Max address space",
    "sigpending": "Max pending signals",
    "msgqueue": "Max msgqueue size",
    "nice": "Max nice priority",
    "rtprio": "Max realtime priority",
    "rttime": "Max realtime timeout",
}
#: Those that a profile may ask for: the item of limits.conf, and the setting of a systemd unit.
ITEMS = {"memlock": "LimitMEMLOCK", "rtprio": "LimitRTPRIO", "nice": "LimitNICE", "nofile": "LimitNOFILE"}


class Limit(msgspec.Struct, frozen=True):
    """Soft and hard value as setrlimit(2) counts them: bytes, a priority, 20 minus the nice value."""

    soft: int
    hard: int
    source: str = ""


class User(msgspec.Struct, frozen=True):
    """A user of /etc/passwd, and all groups by name and number."""

    name: str
    uid: int
    gid: int
    groups: frozenset[str] = frozenset()
    gids: frozenset[int] = frozenset()


def read_users(root: Root, names: Iterable[str]) -> dict[str, Fact[User]]:
    """Look users up in the local files, each of which is gone through once; one that is not there (a directory service
    may have it) is absent."""
    names = list(names)
    passwd, group = root.read("/etc/passwd"), root.read("/etc/group")
    if passwd.value is None:
        return dict.fromkeys(names, make_unreadable(passwd.source, passwd.reason))
    numbers: dict[str, tuple[int, int]] = {}
    for name, uid, gid in _parse_users(passwd.value):
        if name in names:
            numbers.setdefault(name, (uid, gid))
    groups = list(_parse_groups(group.value or "")) if numbers else []
    found: dict[str, Fact[User]] = {}
    for name in names:
        if name not in numbers:
            found[name] = Fact("absent", None, "/etc/passwd", f"no user {name}")
            continue
        uid, gid = numbers[name]
        own = [(title, number) for title, number, members in groups if number == gid or name in members]
        titles, ids = frozenset(title for title, _ in own), frozenset({gid, *(number for _, number in own)})
        found[name] = Fact("value", User(name, uid, gid, titles, ids), "/etc/passwd")
    return found


def read_pam_files(root: Root) -> Fact[list[tuple[str, str]]]:
    """Returns the files that pam_limits reads, in its order, with their text."""
    main = dropins.read_text(root, "/etc/security/limits.conf")
    fragments = dropins.list_merged(root, ["/etc/security/limits.d"], ".conf")
    facts = [main, *(root.read(path) for path in fragments.value or [])]
    if fragments.state == "unreadable":
        return make_unreadable(fragments.source, fragments.reason)
    for fact in facts:
        if fact.state == "unreadable":
            return make_unreadable(fact.source, fact.reason)
    return Fact(
        "value",
        [(fact.source, fact.value) for fact in facts if fact.value is not None],
        "/etc/security/limits.d",
    )


class PamLine(msgspec.Struct, frozen=True):
    """One line of limits.conf: `item` and `value` are empty where it takes its domain off all limits (`NAME -`)."""

    domain: str
    kind: str
    item: str
    value: str
    place: str


def parse_pam_limits(text: str, path: str) -> list[PamLine]:
    """Returns the lines of one file that can decide a limit which a check asks for; others are as good as comments."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.partition("#")[0].split(None, 4)
        if not fields or not consists_of(fields[0], f"{NAME}@%.:$*\\", 66):
            continue
        place = f"{path}:{number}"
        if len(fields) == 2 and fields[1] == "-":
            lines.append(PamLine(fields[0], "-", "", "", place))
            continue
        domain, kind, item, value = [*fields, "", "", "", ""][:4]
        if item in ITEMS and kind in ("soft", "hard", "-") and _parse_pam_value(item, value) is not None:
            lines.append(PamLine(domain, kind, item, value, place))
    return lines


def resolve_pam_lines(lines: Iterable[PamLine], who: User) -> dict[str, Limit]:
    """Returns the limits that a login of `who` gets, by item; an item that no line sets is inherited and not listed.

    A line for the user beats one for a group, which beats `*`; among equals the later wins. For root
    only lines that name it count.
    """
    found: dict[tuple[str, str], tuple[int, int, str]] = {}
    for line in lines:
        rank = _rank_domain(line.domain, who)
        if rank is None:
            continue
        if not line.item:
            return {}  # "NAME -": pam_limits does nothing for this user
        value = _parse_pam_value(line.item, line.value) or 0
        for kind in ("soft", "hard") if line.kind == "-" else (line.kind,):
            known = found.get((line.item, kind))
            if known is None or rank <= known[0]:
                found[line.item, kind] = (rank, value, line.place)
    return {item: limit for item in ITEMS if (limit := _join_pair(found, item)) is not None}


def read_pam_enabled(root: Root) -> Fact[dict[str, bool]]:
    """Returns, for each service that people log in by, whether pam_limits is part of its session."""
    names = dropins.list_names(root, "/etc/pam.d")
    if names.state == "unreadable":
        return make_unreadable(names.source, names.reason)
    services = [name for name in ("sshd", "login") if name in (names.value or [])]
    enabled: dict[str, bool] = {}
    for service in services:
        fact = _find_pam_limits(root, service)
        if fact.value is None:
            return make_unreadable(fact.source, fact.reason)
        enabled[service] = fact.value
    return Fact("value", enabled, "/etc/pam.d")


def parse_systemd(item: str, text: str, source: str = "") -> Limit:
    """Read a value of LimitMEMLOCK= and the like: `infinity`, `64M`, `SOFT:HARD`, for nice `-20` or `40`.

    Raises ValueError.
    """
    soft, colon, hard = text.partition(":")
    first = _parse_systemd_value(item, soft.strip())
    return Limit(first, _parse_systemd_value(item, hard.strip()) if colon else first, source)


def parse_proc(text: str, source: str = "") -> dict[str, Limit]:
    """Read /proc/PID/limits, by the names of :data:`PROC_LINES`. Raises ValueError."""
    if len(text) > _MAX_PROC:
        raise ValueError(f"{len(text)} characters; the kernel writes fewer than {_MAX_PROC}")
    found: dict[str, Limit] = {}
    for line in text.splitlines():
        for item, start in PROC_LINES.items():
            if line.startswith(start + " "):
                soft, hard = [*line[len(start) :].split(None, 2), "", ""][:2]
                found[item] = Limit(_parse_number(soft), _parse_number(hard), source)
    return found


def show(value: int) -> int | str:
    """Returns a limit as people write it: `unlimited`, or the number."""
    return "unlimited" if value == UNLIMITED else value


def _rank_domain(domain: str, who: User) -> int | None:
    """Returns how specific a line's domain is for this user, lowest first; None if it is not meant."""
    if domain == who.name:
        return 0
    low, colon, high = domain.lstrip("@").partition(":")
    if colon and _is_id(low + high, 20):
        numbers = who.gids if domain.startswith("@") else frozenset({who.uid})
        first = int(low or high)
        last = int(high) if high else UNLIMITED
        # Ranges of groups look at the primary group alone, a single number at all of them.
        if low and domain.startswith("@"):
            numbers = frozenset({who.gid})
        return int(domain.startswith("@")) if any(first <= n <= last for n in numbers) else None
    if who.uid == 0:
        return None
    if domain.startswith("@"):
        return 1 if domain[1:] in who.groups else None
    return 3 if domain == "*" else None


def _parse_pam_value(item: str, text: str) -> int | None:
    if item != "nice" and text in _UNLIMITED_WORDS:
        return UNLIMITED
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    if item == "nice":
        return 20 - max(-20, min(19, number))
    if number < 0:
        return None
    return number * 1024 if item == "memlock" else number


def _join_pair(found: dict[tuple[str, str], tuple[int, int, str]], item: str) -> Limit | None:
    soft, hard = found.get((item, "soft")), found.get((item, "hard"))
    if soft is None or hard is None:
        # Half of a pair leaves the other half to whatever the login service had.
        known = soft or hard
        return Limit(soft[1] if soft else 0, hard[1] if hard else 0, known[2]) if known else None
    return Limit(min(soft[1], hard[1]), hard[1], soft[2])


def _parse_systemd_value(item: str, text: str) -> int:
    if text == "infinity":
        return UNLIMITED
    if item == "nice" and text[:1] in ("+", "-") and _INTEGER.fullmatch(text):
        return 20 - int(text)
    match = _SIZE.fullmatch(text)
    if not match or (match[2] and item != "memlock"):
        raise ValueError(f"{text[:40]!r} is not a limit for {item}")
    return int(match[1]) * _SIZES[match[2]]


def _parse_number(text: str) -> int:
    if text == "unlimited":
        return UNLIMITED
    if not _INTEGER.fullmatch(text):
        raise ValueError("a limit is not a number")
    return int(text)


def _is_id(text: str, most: int = 10) -> bool:
    return text != "" and consists_of(text, DIGITS, most)


def _parse_users(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield name, user and group number of each line of passwd(5) that has them."""
    for match in _PASSWD_LINE.finditer(text):
        yield match[1], int(match[2]), int(match[3])


def _parse_groups(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield name, number and members of each line of group(5) that has them."""
    for match in _GROUP_LINE.finditer(text):
        members = match[3].split(",")
        yield match[1], int(match[2]), [each for each in members if consists_of(each, _ACCOUNT, _MAX_ACCOUNT)]


def _find_pam_limits(root: Root, service: str) -> Fact[bool]:
    """Returns whether a service or a file that it includes has pam_limits; each file is looked at once."""
    waiting, seen = [service], {service}
    while waiting:
        path = f"/etc/pam.d/{waiting.pop()}"
        text = root.read(path)
        if text.state == "absent":
            continue
        if text.value is None:
            return make_unreadable(path, text.reason)
        included = []
        for name, enables in _parse_pam_session(text.value):
            if enables:
                return Fact("value", True, path)
            if name not in seen:
                seen.add(name)
                included.append(name)
        waiting += reversed(included)
    return Fact("value", False, f"/etc/pam.d/{service}")


def _parse_pam_session(text: str) -> Iterator[tuple[str, bool]]:
    """Yield ("", True) for a line that runs pam_limits in a session, (NAME, False) for one that includes a service."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0].lstrip("-") == "session" and any(word.endswith("pam_limits.so") for word in words):
            yield "", True
            continue
        name = ""
        if words[0] == "@include" and len(words) > 1:
            name = words[1]
        elif words[0] == "session" and len(words) > 2 and words[1] in ("include", "substack"):
            name = words[2]
        if name and name[0] != "." and consists_of(name, f"{NAME}.", 64):
            yield name, False


def reduce_users(text: str) -> str:
    """Returns /etc/passwd with names and numbers alone."""
    return "".join(f"{name}:x:{uid}:{gid}\n" for name, uid, gid in _parse_users(text))


def reduce_groups(text: str) -> str:
    """Returns /etc/group with names, numbers and members alone."""
    return "".join(f"{name}:x:{gid}:{','.join(members)}\n" for name, gid, members in _parse_groups(text))


def reduce_pam_limits(text: str) -> str:
    """Returns the lines of limits.conf that can decide a limit which a check asks for, each where it was."""
    kept = [""] * len(text.splitlines())
    for line in parse_pam_limits(text, ""):
        words = (line.domain, line.kind, line.item, line.value)
        kept[int(line.place.rpartition(":")[2]) - 1] = " ".join(word for word in words if word)
    return "".join(f"{line}\n" for line in kept)


def reduce_pam_service(text: str) -> str:
    """Returns what a file of pam.d includes, and whether it runs pam_limits in a session."""
    lines = ("session - pam_limits.so" if enables else f"@include {name}" for name, enables in _parse_pam_session(text))
    return "".join(f"{line}\n" for line in lines)


def reduce_proc(text: str) -> str:
    """Returns the limits of /proc/PID/limits that a check asks for. Raises ValueError."""
    found = parse_proc(text)
    return "".join(
        f"{PROC_LINES[item]} {show(found[item].soft)} {show(found[item].hard)}\n" for item in ITEMS if item in found
    )
