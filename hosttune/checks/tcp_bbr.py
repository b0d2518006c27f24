"""tcp_bbr: congestion control of new TCP sockets, its module, and the queueing discipline that paces them.

Sources: `Documentation/networking/ip-sysctl.rst` (tcp_congestion_control), tcp(7), tc-fq(8),
`net/ipv4/tcp_cong.c` and `net/sched/sch_generic.c` of the Linux kernel.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from hosttune.checks import _edits, _masks, _sysctl
from hosttune.findings import READ_IT, Finding, Hop, HopName, Status
from hosttune.hops import build_finding, judge_fact
from hosttune.host import module_names, modules, qdisc, sysctl, sysctl_lines
from hosttune.host.root import NOT_CAPTURED, Fact, Observed, Root
from hosttune.host.sysctl_lines import ALLOWED, CONTROL
from hosttune.output import quote_word

AVAILABLE = "net.ipv4.tcp_available_congestion_control"
QDISC = "net.core.default_qdisc"

# Qdiscs that say of a device that it queues nothing.
_NO_QUEUE = {"noqueue": "no queue: the driver sends at once", "noop": "the interface is down"}

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
    modules: modules.Modules
    devices: Fact[list[qdisc.Device]] | None


def facts(root: Root, wanted: Section) -> Facts:
    """Read the sysctls, and modules and attached qdiscs as far as they are asked for."""
    control = wanted.congestion_control is not None
    keys = [*([CONTROL, AVAILABLE, ALLOWED] if control else []), *([QDISC] if wanted.qdisc else [])]
    return Facts(
        sysctl.read(root, keys),
        modules.read(root, needs=False),
        qdisc.read(root) if wanted.qdisc else None,
    )


def sweep(root: Root) -> None:
    """Read what another profile could ask for, so that a snapshot holds it."""
    qdisc.read(root)
    modules.read(root)


def check(wanted: Section, facts: Facts, observed: Observed[None] | None) -> list[Finding]:
    """Returns findings on the congestion control, and on the qdisc with one for each interface that is a device."""
    findings = []
    if wanted.congestion_control is not None:
        findings += [
            _check_control(wanted.congestion_control, facts.sysctl),
            _check_allowed(wanted.congestion_control, facts.sysctl),
            _check_module(wanted.congestion_control, facts.sysctl, facts.modules),
        ]
    if wanted.qdisc is not None and facts.devices is not None:
        findings.append(_check_default_qdisc(wanted.qdisc, facts.sysctl, facts.modules))
        findings += _check_attached(wanted.qdisc, wanted.require_fq, facts.devices)
    return findings


def _check_control(name: str, facts: sysctl.Sysctls) -> Finding:
    return _sysctl.check_key(
        "tcp_bbr.congestion_control",
        CONTROL,
        name,
        facts,
        why="new TCP sockets take every loss on a long path for congestion, and slow down",
    )


def _check_allowed(name: str, facts: sysctl.Sysctls) -> Finding:
    """Available: the kernel has it now. Allowed: a process without CAP_NET_ADMIN may choose it."""
    hops: dict[HopName, Hop] = {}
    for key in (AVAILABLE, ALLOWED):
        hops["runtime"] = judge_fact(facts.running[key].map(str.split), lambda names: name in names, " ".join)
        if hops["runtime"].state != "ok":
            break
    fix = f"sysctl -w {CONTROL}={name}"  # which loads the module, and allows it
    forbids = sysctl_lines.find_forbidding(facts.boot.value or [], name)
    if forbids is not None:
        hops = {"persisted": Hop("bad", forbids.value, forbids.place), **hops}
        have = (facts.running[AVAILABLE].value or "").split()
        words = [*(word for word in (forbids.value or "").split() if word in have), name]
        lines = [_sysctl.set_at_boot(ALLOWED, " ".join(words), facts)]
        fix = "\n".join([*lines, *([fix] if hops["runtime"].state != "ok" else [])])
    return build_finding(
        "tcp_bbr.allowed",
        name,
        hops,
        why="a socket that asks for it by TCP_CONGESTION is refused (available: the kernel has it; allowed: "
        "an unprivileged process may use it)",
        fix=READ_IT if hops["runtime"].state == "unknown" else fix,
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
    words = hops["persisted"].value or f"{module} is not declared"
    lines = _sysctl.fix_module(module, found) if hops["persisted"].state in ("absent", "bad") else []
    if hops["persisted"].state == "unknown":
        lines = _masks.advise(found.at_boot)
    if hops["runtime"].state == "bad":
        lines.append(f"modprobe {module}")
    return build_finding(
        "tcp_bbr.module",
        module,
        hops,
        found=words if undeclared else hops["persisted"].value,
        why="only the sysctl loads it, and where that fails at boot sockets silently keep cubic"
        if undeclared
        else "without the module the kernel refuses the congestion control",
        fix="\n".join(lines) or READ_IT,
        status=status,
    )


def _judge_module_at_boot(module: str, name: str, facts: sysctl.Sysctls, found: modules.Modules) -> Hop:
    load = modules.find_load(found, module)
    if load.value is not None:
        return Hop("ok", load.value if load.value == "built in" else "loaded at boot", load.source)
    # Available now, and no module of that name: it is part of the kernel, as reno always is.
    running = name in (facts.running[AVAILABLE].value or "").split()
    if running and found.loaded.value is not None and module not in found.loaded.value:
        return Hop("ok", "built in", f"{found.loaded.source}, {sysctl.build_path(AVAILABLE)}")
    if load.state == "unreadable":
        return Hop("unknown", load.reason, load.source)
    block = modules.find_prevention(found, module)
    if block is not None:
        return Hop("bad", f"{block.place} keeps it from being loaded", block.place)
    return Hop("absent", load.reason or None, "modules-load.d, modules.builtin")


def _check_default_qdisc(name: str, facts: sysctl.Sysctls, found: modules.Modules) -> Finding:
    """The kernel loads the module when the key is written; without it, the value is refused at boot."""
    hops = _sysctl.judge_hops(QDISC, name, facts)
    fix = _sysctl.write_fix(QDISC, name, hops, facts)
    module = f"sch_{name}"
    if hops["persisted"].state == "ok" and name not in module_names.BUILT_IN_QDISCS:
        block = modules.find_prevention(found, module)
        unread = found.blocks if block is None else found.builtin
        if unread.state == "unreadable":
            hops["persisted"] = Hop("unknown", unread.reason, unread.source)
        elif block is not None:
            hops["persisted"] = Hop("bad", f"{block.place} keeps {module} from being loaded", block.place)
            fix = "\n".join([_edits.remove_line(block.place), *([] if fix == READ_IT else [fix])])
    return build_finding(
        "tcp_bbr.qdisc",
        name,
        hops,
        found=hops["runtime"].value,
        why=f"an interface that comes up gets another queueing discipline than {name}",
        fix=fix,
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
    multiple = device.root in qdisc.MULTIPLE
    kinds = sorted(set(device.leaves)) if multiple else [device.root]
    state = "na" if kinds in (["noqueue"], ["noop"]) else "ok" if kinds == [name] else "bad"
    found = f"{device.root} with {' '.join(kinds)}" if multiple else device.root
    hops: dict[HopName, Hop] = {"runtime": Hop(state, found, "netlink RTM_GETQDISC")}  # type: ignore[arg-type]
    interface = quote_word(device.name)
    return build_finding(
        f"tcp_bbr.qdisc.{device.name}",
        name,
        hops,
        found=_NO_QUEUE[device.root] if state == "na" else found,
        why="BBR then paces with one timer for each socket, which costs CPU and sends less evenly"
        if name == "fq"
        else "packets leave in another order and at other times than the profile was made for",
        # Another root, and then none: the kernel attaches its default anew, to each queue of a device with several.
        fix=f"sysctl -w {QDISC}={name}\n"
        f"tc qdisc replace dev {interface} root pfifo && tc qdisc delete dev {interface} root"
        if multiple
        else f"tc qdisc replace dev {interface} root {name}",
        required=("runtime",),
        status="warn" if state == "bad" and not required else None,
    )
