"""Resource limits for real-time users: memory locking, real-time priority, nice, open files.

A user gets limits by one of two ways that know nothing of each other, and both have to be right: a login
(PAM, limits.conf) and a systemd service (LimitX= of the unit, else DefaultLimitX=).

Sources: setrlimit(2), limits.conf(5), pam_limits(8), systemd.exec(5), systemd-system.conf(5), sched(7).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from hosttune.checks import _limits, _logins, _services, _sysctl
from hosttune.findings import Finding, Hop, HopName, Status, judge_hops
from hosttune.hops import build_finding
from hosttune.host import (
    accounts,
    cpulist,
    fair_server,
    globs,
    limits,
    limits_lines,
    login_shell,
    pam,
    process,
    sysctl,
    systemd,
    users,
)
from hosttune.host.root import Fact, Root
from hosttune.output import quote_word
from hosttune.refusals import KeyRefused

RT_RUNTIME = "kernel.sched_rt_runtime_us"
_SHOWN = 5
_PROCESSES = "/proc/PID/limits"

_WHY = {
    "memlock": "mlockall fails, and a page fault stops the trading thread when memory is tight",
    "rtprio": "the trading thread cannot get its real-time priority, and any other task may take its CPU",
    "nice": "the thread cannot raise its priority among ordinary tasks",
    "nofile": "the process runs out of file descriptors for its sessions",
}


class UserLimits(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Limits of one user, soft and hard alike; what is left out is not checked.

    `memlock` in bytes or `unlimited`, `rtprio` 0 to 99, `nice` -20 to 19 (the best value the user may
    take), `nofile` a number of descriptors.
    """

    memlock: int | Literal["unlimited"] | None = None
    rtprio: int | None = None
    nice: int | None = None
    nofile: int | None = None

    def __post_init__(self) -> None:
        for key, low, high in (("rtprio", 0, 99), ("nice", -20, 19), ("nofile", 1, 2**31 - 1)):
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{key}: {value} is not between {low} and {high}")
        if isinstance(self.memlock, int) and self.memlock < 0:
            raise ValueError(f"memlock: {self.memlock} is neither a number of bytes nor unlimited")


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What the profile may ask for: limits by user name, and the sysctl that throttles real-time tasks."""

    users: dict[str, UserLimits] = {}
    sched_rt_runtime_us: int | None = None

    def __post_init__(self) -> None:
        value = self.sched_rt_runtime_us
        if value is not None and not -1 <= value <= 2**31 - 1:
            raise ValueError(f"sched_rt_runtime_us: {value} is neither -1 (no limit) nor microseconds")
        for name in self.users:
            if not name or set(name) & set(":/ \t@*%"):
                raise KeyRefused(("users", name), f"users: {name!r} is not a user name")


class Known(NamedTuple):
    """A user, and what pam_limits makes of the files for the user: in logins, and in the sessions of services, by their
    PAM service."""

    who: users.User
    logins: _logins.Resolved
    stacks: dict[str, tuple[_logins.Logins, _logins.Resolved]]


class Facts(msgspec.Struct):
    """What was read; `processes` maps a user name to the limits of each of its processes by PID, `stacks` the PAM
    services of systemd's services to what their sessions do."""

    users: dict[str, Fact[users.User]]
    directories: frozenset[str]
    logins: _logins.Logins
    stacks: dict[str, Fact[pam.Session]]
    services: _services.Services
    services_now: _services.Services
    processes: dict[str, dict[int, Fact[dict[str, limits.Limit]]]]
    hidden: str
    sysctls: sysctl.Sysctls | None
    fair_server: fair_server.FairServer


