"""What is kept of systemd's files: the assignments that a check looks at, in sections, with values as they are parsed.

Source: systemd.syntax(7). An assignment of no meaning to a check is left out. One that has a meaning stays even where
its value is not kept, since it may reset or overrule another.
"""

from __future__ import annotations

from hosttune.host import (
    boot_jobs,
    boot_writes,
    commands,
    irq_writes,
    irqbalance,
    limits_lines,
    shell,
    start_commands,
    sysctl_writes,
    systemd,
    systemd_lines,
)
from hosttune.host.forms import CPU_LIST, DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.systemd_lines import Setting

# The word infinity, and numbers of any base, with a fraction and a unit, or of a pair.
_LIMIT = f"{DIGITS}infity:+-. \tKMGTPEBabcdefxoXABCDFO"
_SERVICE_LIMITS = frozenset(limits_lines.ITEMS.values())
_DEFAULT_LIMITS = frozenset(f"Default{key}" for key in _SERVICE_LIMITS)


def reduce(text: str) -> str:
    """Returns what is kept of a service, or of a drop-in of one: its commands' files and users, user and limits, and
    whether it has conditions."""
    return _write(text, [_keep_service(setting) for setting in systemd_lines.parse(text, "")])


def reduce_irqbalance(text: str) -> str:
    """Returns what is kept of irqbalance's own service: also what its environment says of it, and where more is."""
    settings = systemd_lines.parse(text, "")
    return _write(text, [_keep_environment(setting) or _keep_service(setting) for setting in settings])


def reduce_manager(text: str) -> str:
    """Returns what is kept of system.conf, or of a drop-in of it: the CPUs and the limits that services inherit."""
    return _write(text, [_keep_manager(setting) for setting in systemd_lines.parse(text, "")])


def _write(text: str, settings: list[Setting | None]) -> str:
    if not text:
        return text  # an empty file masks a unit
    lines: list[str] = []
    section = ""
    for setting in settings:
        if setting is not None:
            if setting.section != section:
                section = setting.section
                lines.append(f"[{section}]")
            lines.append(f"{setting.key}={setting.value}")
    return "\n".join([*lines, ""]) or "\n"


def reduce_starter(text: str) -> str:
    """Returns what is kept of a timer, a path or a socket, or of a drop-in of one: the units that it starts."""
    settings = systemd_lines.parse(text, "")
    return _write(text, [_keep_starter(setting) or _keep_dependency(setting) for setting in settings])


def reduce_target(text: str) -> str:
    """Returns what is kept of a target, or of a drop-in of one: the units that it has started."""
    return _write(text, [_keep_dependency(setting) for setting in systemd_lines.parse(text, "")])


def _keep_dependency(setting: Setting) -> Setting | None:
    if setting.section != "Unit" or setting.key not in systemd.DEPENDENCIES:
        return None
    names = (word for word in setting.value.split() if consists_of(word, f"{NAME}.@%:", 256))
    return _replace(setting, " ".join(names))


def _keep_starter(setting: Setting) -> Setting | None:
    if (setting.section, setting.key) not in (("Timer", "Unit"), ("Path", "Unit"), ("Socket", "Service")):
        return None
    return _replace(setting, setting.value if consists_of(setting.value, f"{NAME}.@%", 256) else "")


def _keep_service(setting: Setting) -> Setting | None:
    if systemd.is_condition(setting):
        kind = "Assert" if setting.key.startswith("Assert") else "Condition"
        return _replace(Setting("Unit", f"{kind}PathExists", setting.value, ""), "")
    if setting.section != "Service":
        return _keep_dependency(setting)
    if setting.key in (*start_commands.KEYS, *start_commands.STOP_KEYS):
        return _replace(setting, _keep_command(setting.value))
    if setting.key == "Type":
        return _replace(setting, setting.value if consists_of(setting.value, NAME, 16) else "")
    if setting.key in systemd.CONFINING:
        return _replace(setting, "/" if setting.value else "")
    if setting.key == "AmbientCapabilities":
        return _replace(setting, "CAP_SYS_ADMIN" if setting.value else "")
    if setting.key in start_commands.SWITCHES:
        return _replace(setting, setting.value if setting.value.lower() in systemd_lines.TRUE else "")
    if setting.key == "User":
        return _replace(setting, setting.value if consists_of(setting.value, f"{NAME}.%$", 66) else "")
    if setting.key == "PAMName":
        return _replace(setting, setting.value if consists_of(setting.value, f"{NAME}.%@", 64) else "")
    if setting.key in _SERVICE_LIMITS:
        return _replace(setting, setting.value if consists_of(setting.value, _LIMIT, 64) else "")
    return None


