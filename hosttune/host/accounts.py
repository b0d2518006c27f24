"""The users of a host whose limits a profile asks for.

Sources: passwd(5), group(5), nsswitch.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterable

from hosttune.host import users
from hosttune.host.root import NOT_CAPTURED, Fact, Root, make_unreadable
from hosttune.host.users import User


def read_directories(root: Root) -> frozenset[str]:
    """Returns for which of `passwd` and `group` a directory service may know more than the local files; both where that
    cannot be read. Without nsswitch.conf the C library looks into the files alone."""
    text = root.read(users.NSSWITCH)
    if text.state == "unreadable" and text.reason != NOT_CAPTURED:
        return frozenset({"passwd", "group"})
    return users.find_directories(text.value or "")


def read_users(root: Root, names: Iterable[str]) -> dict[str, Fact[User]]:
    """Look users up in the local files, each of which is gone through once; one that is not there (a directory service
    may have it) is absent."""
    names = list(names)
    passwd, group = root.read(users.PASSWD), root.read(users.GROUP)
    if passwd.value is None:
        return dict.fromkeys(names, make_unreadable(passwd.source, passwd.reason))
    found = users.find_users(names, passwd.value, group.value or "")
    return {
        name: Fact("value", found[name], users.PASSWD)
        if name in found
        else Fact("absent", None, users.PASSWD, f"no user {name}")
        for name in names
    }
