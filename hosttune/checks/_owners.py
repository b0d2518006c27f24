"""Other programs that set what a profile asks for: each finding that they concern names them, and says what to do.

The table of them is in :mod:`hosttune.host.owners`. A value that the next boot gives to another program's is volatile.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from hosttune.findings import READ_IT, Finding, Hop
from hosttune.hops import build_finding
from hosttune.host import boot_pages, cmdline, hugetlb, owners, process, systemd
from hosttune.host.owners import Owner, Setting, Tuned
from hosttune.host.root import NOT_CAPTURED, Fact, Root
from hosttune.patterns import late_pattern

# Findings on sysctls that do not have the key in their id.
_SYSCTLS = {
    "tcp_bbr.congestion_control": "net.ipv4.tcp_congestion_control",
    "tcp_bbr.qdisc": "net.core.default_qdisc",
    "rt_limits.sched_rt_runtime_us": "kernel.sched_rt_runtime_us",
}
_POOL = late_pattern(r"hugepages\.([0-9]+[KMG])\.node([0-9]{1,4})")
# Whose values win over TuneD's, unless tuned-main.conf says otherwise.
_REAPPLIED = ("/etc/sysctl.d/", "/run/sysctl.d/", "/etc/sysctl.conf")

# Owners of knobs that no finding is on: what they do to the host all the same.
_WHY = {
    owners.ISOLATION: "it isolates CPUs, moves interrupts and sets boot arguments of its own",
    owners.PLACEMENT: "it moves processes between CPUs, the pinned ones too, while they run",
    owners.FREQUENCY: "it changes the frequency of CPUs while they run, and a CPU that slows down answers later",
}


class Active(msgspec.Struct, frozen=True):
    """An owner that runs, or that the next boot starts."""

    owner: Owner
    running: bool
    next_boot: bool


class Facts(msgspec.Struct, frozen=True):
    """`unread`: owners of which it cannot be told, with the reason. `tuned`: what TuneD sets, None if it is not active.
    `booted`: the words of this boot's command line."""

    active: list[Active]
    unread: list[tuple[Owner, str, str]]
    tuned: Tuned | None = None
    booted: str = ""


class _Unread(Exception):
    """A file of TuneD's that could not be read."""


def read(root: Root) -> Facts:
    """Read which of the owners run or will run, and of TuneD what it sets."""
    active: list[Active] = []
    unread: list[tuple[Owner, str, str]] = []
    tuned: Tuned | None = None
    for owner in owners.OWNERS:
        unit = systemd.read_unit(root, owner.service)
        if unit.value is None:
            # Of a capture that has no units nothing is concluded: what was not captured is told where it decides.
            if unit.reason != NOT_CAPTURED:
                unread.append((owner, unit.source, unit.reason))
            continue
        if unit.value.state == "absent":
            continue
        pids = process.find_service_pids(root, owner.process, owner.service, owner.programs)
        next_boot = unit.value.state == "installed" and unit.value.started
        if pids.value or next_boot:
            active.append(Active(owner, bool(pids.value), next_boot))
        elif pids.state == "unreadable" and pids.reason != NOT_CAPTURED:
            unread.append((owner, pids.source, pids.reason))
    if any(one.owner == owners.TUNED for one in active):
        tuned = _read_tuned(root)
    return Facts(active, unread, tuned, root.read("/proc/cmdline").value or "")


def judge(findings: list[Finding], facts: Facts) -> list[Finding]:
    """Returns the findings, those that an owner concerns with its name, and one for each owner of what none is on."""
    judged = [_judge(finding, facts) for finding in findings] if facts.tuned else list(findings)
    return [*judged, *_build_findings({finding.id.partition(".")[0] for finding in findings}, facts)]


def _read_tuned(root: Root) -> Tuned:
    def read(path: str) -> str | None:
        text: Fact[str] = root.read(path)
        if text.state == "unreadable" and text.reason != NOT_CAPTURED:
            raise _Unread(f"{path}: {text.reason}")
        return text.value

    try:
        return owners.read_tuned(read)
    except _Unread as error:
        return Tuned("", {}, problem=str(error))


def _judge(finding: Finding, facts: Facts) -> Finding:
    tuned = facts.tuned
    if tuned is None or finding.status == "na":
        return finding
    others = [pair for pair in _list_settings(finding, facts, tuned) if pair[0] is not False]
    if not others:
        return finding
    overruled, setting = next((pair for pair in others if pair[0]), others[0])
    (one,) = (one for one in facts.active if one.owner == owners.TUNED)
    value = setting.value or "a value of its own"
    why = f"TuneD (profile {tuned.profile}) makes it {value}: {setting.place}"
    fix = "\n".join(part for part in (_stop(one.owner), finding.fix) if part)
    if finding.status != "pass":
        return msgspec.structs.replace(finding, why=f"{finding.why}; {why}" if finding.why else why, fix=fix)
    if not one.next_boot:
        return finding
    hops = {**finding.hops, "persisted": Hop("unknown" if overruled is None else "bad", value, setting.place)}
    return msgspec.structs.replace(
        finding, status="unknown" if overruled is None else "volatile", hops=hops, why=f"{why}, at each boot", fix=fix
    )


