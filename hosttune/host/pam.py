"""What a login gets from pam_limits: its files, their grammar, and which of their lines wins.

Sources: limits.conf(5), pam_limits(8), pam.d(5), sshd_config(5); `modules/pam_limits/pam_limits.c` of Linux-PAM, which
has the grammar, and Debian's patches of it: wildcards and groups do not reach root, and what no line sets comes from
process 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from hosttune.host import dropins, pam_lines, sshd
from hosttune.host.forms import NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.limits import Limit
from hosttune.host.limits_lines import GRAMMARS, ITEMS, Grammar, Line, list_possible
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.host.users import User
from hosttune.patterns import late_pattern

DIRECTORY = "/etc/security"
OS_RELEASE = "/etc/os-release"
_RELEASE_LINE = late_pattern(
    r"""^(ID|VERSION_ID)=["']?([a-z]{1,16}|[0-9]{1,4}(?:\.[0-9]{1,4})?)["']?$""", re.MULTILINE | re.ASCII
)
# Soft limit of open files that pam_limits takes from process 1 at most (FD_SETSIZE).
_INHERITED_NOFILE = 1024


class Session(msgspec.Struct, frozen=True):
    """Of a service that people log in by: the files that each run of pam_limits reads, with their text.

    `doubt`: why the runs are not known. `cut`: whether a line at the end of its file may be passed over. `off`: the
    file by which the service opens no PAM session. `place`: the service's own file.
    """

    runs: list[list[tuple[str, str]]]
    doubt: str = ""
    cut: bool = False
    off: str = ""
    place: str = ""


def resolve(
    runs: Iterable[list[Line]], who: User, first: dict[str, Limit], nr_open: int | None
) -> list[dict[str, Fact[Limit]]]:
    """Returns the limits that a login of `who` gets, by item; an item that no line sets is not listed. They are several
    where a directory service may know more of `who`: those of each case that limits_lines.list_possible() has.

    runs: of pam_limits, one after the other. first: the limits of process 1, with which Debian's pam_limits begins.
    A line for the user beats one for a group, which beats `*`; among equals the later wins.
    """
    cases = [list_possible(lines, who) for lines in runs]
    results: list[dict[str, Fact[Limit]]] = []
    for case in range(max(map(len, cases), default=1)):
        result: dict[str, Fact[Limit]] = {}
        for found in (of_run[case if case < len(of_run) else 0] for of_run in cases):
            for item in ITEMS:
                soft, hard = found.get((item, "soft")), found.get((item, "hard"))
                if soft is not None or hard is not None:
                    result[item] = _join(item, soft, hard, first.get(item), nr_open)
        results.append(result)
    return results


def read_grammars(root: Root) -> tuple[Grammar, ...]:
    """Returns the grammar that this system's release of PAM has, all of them where that is not known: of Debian up to
    12, and of Ubuntu up to 24.04, it is 1.5 or older."""
    release = dict(_RELEASE_LINE.findall(root.read(OS_RELEASE).value or ""))
    last = {"debian": 12, "ubuntu": 24}.get(release.get("ID", ""))
    version = release.get("VERSION_ID", "").partition(".")[0]
    if last is None or not version.isdecimal():
        return GRAMMARS
    if int(version) <= last:
        return ("1.5",)
    return ("1.6",) if release["ID"] == "debian" else GRAMMARS


def reduce_release(text: str) -> str:
    """Returns of os-release(5) which system it is, and its version."""
    return "".join(f"{name}={value}\n" for name, value in _RELEASE_LINE.findall(text))


def read_sessions(root: Root) -> Fact[dict[str, Session]]:
    """Returns for each service that people log in by what pam_limits does in its session."""
    known: set[str] = set()
    for directory in pam_lines.DIRECTORIES:
        names = root.list(directory)
        # The second one is read for what the first one lacks.
        if names.state == "unreadable" and not known.issuperset(pam_lines.SERVICES):
            return make_unreadable(names.source, names.reason)
        known.update(names.value or ())
    sessions: dict[str, Session] = {}
    for service in filter(known.__contains__, pam_lines.SERVICES):
        session = read_session(root, service)
        uses = sshd.read_use_pam(root) if service == "sshd" else Fact("absent")
        if session.value is None or uses.state == "unreadable":
            return session.drop_value() if session.value is None else uses.drop_value()
        off = uses.source if uses.value is False else ""
        sessions[service] = msgspec.structs.replace(session.value, off=off)
    if not sessions:  # of other services the files are what can be told
        files = _read_files(root, "")
        if files.value is None:
            return files.drop_value()
        sessions["other"] = Session([files.value])
    return Fact("value", sessions, pam_lines.DIRECTORY)


