# SPDX-License-Identifier: Apache-2.0
"""Files of others that set what a role sets otherwise: the next boot would have theirs.

The lines of all files are read, with the role's own in its place, and by the functions that the check judges them by.

Sources: sysctl.d(5), systemd-system.conf(5), limits.conf(5), tmpfiles.d(5), modprobe.d(5).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping

from hosttune.host import (
    cpulist,
    limits,
    limits_lines,
    netconf,
    pam_lines,
    sysctl_lines,
    sysctl_values,
    systemd_lines,
    tmpfiles_lines,
)
from hosttune.host.forms import UNINTELLIGIBLE
from hosttune.host.module_names import parse_blocks
from hosttune.host.users import GROUP, PASSWD, User, find_users

from . import cpu_lists
from .host_facts import Host

#: Of drop-ins with one name the first directory's counts, and the others' are not read. The next boot does not find
#: what /run holds.
_LASTING = ("/etc", "/usr/local/lib", "/usr/lib", "/lib")
_NOW = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
_SYSCTL_UNIT = "/etc/systemd/system/systemd-sysctl.service"
_TMPFILES_UNIT = "/etc/systemd/system/systemd-tmpfiles-setup.service"
_LIMITS_CONF = "/etc/security/limits.conf"
_PAM = tuple(f"files:{directory}/*" for directory in pam_lines.DIRECTORIES)
#: What is looked at of each kind of configuration.
_READS = {
    "sysctl": (*(f"files:{top}/sysctl.d/*.conf" for top in _LASTING), _SYSCTL_UNIT),
    "systemd": tuple(f"files:{top}/systemd/system.conf.d/*.conf" for top in _NOW),
    "limits": (_LIMITS_CONF, "files:/etc/security/limits.d/*.conf", PASSWD, GROUP, *_PAM),
    "tmpfiles": (*(f"files:{top}/tmpfiles.d/*.conf" for top in _LASTING), _TMPFILES_UNIT),
    "modprobe": tuple(f"files:{top}/modprobe.d/*.conf" for top in _NOW),
}


def list_reads(*kinds: str) -> list[str]:
    """Returns what a plan asks of the host."""
    return [name for kind in kinds for name in _READS[kind]]


def find_sysctl(host: Host, own: str, wanted: Mapping[str, object]) -> list[str]:
    """Returns a line for each key that the next boot sets otherwise. own: the role's file; wanted: key to value."""
    shown = {key: " ".join(map(str, asked)) if isinstance(asked, list) else str(asked) for key, asked in wanted.items()}
    problems = _find_mask(host, _SYSCTL_UNIT, "sysctl.d") if shown else []
    written, errors = _settle_sysctl(host, own, "".join(f"{key} = {value}\n" for key, value in shown.items()))
    for key, value in shown.items():
        # The role's line has the key's own name. The last line counts, by whatever name, and `-KEY` sets nothing.
        named = [each for each in written if each.key == sysctl_lines.normalise_key(key)]
        line = _find_last(written, key) or named[-1]
        if line.value is None or " ".join(line.value.split()) != value:
            by_name = line in named or sysctl_lines.is_glob(line)
            name = key if by_name else f"{line.key.replace('/', '.')}, and so {key},"
            problems.append(_describe(line.file, name, "nothing" if line.value is None else line.value, value, own))
    return problems + errors


def _find_last(written: list[sysctl_lines.Assignment], key: str) -> sysctl_lines.Assignment | None:
    """Returns the line that decides a key: its own, or that of a key that sets it too."""
    line = sysctl_lines.find_winner(written, key)
    effect = netconf.find_effect(sysctl_lines.normalise_key(key))
    if effect is None or line is None:
        return line
    return netconf.find_later_effect(effect, line, sysctl_lines.find_written(written, effect.cause), written) or line


def find_forbidden(host: Host, own: str, wanted: Mapping[str, str]) -> list[str]:
    """Returns a line if a file takes a congestion control off the allowed ones again. own: the role's file; wanted: key
    to value."""
    name = wanted.get(sysctl_lines.CONTROL)
    if name is None:
        return []
    written, _ = _settle_sysctl(host, own, "".join(f"{key} = {value}\n" for key, value in wanted.items()))
    line = sysctl_lines.find_forbidding(written, name)
    if line is None:
        return []
    return [
        f"{line.file} is read after the role's own file and sets {sysctl_lines.ALLOWED} to "
        f"{cpu_lists.show(line.value)}, without {name}: add it there, or take the line out"
    ]


def find_total(host: Host, key: str, own: str) -> list[str]:
    """Returns a line if a file of sysctl.d sets a key of which the role sets the parts. own: what has the parts."""
    written, errors = _settle_sysctl(host)
    line = sysctl_lines.find_winner(written, key)
    if line is None:
        return errors
    return [
        *errors,
        f"{line.file} sets {key} to {cpu_lists.show(line.value)} at boot, which takes back {own}: take it out",
    ]


