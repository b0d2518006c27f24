"""What must not go down to the program: privileges, descriptors, signals, timers, keys, and a place to look from."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection

from hosttune.descriptors import STANDARD
from hosttune.host.process import parse_capabilities
from hosttune.launch import _kernel
from hosttune.launch.account import change_user
from hosttune.launch.plan import User

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def close_descriptors(kept: Collection[int]) -> None:
    """Close every descriptor of this process but 0 to 2 and those in `kept`: these stay in exec. Raises OSError."""
    for number in map(int, os.listdir("/proc/self/fd")):
        if number in STANDARD or number in kept:
            os.set_inheritable(number, True)
        else:
            with contextlib.suppress(OSError):  # the listing's own is closed
                os.close(number)


def promise_capabilities(user: User | None) -> dict[str, int]:
    """Returns the most that each capability set of the program may hold, by its name in proc_pid_status(5).

    For a user that was named: none, in none. Else what exec leaves (capabilities(7), "Transformation of capabilities"):
    for root what the bounding set has; a user without root's id keeps only that bound, which it cannot use.
    """
    bound = 0 if user is not None else _read_capabilities()["CapBnd"]
    held = bound if os.geteuid() == 0 else 0
    return {"CapInh": 0, "CapPrm": held, "CapEff": held, "CapBnd": bound, "CapAmb": 0}


def leave_privileges(user: User | None) -> None:
    """Become the user, if one is named, without a capability in any set; else empty the inheritable and the ambient
    set, and, unless this is root, all but the bounding set. No exec adds a privilege. Raises OSError, ValueError."""
    if user is not None:
        _kernel.empty_bounding_set()
        change_user(user)
    if user is None and os.geteuid() == 0:
        now = _read_capabilities()
        _kernel.set_capabilities(now["CapPrm"], now["CapEff"])
    else:
        _kernel.set_capabilities(0, 0)
    _kernel.set_no_new_privileges()
    allowed = promise_capabilities(user)
    kept = [name for name, mask in _read_capabilities().items() if mask & ~allowed[name]]
    if kept:
        raise ValueError(f"capabilities were kept ({', '.join(kept)})")


def leave_directory() -> str:
    """Enter the working directory by its path, as this user; where that is not allowed, the root directory.

    A program that was started in it could else look around below a directory that is closed to it. Returns why it could
    not be entered, empty if it could. Raises OSError.
    """
    try:
        os.chdir(os.getcwd())
    except OSError as error:
        os.chdir("/")
        return error.strerror or str(error)
    return ""


def leave_keys() -> None:
    """Leave the caller's session keyring, whose keys the program would possess (session-keyring(7)). Raises OSError."""
    _kernel.join_new_session_keyring()


def reset_signals() -> None:
    """Stop timers, give every signal its default action, and block none: exec keeps all that (signal(7))."""
    for timer in _TIMERS:
        signal.setitimer(timer, 0)
    _kernel.reset_signal_actions()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _read_capabilities() -> dict[str, int]:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        return parse_capabilities(status.read())
