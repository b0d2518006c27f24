"""What the files of pam.d say of pam_limits in a session: for the check and for the roles.

Standard library only: the controller's planning of the roles reads files with it.
Sources: pam.d(5), pam_limits(8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from hosttune.host.forms import NAME, UNINTELLIGIBLE, consists_of

DIRECTORY = "/etc/pam.d"
#: Those that people log in by.
SERVICES = ("sshd", "login")


def find_runs(service: str, read: Callable[[str], str | None]) -> list[str]:
    """Returns the argument conf= of each run of pam_limits in a service's session, empty where there is none; each file
    that is included is looked at once. read: from a path to its text, None for what is not there."""
    runs: list[str] = []
    waiting, seen = [service], {service}
    while waiting:
        included = []
        for kind, name in parse_session(read(f"{DIRECTORY}/{waiting.pop()}") or ""):
            if kind == "run":
                runs.append(name)
            elif name not in seen:
                seen.add(name)
                included.append(name)
        waiting += reversed(included)
    return runs


def reduce(text: str) -> str:
    """Returns what a file of pam.d includes, and whether it runs pam_limits in a session."""
    lines = []
    for kind, name in parse_session(text):
        if kind == "include":
            lines.append(f"@include {name}")
        else:
            lines.append("session - pam_limits.so" + (f" conf={name}" if name else ""))
    return "".join(f"{line}\n" for line in lines)


def parse_session(text: str) -> Iterator[tuple[Literal["run", "include"], str]]:
    """Yield ("run", CONF) for a line that runs pam_limits in a session, ("include", NAME) for one that includes a
    service. CONF is the argument conf=, empty where there is none."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        session = words[0].lstrip("-").lower() == "session"
        at = next((n for n, word in enumerate(words) if word.endswith("pam_limits.so")), 0)
        if session and at:
            named = [
                word.strip("[]").removeprefix("conf=")
                for word in words[at + 1 :]
                if word.strip("[").startswith("conf=")
            ]
            conf = named[-1] if named else ""
            yield "run", conf if consists_of(conf, f"{NAME}./", 256) else UNINTELLIGIBLE
            continue
        name = ""
        if words[0] == "@include" and len(words) > 1:
            name = words[1]
        elif session and len(words) > 2 and words[1] in ("include", "substack"):
            name = words[2]
        if name and name[0] != "." and consists_of(name, f"{NAME}.", 64):
            yield "include", name
