"""CPU isolation: the CPUs kept free for the trading threads, and what still runs on them.

Sources: `Documentation/admin-guide/kernel-parameters.txt` (isolcpus, nohz_full, rcu_nocbs, irqaffinity),
`Documentation/timers/no_hz.rst`, `Documentation/admin-guide/cgroup-v2.rst` of the Linux kernel;
systemd-system.conf(5) (CPUAffinity), kernel-command-line(7) (systemd.cpu_affinity).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from hosttune.checks import _boot_fixes, _cpusets, _isolated_cpus, _isolation_at_boot
from hosttune.checks._isolated_cpus import Sample, show_names
from hosttune.checks._isolation_at_boot import Facts, Host
from hosttune.findings import Finding, Hop, HopName
from hosttune.hops import build_finding, judge_fact
from hosttune.host import boot, cmdline, cpu, cpulist, globs, irq, process, systemd
from hosttune.host.cpulist import KernelList, SystemdList
from hosttune.host.root import Fact, Observed, Root
from hosttune.patterns import late_pattern

_CBS = late_pattern(r"rcuo[a-fh-z]/(\d+)")


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What the profile may ask for. All but the two switches are cpulists.

    `isolated`: taken out of the scheduler's domains. `nohz_full`, `rcu_nocbs`: empty means not asked for.
    `irqaffinity`: default CPUs of interrupts, all that are not isolated unless given. `systemd`: PID 1,
    and so every service, keeps off the isolated CPUs.
    """

    isolated: KernelList
    nohz_full: KernelList = KernelList("")
    rcu_nocbs: KernelList = KernelList("")
    managed_irq: bool = False
    irqaffinity: KernelList = KernelList("")
    systemd: bool = True

    def __post_init__(self) -> None:
        _cpusets.validate("isolated", self.isolated)
        for key in ("nohz_full", "rcu_nocbs", "irqaffinity"):
            _cpusets.validate(key, getattr(self, key), empty=True)


def facts(root: Root, wanted: Section) -> Facts:
    """Read both command lines, the CPU sets of the kernel, all threads, and the settings of PID 1."""
    possible = cpu.read_possible(root)
    isolated = _cpusets.resolve(wanted.isolated, possible).value or frozenset()
    return Facts(
        boot=boot.read(root),
        cpus=cpu.read(root, siblings_of=isolated),
        irqaffinity=irq.read_default_affinity(root),
        tasks=process.read_tasks(root),
        manager=systemd.read_manager(root) if wanted.systemd else Fact("absent"),
    )


def sample(root: Root) -> Sample:
    """Read counters of interrupts, and where each thread ran last."""
    return Sample(irq.read_counts(root), process.read_tasks(root, placement=True))


def sweep(root: Root) -> None:
    """Read what another profile could ask for, so that a snapshot holds it."""
    globs.read(root, f"{cpu.DIRECTORY}/cpu[0-9]*/topology/thread_siblings_list")


def check(wanted: Section, facts: Facts, observed: Observed[Sample] | None) -> list[Finding]:
    """Returns findings on each set that is asked for, on PID 1, and on what runs on the isolated CPUs."""
    possible = facts.cpus.possible
    sets = {
        key: _cpusets.resolve(getattr(wanted, key), possible)
        for key in ("isolated", "nohz_full", "rcu_nocbs", "irqaffinity")
    }
    findings = [
        _cpusets.report_unresolved(f"cpu_isolation.{key}", getattr(wanted, key), fact.reason)
        for key, fact in sets.items()
        if fact.value is None
    ]
    isolated = sets["isolated"].value
    if isolated is None:
        return findings
    host = Host(facts, isolated, wanted.managed_irq, cpu.find_last(possible))
    findings.append(_check_isolated(host))
    if wanted.managed_irq:
        findings.append(_check_managed_irq(host))
    if nohz_full := sets["nohz_full"].value:
        findings.append(_check_nohz_full(host, nohz_full))
    if rcu_nocbs := sets["rcu_nocbs"].value:
        findings.append(_check_rcu_nocbs(host, rcu_nocbs))
    irqaffinity = sets["irqaffinity"].value
    if irqaffinity is not None:
        findings.append(_check_irqaffinity(host, irqaffinity))
    if wanted.systemd:
        findings.append(_check_systemd(host))
    if observed is not None and sets["nohz_full"].value:
        findings.append(_isolated_cpus.check_ticks(sets["nohz_full"].value, observed))
    findings.append(_isolated_cpus.check_threads(isolated, facts.cpus, facts.tasks, observed))
    if (siblings := _isolated_cpus.check_siblings(isolated, facts.cpus)) is not None:
        findings.append(siblings)
    return findings


