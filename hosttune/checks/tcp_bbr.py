"""tcp_bbr: congestion control of new TCP sockets, its module, and the queueing discipline that paces them.

Sources: `Documentation/networking/ip-sysctl.rst` (tcp_congestion_control), tcp(7), tc-fq(8),
`net/ipv4/tcp_cong.c` and `net/sched/sch_generic.c` of the Linux kernel.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from hosttune.checks import _sysctl
from hosttune.findings import READ_IT, Finding, Hop, HopName, Status
from hosttune.hops import build_finding, judge_fact
from hosttune.host import modules, qdisc, sysctl
from hosttune.host.root import NOT_CAPTURED, Fact, Observed, Root
from hosttune.output import quote_word

CONTROL = "net.ipv4.tcp_congestion_control"
AVAILABLE = "net.ipv4.tcp_available_congestion_control"
ALLOWED = "net.ipv4.tcp_allowed_congestion_control"
QDISC = "net.core.default_qdisc"
FILE = "/etc/sysctl.d/99-zz-hosttune-tcp_bbr.conf"
MODULES_FILE = "/etc/modules-load.d/hosttune-tcp_bbr.conf"

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,15}\Z")]


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`congestion_control` and `qdisc` are the kernel's names (bbr, cubic; fq, fq_codel); each may be left
    out. `require_fq`: an interface with another qdisc fails instead of warning."""

    congestion_control: Name | None = None
    qdisc: Name | None = None
    require_fq: bool = False

    def __post_init__(self) -> None:
        if self.require_fq and self.qdisc is None:
            raise ValueError("require_fq: it needs qdisc, the discipline that the interfaces shall have")


class Facts(msgspec.Struct):
    """What was read; `devices` only if the section asks for a qdisc."""

    sysctl: sysctl.Sysctls
    modules: modules.Modules | None
    devices: Fact[list[qdisc.Device]] | None


def facts(root: Root, wanted: Section) -> Facts:
    """Read the sysctls, and modules and attached qdiscs as far as they are asked for."""
    control = wanted.congestion_control is not None
    keys = [*([CONTROL, AVAILABLE, ALLOWED] if control else []), *([QDISC] if wanted.qdisc else [])]
    return Facts(
        sysctl.read(root, keys),
        modules.read(root) if control else None,
        qdisc.read(root) if wanted.qdisc else None,
    )


def sweep(root: Root) -> None:
    """Read what another profile could ask for, so that a snapshot holds it."""
    qdisc.read(root)
    modules.read(root)


def check(wanted: Section, facts: Facts, observed: Observed[None] | None) -> list[Finding]:
    """Returns findings on the congestion control, and on the qdisc with one for each interface that is a device."""
    findings = []
    if wanted.congestion_control is not None and facts.modules is not None:
        findings += [
            _check_control(wanted.congestion_control, facts.sysctl),
            _check_allowed(wanted.congestion_control, facts.sysctl),
            _check_module(wanted.congestion_control, facts.sysctl, facts.modules),
        ]
    if wanted.qdisc is not None and facts.devices is not None:
        findings.append(_check_default_qdisc(wanted.qdisc, facts.sysctl))
        findings += _check_attached(wanted.qdisc, wanted.require_fq, facts.devices)
    return findings


def _check_control(name: str, facts: sysctl.Sysctls) -> Finding:
    return _sysctl.check_key(
        "tcp_bbr.congestion_control",
        CONTROL,
        name,
        facts,
        why="new TCP sockets take every loss on a long path for congestion, and slow down",
        file=FILE,
    )


def _check_allowed(name: str, facts: sysctl.Sysctls) -> Finding:
    """Available: the kernel has it now. Allowed: a process without CAP_NET_ADMIN may choose it."""
    hops: dict[HopName, Hop] = {}
    for key in (AVAILABLE, ALLOWED):
        hops["runtime"] = judge_fact(facts.running[key].map(str.split), lambda names: name in names, " ".join)
        if hops["runtime"].state != "ok":
            break
    return build_finding(
        "tcp_bbr.allowed",
        name,
        hops,
        why="a socket that asks for it by TCP_CONGESTION is refused (available: the kernel has it; allowed: "
        "an unprivileged process may use it)",
        fix=READ_IT if hops["runtime"].state == "unknown" else f"modprobe tcp_{name} && sysctl -w {CONTROL}={name}",
        required=("runtime",),
    )


