# SPDX-License-Identifier: Apache-2.0
"""What the role tcp_bbr is asked for, checked against what the host's kernel has.

Sources: `net/ipv4/tcp_cong.c` (tcp_set_default_congestion_control asks modprobe for tcp_NAME) and `net/sched/sch_api.c`
(qdisc_set_default asks for sch_NAME) of the Linux kernel.
"""

from __future__ import annotations

from typing import Any

from hosttune.host.module_names import BUILT_IN_QDISCS

from . import boot_line, cpu_lists, inputs, later_files
from .host_facts import Host, build_interface_path

_ALWAYS = {"tcp_bbr_interfaces": inputs.make_list(inputs.INTERFACE)}
_NAMES = {"tcp_bbr_congestion_control": inputs.KERNEL_NAME, "tcp_bbr_qdisc": inputs.KERNEL_NAME}

_OWN = "/etc/sysctl.d/99-zz-hosttune-tcp_bbr.conf"
_NET = "/proc/sys/net"
_AVAILABLE = f"{_NET}/ipv4/tcp_available_congestion_control"
_CONTROL, _QDISC = f"{_NET}/ipv4/tcp_congestion_control", f"{_NET}/core/default_qdisc"


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns what tells which congestion controls, queueing disciplines and interfaces the kernel has or can load."""
    if image or not asked["refuse"] or inputs.find_problems(asked["variables"], _NAMES):
        return []
    control, qdisc = _read_names(asked["variables"])
    named = asked["variables"]["tcp_bbr_interfaces"]
    late = [*later_files.list_reads("sysctl", "modprobe"), *boot_line.READS]
    interfaces = [] if inputs.find_problems(asked["variables"], _ALWAYS) else map(build_interface_path, named)
    return [_AVAILABLE, _CONTROL, _QDISC, f"module:tcp_{control}", f"module:sch_{qdisc}", *interfaces, *late]


def plan(variables: dict[str, Any], refuse: bool = True, host: Host | None = None) -> dict[str, Any]:
    """Returns `sysctl` and `values` (key, and path below /proc/sys, to the name), `modules` to load at boot, and
    `section` of the profile.

    A default that the kernel does not have is in none of them. Raises ValueError with one line per problem; without
    `refuse`, for a revert, of what a revert uses.
    """
    host = host or Host()
    cpu_lists.refuse(inputs.find_problems(variables, {**_NAMES, **_ALWAYS} if refuse else _ALWAYS))
    control, qdisc = _read_names(variables)
    problems = [
        f"tcp_bbr_interfaces: {name}: the host has no such network interface"
        for name in variables["tcp_bbr_interfaces"]
        if host.lacks(build_interface_path(name))
    ]
    sysctl: dict[str, str] = {}
    section: dict[str, Any] = {}
    modules: list[str] = []
    if refuse and _lacks(host, f"module:tcp_{control}", control in (host.read(_AVAILABLE) or "").split()):
        reason = f"tcp_bbr_congestion_control: the host's kernel has no {control}"
        host.refuse_or_leave_out(problems, reason, "tcp_bbr_congestion_control", control)
    else:
        sysctl["net.ipv4.tcp_congestion_control"] = section["congestion_control"] = control
        modules += _list_module(host, f"module:tcp_{control}", built_in=False)
    built_in = qdisc in BUILT_IN_QDISCS
    if refuse and _lacks(host, f"module:sch_{qdisc}", built_in or host.read(_QDISC) == qdisc):
        reason = f"tcp_bbr_qdisc: the host's kernel has no {qdisc}"
        host.refuse_or_leave_out(problems, reason, "tcp_bbr_qdisc", qdisc)
    else:
        sysctl["net.core.default_qdisc"] = section["qdisc"] = qdisc
        section["require_fq"] = variables.get("tcp_bbr_require_fq", False)
        modules += _list_module(host, f"module:sch_{qdisc}", built_in)
    problems += later_files.find_sysctl(host, _OWN, sysctl) if refuse else []
    problems += later_files.find_forbidden(host, _OWN, sysctl) if refuse else []
    problems += later_files.find_kept_out(host, modules) + boot_line.find_blocked(host, modules) if refuse else []
    cpu_lists.refuse(problems)
    values = {f"/proc/sys/{key.replace('.', '/')}": name for key, name in sysctl.items()}
    return {"sysctl": dict(sorted(sysctl.items())), "values": values, "modules": modules, "section": section}


def _read_names(variables: dict[str, Any]) -> tuple[str, str]:
    return str(variables["tcp_bbr_congestion_control"]), str(variables["tcp_bbr_qdisc"])


def _lacks(host: Host, module: str, in_use: bool) -> bool:
    return host.lacks(module) and not in_use


def _list_module(host: Host, name: str, built_in: bool) -> list[str]:
    """Returns the module, unless the kernel has it built in: systemd-modules-load would fail at what is no module."""
    return [] if built_in or host.lacks(name) or host.read(name) == "builtin" else [name.partition(":")[2]]