def find_systemd(host: Host, own: str, wanted: Mapping[str, str]) -> list[str]:
    """Returns a line for each key of [Manager] that a file sets otherwise, now or at the next boot."""
    text = "[Manager]\n" + "".join(f"{key}=\n{key}={value}\n" for key, value in wanted.items())
    problems = []
    for tops in (_NOW, _LASTING):
        settings = [
            setting
            for path, text_ in _merge(host, tops, "systemd/system.conf.d", own, text)
            for setting in systemd_lines.parse(text_, path)
            if setting.section == "Manager"
        ]
        for key, value in wanted.items():
            found = [setting for setting in settings if setting.key == key]
            find_wrong = _find_wrong_cpus if key == "CPUAffinity" else _find_wrong_limit
            problems += [_describe(one.source, key, one.value, value, own) for one in find_wrong(found, value)]
    return list(dict.fromkeys(problems))


def _find_wrong_cpus(found: list[systemd_lines.Setting], wanted: str) -> list[systemd_lines.Setting]:
    """Returns the lines that make the list of CPUs another one: all lists add up, but for those before an empty one."""
    counting = systemd_lines.list_settings(found, "Manager", "CPUAffinity")
    if _add_up(counting) == _read_cpus(wanted):
        return []
    return [one for one in counting if _read_cpus(one.value) != _read_cpus(wanted)] or found[-1:]


def _add_up(settings: list[systemd_lines.Setting]) -> frozenset[int]:
    return frozenset[int]().union(*(_read_cpus(one.value) for one in settings))


def _read_cpus(text: str) -> frozenset[int]:
    """Returns the CPUs of one line, none for one that systemd does not understand, and ignores."""
    try:
        return cpulist.parse_systemd(cpulist.SystemdList(text)) or frozenset()
    except ValueError:
        return frozenset()


def _find_wrong_limit(found: list[systemd_lines.Setting], wanted: str) -> list[systemd_lines.Setting]:
    """Returns the line that sets a limit to less than the soft one that is wanted, or the one that resets it."""
    item = next(item for item, key in limits_lines.ITEMS.items() if f"Default{key}" == found[0].key)
    limit, need = limits.find_limit(found, "Manager", item).limit, limits.parse_systemd(item, wanted).soft
    if limit is None:
        return [one for one in found if not one.value][-1:]
    if limit.soft >= need and limit.hard >= need:
        return []
    return [one for one in found if one.source == limit.source and one.value][-1:]


def find_number(host: Host, key: str) -> int | None:
    """Returns the number that sysctl.d sets a key to at the next boot; None for none."""
    for line in sysctl_lines.find_written(_settle_sysctl(host)[0], key):
        numbers = sysctl_values.read_numbers(line.value or "", 1)
        if numbers:
            return numbers[0]
    return None


def find_limits(host: Host, own: str, wanted: Mapping[tuple[str, str], str], nr_open: int | None) -> list[str]:
    """Returns a line for each limit that a login does not get, or gets less of than the role writes. wanted: (user,
    item) to value, as in the file; nr_open: fs.nr_open of the next boot, above which the kernel refuses pam_limits,
    None where it is not known."""
    text = "".join(f"{user} - {item} {value}\n" for (user, item), value in wanted.items())
    files = [(_LIMITS_CONF, host.read(_LIMITS_CONF) or ""), *_merge(host, ("/etc",), "security/limits.d", own, text)]
    known = find_users({user for user, _ in wanted}, host.read(PASSWD) or "", host.read(GROUP) or "")
    asked = {(line.domain, line.item): line.value for line in limits_lines.parse(text, own)["1.5"]}
    problems = _find_sessions(host) if wanted else []
    for grammar in limits_lines.GRAMMARS:
        lines: list[limits_lines.Line] = []
        for path, each in files:
            try:
                lines += limits_lines.parse(each, path)[grammar]
            except ValueError as error:
                return [f"{path} is not understood: {error}"]
        for user in dict.fromkeys(user for user, _ in wanted):
            who = known.get(user, User(user, -1, -1))  # of a user that is still to be made, lines with the name
            problems += [
                f"{line.place} takes {user} off all limits: take the line out there"
                for line in limits_lines.find_exemptions(lines, who)
            ]
            for (item, kind), (_, line) in limits_lines.choose(lines, who).items():
                if (user, item) in asked and not _is_enough(line, asked[user, item], nr_open):
                    title = f"{line.domain} {kind} {item}"
                    problems.append(
                        _describe(line.place.rpartition(":")[0], title, _show_limit(line), wanted[user, item], own)
                    )
    return list(dict.fromkeys(problems))