def facts(root: Root, wanted: Section) -> Facts:
    """Read what PAM and systemd give each user, what the user's processes have, and the real-time budget."""
    users = accounts.read_users(root, wanted.users)
    tasks = process.read_tasks(root, threads=False) if wanted.users else process.Tasks([])
    nr_open, coming = _limits.find_nr_open(sysctl.read(root, [_limits.NR_OPEN]))
    services = _services.Services(systemd.read_manager(root), systemd.read_services(root), coming)
    named = sorted({_services.find_session(unit) for unit in services.units.value or ()} - {""})
    return Facts(
        users=users,
        directories=accounts.read_directories(root),
        stacks={name: pam.read_session(root, name) for name in named},
        logins=_logins.Logins(
            pam.read_sessions(root),
            root.read("/proc/1/limits").map(limits.parse_proc),
            coming,
            login_shell.read(root),
            pam.read_grammars(root),
        ),
        services=services,
        services_now=_services.Services(
            systemd.read_manager(root, now=True),
            systemd.read_services(root, now=True),
            limits_lines.UNLIMITED if nr_open is None else nr_open,
        ),
        processes={
            name: {
                task.pid: root.read(f"/proc/{task.pid}/limits").map(limits.parse_proc)
                for task in tasks.seen
                if user.value is not None and task.uid == user.value.uid and not task.kernel
            }
            for name, user in users.items()
        },
        hidden=tasks.missing,
        sysctls=None if wanted.sched_rt_runtime_us is None else sysctl.read(root, [RT_RUNTIME]),
        fair_server=fair_server.read(root),
    )


def sweep(root: Root) -> None:
    """Read what another profile could ask for, so that a snapshot holds it."""
    globs.read(root, "/proc/[0-9]*/limits", f"{fair_server.DIRECTORY}/cpu[0-9]*/runtime")


def check(wanted: Section, facts: Facts, observed: None) -> list[Finding]:
    """Returns one finding for each limit of each user, and on what stops real-time threads."""
    findings = []
    for name, user in wanted.users.items():
        known = _resolve_user(facts, name)
        findings += [
            _check_limit(_limits.make_wanted(name, item, value), facts, known)
            for item in limits_lines.ITEMS
            if (value := getattr(user, item)) is not None
        ]
    if facts.sysctls is not None and wanted.sched_rt_runtime_us is not None:
        findings.append(_check_rt_runtime(wanted.sched_rt_runtime_us, facts.sysctls))
    real_time = any(user.rtprio for user in wanted.users.values()) or wanted.sched_rt_runtime_us is not None
    if real_time and (server := _check_fair_server(facts.fair_server)) is not None:
        findings.append(server)
    return findings


def _find_who(facts: Facts, name: str) -> users.User:
    """Returns a user; of one of no local file the name, and that a directory service may know more."""
    who = facts.users[name].value
    if who is None:
        return users.User(name, -1, -1, directory=facts.directories)
    return who._replace(directory=facts.directories - {"passwd"})


def _resolve_user(facts: Facts, name: str) -> Known:
    who = _find_who(facts, name)
    stacks = {}
    for service in _list_sessions(facts, who):
        session = facts.stacks.get(service)
        if session is not None and session.value is not None and session.value.runs and not session.value.doubt:
            alone = msgspec.structs.replace(session, value={service: session.value})
            inner = msgspec.structs.replace(facts.logins, sessions=alone)
            stacks[service] = (inner, _logins.resolve(inner, who))
    return Known(who, _logins.resolve(facts.logins, who), stacks)


def _list_sessions(facts: Facts, who: users.User) -> list[str]:
    return _services.list_sessions(facts.services, who.name, who.uid if who.uid >= 0 else None)


def _check_limit(wanted: _limits.Wanted, facts: Facts, known: Known) -> Finding:
    name, item = wanted.user, wanted.item
    user = facts.users[name]
    uid = user.value.uid if user.value is not None else None
    inner = _judge_stacks(wanted, facts, known)
    ways = {
        "login": _logins.judge_login(wanted, facts.logins, user, known.logins),
        "service": _services.judge_service(wanted, facts.services, uid, inner),
    }
    hops: dict[HopName, Hop] = {"persisted": _join_ways(ways)}
    hops["runtime"] = _judge_running(wanted, facts)
    if hops["runtime"].state == "na":
        # What /run says until the next boot, the next start of the service gets.
        now = _services.judge_service(wanted, facts.services_now, uid, inner)
        if now.state != ways["service"].state:
            hops["runtime"] = now
    # No process of this user yet is the normal state of a fresh host: the files decide then.
    judged = {key: each for key, each in hops.items() if each.state != "na"}
    required: tuple[HopName, ...] = ("persisted", "runtime") if "runtime" in judged else ("persisted",)
    status = judge_hops(judged, required=required)
    if status == "pass" and hops["persisted"].state != "ok":
        status = "fail"  # there is no runtime hop that would say so
    why, fix = _WHY[item], _write_fix(wanted, facts, ways, hops["runtime"], known, inner)
    if status == "pass" and user.state == "absent":
        status = "warn"
        why = f"no user {name} in /etc/passwd: unless a directory service has it, the limits serve nobody"
        fix = f"useradd {quote_word(name)}, or correct the name in the profile"
        if "passwd" in facts.directories:
            fix = f"getent passwd {quote_word(name)}  # if no directory service has it, correct the name in the profile"
    return build_finding(f"rt_limits.{name}.{item}", wanted.value, hops, why=why, fix=fix, status=status)


