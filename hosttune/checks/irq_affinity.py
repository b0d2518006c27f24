"""Interrupt affinity: device interrupts on the housekeeping CPUs, network queues where the desk wants them.

Sources: `Documentation/core-api/irq/irq-affinity.rst`, `Documentation/networking/scaling.rst` and the
parameters irqaffinity= and isolcpus=managed_irq in `Documentation/admin-guide/kernel-parameters.txt` of
the Linux kernel; irqbalance(1).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hosttune.checks import _appliers, _cpusets, _desk
from hosttune.findings import Finding, Hop, HopName, Status
from hosttune.hops import build_finding, choose_worst, judge_fact
from hosttune.host import boot, cmdline, cpu, cpulist, dropins, irq, irq_plan, irq_unit, irqbalance, systemd
from hosttune.host.cpulist import KernelList
from hosttune.host.root import Fact, Observed, Root
from hosttune.output import quote_word
from hosttune.refusals import KeyRefused

Counts = Fact[dict[str, irq.Row]]

_WHY = "its handler, and the softirq work that follows, interrupts the thread on that CPU"


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What the profile may ask for.

    `housekeeping`: cpulist for device interrupts. `irqbalance`: `banned` from all other CPUs, `stopped`,
    or `ignore`. `queues`: per network interface the cpulist for its queues' interrupts, which may name
    isolated CPUs on purpose; these interrupts are judged by it alone.
    """

    housekeeping: KernelList
    irqbalance: Literal["banned", "stopped", "ignore"] = "ignore"
    queues: dict[str, KernelList] = {}

    def __post_init__(self) -> None:
        _cpusets.validate("housekeeping", self.housekeeping)
        for interface, cpus in self.queues.items():
            try:
                irq_plan.check_interface(interface)
                _cpusets.validate(interface, cpus)
            except ValueError as error:
                raise KeyRefused(("queues", interface), f"queues.{error}") from None


class Facts(msgspec.Struct):
    """What was read; `devices` are the interrupts of each interface that the profile names."""

    boot: boot.Boot
    cpus: cpu.Cpus
    default: Fact[frozenset[int]]
    interrupts: Fact[irq.Interrupts]
    devices: dict[str, Fact[frozenset[int]]]
    balancer: irqbalance.Balancer | None
    appliers: Fact[list[irq_unit.Applier]]


def facts(root: Root, wanted: Section) -> Facts:
    """Read default mask, device interrupts, irqbalance, and the services that set affinities at boot."""
    return Facts(
        boot=boot.read(root),
        cpus=cpu.read(root),
        default=irq.read_default_affinity(root),
        interrupts=irq.read(root),
        devices={interface: irq.find_queues(root, interface) for interface in wanted.queues},
        balancer=irqbalance.read(root) if wanted.irqbalance != "ignore" else None,
        appliers=irq_unit.find_appliers(root),
    )


def sample(root: Root) -> Counts:
    """Read the counters of interrupts now."""
    return irq.read_counts(root)


def sweep(root: Root) -> None:
    """Read what another profile could ask for, so that a snapshot holds it."""
    for interface in root.list("/sys/class/net").value or ():
        irq.find_queues(root, interface)


def check(wanted: Section, facts: Facts, observed: Observed[Counts] | None) -> list[Finding]:
    """Returns findings on the default mask, irqbalance, each interface named, and each other device interrupt."""
    housekeeping = _cpusets.resolve(wanted.housekeeping, facts.cpus.possible)
    if housekeeping.value is None:
        return [_cpusets.report_unresolved("irq_affinity.housekeeping", wanted.housekeeping, housekeeping.reason)]
    findings = [_check_default(wanted, facts, housekeeping.value)]
    if facts.balancer is not None:
        findings.append(_check_irqbalance(wanted, facts, facts.balancer, housekeeping.value))
    for interface, text in wanted.queues.items():
        cpus = _cpusets.resolve(text, facts.cpus.possible)
        findings.append(
            _cpusets.report_unresolved(f"irq_affinity.queues.{interface}", text, cpus.reason)
            if cpus.value is None
            else _check_queues(interface, cpus.value, wanted, facts, observed)
        )
    if facts.interrupts.value is None:
        unread: dict[HopName, Hop] = {"runtime": Hop("unknown", facts.interrupts.reason, facts.interrupts.source)}
        shown = cpulist.show(housekeeping.value)
        fix = "run as root, or capture /proc/interrupts and /proc/irq too"
        return [*findings, build_finding("irq_affinity.irq", shown, unread, why=_WHY, fix=fix)]
    named = {each.number for interface in wanted.queues for each in find_queue_irqs(facts, interface)}
    return findings + [
        _check_irq(each, housekeeping.value, facts, observed)
        for each in facts.interrupts.value.irqs
        if each.number not in named
    ]