def _keep_command(command: str) -> str:
    """Returns the files and the user that a command names, what it writes, and whether root runs it in any case."""
    _bound(command)
    reduced = (module.reduce_command(command) for module in (boot_writes, irq_writes, sysctl_writes))
    writes = "; ".join(filter(None, reduced))
    named = commands.reduce(command)
    kept = " ; ".join(filter(None, (named, writes and f"sh -c '{writes}'")))
    # What such a mark may stand before: a script, or what is written. Another word of commands.reduce() loses by it.
    marked = commands.find_scripts(named) or (writes and not named)
    return f"{commands.find_privilege(command)}{kept}" if marked else kept


def reduce_crontab(text: str) -> str:
    """Returns what is kept of a file of cron's jobs with a user each, as of a service's commands."""
    return boot_jobs.keep_jobs(_keep_shell, text, with_user=True)


def reduce_crontab_of_root(text: str) -> str:
    """Returns what is kept of root's own file of cron's jobs."""
    return boot_jobs.keep_jobs(_keep_shell, text, with_user=False)


def reduce_bootcmd(text: str) -> str:
    """Returns what is kept of a file of cloud-init. Raises ValueError."""
    return boot_jobs.keep_bootcmd(_keep_shell, text)


def reduce_interfaces(text: str) -> str:
    """Returns what is kept of a file of ifupdown."""
    return boot_jobs.keep_interfaces(_keep_shell, text)


def reduce_udev(text: str) -> str:
    """Returns what is kept of a file of udev's rules."""
    return boot_jobs.keep_udev(_keep_shell, text)


def _bound(command: str) -> None:
    if len(command) > shell.MAX_TEXT:
        raise ValueError(f"a command of {len(command)} characters; allowed are {shell.MAX_TEXT}")


def _keep_shell(text: str) -> str:
    _bound(text)
    scripts = commands.find_scripts(boot_jobs.write_shell(text))
    writes = (
        boot_writes.reduce(text),
        irq_writes.write(irq_writes.parse(text)),
        sysctl_writes.write(sysctl_writes.parse(text)),
    )
    return "; ".join(filter(None, (*scripts, *writes)))


def _keep_environment(setting: Setting) -> Setting | None:
    if setting.section != "Service":
        return None
    if setting.key == "Environment":
        return _replace(setting, irqbalance.reduce_words(setting.value))
    if setting.key == "UnsetEnvironment":
        return _replace(setting, irqbalance.reduce_unset(setting.value))
    if setting.key == "EnvironmentFile":
        return _replace(setting, setting.value if _is_file(setting.value) else "")
    return None


def _keep_manager(setting: Setting) -> Setting | None:
    if setting.section != "Manager":
        return None
    if setting.key == "CPUAffinity":
        return _replace(setting, setting.value if consists_of(setting.value, f"{CPU_LIST}\t\"'", 4096) else "")
    if setting.key == "DefaultEnvironment":
        return _replace(setting, irqbalance.reduce_words(setting.value))
    if setting.key in _DEFAULT_LIMITS:
        return _replace(setting, setting.value if consists_of(setting.value, _LIMIT, 64) else "")
    return None


def _is_file(value: str) -> bool:
    return value.startswith(("/", "-/")) and consists_of(value, f"{NAME}./@+", 256)


def _replace(setting: Setting, kept: str) -> Setting:
    """Returns an assignment of what is kept; empty only if it was, since an empty one resets those before it."""
    value = kept or UNINTELLIGIBLE if setting.value else ""
    return Setting(setting.section, setting.key, value, setting.source)
