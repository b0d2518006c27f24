"""The limits that a systemd service of a user gets, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hosttune.checks import _desk
from hosttune.checks._limits import NR_OPEN, Wanted, doubt_files, judge_limit
from hosttune.findings import Hop
from hosttune.hops import choose_worst
from hosttune.host import commands, limits, limits_lines, systemd, systemd_lines
from hosttune.host.root import Fact


class Services(msgspec.Struct):
    """systemd's side: the settings of the manager, and the services; `nr_open` is fs.nr_open. `started_as`: of each
    installed service by its name, the names and numbers of the users that its process may be in the end."""

    manager: Fact[list[systemd_lines.Setting]]
    units: Fact[list[systemd.Unit]]
    nr_open: int | None
    started_as: dict[str, set[str]] = {}

    def __post_init__(self) -> None:
        installed = [unit for unit in self.units.value or [] if unit.state == "installed"]
        self.started_as = {unit.name: _list_users(unit) for unit in installed}


def find_session(unit: systemd.Unit) -> str:
    """Returns the name of the PAM service in whose session a unit's process is started, empty if it has none."""
    name = systemd_lines.find_last(unit.settings, "Service", "PAMName")
    return "" if name is None else systemd.expand(name.value, unit.name)


def list_sessions(services: Services, user: str, uid: int | None) -> list[str]:
    """Returns the names of the PAM services of this user's services."""
    return list(dict.fromkeys(filter(None, map(find_session, _find_own(user, uid, services)))))


def judge_service(wanted: Wanted, services: Services, uid: int | None, sessions: Mapping[str, Hop]) -> Hop:
    """What a systemd service of this user gets: its own limits, for those that set none the default. `sessions`: by PAM
    service what pam_limits makes of them; absent where it makes nothing of them.

    Without a service that runs as this user the default is all there is to judge, or drop-ins that wait
    for a service that is not installed yet.
    """
    for fact in (services.manager, services.units):
        if fact.value is None:
            return Hop("unknown", fact.reason, fact.source)
    default = limits.find_limit(services.manager.value or [], "Manager", wanted.item)
    own = _find_own(wanted.user, uid, services)
    chosen = [limits.find_limit(unit.settings, "Service", wanted.item) for unit in own]
    if not own and default.limit is None:
        waiting = [unit for unit in services.units.value or [] if unit.state == "absent"]
        found = [limits.find_limit(unit.settings, "Service", wanted.item) for unit in waiting]
        chosen = [each for each in found if each.limit is not None][:1]
    hops = [_judge_setting(wanted, each, default, services.nr_open) for each in chosen or [default]]
    if own:
        hops = [_doubt_session(hop, unit) for hop, unit in zip(hops, own, strict=True)]
        # systemd sets limits before it opens the session (exec_child() in `src/core/exec-invoke.c`).
        inner = [sessions.get(find_session(unit), Hop("absent")) for unit in own]
        hops = [hop if given.state == "absent" else given for hop, given in zip(hops, inner, strict=True)]
    return choose_worst(hops)


def _doubt_session(hop: Hop, unit: systemd.Unit) -> Hop:
    """Returns the hop on a service, unknown where its own limits are too low and it opens a PAM session, in which
    pam_limits may raise them."""
    launches = filter(None, map(commands.find_launch, unit.values("Service", "ExecStart")))
    opened = any(program in commands.SESSION_OPENERS for program, _ in launches)
    if hop.state == "ok" or not opened:
        return hop
    return Hop("unknown", "it opens a PAM session (su, runuser or sudo), which may have other limits", unit.source)


def write_fix(wanted: Wanted, services: Services, uid: int | None, nr_open: int | None) -> list[str]:
    """Returns commands, after which a service of this user gets what is wanted: once it is started, and fs.nr_open is
    `nr_open`."""
    value = limits_lines.write_systemd(wanted.item, wanted.value)
    key = limits_lines.ITEMS[wanted.item]
    if services.units.value is None or services.manager.value is None:
        return []
    default = limits.find_limit(services.manager.value, "Manager", wanted.item)
    steps = []
    for unit in _find_own(wanted.user, uid, services):
        found = limits.find_limit(unit.settings, "Service", wanted.item)
        if found.limit is not None and _judge_setting(wanted, found, default, nr_open).state != "ok":
            directory = f"{systemd.UNITS[0]}/{unit.name}.d"
            steps += _desk.write_drop_in(directory, "Service", f"{key}={value}", unit.settings)
    if steps:
        steps.append("systemctl daemon-reload")
    if _judge_setting(wanted, default, default, nr_open).state != "ok" and not steps:
        directory = f"{systemd.MANAGER[0]}/system.conf.d"
        steps += _desk.write_drop_in(directory, "Manager", f"Default{key}={value}", services.manager.value)
        steps.append("systemctl daemon-reexec")
    return steps


def _find_own(user: str, uid: int | None, services: Services) -> list[systemd.Unit]:
    """Returns the services that run as this user."""
    who = {user} if uid is None else {user, str(uid)}
    return [unit for unit in services.units.value or [] if who & services.started_as.get(unit.name, set())]


def _list_users(unit: systemd.Unit) -> set[str]:
    """Returns who a service's process may be in the end: by User=, or because the program that it starts (hosttune
    launch, runuser, setpriv and the like) is told to become this user."""
    user = systemd_lines.find_last(unit.settings, "Service", "User")
    named = [] if user is None else [user.value]
    started = (commands.find_user(command) for command in unit.values("Service", "ExecStart"))
    return {systemd.expand(each, unit.name) for each in (*named, *started) if each is not None}


def _judge_setting(
    wanted: Wanted, setting: limits.LimitSetting, default: limits.LimitSetting, nr_open: int | None
) -> Hop:
    limit = setting.limit or default.limit
    if limit is None:
        ignored = setting.ignored or default.ignored
        if ignored is not None:
            return Hop(
                "bad", f"not understood, so systemd ignores it: {setting.reason or default.reason}", ignored.source
            )
        key = limits_lines.ITEMS[wanted.item]
        return Hop("absent", None, f"/etc/systemd/system.conf.d (Default{key}=), {key}= of the unit")
    if wanted.item == "nofile" and nr_open is not None and limit.hard > nr_open:
        # setrlimit_closest() in `src/basic/rlimit-util.c` of systemd: what is not allowed is bounded.
        granted = limits.Limit(min(limit.soft, nr_open), nr_open, limit.source)
        hop = judge_limit(wanted, granted)
        return (
            hop
            if hop.state == "ok"
            else Hop("bad", f"{limits.show(limit.hard)}, bounded by {NR_OPEN}, {nr_open}", limit.source)
        )
    return doubt_files(wanted, judge_limit(wanted, limit), nr_open)