def find_queue_irqs(facts: Facts, interface: str) -> list[irq.Irq]:
    """Returns the interrupts of an interface's queues that are in use."""
    numbers = facts.devices[interface].value or frozenset()
    interrupts = facts.interrupts.value
    irqs = interrupts.irqs if interrupts else []
    queues = irq_plan.find_queue_irqs(interface, numbers, {each.number: each.actions or "" for each in irqs})
    return [each for each in irqs if each.number in queues]


def _check_default(wanted: Section, facts: Facts, housekeeping: frozenset[int]) -> Finding:
    """The mask that new interrupts start with. At boot irqaffinity= sets it, or a service does."""

    def judge_line(line: Fact[str]) -> Hop:
        last = cpu.find_last(facts.cpus.possible)
        args = line.map(cmdline.split_arguments)
        cpus = args.map(lambda args: cmdline.resolve_irqaffinity(args, last) or frozenset())
        return _cpusets.judge_argument(cpus, lambda value: value <= housekeeping)

    shown = cpulist.show(housekeeping)
    persisted = judge_line(facts.boot.coming)
    service, unit = _appliers.judge(
        facts.appliers, "housekeeping", *_resolve_all(wanted, facts), settled=persisted.state == "ok"
    )
    # A service runs after the kernel has read its arguments: what it does decides, if it does it at all.
    by_service = service.state in ("bad", "unknown") or (service.state == "ok" and persisted.state != "ok")
    hops: dict[HopName, Hop] = {"persisted": service if by_service else persisted}
    if hops["persisted"].state == "ok" and not by_service:
        hops["booted"] = judge_line(facts.boot.booted)
    hops["runtime"] = judge_fact(facts.default, lambda cpus: bool(cpus) and cpus <= housekeeping, cpulist.show)
    waiting = "booted" in hops and hops["booted"].state != "ok"
    steps = ["# nothing but the reboot: the boot loader has irqaffinity="] if waiting else []
    if hops["runtime"].state != "ok" and not waiting:
        if housekeeping == cpu.find_offline(housekeeping, facts.cpus.online):
            steps.append(cpu.write_online(housekeeping))
        steps.append(f"echo {cpulist.show_mask(housekeeping)} > /proc/irq/default_smp_affinity")
    if by_service and service.state != "ok":
        steps.append(_appliers.advise(unit))
    elif hops["persisted"].state != "ok":
        steps.append(f"# add irqaffinity={shown} to the kernel command line, or enable a service that does it at boot")
    return build_finding(
        "irq_affinity.default_smp_affinity",
        shown,
        hops,
        why="an interrupt that a driver requests later, at every ifup for a network card, starts elsewhere",
        fix="\n".join(steps),
        reboot=waiting,
    )


