"""What a host's command lines come to for CPU isolation, and which words of them stand in its way."""

from __future__ import annotations

import re
from functools import partial

import msgspec

from hosttune.checks import _cpusets, _isolated_cpus
from hosttune.findings import Hop
from hosttune.host import boot, cmdline, cpu, cpulist, process, systemd_lines
from hosttune.host.root import Fact


class Facts(msgspec.Struct):
    """What was read. `tasks` without where each ran: that takes two samples."""

    boot: boot.Boot
    cpus: cpu.Cpus
    irqaffinity: Fact[frozenset[int]]
    tasks: process.Tasks
    manager: Fact[list[systemd_lines.Setting]]


class Host(msgspec.Struct):
    """What all findings need: the wanted sets on this host and both command lines, parsed."""

    facts: Facts
    isolated: frozenset[int]
    managed_irq: bool
    last: int | None

    def args(self, line: Fact[str]) -> Fact[cmdline.Arguments]:
        return line.map(cmdline.split_arguments)

    def isolation(self, line: Fact[str]) -> Fact[cmdline.Isolation]:
        """Returns what the kernel makes of a command line; it looks at the CPUs that are there when it boots."""
        return boot.resolve(line, self.has_set_for_each_kind(line), self._resolve)

    def _resolve(self, args: cmdline.Arguments, by_kind: bool) -> cmdline.Isolation:
        has_nohz = self.facts.cpus.nohz_full.state != "absent"
        return cmdline.resolve_isolation(args, self.last, has_nohz=has_nohz, by_kind=by_kind)

    def has_set_for_each_kind(self, line: Fact[str]) -> bool | None:
        """Returns whether the kernel that gets a line has that; what this boot came to may tell it of its kernel."""
        booted, cpus = self.facts.boot.booted, self.facts.cpus
        release = self.facts.boot.find_release(line)
        known = cmdline.has_set_for_each_kind(release)
        if known is not None or release != self.facts.boot.release or booted.value is None:
            return known
        seen = (cpus.isolated.value, cpus.nohz_full.value)
        fitting = []
        for by_kind in (True, False):
            isolation = self.args(booted).map(partial(self._resolve, by_kind=by_kind)).value
            if isolation is not None and (isolation.domain, isolation.nohz) == seen:
                fitting.append(by_kind)
        return fitting[0] if len(fitting) == 1 else None

    def has_one_thread(self, line: Fact[str]) -> bool:
        """Returns whether a command line has one hardware thread of each core alone."""
        isolation = self.isolation(line).value
        return isolation is not None and isolation.single

    def find_doubt(self, line: Fact[str]) -> str:
        """Returns the words of a command line that may come to the same, on a CPU with a fault."""
        isolation = self.isolation(line).value
        return isolation.maybe_single if isolation is not None else ""


def judge_threads(host: Host, line: Fact[str]) -> Hop:
    """Judge a command line with nosmt, which has all isolated CPUs brought up but those that are second threads, or
    with words that come to the same on some CPUs: what they came to in this boot they come to again."""
    second = find_second_threads(host)
    doubt = host.find_doubt(line)
    if second.value is None:
        return Hop("unknown", f"{doubt or cmdline.ONE_THREAD}: {second.reason}", second.source)
    if doubt and second.value:
        if _keeps_threads(host, doubt):
            return Hop("ok", cpulist.show(host.isolated), line.source)
        if doubt != host.find_doubt(host.facts.boot.booted):
            words = f"{doubt}: takes CPU {cpulist.show(second.value)} offline if the CPU has the fault"
            return Hop("unknown", words, line.source)
    started = Fact("value", host.isolated - second.value, line.source)
    return _cpusets.judge_argument(started, lambda value: value == host.isolated)


def _keeps_threads(host: Host, doubt: str) -> bool:
    """Returns whether this boot, with the same words, has all isolated CPUs online."""
    online = host.facts.cpus.online.value
    same = host.find_doubt(host.facts.boot.booted) == doubt
    return same and online is not None and host.isolated <= online


def find_second_threads(host: Host) -> Fact[frozenset[int]]:
    """Returns the isolated CPUs that are not the first hardware thread of a core, whose others nosmt takes offline."""
    booted, online = host.facts.boot.booted, host.facts.cpus.online
    off = host.has_one_thread(booted) or bool(host.find_doubt(booted) and cpu.find_offline(host.isolated, online))
    return _isolated_cpus.find_second_threads(host.isolated, host.facts.cpus, off)


def list_arguments(host: Host, argument: str) -> list[str]:
    """Returns the argument that a fix replaces, with others that keep it from having an effect."""
    coming = host.isolation(host.facts.boot.coming).value
    if coming is not None and coming.ticks and argument == "nohz_full":
        return ["nohz", "nohz_full"]
    if coming is not None and coming.most is not None and coming.most <= max(host.isolated) and argument == "isolcpus":
        return ["isolcpus", *cmdline.MOST_CPUS]
    return [argument]


def list_switches(host: Host, argument: str) -> str:
    """Returns as a pattern, with what joins it to others, the words that keep isolated CPUs offline by themselves."""
    coming = host.isolation(host.facts.boot.coming).value
    if coming is None or argument != "isolcpus":
        return ""
    second = coming.single and find_second_threads(host).value
    found = [name for name, given in ((cmdline.ONE_CPU, coming.most == 1), (cmdline.ONE_THREAD, second)) if given]
    words = coming.maybe_single.split() if find_second_threads(host).value else []
    return "".join([rf"|{name}(=[^ \"'*]+)?" for name in found] + [f"|{re.escape(word)}" for word in words])


def list_remarks(host: Host, argument: str) -> list[str]:
    """Returns in words what the kernel makes of either command line otherwise than it reads."""
    found: dict[str, None] = {}
    for line in (host.facts.boot.booted, host.facts.boot.coming):
        isolation = host.isolation(line).value
        for remark in isolation.remarks if isolation else ():
            if remark.startswith(argument):
                found[remark] = None
    return list(found)


def list_threads(host: Host) -> list[str]:
    """Returns in words which isolated CPUs nosmt keeps offline, or may keep offline."""
    lines = (host.facts.boot.booted, host.facts.boot.coming)
    doubts = [doubt for doubt in map(host.find_doubt, lines) if doubt and not _keeps_threads(host, doubt)]
    one = any(map(host.has_one_thread, lines))
    second = find_second_threads(host).value if one or doubts else None
    if not second:
        return []
    if not one:
        return [f"{doubts[-1]} keeps CPU {cpulist.show(second)} offline on a CPU with the fault that it is for"]
    return [f"nosmt keeps CPU {cpulist.show(second)} offline, the second hardware thread of a core"]
