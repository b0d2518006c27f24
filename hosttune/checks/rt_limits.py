"""Resource limits for real-time users: memory locking, real-time priority, nice, open files.

A user gets limits by one of two ways that know nothing of each other, and both have to be right: a login
(PAM, limits.conf) and a systemd service (LimitX= of the unit, else DefaultLimitX=).

Sources: setrlimit(2), limits.conf(5), pam_limits(8), systemd.exec(5), systemd-system.conf(5), sched(7).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hosttune.checks import _sysctl
from hosttune.findings import Finding, Hop, HopName, Status, judge_hops
from hosttune.hops import build_finding
from hosttune.host import commands, fair_server, globs, limits, process, sysctl, systemd
from hosttune.host.root import Fact, Root
from hosttune.output import quote_word

RT_RUNTIME = "kernel.sched_rt_runtime_us"
_SHOWN = 5

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
                from hosttune.config_errors import KeyRefused  # late: only for what is wrong

                raise KeyRefused(("users", name), f"users: {name!r} is not a user name")


class Services(msgspec.Struct):
    """systemd's side: the manager's settings, and the services that an administrator installed."""

    manager: Fact[list[systemd.Setting]]
    units: Fact[list[systemd.Unit]]


class Facts(msgspec.Struct):
    """What was read; `processes` maps a user name to the limits of each of its processes by PID."""

    users: dict[str, Fact[limits.User]]
    pam_files: Fact[list[tuple[str, str]]]
    pam_enabled: Fact[dict[str, bool]]
    services: Services
    processes: dict[str, dict[int, Fact[dict[str, limits.Limit]]]]
    hidden: str
    sysctls: sysctl.Sysctls | None
    fair_server: fair_server.FairServer


def facts(root: Root, wanted: Section) -> Facts:
    """Read what PAM and systemd give each user, what the user's processes have, and the real-time budget."""
    users = limits.read_users(root, wanted.users)
    tasks = process.read_tasks(root, threads=False) if wanted.users else process.Tasks([])
    return Facts(
        users=users,
        pam_files=limits.read_pam_files(root),
        pam_enabled=limits.read_pam_enabled(root),
        services=Services(systemd.read_manager(root), systemd.read_local_services(root)),
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
    logins = _resolve_logins(wanted, facts)
    findings = [
        _check_limit(name, item, value, facts, logins.get(name, {}))
        for name, user in wanted.users.items()
        for item in limits.ITEMS
        if (value := getattr(user, item)) is not None
    ]
    if facts.sysctls is not None and wanted.sched_rt_runtime_us is not None:
        findings.append(_check_rt_runtime(wanted.sched_rt_runtime_us, facts.sysctls))
    real_time = any(user.rtprio for user in wanted.users.values()) or wanted.sched_rt_runtime_us is not None
    if real_time and (server := _check_fair_server(facts.fair_server)) is not None:
        findings.append(server)
    return findings


def _resolve_logins(wanted: Section, facts: Facts) -> dict[str, dict[str, limits.Limit]]:
    """Returns what a login of each user gets, by item. A user of no local file has the lines with the name."""
    lines = [line for path, text in facts.pam_files.value or () for line in limits.parse_pam_limits(text, path)]
    return {
        name: limits.resolve_pam_lines(lines, facts.users[name].value or limits.User(name, -1, -1))
        for name in wanted.users
    }


def _check_limit(name: str, item: str, wanted: int | str, facts: Facts, login: dict[str, limits.Limit]) -> Finding:
    need = _convert_wanted(item, wanted)
    ways = {"login": _judge_login(name, item, need, facts, login), "service": _judge_service(name, item, need, facts)}
    hops: dict[HopName, Hop] = {"persisted": _join_ways(ways)}
    hops["runtime"] = _judge_running(name, item, need, facts)
    # No process of this user yet is the normal state of a fresh host: the files decide then.
    judged = {key: each for key, each in hops.items() if each.state != "na"}
    required: tuple[HopName, ...] = ("persisted", "runtime") if "runtime" in judged else ("persisted",)
    status = judge_hops(judged, required=required)
    if status == "pass" and hops["persisted"].state != "ok":
        status = "fail"  # there is no runtime hop that would say so
    why, fix = _WHY[item], _write_fix(name, item, wanted, ways, hops["runtime"])
    if status == "pass" and facts.users[name].state == "absent":
        status = "warn"
        why = f"no user {name} in /etc/passwd: unless a directory service has it, the limits serve nobody"
        fix = f"useradd {quote_word(name)}, or correct the name in the profile"
    return build_finding(f"rt_limits.{name}.{item}", wanted, hops, why=why, fix=fix, status=status)


def _judge_login(name: str, item: str, need: int, facts: Facts, login: dict[str, limits.Limit]) -> Hop:
    """What a PAM login gets: `login` is what the lines of limits.conf come to."""
    if facts.pam_files.value is None:
        return Hop("unknown", facts.pam_files.reason, facts.pam_files.source)
    if facts.pam_enabled.value is None:
        return Hop("unknown", facts.pam_enabled.reason, facts.pam_enabled.source)
    user = facts.users[name]
    if user.state == "unreadable":
        return Hop("unknown", user.reason, user.source)
    without = [service for service, enabled in facts.pam_enabled.value.items() if not enabled]
    if without:
        return Hop("bad", f"no pam_limits in the session of {', '.join(without)}", facts.pam_enabled.source)
    limit = login.get(item)
    if limit is None:
        return Hop("absent", None, "/etc/security/limits.conf, limits.d")
    return _judge_limit(item, need, limit)


def _judge_service(name: str, item: str, need: int, facts: Facts) -> Hop:
    """What a systemd service of this user gets: its own limits, for those that set none the default.

    Without a service that runs as this user the default is all there is to judge, or drop-ins that wait
    for a service that is not installed yet.
    """
    services, key = facts.services, limits.ITEMS[item]
    if services.manager.value is None:
        return Hop("unknown", services.manager.reason, services.manager.source)
    if services.units.value is None:
        return Hop("unknown", services.units.reason, services.units.source)
    default = _find_last(services.manager.value, "Manager", f"Default{key}")
    units = services.units.value
    own = [unit for unit in units if unit.state == "installed" and _runs_as(unit, name)]
    waiting = [_find_last(unit.settings, "Service", key) for unit in units if unit.state == "absent"]
    chosen = [_find_last(unit.settings, "Service", key) or default for unit in own]
    chosen = chosen or [default or next((each for each in waiting if each is not None), None)]
    hops = [
        _judge_setting(item, need, setting)
        if setting is not None
        else Hop("absent", None, f"/etc/systemd/system.conf.d (Default{key}=), {key}= of the unit")
        for setting in chosen
    ]
    return next((each for state in ("bad", "absent", "unknown") for each in hops if each.state == state), hops[0])


def _runs_as(unit: systemd.Unit, name: str) -> bool:
    """Returns whether a service's process is this user's in the end: by User=, or because the program that it
    starts (hosttune launch, runuser, setpriv) is told to become this user."""
    user = _find_last(unit.settings, "Service", "User")
    if user is not None and user.value == name:
        return True
    return any(commands.find_user(command) == name for command in unit.values("Service", "ExecStart"))


def _judge_setting(item: str, need: int, setting: systemd.Setting) -> Hop:
    try:
        return _judge_limit(item, need, limits.parse_systemd(item, setting.value, setting.source))
    except ValueError as error:
        return Hop("bad", f"not understood, so systemd ignores it: {error}", setting.source)


def _find_last(settings: list[systemd.Setting], section: str, key: str) -> systemd.Setting | None:
    found = [each for each in settings if (each.section, each.key) == (section, key)]
    return found[-1] if found and found[-1].value else None


def _judge_running(name: str, item: str, need: int, facts: Facts) -> Hop:
    source = "/proc/PID/limits"
    if facts.users[name].state == "unreadable":
        return Hop("unknown", facts.users[name].reason, source)
    processes = facts.processes[name]
    # Another PID namespace hides kernel threads, and those are nobody's.
    hidden = facts.hidden if "kernel threads" not in facts.hidden else ""
    if not processes:
        return Hop("unknown", hidden, source) if hidden else Hop("na", f"no process of {name} is running", source)
    judged = {
        pid: _judge_limit(item, need, fact.value[item])
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


def _convert_wanted(item: str, wanted: int | str) -> int:
    if wanted == "unlimited":
        return limits.UNLIMITED
    return 20 - int(wanted) if item == "nice" else int(wanted)


def _judge_limit(item: str, need: int, limit: limits.Limit) -> Hop:
    """A limit is enough if it allows at least what is wanted, soft (what a program starts with) and hard."""
    enough = limit.soft >= need and limit.hard >= need
    return Hop("ok" if enough else "bad", _show_limit(item, limit), limit.source)


def _show_limit(item: str, limit: limits.Limit) -> Any:
    def show_one(value: int) -> int | str:
        return 20 - value if item == "nice" and value != limits.UNLIMITED else limits.show(value)

    same = limit.soft == limit.hard
    return show_one(limit.hard) if same else {"soft": show_one(limit.soft), "hard": show_one(limit.hard)}


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


def _write_fix(name: str, item: str, wanted: int | str, ways: dict[str, Hop], running: Hop) -> str:
    key = limits.ITEMS[item]
    pam = wanted // 1024 if item == "memlock" and isinstance(wanted, int) else wanted
    unit = "infinity" if wanted == "unlimited" else wanted
    steps = []
    if ways["login"].state != "ok":
        line = quote_word(f"{name} - {item} {pam}")
        steps.append(f"echo {line} >> /etc/security/limits.d/99-hosttune-rt_limits.conf")
    if ways["service"].state != "ok":
        steps.append(
            f"set {key}={unit} in the unit, or Default{key}={unit} under [Manager] in "
            "/etc/systemd/system.conf.d/ and systemctl daemon-reexec"
        )
    if running.state == "bad":
        steps.append(f"start these processes of {quote_word(name)} again: limits are taken over at login or start")
    return "\n".join(steps)


def _check_rt_runtime(wanted: int, facts: sysctl.Sysctls) -> Finding:
    return _sysctl.check_key(
        "rt_limits.sched_rt_runtime_us",
        RT_RUNTIME,
        wanted,
        facts,
        why="a real-time thread that spins is stopped for the rest of every period: by default 50 ms in 1 s",
        file="/etc/sysctl.d/99-zz-hosttune-rt_limits.conf",
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
    fix = f"keep ordinary tasks off these CPUs, or at each boot: echo 0 > {fair_server.DIRECTORY}/cpuN/runtime"
    source = f"{fair_server.DIRECTORY}/cpuN/runtime"
    read = {number: fact.value for number, fact in server.runtimes.items() if fact.value is not None}
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
    else:
        status, hops = "pass", {"runtime": Hop("ok", 0, source)}
    return build_finding(id, wanted, hops, why=why, fix=fix, status=status)
