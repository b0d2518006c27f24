"""Resource limits: what PAM gives a login, what systemd gives a service, what a process has.

Sources: limits.conf(5) and the order of precedence in `pam_limits.c`; systemd.exec(5) ("Process
properties"), systemd-system.conf(5); setrlimit(2); proc_pid_limits(5).
"""

from __future__ import annotations

import re

import msgspec

from hosttune.host import dropins
from hosttune.host.root import Fact, Root, make_unreadable

UNLIMITED = 2**64 - 1
_UNLIMITED_WORDS = ("-1", "unlimited", "infinity")
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


def read_user(root: Root, name: str) -> Fact[User]:
    """Look a user up in the local files; absent if it is not there (a directory service may have it)."""
    passwd, group = root.read("/etc/passwd"), root.read("/etc/group")
    if passwd.value is None:
        return make_unreadable(passwd.source, passwd.reason)
    for line in passwd.value.splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 and fields[2].isdigit() and fields[3].isdigit():
            gid = int(fields[3])
            names, gids = _parse_groups(group.value or "", name, gid)
            return Fact("value", User(name, int(fields[2]), gid, names, gids), "/etc/passwd")
    return Fact("absent", None, "/etc/passwd", f"no user {name}")


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


def resolve_pam_limits(files: list[tuple[str, str]], who: User) -> dict[str, Limit]:
    """Returns the limits that a login of `who` gets, by item; an item that no line sets is inherited and not listed.

    A line for the user beats one for a group, which beats `*`; among equals the later wins. For root
    only lines that name it count.
    """
    found: dict[tuple[str, str], tuple[int, int, str]] = {}
    for path, text in files:
        for number, line in enumerate(text.splitlines(), 1):
            fields = line.partition("#")[0].split()
            rank = _rank_domain(fields[0], who) if fields else None
            if rank is None or len(fields) < 2:
                continue
            if len(fields) == 2 and fields[1] == "-":
                return {}  # "NAME -": pam_limits does nothing for this user
            if len(fields) < 4 or fields[2] not in ITEMS or fields[1] not in ("soft", "hard", "-"):
                continue
            value = _parse_pam_value(fields[2], fields[3])
            if value is None:
                continue
            for kind in ("soft", "hard") if fields[1] == "-" else (fields[1],):
                known = found.get((fields[2], kind))
                if known is None or rank <= known[0]:
                    found[fields[2], kind] = (rank, value, f"{path}:{number}")
    return {item: limit for item in ITEMS if (limit := _join_pair(found, item)) is not None}


def read_pam_enabled(root: Root) -> Fact[dict[str, bool]]:
    """Returns, for each service that people log in by, whether pam_limits is part of its session."""
    names = dropins.list_names(root, "/etc/pam.d")
    if names.state == "unreadable":
        return make_unreadable(names.source, names.reason)
    services = [name for name in ("sshd", "login") if name in (names.value or [])]
    enabled: dict[str, bool] = {}
    for service in services:
        fact = _find_pam_limits(root, service, 5)
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
    found: dict[str, Limit] = {}
    for line in text.splitlines():
        for item, start in PROC_LINES.items():
            if line.startswith(start + " "):
                soft, hard = line[len(start) :].split()[:2]
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
    if colon and (low + high).isdigit():
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
    if not re.fullmatch(r"[-+]?\d+", text):
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
    if item == "nice" and text[:1] in ("+", "-"):
        return 20 - int(text)
    match = re.fullmatch(r"(\d+)([KMGTPE]?)", text)
    if not match or (match[2] and item != "memlock"):
        raise ValueError(f"{text!r} is not a limit for {item}")
    return int(match[1]) * _SIZES[match[2]]


def _parse_number(text: str) -> int:
    return UNLIMITED if text == "unlimited" else int(text)


def _parse_groups(text: str, name: str, gid: int) -> tuple[frozenset[str], frozenset[int]]:
    names, gids = set(), {gid}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) < 4 or not fields[2].isdigit():
            continue
        if int(fields[2]) == gid or name in fields[3].split(","):
            names.add(fields[0])
            gids.add(int(fields[2]))
    return frozenset(names), frozenset(gids)


def _find_pam_limits(root: Root, service: str, depth: int) -> Fact[bool]:
    path = f"/etc/pam.d/{service}"
    text = root.read(path)
    if text.state == "absent" or not depth:
        return Fact("value", False, path)
    if text.value is None:
        return make_unreadable(path, text.reason)
    for line in text.value.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0].lstrip("-") == "session" and any(w.endswith("pam_limits.so") for w in words):
            return Fact("value", True, path)
        included = words[1] if words[0] == "@include" else ""
        if words[0] == "session" and len(words) > 2 and words[1] in ("include", "substack"):
            included = words[2]
        if included:
            fact = _find_pam_limits(root, included, depth - 1)
            if fact.value is not False:
                return fact
    return Fact("value", False, path)