def _check_irq(each: irq.Irq, housekeeping: frozenset[int], facts: Facts, observed: Observed[Counts] | None) -> Finding:
    shown = cpulist.show(housekeeping)
    if each.actions is None:
        return _report_unnamed(each, shown)
    hops: dict[HopName, Hop] = {"runtime": _judge_destination(each, housekeeping)}
    strays = _count_strays([each], housekeeping, observed)
    if strays is not None:
        hops["effective"] = Hop("bad" if strays else "ok", strays or "none elsewhere", "/proc/interrupts")
    fix = _write_affinity(housekeeping, facts, f"/proc/irq/{each.number}/smp_affinity_list")
    status: Status | None = None
    why = f"{each.actions}: {_WHY}"
    held = "bad" in (hops["runtime"].state, hops.get("effective", hops["runtime"]).state)
    if held and each.fixed:
        status = "pass" if strays == {} else "warn"
        why = f"{each.actions}: the kernel lets nobody move this interrupt"
        fix = "leave this interrupt's CPU to housekeeping; hosttune check --observe 10 shows whether it fires"
    elif held and each.managed != "no":
        # The kernel places this one. It fires on an isolated CPU only for I/O that CPU itself asks for.
        status = "pass" if strays == {} else "warn"
        guess = " (by its driver's name)" if each.managed == "probably" else ""
        why = f"{each.actions}: the kernel manages this interrupt{guess} and refuses writes to its affinity"
        fix = (
            "isolcpus=managed_irq,domain,LIST keeps it away as far as the kernel can, and fewer queues do "
            "the rest; hosttune check --observe 10 shows whether it fires"
        )
        if "managed_irq," in (facts.boot.booted.value or ""):
            fix = (
                "isolcpus=managed_irq is in force: fewer queues of this device keep it away (a parameter of its driver)"
            )
    elif each.moving and not (each.effective.value or frozenset()) <= housekeeping and not strays:
        # Where it goes is right, but its next delivery is still on an isolated CPU.
        status = "warn"
    return build_finding(
        f"irq_affinity.irq.{each.number}",
        shown,
        hops,
        found=strays or hops["runtime"].value,
        why=why,
        fix=fix,
        required=("runtime",),
        status=status,
    )


def _report_unnamed(each: irq.Irq, shown: str) -> Finding:
    """An interrupt that is delivered, and may be a queue's, the kernel's own or any other."""
    reason = "neither /sys/kernel/irq nor /proc/interrupts tells who handles it"
    unnamed: dict[HopName, Hop] = {"runtime": Hop("unknown", reason, f"/sys/kernel/irq/{each.number}/actions")}
    return build_finding(
        f"irq_affinity.irq.{each.number}",
        shown,
        unnamed,
        why=f"it is delivered, and {reason}",
        fix=f"cat /sys/kernel/irq/{each.number}/actions, on this host, or capture /sys/kernel/irq too",
        required=("runtime",),
    )


def _write_affinity(cpus: frozenset[int], facts: Facts, path: str) -> str:
    """Returns the command that sends an interrupt to CPUs: the kernel refuses where none of them is online."""
    online = cpus - cpu.find_offline(cpus, facts.cpus.online)
    echo = f"echo {cpulist.show(online or cpus)} > {path}"
    return echo if online else f"{cpu.write_online(cpus)}\n{echo}"


def _judge_destination(each: irq.Irq, allowed: frozenset[int]) -> Hop:
    def show(cpus: frozenset[int]) -> str:
        now = f" from its next delivery on, now {cpulist.show(each.effective.value or frozenset())}"
        return cpulist.show(cpus) + (now if each.moving else "")

    return judge_fact(each.destination, lambda cpus: bool(cpus) and cpus <= allowed, show)


def _check_queues(
    interface: str, cpus: frozenset[int], wanted: Section, facts: Facts, observed: Observed[Counts] | None
) -> Finding:
    id, shown = f"irq_affinity.queues.{interface}", cpulist.show(cpus)
    device, source = facts.devices[interface], f"/proc/irq/N of {interface}"
    persisted, unit = _appliers.judge(facts.appliers, f"queues.{interface}", *_resolve_all(wanted, facts))
    hops: dict[HopName, Hop] = {"persisted": persisted}
    own = find_queue_irqs(facts, interface)
    why = f"packets of {interface} are received on whatever CPU the interrupt is sent to"
    if device.state == "absent":
        hops["runtime"] = Hop("bad", device.reason.replace("ENOENT", "no such interface"), device.source)
        return build_finding(id, shown, hops, why=why, fix="correct the name in the profile")
    if not own:
        reason = device.reason or facts.interrupts.reason or "no queue interrupt is in use: is the interface down?"
        hops["runtime"] = Hop("unknown", reason, device.source)
        return build_finding(id, shown, hops, why=why, fix=f"ip link set {quote_word(interface)} up, and check again")
    states = {each.number: _judge_destination(each, cpus) for each in own}
    value: dict[str, Any] = {str(number): state.value for number, state in states.items()}
    kinds = {state.state for state in states.values()}
    runtime = next((kind for kind in ("bad", "absent", "unknown") if kind in kinds), "ok")
    hops["runtime"] = Hop("bad" if runtime == "absent" else runtime, value, source)  # type: ignore[arg-type]
    strays = _count_strays(own, cpus, observed)
    if strays is not None:
        hops["effective"] = Hop("bad" if strays else "ok", strays or "none elsewhere", "/proc/interrupts")
    fix = _write_queues(own, wanted.queues[interface], facts)
    if offline := cpu.find_offline(cpus, facts.cpus.online):
        why += f"; CPU {cpulist.show(offline)} is offline"
    if persisted.state != "ok":
        service = "# enable a service that sets this at boot and when the interface comes up"
        if persisted.state != "absent":
            service = _appliers.advise(unit)
        fix = service if hops["runtime"].state == "ok" else f"{fix}\n{service}"
    return build_finding(id, shown, hops, found=value, why=why, fix=fix)


