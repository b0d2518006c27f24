"""The user that the program runs as."""

from __future__ import annotations

import os
import pwd

from hosttune.launch.plan import User


def look_up_user(name: str) -> User | None:
    """Return an account of this host with all its groups; None if there is no such account (getpwnam(3))."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = sorted(set(os.getgrouplist(name, entry.pw_gid)))
    return User(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def change_user(user: User) -> None:
    """Change user and groups of this process for good. Raises OSError.

    Groups first: after setresuid(2) the right to change them is gone.
    """
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def find_user_name(uid: int) -> str:
    """Returns the name of a user id, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
