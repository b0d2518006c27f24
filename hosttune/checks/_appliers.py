"""Whether the services that set affinities of interrupts at boot set what is wanted: all of them have to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hosttune.checks import _edits, _late_writes
from hosttune.findings import Hop
from hosttune.hops import judge_fact
from hosttune.host import cpulist, irq_unit, irq_writes
from hosttune.host.cpulist import KernelList
from hosttune.host.root import Fact
from hosttune.host.shell import UNKNOWN
from hosttune.output import quote_word

_HOUSEKEEPING = "housekeeping"


def judge(
    appliers: Fact[list[irq_unit.Applier]],
    key: str,
    housekeeping: frozenset[int],
    queues: Mapping[str, frozenset[int]],
    last: int | None,
    *,
    settled: bool = False,
) -> tuple[Hop, str]:
    """Judge what enabled services set for `key`, `housekeeping` or `queues.INTERFACE`; `last` is the CPU `N`.

    Returns the hop, and the service that it is about, if that is one. Nobody knows which service is the last, so one
    that sets another thing, or what is not understood, counts more than one that sets the right one. One that may not
    run, and sets the right one, counts only where nothing else does; `settled`: the kernel's arguments do.
    """
    if appliers.value is None:
        return Hop("unknown", appliers.reason, appliers.source), ""
    wanted = _Wanted(key, housekeeping, queues, last)
    found = [(wanted.judge(each), each) for each in appliers.value]
    sure = [(hop, each) for hop, each in found if not (hop.state == "ok" and _find_doubt(each))]
    for state in ("bad", "unknown", "ok"):
        for hop, each in sure:
            if hop.state == state:
                return hop, each.unit
    for hop, each in found:
        if hop.state == "ok" and not settled:
            return _doubt(hop, each), each.unit
    if sure:
        return sure[0][0], sure[0][1].unit
    return Hop("absent", "no enabled service sets interrupt affinities", appliers.source), ""


def _find_doubt(applier: irq_unit.Applier) -> str:
    """Returns why a service may not set what is right."""
    conditional = bool(applier.writes) and all(each.maybe for each in applier.writes)
    return applier.doubt or (_late_writes.IN_CONDITION if conditional else "")


def _doubt(hop: Hop, applier: irq_unit.Applier) -> Hop:
    return Hop("unknown", f"{hop.value}, if it runs: {_find_doubt(applier)}", hop.source)


def advise(unit: str) -> str:
    """Returns what to do about a service that sets another thing, or about services that could not be read."""
    if not unit:
        return "# run as root, or capture what systemd starts too: what services set at boot could not be read"
    if unit.rpartition(":")[2].isdigit():  # a line
        return _edits.remove_line(unit)
    return f"# {quote_word(unit)} sets affinities of interrupts at boot: let it set what is wanted, or disable it"


class _Wanted:
    def __init__(
        self, key: str, housekeeping: frozenset[int], queues: Mapping[str, frozenset[int]], last: int | None
    ) -> None:
        self.key, self.last, self.housekeeping = key, last, housekeeping
        self.cpus = housekeeping if key == _HOUSEKEEPING else queues[key.partition(".")[2]]
        self.sets = [housekeeping, *queues.values()]

    def judge(self, applier: irq_unit.Applier) -> Hop:
        """Judge one service; absent if it has no word on the key."""
        source = f"{applier.unit}, {applier.settings.source}"
        if not applier.understood:
            reason = applier.settings.reason or "its settings file has no word on housekeeping and queues"
            return Hop("unknown", f"written by this service in a way that is not understood: {reason}", source)
        known = [each for each in applier.writes if each.path != UNKNOWN]
        hops = [self._judge_settings(applier.settings.value or {}, source)]
        hops += [self._judge_write(each, applier.unit) for each in known]
        hop = next((each for state in ("bad", "unknown", "ok") for each in hops if each.state == state), hops[0])
        return _doubt(hop, applier) if hop.state == "bad" and applier.doubt else hop

    def _judge_settings(self, settings: Mapping[str, Any], source: str) -> Hop:
        value: Any = settings
        for part in self.key.split(".", 1):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return Hop("absent", None, source)
        return self._judge_cpus(str(value), source)

    def _judge_cpus(self, text: str, source: str) -> Hop:
        cpus = Fact("value", text, source).map(lambda text: cpulist.parse(KernelList(text), self.last))
        return judge_fact(cpus, lambda cpus: bool(cpus) and cpus <= self.cpus, cpulist.show)

    def _judge_write(self, write: irq_writes.Write, unit: str) -> Hop:
        """Judge one line: of a write to a single interrupt nobody knows whose it will be."""
        is_default, is_list = write.path == irq_writes.DEFAULT, write.path.endswith("_list")

        def parse(text: str) -> frozenset[int]:
            return cpulist.parse(KernelList(text), self.last) if is_list else cpulist.parse_mask(text)

        cpus = Fact("value", write.value, unit).map(parse)
        if cpus.value is None:
            return Hop("unknown", f"{write.path}: {cpus.reason}", unit)
        # The kernel refuses a mask without any CPU (irq_affinity_proc_write() in kernel/irq/proc.c).
        if not cpus.value or (is_default and self.key != _HOUSEKEEPING):
            return Hop("absent", None, unit)
        shown = cpulist.show(cpus.value)
        if is_default:
            return Hop("ok" if cpus.value <= self.housekeeping else "bad", shown, f"{unit}, {write.path}")
        sets = self.sets if self.key == _HOUSEKEEPING else [self.cpus]
        if any(cpus.value <= each for each in sets):
            return Hop("absent", None, unit)
        return Hop("unknown", f"sends to CPU {shown} an interrupt that may be another's at the next boot", unit)