def _write_queues(own: list[irq.Irq], wanted: KernelList, facts: Facts) -> str:
    """Returns the commands that send each queue to its own CPU, as the role irq_affinity does."""
    cpus = cpulist.parse_sequence(wanted, cpu.find_last(facts.cpus.possible))
    offline = cpu.find_offline(frozenset(cpus), facts.cpus.online)
    groups: dict[int, list[str]] = {}
    for each in own:
        groups.setdefault(irq_plan.choose_queue_cpu(each.actions or "", cpus), []).append(str(each.number))
    lines = [cpu.write_online(offline)] if offline else []
    for number, irqs in sorted(groups.items()):
        lines.append(f"for i in {' '.join(irqs)}; do echo {number} > /proc/irq/$i/smp_affinity_list; done")
    return "\n".join(lines)


def _resolve_all(wanted: Section, facts: Facts) -> tuple[frozenset[int], dict[str, frozenset[int]], int | None]:
    """Returns the CPUs of housekeeping and of each interface's queues, as far as they are known here, and the last."""

    def resolve(text: KernelList) -> frozenset[int]:
        return _cpusets.resolve(text, facts.cpus.possible).value or frozenset()

    queues = {interface: resolve(text) for interface, text in wanted.queues.items()}
    return resolve(wanted.housekeeping), queues, cpu.find_last(facts.cpus.possible)


def _count_strays(
    irqs: list[irq.Irq], allowed: frozenset[int], observed: Observed[Counts] | None
) -> dict[str, int] | None:
    """Returns the interrupts that came between the samples to CPUs not allowed, by CPU; None if nobody could see."""
    if observed is None or observed.before.value is None or observed.after.value is None:
        return None
    before, after = observed.before.value, observed.after.value
    seen = [each for each in irqs if str(each.number) in before.keys() & after.keys()]
    if not seen:
        return None  # freed meanwhile
    strays: dict[str, int] = {}
    for each in seen:
        row = str(each.number)
        for number, more in after[row].subtract(before[row]).items():
            # The delivery at which it moves still comes where it was.
            last = each.moving and number in (each.effective.value or ())
            delta = more - last
            if number not in allowed and delta > 0:
                strays[f"cpu{number}"] = strays.get(f"cpu{number}", 0) + delta
    return strays


def _check_irqbalance(
    wanted: Section, facts: Facts, balancer: irqbalance.Balancer, housekeeping: frozenset[int]
) -> Finding:
    id = "irq_affinity.irqbalance"
    unit, running = balancer.unit, balancer.running
    installed = unit.value is not None and unit.value.state != "absent"
    if unit.state == "value" and not installed and running.value is False:
        hops: dict[HopName, Hop] = {"runtime": Hop("na", "not installed", unit.source)}
        return build_finding(id, wanted.irqbalance, hops, why="there is no irqbalance on this host")
    others = irq_plan.find_banned_cpus(facts.cpus.possible.value or frozenset(), housekeeping)
    why = "irqbalance moves interrupts again every ten seconds, onto CPUs that shall stay quiet"
    off_next = unit.value is not None and not unit.value.started
    if unit.value is None:
        hops = {"persisted": Hop("unknown", unit.reason, unit.source)}
    elif off_next:
        words = "masked" if unit.value.state == "masked" else "not enabled"
        hops = {"persisted": Hop("ok", words, unit.value.source or unit.source)}
    elif wanted.irqbalance == "stopped":
        hops = {"persisted": Hop("bad", "enabled", unit.value.source)}
    elif facts.cpus.possible.value is None:
        hops = {"persisted": Hop("unknown", facts.cpus.possible.reason, facts.cpus.possible.source)}
    else:
        hops = {"persisted": _judge_banned(balancer.banned_next, _predict_kept_free(facts), others)}
    if running.value is None:
        hops["runtime"] = Hop("unknown", running.reason, running.source)
    elif not running.value:
        hops["runtime"] = Hop("ok", "not running", running.source)
    elif wanted.irqbalance == "stopped":
        hops["runtime"] = Hop("bad", "running", running.source)
    elif facts.cpus.possible.value is None:
        hops["runtime"] = Hop("unknown", facts.cpus.possible.reason, facts.cpus.possible.source)
    else:
        hops["runtime"] = choose_worst(_judge_banned(each, _find_kept_free(facts), others) for each in balancer.banned)
    fix = "systemctl disable --now irqbalance"
    if wanted.irqbalance == "banned":
        fix = _write_banned(balancer, others)
    return build_finding(id, wanted.irqbalance, hops, why=why, fix=fix)


