"""Which commands of a service write as root when it starts, and which scripts they run.

Only root writes to the files of huge pages and of interrupts, and what another user's service runs may be that user's
to change. Sources: systemd.service(5), "Command lines"; systemd.exec(5), `User=`, `ProtectKernelTunables=`;
`PermissionsStartOnly=` in `src/core/service.c` of systemd.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from hosttune.host import boot_jobs, commands, systemd, systemd_lines
from hosttune.host.root import NOT_CAPTURED, PROGRAM, Fact, Once, Root
from hosttune.host.systemd import Unit
from hosttune.host.systemd_lines import Setting

KEYS = ("ExecStartPre", "ExecStart", "ExecStartPost")
#: Settings of a service, all of them booleans, that decide which of its commands write.
SWITCHES = ("DynamicUser", "PermissionsStartOnly", "ProtectKernelTunables")

_ROOT = ("root", "0")
# As parse_boolean() in `src/basic/parse-util.c` of systemd takes them.
TRUE = ("1", "yes", "y", "true", "t", "on")
# What stands for the text of a program, which nobody can read, and of a file that a copied tree does not hold.
_NO_SCRIPT = (PROGRAM, NOT_CAPTURED)


def read_units(root: Root) -> Fact[list[Unit]]:
    """Returns the services that something starts at boot, those of timers too, and the jobs of :mod:`boot_jobs`."""
    return _read_units_once(root) if isinstance(root, Once) else _read_units(root)


@lru_cache(4)  # several sections ask for it; what such a root holds does not change
def _read_units_once(root: Once) -> Fact[list[Unit]]:
    return _read_units(root)


def _read_units(root: Root) -> Fact[list[Unit]]:
    services = systemd.read_started_services(root, timed=True)
    if services.value is None:
        return services
    jobs = boot_jobs.read(root)
    if jobs.value is None:
        return jobs
    return Fact(
        "value", [*(unit for unit in services.value if unit.state == "installed"), *jobs.value], services.source
    )


def list_all(unit: Unit) -> list[Setting]:
    """Returns the commands that a start runs, in their order."""
    return [each for key in KEYS for each in systemd_lines.list_settings(unit.settings, "Service", key)]


def list_writing(unit: Unit) -> list[Setting]:
    """Returns those that run as root and may write to the kernel's files."""
    users = unit.values("Service", "User")
    as_root = users[-1] in _ROOT if users else not _is_on(unit, "DynamicUser")
    protected = _is_on(unit, "ProtectKernelTunables")
    main_only = _is_on(unit, "PermissionsStartOnly")

    def may_write(setting: Setting) -> bool:
        free = main_only and setting.key != "ExecStart"
        privilege = "+" if free else commands.find_privilege(setting.value)
        if protected and privilege != "+":
            return False
        return bool(as_root or privilege) and not commands.leaves_root(setting.value)

    return [each for each in list_all(unit) if may_write(each)]


def _is_on(unit: Unit, key: str) -> bool:
    setting = systemd_lines.find_last(unit.settings, "Service", key)
    return setting is not None and setting.value.lower() in TRUE


def read_script(root: Root, path: str, reduce: Callable[[str], str]) -> Fact[str]:
    """Returns what is left of a script by `reduce`; of a large program nothing. Unreadable where
    nobody knows what it has."""
    text = root.read(path)
    return Fact("value", "", path) if text.reason in _NO_SCRIPT else text.map(reduce)