def _judge_stacks(wanted: _limits.Wanted, facts: Facts, known: Known) -> dict[str, Hop]:
    """Returns what pam_limits makes of a limit of a service, by the name of its PAM service; absent for nothing."""
    found: dict[str, Hop] = {}
    for name in _list_sessions(facts, known.who):
        session = facts.stacks.get(name, Fact[pam.Session]("unreadable", None, name, "not read"))
        if session.value is None:
            found[name] = Hop("unknown", session.reason, session.source)
        elif name not in known.stacks:
            found[name] = Hop("unknown" if session.value.doubt else "absent", session.value.doubt, session.value.place)
        else:
            found[name] = _logins.judge_stack(wanted, *known.stacks[name])
    return found


def _judge_running(wanted: _limits.Wanted, facts: Facts) -> Hop:
    name, item, source = wanted.user, wanted.item, _PROCESSES
    if facts.users[name].state == "unreadable":
        return Hop("unknown", facts.users[name].reason, source)
    processes = facts.processes[name]
    # Another PID namespace hides kernel threads, and those are nobody's.
    hidden = facts.hidden if "kernel threads" not in facts.hidden else ""
    if not processes:
        return Hop("unknown", hidden, source) if hidden else Hop("na", f"no process of {name} is running", source)
    judged = {
        pid: _limits.judge_limit(wanted, fact.value[item])
        for pid, fact in processes.items()
        if fact.value is not None and item in fact.value
    }
    bad = {f"PID {pid}": hop.value for pid, hop in judged.items() if hop.state == "bad"}
    if bad:
        more = len(bad) - _SHOWN
        shown = dict(list(bad.items())[:_SHOWN]) | ({"and": f"{more} more"} if more > 0 else {})
        return Hop("bad", shown, source)
    ended = [pid for pid, fact in processes.items() if fact.state == "absent"]
    unread = [fact.reason for pid, fact in processes.items() if pid not in judged and pid not in ended]
    if unread or not judged:
        return Hop("unknown", unread[0] if unread else "its processes ended while they were read", source)
    if hidden:
        return Hop("unknown", hidden, source)
    return Hop("ok", next(iter(judged.values())).value, f"{source} of {len(judged)} processes")


def _join_ways(ways: dict[str, Hop]) -> Hop:
    states = [way.state for way in ways.values()]
    state: Literal["ok", "bad", "absent", "unknown"] = "ok"
    if set(states) == {"absent"}:
        state = "absent"
    elif "bad" in states or "absent" in states:
        state = "bad"
    elif "unknown" in states:
        state = "unknown"
    value = {key: "not set" if way.state == "absent" else way.value for key, way in ways.items()}
    return Hop(state, value, "; ".join(f"{key}: {way.source}" for key, way in ways.items()))


def _write_fix(
    wanted: _limits.Wanted, facts: Facts, ways: dict[str, Hop], running: Hop, known: Known, inner: dict[str, Hop]
) -> str:
    user = facts.users[wanted.user].value
    steps = _limits.raise_nr_open(wanted, facts.services_now.nr_open, facts.services.nr_open)
    nr_open = wanted.need if steps else facts.services.nr_open
    if ways["login"].state != "ok":
        steps += _logins.write_fix(wanted, facts.logins, known.who, known.logins, nr_open)
    if ways["service"].state != "ok":
        steps += _services.write_fix(wanted, facts.services, user.uid if user is not None else None, nr_open)
        for name, (logins, resolved) in known.stacks.items():
            if inner[name].state == "bad":
                lines = _logins.write_fix(wanted, logins, known.who, resolved, nr_open)
                steps += [line for line in lines if line not in steps]
    if running.state == "bad" and running.source.startswith("/run/"):
        steps.append(f"rm {quote_word(running.source)}\nsystemctl daemon-reload")
    elif running.state == "bad" and running.source == _PROCESSES:
        steps.append(_write_running_fix(wanted, facts))
    return "\n".join(steps)


