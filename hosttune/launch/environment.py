"""The program's environment: made from scratch, so that nothing of the caller's goes down unasked."""

from __future__ import annotations

from collections.abc import Mapping

from hosttune.launch.plan import User
from hosttune.patterns import late_pattern

#: The program's PATH, unless `--setenv PATH` says otherwise.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The preload library closes the descriptor of this number when the memory is locked.
READY = "HOSTTUNE_READY_FD"

# POSIX.1-2024, Base Definitions, 8.1: names that utilities use.
_NAME = late_pattern(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def parse_variable(text: str, own: Mapping[str, str]) -> tuple[str, str]:
    """Parse `NAME=VALUE`, or `NAME` for the value that it has in `own`.

    Returns name and value. Raises ValueError for another name, and for one that `own` has not.
    """
    name, equals, value = text.partition("=")
    if not _NAME.match(name):
        raise ValueError(f"{text!r} is not NAME=VALUE or NAME with NAME of letters, digits and _, no digit first")
    if equals:
        return name, value
    if name not in own:
        raise ValueError(f"{name} is not set here: give {name}=VALUE, or leave it out")
    return name, own[name]


def build_environment(user: User, variables: Mapping[str, str], library: str | None, ready: int) -> dict[str, str]:
    """Returns the account's variables, those asked for, and what the preload library needs.

    library: its path, before what else LD_PRELOAD was asked to hold; None where no memory is locked. ready: see READY.
    """
    environment = {"PATH": PATH, "HOME": user.home, "USER": user.name, "LOGNAME": user.name, "SHELL": user.shell}
    environment |= variables
    if library is not None:
        others = environment.get("LD_PRELOAD")
        environment |= {"LD_PRELOAD": f"{library}:{others}" if others else library, READY: str(ready)}
    return environment
