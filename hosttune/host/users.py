"""Users and groups of the local files: for the check and for the roles.

Standard library only: the controller's planning of the roles looks users up with it.
Sources: passwd(5), group(5), nsswitch.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from hosttune.host.forms import NAME, consists_of
from hosttune.patterns import late_pattern

PASSWD, GROUP = "/etc/passwd", "/etc/group"
NSSWITCH = "/etc/nsswitch.conf"
# Sources that have no users and groups of people beside those of the local files.
_LOCAL = frozenset({"files", "compat", "systemd", "mymachines"})
_DATABASE = late_pattern(r"^[ \t]*(passwd|group|initgroups)[ \t]*:([^#\n]*)", re.MULTILINE)
_ACTION = late_pattern(r"\[[^\]\n]*\]?")
_KINDS = {"passwd": "passwd", "group": "group", "initgroups": "group"}
# Names of users and groups, as of useradd(8), and those of a Windows domain; lines of passwd(5) and group(5).
_MAX_ACCOUNT = 66
_ACCOUNT = f"{NAME}.@$\\"
_PASSWD_LINE = late_pattern(r"^([A-Za-z0-9_.@$\\-]{1,66}):[^:\n]*:([0-9]{1,10}):([0-9]{1,10})(?=:|$)", re.MULTILINE)
_GROUP_LINE = late_pattern(r"^([A-Za-z0-9_.@$\\-]{1,66}):[^:\n]*:([0-9]{1,10}):([^:\n]*)", re.MULTILINE)


class User(NamedTuple):
    """A user of /etc/passwd, and all groups by name and number. `directory`: of what a directory service may know more:
    `group`, the groups; `passwd`, the user's numbers, who is not in /etc/passwd."""

    name: str
    uid: int
    gid: int
    groups: frozenset[str] = frozenset()
    gids: frozenset[int] = frozenset()
    directory: frozenset[str] = frozenset()


def find_users(names: Collection[str], passwd: str, group: str) -> dict[str, User]:
    """Returns those of the users that the text of passwd(5) has, each of whose first line counts."""
    numbers: dict[str, tuple[int, int]] = {}
    for name, uid, gid in _PASSWD_LINE.findall(passwd):
        if name in names:
            numbers.setdefault(name, (int(uid), int(gid)))
    groups = list(_parse_groups(group)) if numbers else []
    found: dict[str, User] = {}
    for name, (uid, gid) in numbers.items():
        own = [(title, number) for title, number, members in groups if number == gid or name in members]
        titles, ids = frozenset(title for title, _ in own), frozenset({gid, *(number for _, number in own)})
        found[name] = User(name, uid, gid, titles, ids)
    return found


def find_directories(nsswitch: str) -> frozenset[str]:
    """Returns for which of `passwd` and `group` the text of nsswitch.conf(5) names others than the local files."""
    return frozenset(
        _KINDS[database]
        for database, sources in _DATABASE.findall(nsswitch)
        if not _LOCAL.issuperset(_ACTION.sub(" ", sources).split())
    )


def reduce_nsswitch(text: str) -> str:
    """Returns for which of `passwd` and `group` there are others than the local files."""
    return "".join(f"{kind}: files other\n" for kind in sorted(find_directories(text)))


def reduce_passwd(text: str) -> str:
    """Returns /etc/passwd with names and numbers alone."""
    return "".join([f"{name}:x:{int(uid)}:{int(gid)}\n" for name, uid, gid in _PASSWD_LINE.findall(text)])


def reduce_group(text: str) -> str:
    """Returns /etc/group with names, numbers and members alone."""
    return "".join(f"{name}:x:{gid}:{','.join(members)}\n" for name, gid, members in _parse_groups(text))


def _parse_groups(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield name, number and members of each line of group(5) that has them."""
    for match in _GROUP_LINE.finditer(text):
        members = match[3].split(",")
        # All at once: a group may have a hundred thousand.
        if not consists_of(match[3], f"{_ACCOUNT},", len(text)) or len(max(members, key=len)) > _MAX_ACCOUNT:
            members = [each for each in members if consists_of(each, _ACCOUNT, _MAX_ACCOUNT)]
        yield match[1], int(match[2]), members