def _check_module(name: str, facts: sysctl.Sysctls, found: modules.Modules) -> Finding:
    """The sysctl also loads the module when root sets it, so a missing declaration is only a warning."""
    module = f"tcp_{name}"
    hops: dict[HopName, Hop] = {"persisted": _judge_module_at_boot(module, name, facts, found)}
    available = facts.running[AVAILABLE].map(str.split)
    hops["runtime"] = judge_fact(available, lambda names: name in names, " ".join)
    undeclared = hops["runtime"].state == "ok" and hops["persisted"].state == "absent"
    status: Status | None = "warn" if undeclared else None
    return build_finding(
        "tcp_bbr.module",
        module,
        hops,
        found=f"{module} is not declared" if undeclared else hops["persisted"].value,
        why="only the sysctl loads it, and where that fails at boot sockets silently keep cubic"
        if undeclared
        else "without the module the kernel refuses the congestion control",
        fix=_fix_module(module, hops),
        status=status,
    )


def _fix_module(module: str, hops: dict[HopName, Hop]) -> str:
    lines = [f"echo {module} >> {MODULES_FILE}"] if hops["persisted"].state == "absent" else []
    lines += [f"modprobe {module}"] if hops["runtime"].state == "bad" else []
    return "\n".join(lines) or READ_IT


def _judge_module_at_boot(module: str, name: str, facts: sysctl.Sysctls, found: modules.Modules) -> Hop:
    if found.at_boot.value is not None and module in found.at_boot.value:
        return Hop("ok", "loaded at boot", found.at_boot.value[module])
    if found.builtin.value is not None and module in found.builtin.value:
        return Hop("ok", "built in", found.builtin.source)
    # Available now, and no module of that name: it is part of the kernel, as reno always is.
    running = name in (facts.running[AVAILABLE].value or "").split()
    if running and (
        found.loaded.state == "absent" or (found.loaded.value is not None and module not in found.loaded.value)
    ):
        return Hop("ok", "built in", f"{found.loaded.source}, {sysctl.build_path(AVAILABLE)}")
    for fact in (found.at_boot, found.builtin):
        if fact.state == "unreadable":
            return Hop("unknown", fact.reason, fact.source)
    return Hop("absent", None, "modules-load.d, modules.builtin")


def _check_default_qdisc(name: str, facts: sysctl.Sysctls) -> Finding:
    return _sysctl.check_key(
        "tcp_bbr.qdisc",
        QDISC,
        name,
        facts,
        why=f"an interface that comes up gets another queueing discipline than {name}",
        file=FILE,
    )


def _check_attached(name: str, required: bool, devices: Fact[list[qdisc.Device]]) -> list[Finding]:
    if devices.value is None:
        hops: dict[HopName, Hop] = {"runtime": Hop("unknown", devices.reason, devices.source)}
        # A tree of files never holds them. Where nothing worse than a warning could be found, that is the finding.
        status: Status | None = "warn" if devices.reason == NOT_CAPTURED and not required else None
        return [
            build_finding(
                "tcp_bbr.qdisc.interfaces",
                name,
                hops,
                found=devices.reason,
                why="which queueing discipline the interfaces have could not be read",
                fix=READ_IT,
                required=("runtime",),
                status=status,
            )
        ]
    return [_check_device(name, required, device) for device in devices.value if device.physical is not False]


def _check_device(name: str, required: bool, device: qdisc.Device) -> Finding:
    kinds = sorted(set(device.leaves)) if device.root == "mq" else [device.root]
    state = "na" if kinds == ["noqueue"] else "ok" if kinds == [name] else "bad"
    found = f"mq with {' '.join(kinds)}" if device.root == "mq" else device.root
    hops: dict[HopName, Hop] = {"runtime": Hop(state, found, "netlink RTM_GETQDISC")}  # type: ignore[arg-type]
    return build_finding(
        f"tcp_bbr.qdisc.{device.name}",
        name,
        hops,
        found="no queue: the driver sends at once" if state == "na" else found,
        why="BBR then paces with one timer for each socket, which costs CPU and sends less evenly"
        if name == "fq"
        else "packets leave in another order and at other times than the profile was made for",
        fix=f"tc qdisc replace dev {quote_word(device.name)} root {name}"
        if device.root != "mq"
        else f"sysctl -w {QDISC}={name}, then tc qdisc replace dev {quote_word(device.name)} root mq",
        required=("runtime",),
        status="warn" if state == "bad" and not required else None,
    )