def _write_banned(balancer: irqbalance.Balancer, others: frozenset[int]) -> str:
    """Returns the commands that tell irqbalance, in the file that its unit reads last; an empty mask is none."""
    unit = balancer.unit.value
    files = unit.values("Service", "EnvironmentFile") if unit else []
    named = [path for path in files if dropins.outlives_boot(path.removeprefix("-"))]
    path = named[-1].removeprefix("-") if named else ""
    lines, more = [], []
    if path[:1] != "/":
        path = "/etc/default/irqbalance"
        more = [f"EnvironmentFile={path}"]
    elif path in balancer.lost:
        # A link to what the next boot does not find: a file of its own, with what is there now.
        name = quote_word(path)
        lines = [f'cp --remove-destination "$(readlink -f {name})" {name} || rm -f {name}']
    if unit and unit.values("Service", "UnsetEnvironment"):
        more.append("UnsetEnvironment=")
    if more:
        folder = f"{systemd.UNITS[0]}/{irqbalance.SERVICE}.d"
        # Before the role's where nothing forbids it: what the role sets comes later.
        settings = unit.settings if unit else ()
        lines += _desk.write_drop_in(folder, "Service", "\\n".join(more), settings, "banned.conf")
    variables = f"\\n{irq_plan.BANNED_MASK}=\\n{irq_plan.BANNED_LIST}={cpulist.show(others)}\\n"
    lines.append(f"printf '{variables}' >> {quote_word(path)}")
    return "\n".join([*lines, "systemctl daemon-reload", f"systemctl restart {irqbalance.SERVICE}"])


def _judge_banned(banned: Fact[cpulist.Banned], kept_free: Fact[frozenset[int]], others: frozenset[int]) -> Hop:
    """Judge what irqbalance is told; told nothing, it leaves alone the CPUs that the kernel keeps free."""
    if not others:
        return Hop("ok", "no CPU to leave alone", banned.source)
    if banned.state == "absent":
        return judge_fact(kept_free, lambda cpus: others <= cpus, cpulist.show)

    def show(told: cpulist.Banned) -> str:
        return cpulist.show(told.cpus) + (f" ({told.fault})" if told.fault else "")

    return judge_fact(banned, lambda told: others <= told.cpus, show)


def _find_kept_free(facts: Facts) -> Fact[frozenset[int]]:
    """Returns the CPUs that are isolated or in nohz_full now."""
    for fact in (facts.cpus.isolated, facts.cpus.nohz_full):
        if fact.state == "unreadable":
            return fact
    cpus = (facts.cpus.isolated.value or frozenset()) | (facts.cpus.nohz_full.value or frozenset())
    return Fact("value", cpus, f"{cpu.DIRECTORY}/isolated")


def _predict_kept_free(facts: Facts) -> Fact[frozenset[int]]:
    """Returns the CPUs that will be isolated or in nohz_full after the next boot."""
    last = cpu.find_last(facts.cpus.possible)
    coming = facts.boot.coming
    known = cmdline.has_set_for_each_kind(facts.boot.find_release(coming))
    isolation = boot.resolve(
        coming, known, lambda args, by_kind: cmdline.resolve_isolation(args, last, by_kind=by_kind)
    )
    return isolation.map(lambda each: each.domain | each.nohz)
