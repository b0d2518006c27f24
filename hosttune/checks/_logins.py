"""The limits that a login gets: what the lines of limits.conf come to, session by session, and what to do about it."""

from __future__ import annotations

import msgspec

from hosttune.checks._limits import NR_OPEN, Wanted, doubt_files, judge_limit, show_limit
from hosttune.findings import Hop
from hosttune.hops import choose_worst
from hosttune.host import limits, limits_lines, pam, users
from hosttune.host.root import Fact
from hosttune.output import quote_word

OWN_FILE = f"{pam.DIRECTORY}/limits.d/99-hosttune-rt_limits.conf"

# Per service, per grammar: item → limit.
_Resolved = dict[str, list[dict[str, Fact[limits.Limit]]]]


class Logins(msgspec.Struct):
    """What was read of PAM: `first` are the limits of process 1, `nr_open` is fs.nr_open of the next boot.

    `grammars`: those that this system's release of PAM may have.
    """

    sessions: Fact[dict[str, pam.Session]]
    first: Fact[dict[str, limits.Limit]]
    nr_open: int | None
    grammars: tuple[limits_lines.Grammar, ...] = limits_lines.GRAMMARS


def resolve(logins: Logins, who: users.User) -> _Resolved:
    """Returns what a login of a user gets in each session, as each release of PAM reads the files."""
    parsed = {path: limits_lines.parse(text, path) for path, text in pam.list_files(logins.sessions.value or {})}
    return {
        service: [
            pam.resolve(
                [[line for path, _ in run for line in parsed[path][grammar]] for run in session.runs],
                who,
                logins.first.value or {},
                logins.nr_open,
            )
            for grammar in logins.grammars
        ]
        for service, session in (logins.sessions.value or {}).items()
    }


def judge_login(wanted: Wanted, logins: Logins, user: Fact[users.User], resolved: _Resolved) -> Hop:
    """Returns the worst of all sessions."""
    if logins.sessions.value is None:
        return Hop("unknown", logins.sessions.reason, logins.sessions.source)
    if user.state == "unreadable":
        return Hop("unknown", user.reason, user.source)
    without = [service for service, session in logins.sessions.value.items() if not session.runs]
    if without:
        return Hop("bad", f"no pam_limits in the session of {', '.join(without)}", logins.sessions.source)
    hops = [_judge_session(wanted, readings, logins.nr_open) for readings in resolved.values()]
    return choose_worst(hops)


def write_fix(wanted: Wanted, logins: Logins, who: users.User, resolved: _Resolved, nr_open: int | None) -> list[str]:
    """Returns commands, after which a login gets what is wanted once fs.nr_open is `nr_open`."""
    steps: list[str] = []
    amount = wanted.value
    if wanted.item == "memlock" and isinstance(amount, int):
        amount = -(-amount // 1024)  # in whole KiB
    line = f"{wanted.user} - {wanted.item} {amount}"
    for service, session in (logins.sessions.value or {}).items():
        if not session.runs:
            steps.append(f"echo 'session required pam_limits.so' >> /etc/pam.d/{service}")
        for path, text in (file for run in session.runs for file in run):
            exempting = dict.fromkeys(
                each.domain for each in limits_lines.find_exemptions(limits_lines.parse(text, path)["1.5"], who)
            )
            steps += [f"sed -E -i {quote_word(_match_exemption(each))} {quote_word(path)}" for each in exempting]
        readings = resolved[service]
        if session.runs and all(_judge_session(wanted, [each], nr_open).state == "ok" for each in readings):
            continue
        # The last line of the last file wins, since no line goes before one that names the user.
        run = session.runs[-1] if session.runs else []
        path, text = max([*run, *_find_own_file(run)], key=lambda each: ("/limits.d/" in each[0], each[0]))
        if path == OWN_FILE and not any("/limits.d/" in known for known, _ in run):
            steps.append(f"mkdir -p {pam.DIRECTORY}/limits.d")
        command = "echo" if not text or text.endswith("\n") else "printf '\\n%s\\n'"
        steps.append(f"{command} {quote_word(line)} >> {quote_word(path)}")
    return list(dict.fromkeys(steps))


def _find_own_file(run: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns the role's file, which is written where a run reads limits.d: not where conf= names another file."""
    ours = f"{pam.DIRECTORY}/limits.conf"
    return [(OWN_FILE, "")] if not run or any(path == ours or "/limits.d/" in path for path, _ in run) else []


def _match_exemption(domain: str) -> str:
    """Returns what sed deletes the line `DOMAIN -` by: whichever line that is when it runs."""
    name = "".join(letter if letter.isalnum() or letter in "_-" else f"[{letter}]" for letter in domain)
    blank = "[[:space:]]"
    return rf"/^{blank}*{name}{blank}+-[^[:space:]#]*{blank}*(#.*)?$/d"


def _judge_session(wanted: Wanted, readings: list[dict[str, Fact[limits.Limit]]], nr_open: int | None) -> Hop:
    hops = [_judge_reading(wanted, reading.get(wanted.item), nr_open) for reading in readings]
    if len({hop.state for hop in hops}) > 1:
        sources = ", ".join(dict.fromkeys(hop.source for hop in hops if hop.state != "absent"))
        return Hop("unknown", "releases of PAM read this line differently", sources)
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
