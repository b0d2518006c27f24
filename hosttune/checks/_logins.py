"""The limits that a login gets: what the lines of limits.conf come to, session by session, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from hosttune.checks import _desk
from hosttune.checks._limits import NR_OPEN, Wanted, doubt_files, judge_limit, show_limit
from hosttune.findings import Hop
from hosttune.hops import choose_worst
from hosttune.host import limits, limits_lines, login_shell, pam, pam_lines, sshd, users
from hosttune.host.root import Fact
from hosttune.output import quote_word

_NOT_ONE = "releases of PAM read this line differently, or a directory service (nsswitch.conf) says for whom it is"
#: Per service, per grammar and case: item → limit.
Resolved = dict[str, list[dict[str, Fact[limits.Limit]]]]


class Logins(msgspec.Struct):
    """What was read of PAM: `first` are the limits of process 1, `nr_open` is fs.nr_open of the next boot.

    `shell`: what login shells do then. `grammars`: those that this system's release of PAM may have.
    """

    sessions: Fact[dict[str, pam.Session]]
    first: Fact[dict[str, limits.Limit]]
    nr_open: int | None
    shell: Fact[list[login_shell.Call]] = Fact("value", [])
    grammars: tuple[limits_lines.Grammar, ...] = limits_lines.GRAMMARS


def resolve(logins: Logins, who: users.User) -> Resolved:
    """Returns what a login of a user gets in each session, as each release of PAM reads the files, and in each case of
    what a directory service may know of the user."""
    parsed = {path: limits_lines.parse(text, path) for path, text in pam.list_files(logins.sessions.value or {})}
    known: dict[tuple[tuple[str, ...], ...], list[dict[str, Fact[limits.Limit]]]] = {}  # most sessions read the same
    resolved: Resolved = {}
    for service, session in (logins.sessions.value or {}).items():
        paths = tuple(tuple(path for path, _ in run) for run in session.runs)
        if paths not in known:
            known[paths] = [
                limits_of_case
                for grammar in logins.grammars
                for limits_of_case in pam.resolve(
                    [[line for path in run for line in parsed[path][grammar]] for run in paths],
                    who,
                    logins.first.value or {},
                    logins.nr_open,
                )
            ]
        resolved[service] = known[paths]
    return resolved


def judge_login(wanted: Wanted, logins: Logins, user: Fact[users.User], resolved: Resolved) -> Hop:
    """Returns the worst of all sessions."""
    if logins.sessions.value is None:
        return Hop("unknown", logins.sessions.reason, logins.sessions.source)
    if user.state == "unreadable":
        return Hop("unknown", user.reason, user.source)
    sessions = logins.sessions.value
    off = [session.off for session in sessions.values() if session.off]
    if off:
        return Hop("bad", "sshd opens no PAM session: UsePAM is not yes", off[0])
    without = [service for service, session in sessions.items() if not session.runs and not session.doubt]
    if without:
        return Hop("bad", f"no pam_limits in the session of {', '.join(without)}", logins.sessions.source)
    hops = [
        Hop("unknown", sessions[service].doubt, sessions[service].place)
        if sessions[service].doubt
        else _judge_session(wanted, readings, logins.nr_open)
        for service, readings in resolved.items()
    ]
    given = choose_worst(hops)
    return given if given.state != "ok" else choose_worst([given, *_judge_shells(wanted, logins, resolved)])


def judge_stack(wanted: Wanted, logins: Logins, resolved: Resolved) -> Hop:
    """Returns the hop on what pam_limits makes of a limit in the one session, absent where it leaves what is there.

    Debian's pam_limits gives the limits of process 1 to what no line sets, others nothing: where that is too little,
    nobody knows.
    """
    (readings,) = resolved.values()
    hop = _judge_session(wanted, readings, logins.nr_open)
    if hop.state != "absent":
        return hop
    first = (logins.first.value or {}).get(wanted.item)
    if first is not None and judge_limit(wanted, first).state == "ok":
        return hop
    return Hop("unknown", "no line of limits.conf sets it: pam_limits may give what process 1 has", hop.source)


def _judge_shells(wanted: Wanted, logins: Logins, resolved: Resolved) -> Iterator[Hop]:
    """Yields a hop for each limit that a login shell may make of what is enough."""
    if logins.shell.value is None:
        yield Hop("unknown", f"what a login shell sets: {logins.shell.reason}", logins.shell.source)
        return
    given = {reading[wanted.item].value for readings in resolved.values() for reading in readings}
    for limit in filter(None, given):
        made = login_shell.apply(limit, logins.shell.value, wanted.item)
        if isinstance(made, login_shell.Call):
            yield Hop("unknown", "a login shell sets it in a way that is not understood", made.source)
            continue
        judged = [judge_limit(wanted, each) for each in made]
        bad = next((hop for hop in judged if hop.state == "bad"), None)
        if bad is not None and len({hop.state for hop in judged}) > 1:
            yield Hop("unknown", f"{bad.value}, where a condition of shell holds", bad.source)
        elif bad is not None:
            yield bad


def write_fix(wanted: Wanted, logins: Logins, who: users.User, resolved: Resolved, nr_open: int | None) -> list[str]:
    """Returns commands, after which a login gets what is wanted once fs.nr_open is `nr_open`."""
    steps: list[str] = []
    amount = wanted.value
    if wanted.item == "memlock" and isinstance(amount, int):
        amount = -(-amount // 1024)  # in whole KiB
    line = f"{wanted.user} - {wanted.item} {amount}"
    for service, session in (logins.sessions.value or {}).items():
        if session.off:
            steps.append(f"sed -i '1i UsePAM yes' {sshd.CONFIGURATION}")  # the first value counts
        place = f"{pam_lines.DIRECTORY}/{service}"
        if not session.runs and (session.cut or not session.doubt) and session.place not in ("", place):
            steps.append(f"mkdir -p {pam_lines.DIRECTORY}; cp {session.place} {place}")
        if session.cut and not session.runs:
            steps.append(f"sed -i '1i {pam_lines.LINE}' {place}")
        elif session.doubt:
            continue  # no line can be told to help
        elif not session.runs:
            steps.append(f"echo '{pam_lines.LINE}' >> {place}")
        for path, text in (file for run in session.runs for file in run):
            exempting = dict.fromkeys(
                each.domain for each in limits_lines.find_exemptions(limits_lines.parse(text, path)["1.5"], who)
            )
            steps += [f"sed -E -i {quote_word(_match_exemption(each))} {quote_word(path)}" for each in exempting]
        readings = resolved[service]
        if session.runs and all(_judge_session(wanted, [each], nr_open).state == "ok" for each in readings):
            continue
        run = session.runs[-1] if session.runs else []
        path, text = _choose_file(wanted.item, who, run)
        if path == _desk.LIMITS and not any("/limits.d/" in known for known, _ in run):
            steps.append(f"mkdir -p {pam.DIRECTORY}/limits.d")
        command = "echo" if not text or text.endswith("\n") else "printf '\\n%s\\n'"
        steps.append(f"{command} {quote_word(line)} >> {quote_word(path)}")
    steps += [
        f"sed -i -E {quote_word(login_shell.write_fix(call))} {quote_word(call.source)}"
        for call in logins.shell.value or ()
        if call.item == wanted.item
        and (call.value in (None, "soft") or (isinstance(call.value, int) and call.value < wanted.need))
    ]
    return list(dict.fromkeys(steps))


def _choose_file(item: str, who: users.User, run: list[tuple[str, str]]) -> tuple[str, str]:
    """Returns path and text of the file to add a line to: the desk's, or a later one whose line would win over it.

    The last line for the user alone wins. Where conf= names another file, it is that one.
    """
    if run and not any(path == f"{pam.DIRECTORY}/limits.conf" or "/limits.d/" in path for path, _ in run):
        return run[-1]
    naming = [
        (path, text)
        for path, text in run
        if any(
            rank == 0 and of == item
            for lines in limits_lines.parse(text, path).values()
            for (of, _), (rank, _) in limits_lines.choose([line for line in lines if line.item], who).items()
        )
    ]
    own = (_desk.LIMITS, dict(run).get(_desk.LIMITS, ""))
    return max([*naming, own], key=lambda each: ("/limits.d/" in each[0], each[0]))


def _match_exemption(domain: str) -> str:
    """Returns what sed deletes the line `DOMAIN -` by: whichever line that is when it runs."""
    name = "".join(letter if letter.isalnum() or letter in "_-" else f"[{letter}]" for letter in domain)
    blank = "[[:space:]]"
    return rf"/^{blank}*{name}{blank}+-[^[:space:]#]*{blank}*(#.*)?$/d"


def _judge_session(wanted: Wanted, readings: list[dict[str, Fact[limits.Limit]]], nr_open: int | None) -> Hop:
    hops = [_judge_reading(wanted, reading.get(wanted.item), nr_open) for reading in readings]
    if len({hop.state for hop in hops}) > 1:
        sources = ", ".join(dict.fromkeys(hop.source for hop in hops if hop.state != "absent"))
        return Hop("unknown", _NOT_ONE, sources)
    return hops[0]


def _judge_reading(wanted: Wanted, limit: Fact[limits.Limit] | None, nr_open: int | None) -> Hop:
    if limit is None:
        return Hop("absent", None, f"{pam.DIRECTORY}/limits.conf, limits.d")
    if limit.value is None:
        return Hop("unknown", limit.reason, limit.source)
    if wanted.item == "nofile" and nr_open is not None and limit.value.hard > nr_open:
        shown = show_limit(wanted.item, limit.value)
        return Hop("bad", f"{shown} is above {NR_OPEN}, {nr_open}: the kernel refuses it", limit.source)
    return doubt_files(wanted, judge_limit(wanted, limit.value), nr_open)