def list_files(sessions: dict[str, Session]) -> list[tuple[str, str]]:
    """Returns the files of all sessions, each once."""
    return list(dict.fromkeys(file for session in sessions.values() for run in session.runs for file in run))


def _read_files(root: Root, configuration: str) -> Fact[list[tuple[str, str]]]:
    """Returns what one run reads: the file that its argument conf= names, else limits.conf and limits.d, by name in the
    order of their bytes."""
    if configuration and not re.fullmatch(r"/etc/security/[\w.-]+\.conf", configuration, re.ASCII):
        return make_unreadable(
            configuration, "pam_limits has an argument conf= that names it, outside of /etc/security/*.conf"
        )
    paths = [configuration or f"{DIRECTORY}/limits.conf"]
    if not configuration:
        fragments = dropins.list_merged(root, [f"{DIRECTORY}/limits.d"], ".conf")
        if fragments.state == "unreadable":
            return fragments.drop_value()
        paths += fragments.value or []
    return dropins.read_files(root, paths)


def _join(
    item: str, soft: tuple[int, Line] | None, hard: tuple[int, Line] | None, first: Limit | None, nr_open: int | None
) -> Fact[Limit]:
    """Returns a limit as pam_limits sets it: the half that no line sets is that of process 1."""
    place = (soft or hard or (0, Line("", "", "", 0, "")))[1].place
    values: list[int] = []
    for half, inherited in ((soft, first.soft if first else None), (hard, first.hard if first else None)):
        value = inherited if half is None else nr_open if half[1].value is None else half[1].value
        if value is None:
            missing = "/proc/1/limits" if half is None else "/proc/sys/fs/nr_open"
            return make_unreadable(place, f"the half that it leaves out comes from {missing}, which could not be read")
        if half is None and item == "nofile" and not values:  # the soft one
            value = min(value, _INHERITED_NOFILE)
        values.append(value)
    return Fact("value", Limit(min(values), values[1], place), place)


def read_session(root: Root, service: str) -> Fact[Session]:
    """Returns what pam_limits does in a service's session, which is that of `other` where there is no such service."""
    refused: list[Fact[str]] = []

    def read(path: str) -> str | None:
        fact = dropins.read_lasting(root, path)
        if fact.state == "unreadable":
            refused.append(fact)
        return fact.value

    service = service.lower()  # pam_start() in `libpam/pam_start.c`
    if service == UNINTELLIGIBLE or not consists_of(service, f"{NAME}.@", 64):
        return Fact("value", Session([], "the name of its PAM service is not understood", place=pam_lines.DIRECTORY))
    own = pam_lines.find_file(service, read)
    if own is None and service not in pam_lines.SERVICES:
        own, service = pam_lines.find_file("other", read), "other"
        if own is None and not refused:
            return Fact("value", Session([], "there is no such PAM service", place=pam_lines.DIRECTORY))
    source = own[0] if own else f"{pam_lines.DIRECTORY}/{service}"

    def read_longer(path: str) -> str | None:
        text = read(path)
        return f"{text or ''}\n{pam_lines.LINE}\n" if path == source else text

    try:
        found = pam_lines.find_sequences(service, read)
        cut = not all(pam_lines.find_sequences(service, read_longer))
    except ValueError as error:
        return refused[0].drop_value() if refused else Fact("value", Session([], str(error), place=source), source)
    if refused:
        return refused[0].drop_value()
    if len(found) > 1:
        doubt = "a line before pam_limits may jump over it or end the session: whether it does is not known"
        return Fact("value", Session([], doubt, True, place=source), source)
    runs: list[list[tuple[str, str]]] = []
    for configuration in found[0]:
        files = _read_files(root, configuration)
        if files.value is None:
            return files.drop_value()
        runs.append(files.value)
    return Fact("value", Session(runs, "", cut, place=source), source)