# --- sets given at boot ---


def _check_isolated(host: Host) -> Finding:
    facts, wanted = host.facts, host.isolated

    def judge(line: Fact[str]) -> Hop:
        hop = _make_judge(host, lambda isolation: isolation.started, wanted)(line)
        fewer = hop.state == "ok" and (host.has_one_thread(line) or host.find_doubt(line))
        return _isolation_at_boot.judge_threads(host, line) if fewer else hop

    hops = _judge_boot(host, judge)
    hops["runtime"] = _cpusets.judge_equal(facts.cpus.isolated, wanted)
    why = "the scheduler and the kernel's own work may use these CPUs, and take them from the trading thread"
    partitioned = facts.cpus.partitioned.value or frozenset()
    if (
        hops["runtime"].state == "bad"
        and partitioned
        and (facts.cpus.isolated.value or frozenset()) | partitioned == wanted
    ):
        shown = f"{cpulist.show(wanted)} (cgroup v2 isolated partition)"
        hops["runtime"] = Hop("ok", shown, facts.cpus.partitioned.source)
        why = "a cpuset partition isolates them now and ends with its cgroup: the next boot starts without it"
    online = facts.cpus.online
    offline = cpu.find_offline(wanted, online)
    if online.value is None:
        hops["effective"] = Hop("unknown", online.reason, online.source)
    elif offline and hops["runtime"].state == "ok":
        # No thread can be placed there: the kernel refuses an affinity without a CPU that is online.
        hops["effective"] = Hop("bad", f"offline: {cpulist.show(offline)}", online.source)
        why = f"CPU {cpulist.show(offline)} is offline, and runs nothing"
        fewer = host.has_one_thread(facts.boot.booted) or host.find_doubt(facts.boot.booted)
        if not (fewer and hops["booted"].state != "ok"):
            return build_finding(
                "cpu_isolation.isolated",
                cpulist.show(wanted),
                hops,
                found=f"{cpulist.show(wanted)}, of them offline: {cpulist.show(offline)}",
                why=why,
                fix="\n".join(f"echo 1 > {cpu.DIRECTORY}/cpu{number}/online" for number in sorted(offline)),
            )
    return _build_boot_finding(host, "isolated", cpulist.show(wanted), judge, hops, why, _write_isolcpus(host))


def _check_managed_irq(host: Host) -> Finding:
    """The kernel has no file for this set: what this boot's command line says is what it uses."""
    judge = _make_judge(host, lambda isolation: isolation.managed_irq, host.isolated)
    hops = _judge_boot(host, judge)
    hops["runtime"] = hops["booted"]
    return _build_boot_finding(
        host,
        "managed_irq",
        cpulist.show(host.isolated),
        judge,
        hops,
        "interrupts that the kernel places itself (nvme, virtio-blk) may be put on these CPUs",
        _write_isolcpus(host),
    )


def _check_nohz_full(host: Host, wanted: frozenset[int]) -> Finding:
    judge = _make_judge(host, lambda isolation: isolation.tickless, wanted)
    hops = _judge_boot(host, judge)
    hops["runtime"] = _cpusets.judge_equal(host.facts.cpus.nohz_full, wanted)
    isolation = host.isolation(host.facts.boot.booted).value
    if isolation is not None and isolation.ticks:
        hops["effective"] = Hop("bad", "nohz=off", host.facts.boot.booted.source)
    why = "the timer interrupts these CPUs CONFIG_HZ times a second, trading thread or not"
    fix = f"nohz_full={cpulist.show(wanted)}"
    if hops["runtime"].state == "absent":
        why = "this kernel is built without CONFIG_NO_HZ_FULL, so it ignores nohz_full=: " + why
        return build_finding(
            "cpu_isolation.nohz_full",
            cpulist.show(wanted),
            hops,
            found="not supported by this kernel",
            why=why,
            fix=f"boot a kernel with CONFIG_NO_HZ_FULL=y and {fix}",
            reboot=True,
            status="fail",
        )
    return _build_boot_finding(host, "nohz_full", cpulist.show(wanted), judge, hops, why, fix)