def _list_settings(finding: Finding, facts: Facts, tuned: Tuned) -> Iterator[tuple[bool | None, Setting]]:
    """Yields what TuneD makes of what a finding is on, each with whether that is another value than the wanted one,
    None where only TuneD could tell."""
    knob, wanted = _find_knob(finding.id), _show(finding.wanted)
    if knob in tuned.settings and not _is_left_alone(knob, finding, facts):
        yield owners.is_overruled(knob, wanted, tuned.settings[knob]), tuned.settings[knob]
    if knob == owners.TRANSPARENT:
        for setting in owners.find_file(tuned, hugetlb.TRANSPARENT):
            yield owners.is_overruled(knob, wanted, setting), setting
        paths = map(hugetlb.build_policy_path, hugetlb.POLICY_SIZES)
        for setting in (each for path in paths for each in owners.find_file(tuned, path)):
            yield None if setting.value is None else not hugetlb.fits_policy(setting.value, wanted), setting
    pool = _POOL.fullmatch(finding.id)
    if pool is not None:
        kb, count = hugetlb.parse_size(pool[1]), int(wanted)
        for setting in owners.find_file(tuned, hugetlb.build_path(kb, int(pool[2]))):
            pages = setting.value or ""
            if pages.isdigit() or not pages:  # the kernel refuses a word
                yield None if not pages else not boot_pages.is_enough(int(pages), count), setting
        totals = owners.find_file(tuned, hugetlb.build_total_path(kb))
        if kb == boot_pages.parse(cmdline.split_arguments(facts.booted)).default_kb:
            names = (f"sysctl {each.removeprefix('/proc/sys/').replace('/', '.')}" for each in hugetlb.DEFAULT_TOTALS)
            totals += [tuned.settings[name] for name in names if name in tuned.settings]
        for setting in totals:
            yield None, setting  # the kernel spreads them over the nodes


def _find_knob(id: str) -> str:
    if id in _SYSCTLS:
        return f"sysctl {_SYSCTLS[id]}"
    section, _, name = id.partition(".")
    return owners.TRANSPARENT if id == "hugepages.transparent" else f"sysctl {name}" if section == "net_buffers" else ""


def _is_left_alone(knob: str, finding: Finding, facts: Facts) -> bool:
    """Tells whether TuneD leaves a knob as others have it, whatever its profile says."""
    if knob == owners.TRANSPARENT:
        return cmdline.find_last(cmdline.split_arguments(facts.booted), "transparent_hugepage") is not None
    persisted = finding.hops.get("persisted")
    return bool(facts.tuned and facts.tuned.reapplies and persisted and persisted.source.startswith(_REAPPLIED))


def _show(wanted: object) -> str:
    return " ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)


def _stop(owner: Owner) -> str:
    return f"systemctl disable --now {owner.service}"


def _build_findings(sections: set[str], facts: Facts) -> Iterator[Finding]:
    """Yields a finding for each owner of what no finding of a section is on, or that cannot be told."""
    for owner, source, reason in facts.unread:
        yield build_finding(
            f"other_owners.{owner.service.removesuffix('.service')}",
            "not active",
            {"runtime": Hop("unknown", reason, source)},
            found=f"{source}: {reason}",
            why=f"{owner.name} may set what this profile asks for otherwise",
            fix=READ_IT,
            status="unknown",
        )
    for one in facts.active:
        tuned = facts.tuned if one.owner == owners.TUNED else None
        knobs = one.owner.knobs | (tuned.settings.keys() if tuned else set())
        harms = [_WHY[knob] for knob in _WHY if knob in knobs and _concerns(knob, sections)]
        if not harms and not (tuned and tuned.problem):
            continue
        state = "it runs" if one.running else "the next boot starts it"
        profile = f", profile {tuned.profile}" if tuned and tuned.profile else ""
        why = f"what it sets cannot be told: {tuned.problem}" if tuned and tuned.problem else "; ".join(harms)
        yield build_finding(
            f"other_owners.{one.owner.service.removesuffix('.service')}",
            "not active",
            {"runtime": Hop("bad", f"{state}{profile}", one.owner.service)},
            why=f"{one.owner.name}: {why}",
            fix=_stop(one.owner),
            status="unknown" if tuned and tuned.problem else "warn",
        )


def _concerns(knob: str, sections: set[str]) -> bool:
    return knob == owners.FREQUENCY or bool(sections & {"cpu_isolation", "irq_affinity"})
