"""What happens on isolated CPUs: ticks taken, threads that run there, hardware threads that share a core."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from hosttune.checks import _desk
from hosttune.findings import READ_IT, Finding, Hop, HopName, Status
from hosttune.hops import build_finding
from hosttune.host import cpu, cpulist, irq, process, systemd_lines
from hosttune.host.root import NOT_CAPTURED, Fact, Observed, make_unreadable
from hosttune.output import quote_word

_MANAGER_DIRECTORY = "/etc/systemd/system.conf.d"

# A tick that was not stopped comes CONFIG_HZ times a second, and that is at least 100; a CPU whose tick
# is stopped still takes the odd timer.
TICKS_STOPPED, TICKS_RUNNING = 10.0, 50.0
SHOWN = 8


class Sample(msgspec.Struct):
    """Counters at one moment."""

    interrupts: Fact[dict[str, irq.Row]]
    tasks: process.Tasks


def check_ticks(wanted: frozenset[int], observed: Observed[Sample]) -> Finding:
    """Judge whether the tick is stopped on these CPUs, by the local timer interrupts a second between two samples."""
    id, limit = "cpu_isolation.ticks", f"at most {TICKS_STOPPED:g} a second"
    before, after = observed.before.interrupts, observed.after.interrupts
    if before.value is None or after.value is None:
        failed = before if before.value is None else after
        return build_finding(id, limit, {"effective": Hop("unknown", failed.reason, failed.source)}, status="unknown")
    if "LOC" not in before.value or "LOC" not in after.value:
        words = "/proc/interrupts has no row for local timer interrupts on this architecture"
        return build_finding(id, limit, {"effective": Hop("unknown", words, after.source)}, why=words, status="unknown")
    start, end = before.value["LOC"].counts, after.value["LOC"].counts
    rates = {cpu_: (end[cpu_] - start[cpu_]) / observed.seconds for cpu_ in sorted(wanted & start.keys() & end.keys())}
    if not rates:
        hops: dict[HopName, Hop] = {"effective": Hop("na", "these CPUs are offline", after.source)}
        return build_finding(id, limit, hops, why="none of these CPUs is online", status="na")
    worst = max(rates.values())
    status: Status = "pass" if worst <= TICKS_STOPPED else "warn" if worst < TICKS_RUNNING else "fail"
    found = {f"cpu{number}": round(rate, 1) for number, rate in rates.items()}
    hops = {"effective": Hop("ok" if status == "pass" else "bad", found, f"{after.source}, row LOC")}
    return build_finding(
        id,
        limit,
        hops,
        why="the tick was not stopped there: more than one runnable thread, a POSIX CPU timer, an unstable "
        "TSC, or nohz_full= not in force",
        fix="look at cpu_isolation.threads, cpu_isolation.nohz_full and `dmesg | grep -i -e tsc -e nohz`",
        status=status,
    )


def check_threads(
    isolated: frozenset[int], cpus: cpu.Cpus, tasks: process.Tasks, observed: Observed[Sample] | None
) -> Finding:
    """Returns the threads on isolated CPUs that nobody put there on purpose.

    On purpose is an affinity of isolated CPUs only; kernel threads bound to one CPU belong there. A
    kernel thread that may go elsewhere as well (kswapd) counts when it was seen to run there.
    """
    wandering = [t for t in tasks.seen if t.cpus & isolated and not t.cpus <= isolated]
    users, kernel = [t for t in wandering if not t.kernel], [t for t in wandering if t.kernel]
    value: dict[str, int | str] = {
        "may run there": len(users),
        "placed there": len([t for t in tasks.seen if not t.kernel and t.cpus and t.cpus <= isolated]),
        "kernel threads that may run there": len(kernel),
    }
    hops: dict[HopName, Hop] = {}
    if not users and tasks.missing:
        hops["runtime"] = Hop("unknown", tasks.missing, "/proc/*/task/*/status")
    else:
        hops["runtime"] = Hop("bad" if users else "ok", value, "/proc/*/task/*/status")
    ran: list[process.Task] = []
    if observed is not None:
        active = _find_active(observed, isolated)
        ran = [t for t in active if not t.bound and not t.cpus <= isolated]
        missing = observed.after.tasks.missing
        value = {
            "ran there": show_names(ran),
            "the kernel's own there": show_names([t for t in active if t.bound]),
        }
        if missing and not ran:
            hops["effective"] = Hop("unknown", missing, "/proc/*/task/*/stat")
        else:
            hops["effective"] = Hop("bad" if ran else "ok", value, "/proc/*/task/*/stat")
    culprits = ran or users
    # Isolated CPUs are in no scheduling domain: a thread that is only allowed there is not drawn there.
    kept_away = isolated <= (cpus.isolated.value or frozenset())
    status: Status | None = None
    if users and not ran:
        status = "warn" if kept_away else "fail"
    elif ran:
        status = "fail"
    return build_finding(
        "cpu_isolation.threads",
        f"none on {cpulist.show(isolated)} but those placed there",
        hops,
        found=f"{'ran' if ran else 'may run'} there: {show_names(culprits)}" if culprits else None,
        why="a thread that runs there takes the CPU, its cache and its quiet from the trading thread",
        fix=_write_threads_fix(culprits, (cpus.possible.value or frozenset()) - isolated),
        required=("runtime",),
        status=status,
    )


def _write_threads_fix(culprits: list[process.Task], others: frozenset[int]) -> str:
    """Returns the command that moves threads to other CPUs; READ_IT where either is not known."""
    if not culprits or not others:
        return READ_IT
    return (
        f"for thread in {' '.join(str(each.tid) for each in culprits)}; do "
        f"taskset -pc {cpulist.show(others)} $thread; done\n"
        "# A service is there again when it is started again, unless its unit sets CPUAffinity=."
    )


def write_systemd_fix(
    persisted: Hop, boot_line: str, others: frozenset[int], settings: Iterable[systemd_lines.Setting]
) -> str:
    """Returns commands that give PID 1 `others` at the next boot and now; services that run keep theirs until then.

    `boot_line` is the source of what the boot loader gives to the kernel, `settings` are those of systemd's manager.
    """
    shown, source = cpulist.show(others), persisted.source
    if not others:
        return READ_IT
    if persisted.state == "ok":
        return "systemctl daemon-reexec"
    if source == boot_line:
        return f"take systemd.cpu_affinity= off the kernel's command line, or make it {shown}"
    # A file's last word counts; the empty value drops what others have added.
    if source.startswith("/etc/systemd/") and source.endswith(".conf"):
        text = f"'[Manager]' CPUAffinity= CPUAffinity={shown}"
        lines = [f"printf '%s\\n' '' {text} >> {quote_word(source)}"]
    else:
        affinity = f"CPUAffinity=\\nCPUAffinity={shown}"
        lines = _desk.write_drop_in(_MANAGER_DIRECTORY, "Manager", affinity, settings)
    return "\n".join([*lines, "systemctl daemon-reexec"])


def _find_active(observed: Observed[Sample], isolated: frozenset[int]) -> list[process.Task]:
    """Returns the threads that ran between the samples and were last on an isolated CPU."""
    before = {task.tid: task for task in observed.before.tasks.seen}
    found = []
    for task in observed.after.tasks.seen:
        if task.last_cpu not in isolated:
            continue
        earlier = before.get(task.tid)
        if earlier is None or task.ticks != earlier.ticks or task.switches != earlier.switches:
            found.append(task)
    return found


def check_siblings(isolated: frozenset[int], cpus: cpu.Cpus) -> Finding | None:
    """Judge whether a hardware thread shares a core with an isolated CPU and is not isolated itself."""
    id, wanted = "cpu_isolation.siblings", "no core shared with CPUs that are not isolated"
    online = cpus.online.value
    shared = frozenset[int]().union(*(fact.value or () for fact in cpus.siblings.values())) - isolated
    shared = shared & online if online is not None else shared
    unread = [fact for fact in cpus.siblings.values() if fact.state == "unreadable"]
    if not shared and not unread:
        return None
    if not shared:
        return build_finding(
            id,
            wanted,
            {"runtime": Hop("unknown", unread[0].reason, unread[0].source)},
            why="whether another hardware thread shares the core of an isolated CPU is not known",
            fix=READ_IT,
            # A tree of files may lack them. Where nothing worse than a warning could be found, that is the finding.
            status="warn" if all(fact.reason == NOT_CAPTURED for fact in unread) else "unknown",
        )
    shown = cpulist.show(shared)
    hops: dict[HopName, Hop] = {"runtime": Hop("bad", shown, f"{cpu.DIRECTORY}/cpuN/topology/thread_siblings_list")}
    return build_finding(
        id,
        wanted,
        hops,
        why="work on the core's other hardware thread takes units and L1 cache from the trading thread",
        fix=f"isolate CPU {shown} as well, or take it offline: echo 0 > {cpu.DIRECTORY}/cpuN/online",
        status="warn",
    )


def find_second_threads(isolated: frozenset[int], cpus: cpu.Cpus, off: bool) -> Fact[frozenset[int]]:
    """Returns which CPUs are not the first hardware thread of their core, unreadable where that is not known.

    The kernel's list of a core has the threads that are online; `off`: this boot took the others offline already.
    """
    online = frozenset[int](cpus.online.value or ())
    possible = frozenset[int](cpus.possible.value or ())
    second: set[int] = set()
    for number in sorted(isolated):
        core = cpus.siblings.get(number, Fact("absent", None, f"{cpu.DIRECTORY}/cpu{number}/topology"))
        if core.value:
            if min(core.value) != number:
                second.add(number)
            elif not off and core.value == {number} and any(each < number for each in possible - online):
                words = f"others are offline, so CPU {number} may be the second thread of a core"
                return make_unreadable(core.source, words)
        elif off and online and number not in online:
            second.add(number)
        else:
            return make_unreadable(core.source, f"the core of CPU {number}: {core.reason or 'not there'}")
    return Fact("value", frozenset(second), f"{cpu.DIRECTORY}/cpuN/topology/thread_siblings_list")


def show_names(tasks: list[process.Task]) -> str:
    """Returns the first few threads by name and number, and how many more."""
    shown = ", ".join(f"{task.comm}[{task.tid}]" for task in tasks[:SHOWN])
    more = len(tasks) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "none"