def _check_rcu_nocbs(host: Host, wanted: frozenset[int]) -> Finding:
    """There is no file for this mask either. The callback threads show that offloading is set up, but
    from Linux 5.17 on they exist for every CPU as soon as one is offloaded: it takes both, them and the
    command line that set the mask."""

    has_nohz = host.facts.cpus.nohz_full.state != "absent"

    def judge_offloading(line: Fact[str]) -> Hop:
        cpus = boot.resolve(
            line,
            host.has_set_for_each_kind(line),
            lambda args, by_kind: cmdline.resolve_rcu_nocbs(args, host.last, has_nohz, by_kind),
        )
        return _cpusets.judge_argument(cpus, lambda value: wanted <= value)

    tasks = host.facts.tasks
    hops = _judge_boot(host, judge_offloading)
    threads = [task for task in tasks.seen if task.kernel and task.comm.startswith("rcuo")]
    served = frozenset(int(match[1]) for task in threads if (match := _CBS.match(task.comm)))
    strays = [task for task in threads if task.cpus & host.isolated]
    source = "/proc/*/status (rcuo threads)"
    why = "RCU callbacks run in softirq context on these CPUs, between two market data packets if need be"
    fix = f"rcu_nocbs={cpulist.show(wanted)}"
    if not wanted <= served:
        none = f"no callback thread for CPU {cpulist.show(wanted - served)}"
        hops["runtime"] = Hop("unknown", tasks.missing, source) if tasks.missing else Hop("bad", none, source)
    elif hops["booted"].state != "ok":
        words = "callback threads exist, but this boot's command line does not ask for these CPUs"
        known = hops["booted"].state == "bad"
        hops["runtime"] = Hop("bad" if known else "unknown", words, source)
    elif strays:
        hops["runtime"] = Hop("bad", f"may run on isolated CPUs: {show_names(strays)}", source)
        return build_finding(
            "cpu_isolation.rcu_nocbs",
            cpulist.show(wanted),
            hops,
            why="threads that run RCU callbacks may run on the very CPUs that they shall relieve",
            fix=f"add nohz_full={cpulist.show(wanted)}, or at each boot: for p in $(pgrep rcuo); do "
            f"taskset -pc {cpulist.show(_find_others(host))} $p; done",
        )
    elif tasks.missing:
        hops["runtime"] = Hop("unknown", tasks.missing, source)
    else:
        hops["runtime"] = Hop("ok", cpulist.show(served & wanted), source)
    return _build_boot_finding(host, "rcu_nocbs", cpulist.show(wanted), judge_offloading, hops, why, fix)


def _check_irqaffinity(host: Host, given: frozenset[int]) -> Finding:
    facts, possible = host.facts, host.facts.cpus.possible.value
    id, why = (
        "cpu_isolation.irqaffinity",
        "an interrupt that a driver requests later starts on an isolated CPU",
    )
    if not given and not possible:
        hops: dict[HopName, Hop] = {"runtime": Hop("unknown", facts.cpus.possible.reason, cpu.DIRECTORY)}
        return build_finding(id, "all but the isolated", hops, why=why, fix="read /sys/devices/system/cpu too")
    wanted = given or _find_others(host)

    def judge_line(line: Fact[str]) -> Hop:
        cpus = host.args(line).map(lambda args: cmdline.resolve_irqaffinity(args, host.last) or frozenset())
        return _cpusets.judge_argument(cpus, is_good)

    def is_good(cpus: frozenset[int]) -> bool:
        return cmdline.fits_irqaffinity(cpus, wanted, host.isolated)

    hops = _judge_boot(host, judge_line)
    hops["runtime"] = judge_fact(facts.irqaffinity, is_good, cpulist.show)
    shown = cpulist.show(wanted)
    return _build_boot_finding(host, "irqaffinity", shown, judge_line, hops, why, f"irqaffinity={shown}")


def _make_judge(
    host: Host, pick: Callable[[cmdline.Isolation], frozenset[int]], wanted: frozenset[int]
) -> Callable[[Fact[str]], Hop]:
    """Returns what judges a command line by the set that it comes to."""
    return lambda line: _cpusets.judge_argument(host.isolation(line).map(pick), lambda value: value == wanted)


def _judge_boot(host: Host, judge: Callable[[Fact[str]], Hop]) -> dict[HopName, Hop]:
    return {"persisted": judge(host.facts.boot.coming), "booted": judge(host.facts.boot.booted)}


