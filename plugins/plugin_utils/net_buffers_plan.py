# SPDX-License-Identifier: Apache-2.0
"""What the role net_buffers is asked for, checked, and the kernel values that it comes to.

Source: `Documentation/networking/ip-sysctl.rst` and `Documentation/admin-guide/sysctl/net.rst` of the Linux kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hosttune.host import module_names, netconf

from . import boot_line, cpu_lists, inputs, later_files
from .host_facts import Host

#: Interface names may hold dots, so only keys that name no interface can be turned into paths.
_KEY = re.compile(r"net\.[a-z0-9_]+(\.[a-z0-9_]+)+")
_OWN = "/etc/sysctl.d/99-zz-hosttune-net_buffers.conf"
_SHOWN = re.compile(r"[a-z0-9_.-]+")
_OF_TCP_BBR = ("net.core.default_qdisc", "net.ipv4.tcp_congestion_control")
_RISING = ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_mem")


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the files of the keys, which the kernel may not have, and those that may overrule the role's."""
    keys = asked["sysctl"] if isinstance(asked["sysctl"], dict) else {}
    if image or not asked["refuse"]:
        return []
    late = later_files.list_reads("sysctl")
    if modules := _find_modules(filter(_is_key, keys)):
        late += [*(f"module:{name}" for name in modules), *later_files.list_reads("modprobe"), *boot_line.READS]
    return [*(_build_path(key) for key in keys if _is_key(key)), *late]


def plan(sysctl: Any, refuse: bool = True, host: Host | None = None) -> dict[str, Any]:
    """Returns `sysctl`, key to a number or a list of them, `values`, path below /proc/sys to the same, and `modules`.

    `modules` make some of the keys, and have to be there at boot before the keys are set.

    Keys of the role's defaults that the host's kernel does not have are left out. Raises ValueError with one line per
    problem; without `refuse`, for a revert, what is wrong is left out.
    """
    host = host or Host()
    problems: list[str] = []
    checked: dict[str, int | list[int]] = {}
    for key, value in (sysctl if isinstance(sysctl, dict) else {}).items():
        numbers = [inputs.read_number(one) for one in (value if isinstance(value, list) else [value])]
        found = [number for number in numbers if number is not None]
        rising = key not in _RISING or (len(found) == 3 and found == sorted(found))
        path = key.replace(".", "/") if isinstance(key, str) else ""
        if path in netconf.NO_EFFECT:
            problems.append(f"net_buffers_sysctl: {key}: {netconf.NO_EFFECT[path]}: take it out")
        elif not _is_key(key) or key in _OF_TCP_BBR or not rising or found != numbers:
            problems.append(
                f"net_buffers_sysctl: {key if _SHOWN.fullmatch(str(key)) else ascii(key)}: {value!a}: "
                "expected a key of net.core, net.ipv4 or the like without an interface name, "
                f"that is none of the role tcp_bbr's ({', '.join(_OF_TCP_BBR)}), and a number or a list of numbers; "
                "tcp_rmem, tcp_wmem and tcp_mem are [minimum, default, maximum] in rising order"
            )
        elif host.lacks(_build_path(key)):
            reason = f"net_buffers_sysctl: {key}: the host's kernel has no such key"
            module = module_names.find_owner(path)
            if module is not None:
                reason += f" (the module {module} makes it and is not loaded: modprobe {module})"
            host.refuse_or_leave_out(problems, reason, "net_buffers_sysctl", value, key)
        elif found:
            checked[key] = found if isinstance(value, list) else found[0]
        else:
            problems.append(f"net_buffers_sysctl: {key}: []: expected a number or a list of numbers")
    if not isinstance(sysctl, dict):
        problems.append(f"net_buffers_sysctl is {cpu_lists.show(sysctl)}: expected keys with values")
    problems += later_files.find_sysctl(host, _OWN, checked)
    modules = _find_modules(checked)
    if loaded := [name for name in modules if host.read(f"module:{name}") != "builtin"]:
        problems += later_files.find_kept_out(host, loaded) + boot_line.find_blocked(host, loaded)
    if refuse:
        cpu_lists.refuse(problems)
    return {
        "sysctl": checked,
        "values": {_build_path(key): value for key, value in checked.items()},
        "modules": modules,
    }


def _find_modules(keys: Iterable[str]) -> list[str]:
    """Returns the modules that make some of the keys."""
    return sorted(set(filter(None, (module_names.find_owner(key.replace(".", "/")) for key in keys))))


def _is_key(key: Any) -> bool:
    return (
        isinstance(key, str) and _KEY.fullmatch(key) is not None and not netconf.names_interface(key.replace(".", "/"))
    )


def _build_path(key: str) -> str:
    return f"/proc/sys/{key.replace('.', '/')}"
