"""The user that the program runs as."""

from __future__ import annotations

import os
import pwd

from hosttune.launch.plan import User

_NO_SHELL = "/bin/sh"


def look_up_user(name: str) -> User | None:
    """Return an account of this host with all its groups; None if there is no such account (getpwnam(3))."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = sorted(set(os.getgrouplist(name, entry.pw_gid)))
    return User(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/", entry.pw_shell or _NO_SHELL)


def find_own_user() -> User:
    """Returns the user that this process is (its effective ids), by number where the host has no such account."""
    uid, gid, groups = os.geteuid(), os.getegid(), sorted(set(os.getgroups()))
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(str(uid), uid, gid, groups, "/", _NO_SHELL)
    return User(entry.pw_name, uid, gid, groups, entry.pw_dir or "/", entry.pw_shell or _NO_SHELL)


def change_user(user: User) -> None:
    """Change user and groups of this process for good. Raises OSError.

    Groups first: after setresuid(2) the right to change them is gone.
    """
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