def _build_boot_finding(
    host: Host,
    key: str,
    wanted: KernelList,
    judge: Callable[[Fact[str]], Hop],
    hops: dict[HopName, Hop],
    why: str,
    fix: str,
) -> Finding:
    """Returns a finding on the boot argument `fix`, with the commands that its broken hop asks for.

    `judge` judges a command line.
    """
    argument = fix.partition("=")[0]
    facts = host.facts
    remarks = _isolation_at_boot.list_remarks(host, argument)
    if argument == "isolcpus" and key == "isolated":
        remarks += _isolation_at_boot.list_threads(host)
    missing = _cpusets.describe_missing(cpulist.parse(wanted, host.last), facts.cpus.possible)
    reboot = True
    if hops["persisted"].state == "unknown" and hops["runtime"].state == "ok":
        advice = f"make sure that the next boot's kernel command line has {fix}"
        if argument == "isolcpus" and (doubt := host.find_doubt(facts.boot.coming)):
            advice += f", and look in {cpu.DIRECTORY}/vulnerabilities whether {doubt} may stay"
        reboot = False
    elif hops["persisted"].state == "ok" and hops["booted"].state == "ok":
        advice = f"{fix} was given to this boot and is not in force: see `dmesg | grep -i -e isol -e nohz -e rcu`"
        if key == "irqaffinity":
            advice, reboot = (
                f"echo {cpulist.show_mask(cpulist.parse(wanted))} > /proc/irq/default_smp_affinity",
                False,
            )
    elif hops["persisted"].state == "ok":
        advice = "nothing but the reboot: the boot loader has it"
    else:
        # Of a list of CPUs, with the kernel's own flags before it; a pattern of the shell is none.
        removed = "|".join(rf"{name}=[^ \"'*]+" for name in _isolation_at_boot.list_arguments(host, argument))
        removed += _isolation_at_boot.list_switches(host, argument)
        advice = _boot_fixes.write_argument_fix(
            facts.boot, fix, removed, lambda line: judge(Fact("value", line)).state == "ok"
        )
    if missing:
        advice = missing + "change the profile"
    return build_finding(
        f"cpu_isolation.{key}", wanted, hops, why="; ".join([why, *remarks]), fix=advice, reboot=reboot
    )


def _write_isolcpus(host: Host) -> str:
    """Returns the argument to set; a managed_irq that the next boot has already is kept."""
    coming = host.isolation(host.facts.boot.coming).value
    managed = host.managed_irq or (coming is not None and bool(coming.managed_irq))
    return f"isolcpus={'managed_irq,' if managed else ''}domain,{cpulist.show(host.isolated)}"


# --- PID 1 ---


def _check_systemd(host: Host) -> Finding:
    id, facts = "cpu_isolation.systemd", host.facts
    wanted = f"PID 1 off {cpulist.show(host.isolated)}"
    first = next((task for task in facts.tasks.seen if task.pid == task.tid == 1), None)
    if first is not None and first.comm != "systemd":
        hops: dict[HopName, Hop] = {"runtime": Hop("na", f"PID 1 is {first.comm}", "/proc/1/status")}
        return build_finding(id, wanted, hops, why=f"PID 1 is {first.comm}, not systemd")
    hops = {"persisted": _judge_manager(host)}
    if first is None:
        hops["runtime"] = Hop("unknown", facts.tasks.missing or "PID 1 was not read", "/proc/1/status")
    else:
        seen = Fact("value", first.cpus, "/proc/1/status")
        hops["runtime"] = judge_fact(seen, lambda cpus: not cpus & host.isolated, cpulist.show)
    return build_finding(
        id,
        wanted,
        hops,
        why="every service inherits the CPUs of PID 1, and isolcpus= alone is undone when a cpuset changes",
        fix=_isolated_cpus.write_systemd_fix(
            hops["persisted"], facts.boot.coming.source, _find_others(host), facts.manager.value or ()
        ),
        reboot=hops["runtime"].state != "ok",
    )


def _judge_manager(host: Host) -> Hop:
    """systemd.cpu_affinity= of the next boot goes before CPUAffinity=, whose values add up."""
    coming, manager = host.args(host.facts.boot.coming), host.facts.manager
    cpus: Fact[frozenset[int] | None] = Fact("absent", None, "/etc/systemd/system.conf.d (CPUAffinity)")
    if manager.value is None:
        cpus = manager.drop_value()
    elif own := [s for s in manager.value if (s.section, s.key) == ("Manager", "CPUAffinity")]:
        cpus = Fact("value", cpulist.merge_systemd(SystemdList(s.value) for s in own), own[-1].source)
    if (given := cmdline.resolve_systemd(coming.value or ())) is not None:
        cpus = Fact("value", given, coming.source)
    if cpus.state == "value" and not cpus.value:
        return Hop("absent", None, cpus.source)
    return judge_fact(cpus, lambda value: bool(value) and not (value or frozenset()) & host.isolated, _show_affinity)


def _show_affinity(cpus: frozenset[int] | None) -> str:
    return cpulist.show(cpus or frozenset())


def _find_others(host: Host) -> frozenset[int]:
    return (host.facts.cpus.possible.value or frozenset()) - host.isolated