def find_tmpfiles(
    host: Host,
    own: str,
    wanted: Mapping[str, object],
    kept: Mapping[str, tuple[str, Callable[[str], bool]]],
    totals: Mapping[str, Iterable[str]],
) -> list[str]:
    """Returns a line for each path that has something else in the end than the role wants there. own: the role's file;
    wanted: path to the value that the file has written there; kept: path to what is asked for there, and which
    values will do; totals: path to the other ones that set it too."""
    text = "".join(f"w {path} - - - - {value}\n" for path, value in wanted.items())
    lines: list[tmpfiles_lines.Line] = []
    for path, each in _merge(host, _LASTING, "tmpfiles.d", own, text):
        try:
            lines += tmpfiles_lines.parse(each, path)
        except ValueError as error:
            return [f"{path} is not understood: {error}"]
    problems = _find_mask(host, _TMPFILES_UNIT, "tmpfiles.d") if wanted else []
    lines = tmpfiles_lines.order(lines)
    asked_for = {path: (str(value), str(value).__eq__) for path, value in wanted.items()}
    for path, (asked, will_do) in {**asked_for, **kept}.items():
        paths = (path, *totals.get(path, ()))
        writes = [(key, line) for line in lines for key in paths if tmpfiles_lines.names(line, key)]
        for key, last in writes[-1:]:
            if key != path or last.value is None or not will_do(last.value):
                set_to = "something that the host decides" if last.value is None else last.value
                problems.append(_describe(last.place.rpartition(":")[0], key, set_to, asked, own))
    return problems


def find_kept_out(host: Host, modules: Iterable[str]) -> list[str]:
    """Returns a line for each line of modprobe.d(5) that keeps a module from being loaded, now or at the next boot."""
    wanted = set(modules)
    problems = [
        f"{block.place} keeps the module {name} from being loaded: take the line out there"
        for tops in (_NOW, _LASTING)
        for path, text in _merge(host, tops, "modprobe.d")
        for name, block in parse_blocks(text, path).items()
        if name in wanted
    ]
    return list(dict.fromkeys(problems))


def _settle_sysctl(host: Host, own: str = "", text: str = "") -> tuple[list[sysctl_lines.Assignment], list[str]]:
    """Returns what the next boot writes, and a line for each file that cannot be told."""
    lines: list[sysctl_lines.Assignment] = []
    problems = []
    for path, each in _merge(host, _LASTING, "sysctl.d", own, text):
        try:
            lines += sysctl_lines.parse(each, path)
        except ValueError as error:
            problems.append(f"{path} is not understood: {error}")
    return sysctl_lines.settle(lines), problems


def _merge(host: Host, tops: Iterable[str], name: str, own: str = "", text: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and text of each drop-in that counts, in the order in which they are read; of the role's own, what it
    is to hold."""
    chosen: dict[str, str] = {posixpath.basename(own): own} if own else {}
    for top in tops:
        for path in host.found:
            directory, _, file = path.rpartition("/")
            if directory == f"{top}/{name}" and file.endswith(".conf") and not file.startswith("."):
                chosen.setdefault(file, path)
    for file in sorted(chosen):
        path = chosen[file]
        yield path, text if path == own else host.read(path) or ""


def _find_sessions(host: Host) -> list[str]:
    """Returns a line for each service that people log in by, and whose session does not read limits.d."""
    problems = []
    for service in pam_lines.SERVICES:
        own = pam_lines.find_file(service, host.read)
        if own is None:
            continue
        path = own[0]
        runs = pam_lines.find_runs(service, host.read)
        if runs == [UNINTELLIGIBLE]:
            problems.append(f"{path}: it cannot be told whether its session runs pam_limits: write it more simply")
        elif not runs:
            problems.append(f"{path} has no pam_limits in its session, so that its logins get no limits: add it there")
        problems += [
            f"{path} has pam_limits read {cpu_lists.show(conf)}, not limits.d: take conf= out of its line"
            for conf in filter(None, runs if runs != [UNINTELLIGIBLE] else [])
        ]
    return problems


def _find_mask(host: Host, unit: str, directory: str) -> list[str]:
    """Returns a line where the administrator masked the service that applies the files of a directory at boot."""
    masked = host.read(unit) == ""
    return [f"{unit} is masked, so that no file of {directory} is applied at boot: unmask it"] if masked else []


def _is_enough(line: limits_lines.Line, wanted: int | None, nr_open: int | None) -> bool:
    """Returns whether a line gives as much as is wanted; None stands for nr_open open files."""
    if line.item != "nofile":
        return (line.value or 0) >= (wanted or 0)
    most = limits_lines.UNLIMITED if nr_open is None else nr_open
    value, need = (most if each is None else each for each in (line.value, wanted))
    return need <= value <= most


def _show_limit(line: limits_lines.Line) -> str:
    """Returns the value of a line as limits.conf(5) has it."""
    if line.value is None or line.value == limits_lines.UNLIMITED:
        return "unlimited"
    return str({"memlock": line.value // 1024, "nice": 20 - line.value}.get(line.item, line.value))


def _describe(path: str, key: str, found: str, wanted: str, own: str) -> str:
    when = "before" if posixpath.basename(path) < posixpath.basename(own) else "after"
    return (
        f"{path} is read {when} the role's own file and sets {key} to {cpu_lists.show(found)}, the role to "
        f"{cpu_lists.show(wanted)}: take it out there, or ask for the same"
    )