def _write_running_fix(wanted: _limits.Wanted, facts: Facts) -> str:
    """Returns the command that gives each process the limit that it lacks (prlimit(1))."""
    limited = [
        str(pid)
        for pid, fact in facts.processes[wanted.user].items()
        if fact.value is not None
        and wanted.item in fact.value
        and _limits.judge_limit(wanted, fact.value[wanted.item]).state == "bad"
    ]
    need = "unlimited" if wanted.need == limits_lines.UNLIMITED else wanted.need
    return (
        f"for pid in {' '.join(limited)}; do prlimit --pid $pid --{wanted.item}={need}:{need}; done\n"
        "# A program takes its limits over when it is started: one that was refused something asks again only then."
    )


def _check_rt_runtime(wanted: int, facts: sysctl.Sysctls) -> Finding:
    return _sysctl.check_key(
        "rt_limits.sched_rt_runtime_us",
        RT_RUNTIME,
        wanted,
        facts,
        why="a real-time thread that spins is stopped for the rest of every period: by default 50 ms in 1 s",
    )


def _check_fair_server(server: fair_server.FairServer) -> Finding | None:
    """A note on what real-time priority is worth from Linux 6.12 on; the profile cannot ask for it."""
    id, wanted = "rt_limits.fair_server", "0 on isolated CPUs"
    if server.kernel.value is None:
        why = "without the kernel's release it is not known whether ordinary tasks are promised a share"
        hops: dict[HopName, Hop] = {"runtime": Hop("unknown", server.kernel.reason, server.kernel.source)}
        return build_finding(id, wanted, hops, why=why, fix="read /proc/sys/kernel/osrelease too")
    if server.kernel.value < fair_server.SINCE:
        return None
    why = (
        "where an ordinary task waits, the fair server gives it up to 50 ms of every second before any "
        "real-time thread, whatever kernel.sched_rt_runtime_us says"
    )
    source = f"{fair_server.DIRECTORY}/cpuN/runtime"
    read = {number: fact.value for number, fact in server.runtimes.items() if fact.value is not None}
    on = sorted(set(server.runtimes) - {number for number, value in read.items() if value == 0})
    fix = (
        f"for cpu in {' '.join(map(str, on))}; do echo 0 > {fair_server.DIRECTORY}/cpu$cpu/runtime; done\n"
        f'# at each boot: rt_limits_fair_server_off: "{cpulist.show(frozenset(on))}" of the role rt_limits'
        if on
        else "isolate CPUs (cpu_isolation), and set rt_limits_fair_server_off of the role rt_limits"
    )
    if on and any(server.runtimes[cpu].state == "absent" for cpu in on):
        fix = f"mount -t debugfs none /sys/kernel/debug\n{fix}"
    status: Status = "warn"
    if not read:
        reason = next((fact.reason for fact in server.runtimes.values()), "the CPUs are not known")
        if server.lockdown.value not in (None, "none"):
            reason = f"kernel lockdown ({server.lockdown.value}) hides debugfs"
        # The kernel's default is known, and it is not 0: silence is no reason to assume better.
        why += f"; its setting could not be read here ({reason})"
        hops = {"runtime": Hop("unknown", reason, source)}
    elif any(read.values()):
        hops = {"runtime": Hop("bad", {f"cpu{n}": f"{ns} ns" for n, ns in read.items() if ns}, source)}
    elif on:
        reason = server.runtimes[on[0]].reason
        why += f"; of CPU {cpulist.show(frozenset(on))} it could not be read here ({reason})"
        hops = {"runtime": Hop("unknown", reason, source)}
    else:
        status, hops = "pass", {"runtime": Hop("ok", 0, source)}
    return build_finding(id, wanted, hops, why=why, fix=fix, status=status)
