"""What a launch was asked to do, validated, as plain data."""

from __future__ import annotations

import os
import re
import resource
from typing import Literal

import msgspec

from hosttune.launch import RUN_DIRECTORY

Policy = Literal["other", "fifo", "rr"]

UNLIMITED = resource.RLIM_INFINITY
RLIMITS: dict[str, int] = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
}
#: The program's umask(2): nobody but its user writes, and nobody but its group reads, what it makes.
UMASK = 0o027
# What setrlimit(2) takes of a signed number.
_MOST = (1 << 63) - 1
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class User(msgspec.Struct, frozen=True):
    """An account of this host; `groups` are all its group ids, its own included."""

    name: str
    uid: int
    gid: int
    groups: list[int]
    home: str
    shell: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A launch. `cpus` is None where none were named; `user` is None to stay who one is.

    `rlimits` maps names of :data:`RLIMITS` to (soft, hard), -1 for unlimited; `variables` are those that were asked
    for, beyond the account's own; `umask` is the program's.
    """

    command: list[str]
    policy: Policy = "other"
    priority: int = 0
    nice: int = 0
    cpus: frozenset[int] | None = None
    user: User | None = None
    lock_memory: bool = True
    busy_poll: bool = True
    rlimits: dict[str, tuple[int, int]] = {}
    variables: dict[str, str] = {}
    umask: int = UMASK
    run_directory: str = RUN_DIRECTORY

    @property
    def changes_user(self) -> bool:
        """Whether the program is another user's than this process (its effective user id)."""
        return self.user is not None and self.user.uid != os.geteuid()

    @property
    def realtime(self) -> bool:
        return self.policy != "other"

    @property
    def default_rlimits(self) -> dict[str, tuple[int, int]]:
        """Limits that the plan needs whether or not they were named; named ones win.

        RLIMIT_RTTIME ends a real-time process that does not block for so long (setrlimit(2)).
        """
        return {"rttime": (UNLIMITED, UNLIMITED)} if self.realtime else {}


def parse_rlimit(text: str) -> tuple[str, tuple[int, int]]:
    """Parse `NAME=VALUE` or `NAME=SOFT:HARD`; raises ValueError that says what is allowed."""
    name, equals, value = text.partition("=")
    if not equals or name not in RLIMITS:
        raise ValueError(f"{text!r} is not NAME=VALUE with NAME one of {', '.join(RLIMITS)}")
    soft_text, colon, hard_text = value.partition(":")
    soft = _parse_amount(soft_text, text)
    hard = _parse_amount(hard_text, text) if colon else soft
    if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
        raise ValueError(f"{text!r}: the soft limit is above the hard limit")
    return name, (soft, hard)


def _parse_amount(text: str, whole: str) -> int:
    if text in ("unlimited", "infinity"):
        return UNLIMITED
    factor = _SUFFIXES.get(text[-1:].upper(), 1)
    digits = text[:-1] if factor > 1 else text
    if not digits.isascii() or not digits.isdigit():
        raise ValueError(f"{whole!r}: {text!r} is not a number (suffix K, M or G) or `unlimited`")
    if len(digits) > len(str(_MOST)) or int(digits) * factor > _MOST:
        raise ValueError(f"{whole!r}: {text!r} is more than {_MOST}; without a limit it is `unlimited`")
    return int(digits) * factor


def parse_umask(text: str) -> int:
    """Parse a umask(2) in octal; raises ValueError that says what is allowed."""
    if not re.fullmatch(r"[0-7]{1,4}", text) or int(text, 8) > 0o777:
        raise ValueError(f"--umask {text}: wanted 0000 to 0777, in octal")
    return int(text, 8)


def show_amount(amount: int) -> str:
    """Returns a limit as `--rlimit` takes it: `unlimited`, or the number."""
    return "unlimited" if amount == UNLIMITED else str(amount)
