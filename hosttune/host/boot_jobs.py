"""What runs at boot beside the units of systemd: jobs of cron, scripts of /etc/init.d, the lines of sysfs.conf, those
of tmpfiles.d that are not for huge pages, `bootcmd` of cloud-init, and what is run whenever an interface or a device
comes.

Each is given as a service with one command, so that all are read alike. A job at another time than the boot's, and one
that not every cron takes, is not `started`.
Sources: crontab(5) of Debian's cron and of cronie; cron(8) of Debian on the names in /etc/cron.d;
systemd-sysv-generator(8); /etc/init.d/sysfsutils of Debian; interfaces(5); NetworkManager-dispatcher(8); udev(7);
"Bootcmd" and "Cloud-init boot stages" of the documentation of cloud-init.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from hosttune.host import dropins, systemd, tmpfiles, tmpfiles_lines, yaml_text
from hosttune.host.forms import NAME, consists_of
from hosttune.host.hugetlb import MARKS
from hosttune.host.root import NOT_CAPTURED, Fact, Root, make_unreadable
from hosttune.host.shell import UNKNOWN
from hosttune.host.systemd import Unit
from hosttune.host.systemd_lines import Setting
from hosttune.host.tmpfiles_lines import is_sought
from hosttune.patterns import late_pattern

T = TypeVar("T")

#: Files of jobs with a user in each line, the directory of more, and the files of root's own.
CRONTAB, CRON_D = "/etc/crontab", "/etc/cron.d"
OF_ROOT = ("/var/spool/cron/crontabs/root", "/var/spool/cron/root", "/var/spool/cron/tabs/root")
INIT_SCRIPTS = "/etc/init.d"
#: What a boot reaches: on Debian rcS.d is of sysinit.target.
RUNLEVELS = tuple(f"/etc/rc{level}.d" for level in "2345S")
SYSFS_CONF, SYSFS_D = "/etc/sysfs.conf", "/etc/sysfs.d"

#: Directories of scripts that are run when an interface comes, or by cron.
HOOKS = (
    *("/etc/network/if-pre-up.d", "/etc/network/if-up.d"),
    *(f"{top}/NetworkManager/dispatcher.d{kind}" for top in ("/etc", "/usr/lib") for kind in ("", "/pre-up.d")),
    *(f"/etc/dhcp/dhclient-{time}-hooks.d" for time in ("enter", "exit")),
    *(f"/etc/networkd-dispatcher/{state}.d" for state in ("carrier", "configured", "degraded", "routable")),
    *(f"/etc/cron.{time}" for time in ("hourly", "daily", "weekly", "monthly")),
    "/var/lib/cloud/scripts/per-boot",
)
INTERFACES, INTERFACES_D = "/etc/network/interfaces", "/etc/network/interfaces.d"
#: Below the directories of drop-ins.
UDEV_RULES, UDEV_END = "udev/rules.d", ".rules"

#: Files of cloud-init, and what its data source gave it.
CLOUD_CFG, CLOUD_D = "/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d"
CLOUD_DATA = tuple(f"/var/lib/cloud/instance/{kind}cloud-config.txt" for kind in ("", "vendor-", "vendor2-"))
#: With this file it does not run.
CLOUD_OFF = "/etc/cloud/cloud-init.disabled"
_CLOUD_SERVICES = frozenset({"cloud-init.service", "cloud-init-main.service", "cloud-init-network.service"})

_BOOTCMD = late_pattern(r"^[\"']?bootcmd[\"']?[ \t]*:", re.MULTILINE)
# Of one file, or of all of tmpfiles.d.
_MOST_LINES = 512
# Of one file of cloud-init.
_MOST_ITEMS = 2048
_INTERFACE_COMMAND = late_pattern(r"[ \t]*(?:pre-up|up|post-up)[ \t]+(\S.*)")
_UDEV_COMMAND = late_pattern(
    r'(?:RUN(?:\{program\})?[ \t]*\+?:?=|(?:PROGRAM|IMPORT\{program\})[ \t]*={1,2})[ \t]*"((?:[^"\\]|\\.)*)"'
)
_UDEV_COMMENT = late_pattern(r"^[ \t]*#.*$", re.MULTILINE)
_UDEV_SYSCTL = late_pattern(r'SYSCTL\{([\w/.:-]{1,200})\}[ \t]*:?=[ \t]*"([\w \t.:,+-]{0,200})"')
# Where udev finds a program that is named without its directory.
_UDEV_PROGRAMS = "/usr/lib/udev/"
_CRONS = ("cron.service", "crond.service")
_SYSFS = "sysfsutils"
_REBOOT = "@reboot"
# Of one host: more than any has.
_MOST = 4096
_JOB = late_pattern(r"\s*((?:@\w{1,16})|(?:[\w*/,~-]{1,200}[ \t]+){4}[\w*/,~-]{1,200})[ \t]+(\S.*)")
_PERCENT = late_pattern(r"(?<!\\)%.*")
_LINK = late_pattern(r"S[0-9]{2}(\S+)")
_ATTRIBUTE = late_pattern(r"[ \t]*([^\s=#]+)[ \t]*=[ \t]*([^\s=#]+)[ \t]*(?:#.*)?")


def read(root: Root) -> Fact[list[Unit]]:
    """Returns all of them, with a command of shell each. Unreadable where a file that is there could not be read."""
    wanted = systemd.read_wanted_units(root)
    if wanted.value is None:
        return wanted.drop_value()
    found: list[Unit] = []
    for part in (
        _read_cron(root, wanted.value),
        _read_init_scripts(root),
        _read_hooks(root),
        _read_tmpfiles(root),
        _read_cloud_init(root),
    ):
        if part.value is None:
            return part.drop_value()
        found += part.value
    if any(unit.name == f"{_SYSFS}.service" for unit in found):
        found = [unit for unit in found if unit.name != f"{_SYSFS}.service"]
        lines = _read_sysfs(root)
        if lines.value is None:
            return lines.drop_value()
        found += lines.value
    if len(found) > _MOST:
        return make_unreadable(found[_MOST].source, f"more than {_MOST:,} jobs and hooks")
    return Fact("value", found, CRONTAB)


def _read_cron(root: Root, wanted: frozenset[str]) -> Fact[list[Unit]]:
    if wanted.isdisjoint(_CRONS):
        return Fact("value", [], CRONTAB)
    files = _read_files(root, [CRONTAB, *OF_ROOT], CRON_D)
    return files.map(lambda files: [unit for path, text in files for unit in _list_jobs(path, text)])


def _list_jobs(path: str, text: str) -> Iterator[Unit]:
    sure = path in (CRONTAB, *OF_ROOT) or consists_of(path.rpartition("/")[2], NAME, 255)
    # A last line without an end makes Debian's cron leave out the file.
    sure = sure and text.endswith("\n")
    for at_boot, user, command in _parse_jobs(text, with_user=path not in OF_ROOT):
        yield _make(path, write_shell(command), started=sure and at_boot, user=user)


def _parse_jobs(text: str, *, with_user: bool) -> Iterator[tuple[bool, str, str]]:
    for line in text.splitlines():
        match = _JOB.fullmatch(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        user, command = "root", match[2]
        if with_user:
            user, command = [*command.split(None, 1), ""][:2]
        yield match[1] == _REBOOT, user, _PERCENT.sub("", command).replace("\\%", "%").strip()


def _read_init_scripts(root: Root) -> Fact[list[Unit]]:
    names: dict[str, None] = {}
    for directory in RUNLEVELS:
        links = root.list(directory)
        if _is_refused(links):
            return links.drop_value()
        names.update((match[1], None) for match in map(_LINK.fullmatch, links.value or []) if match)
    if not names:
        return Fact("value", [], INIT_SCRIPTS)
    known = systemd.read_names(root)
    if known.value is None:
        return known.drop_value()
    found = []
    for name in names:
        service = f"{name.removesuffix('.sh')}.service"
        if service not in known.value and consists_of(name, f"{NAME}.+", 128):
            path = f"{INIT_SCRIPTS}/{name}"
            found.append(_make(path, f"{path} start", name=service))
    return Fact("value", found, INIT_SCRIPTS)


def _read_hooks(root: Root) -> Fact[list[Unit]]:
    found: list[Unit] = []
    for directory in HOOKS:
        names = root.list(directory)
        if _is_refused(names):
            return names.drop_value()
        paths = (
            f"{directory}/{name}"
            for name in names.value or []
            if consists_of(name, f"{NAME}.", 128) and not name.endswith(".d")  # a directory
        )
        found += [_make(path, path, started=False) for path in paths]
    rules = dropins.read_merged(root, dropins.find_directories(root, UDEV_RULES), UDEV_END, lasting=True)
    for files, find in (
        (_read_files(root, [INTERFACES], INTERFACES_D), _INTERFACE_COMMAND.findall),
        (rules, _find_udev_commands),
    ):
        if files.value is None:
            return files.drop_value()
        for path, text in files.value:
            found += [_make(path, write_shell(command), started=False) for command in find(text)]
    return Fact("value", found, INTERFACES)


def _read_sysfs(root: Root) -> Fact[list[Unit]]:
    files = _read_files(root, [SYSFS_CONF], SYSFS_D, ".conf")
    return files.map(lambda files: [unit for path, text in files for unit in _list_attributes(path, text)])


def _list_attributes(path: str, text: str) -> Iterator[Unit]:
    for number, line in enumerate(text.splitlines(), 1):
        match = _ATTRIBUTE.fullmatch(line)
        if match and consists_of(match[0], f"{NAME}./*?[]=: \t#", 512):
            yield _make(f"{path}:{number}", write_shell(_write_attribute(match[1], match[2])))


def _read_tmpfiles(root: Root) -> Fact[list[Unit]]:
    return tmpfiles.read(root).map(lambda writes: _bound(list(_list_settings(writes))))


def _list_settings(writes: tmpfiles.Writes) -> Iterator[Unit]:
    """Yields what lines write to sysctls and to affinities, each write once."""
    seen: set[str] = set()
    for line in writes.done:
        value = (line.value or "").strip()
        plain = consists_of(value, f"{NAME}.,: \t+-", 256)
        for path in tmpfiles_lines.name_settings(line) if not any(mark in line.path for mark in MARKS) else ():
            command = f"echo {value} > {path}" if plain else f"tee {path}"
            if command not in seen:
                seen.add(command)
                yield _make(line.place, write_shell(command), started=writes.doubt.state == "absent")


def _read_cloud_init(root: Root) -> Fact[list[Unit]]:
    """Returns the commands that cloud-init runs at each boot, if it finds out that it has to run at all."""
    known = systemd.read_names(root)
    if known.value is None:
        return known.drop_value()
    if known.value.isdisjoint(_CLOUD_SERVICES):
        return Fact("value", [], CLOUD_CFG)
    files = _read_files(root, [CLOUD_CFG, *CLOUD_DATA], CLOUD_D, ".cfg")
    directory, name = posixpath.split(CLOUD_OFF)
    if name in (root.list(directory).value or ()):
        return Fact("value", [], CLOUD_OFF)
    return files.map(
        lambda files: [
            _make(path, write_shell(line), started=False) for path, text in files for line in _list_bootcmd(text)
        ]
    )


def _list_bootcmd(text: str) -> list[str]:
    """Returns the commands of shell of `bootcmd`. Raises ValueError."""
    if not _BOOTCMD.search(text):
        return []
    if text.count(",") + text.count("\n") > _MOST_ITEMS:
        raise ValueError(f"more than {_MOST_ITEMS} items")
    found = yaml_text.parse(text).get("bootcmd") or []
    lines = found if isinstance(found, list) else [found]
    told = dict.fromkeys(shlex.join(map(str, line)) if isinstance(line, list) else str(line) for line in lines)
    return _bound(list(told))


def _bound(lines: list[T]) -> list[T]:
    if len(lines) > _MOST_LINES:
        raise ValueError(f"more than {_MOST_LINES} commands or settings")
    return lines


def _read_files(root: Root, paths: list[str], directory: str, suffix: str = "") -> Fact[list[tuple[str, str]]]:
    """Returns the path and the text of these files, and of those in a directory, as far as they are there."""
    names = root.list(directory)
    if _is_refused(names):
        return names.drop_value()
    found: list[tuple[str, str]] = []
    for path in (*paths, *(f"{directory}/{name}" for name in names.value or [] if name.endswith(suffix))):
        text = root.read(path)
        if _is_refused(text):
            return text.drop_value()
        found.append((path, text.value or ""))
    return Fact("value", found, directory)


def _write_attribute(path: str, value: str) -> str:
    """Returns a command of shell that does what a line of sysfs.conf does, or that says of which files it may."""
    if any(mark in path for mark in MARKS) or not is_sought(f"/sys/{path}"):
        return f"echo {value} > /sys/{path}"
    marks = MARKS[:1] if path.endswith("enabled") else MARKS
    return f"tee {' '.join(f'{UNKNOWN}{mark}' for mark in marks)}"


def _is_refused(fact: Fact[list[str]] | Fact[str]) -> bool:
    return fact.state == "unreadable" and fact.reason != NOT_CAPTURED


def _make(source: str, command: str, *, started: bool = True, user: str = "root", name: str = "") -> Unit:
    settings = [Setting("Service", "User", user, source), Setting("Service", "ExecStart", command, source)]
    return Unit(name or source, "installed", started, settings, source)


def write_shell(command: str) -> str:
    """Returns the command line of a service that has a shell run a command."""
    escaped = command.replace("\\", "\\\\").replace('"', '\\"')
    return f'/bin/sh -c "{escaped}"'


# --- what is kept -----------------------------------------------------------------------------------------


def keep_jobs(reduce: Callable[[str], str], text: str, *, with_user: bool) -> str:
    """Returns the jobs of a file of cron, each with its user and what `reduce` leaves of its command; of its time only
    whether that is the boot."""
    kept: list[str] = []
    for at_boot, user, command in _parse_jobs(text, with_user=with_user):
        left = reduce(command)
        if left:
            kept.append(" ".join([_REBOOT if at_boot else "@daily", *([user] if with_user else []), left]))
    return "\n".join(kept) + ("\n" if text.endswith("\n") else "")


def keep_interfaces(reduce: Callable[[str], str], text: str) -> str:
    """Returns the commands of a file of ifupdown, what `reduce` leaves of each."""
    return "".join(f"up {left}\n" for left in map(reduce, _INTERFACE_COMMAND.findall(text)) if left)


def _find_udev_commands(text: str) -> list[str]:
    text = _UDEV_COMMENT.sub("", text).replace("\\\n", " ")
    commands = [command.replace('\\"', '"').lstrip() for command in _UDEV_COMMAND.findall(text)]
    found = [each if each.startswith("/") else f"{_UDEV_PROGRAMS}{each}" for each in commands if each]
    return found + [f"sysctl -w '{key}={value}'" for key, value in _UDEV_SYSCTL.findall(text)]


def keep_udev(reduce: Callable[[str], str], text: str) -> str:
    """Returns the commands of a file of udev's rules, what `reduce` leaves of each."""
    left = (kept.replace('"', '\\"') for kept in map(reduce, _find_udev_commands(text)) if kept)
    # What does not begin with a path is a program of udev's own, and this is shell.
    left = (each if each.startswith("/") else f"/bin/true; {each}" for each in left)
    return "".join(f'RUN+="{each}"\n' for each in left)


def keep_bootcmd(reduce: Callable[[str], str], text: str) -> str:
    """Returns the commands of a file of cloud-init, what `reduce` leaves of each. Raises ValueError."""
    left = list(filter(None, map(reduce, _list_bootcmd(text))))
    return f"bootcmd: {msgspec.json.encode(left).decode()}\n" if left else ""


def reduce_sysfs(text: str) -> str:
    """Returns the lines of sysfs.conf that set huge pages, each where it was."""
    matches = map(_ATTRIBUTE.fullmatch, text.splitlines())
    kept = (f"{match[1]} = {match[2]}" if match and is_sought(f"/sys/{match[1]}") else "" for match in matches)
    return "".join(f"{line}\n" for line in kept)
