"""The `launch` and `attest` commands: arguments, messages and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from hosttune.attest import Attestation
    from hosttune.findings import Finding, Report
    from hosttune.launch.plan import Plan, User

RUN_DIRECTORY = "/run/hosttune"
WAIT = 30.0
HOLDS, DOES_NOT_HOLD, COULD_NOT_TELL = 0, 1, 3
_EXIT = {"ready": HOLDS, "not ready": DOES_NOT_HOLD, "unknown": COULD_NOT_TELL}
_LAUNCH_EPILOG = (
    "exit status: 1 refused, 2 usage or profile error, 3 could not tell, 71 memory could not be locked; "
    "else the command's own"
)
_ATTEST_EPILOG = "exit status: 0 holds, 1 does not hold, 2 usage error, 3 could not tell"


def add_launch(commands: Any) -> None:
    """Add `launch` to the subparsers of the `hosttune` parser."""
    launch = commands.add_parser(
        "launch", help="start a program on this host, if the host is ready", epilog=_LAUNCH_EPILOG
    )
    launch.add_argument("--profile", metavar="PATH", help="profile of the preflight; default: as `hosttune check`")
    launch.add_argument("--policy", choices=("other", "fifo", "rr"), default="other", help="default: %(default)s")
    launch.add_argument("--priority", metavar="N", type=int, help="1 to 98, with fifo and rr")
    launch.add_argument("--cpus", metavar="LIST", help="run on these CPUs and lease them")
    launch.add_argument("--user", metavar="NAME", help="become this user before exec")
    launch.add_argument("--nice", metavar="N", type=int, default=0, help="-20 to 19; default: %(default)s")
    launch.add_argument("--no-mlock", action="store_true", help="do not lock memory")
    launch.add_argument(
        "--rlimit", metavar="NAME=VALUE", action="append", default=[], help="SOFT:HARD or one value for both"
    )
    launch.add_argument(
        "--force", metavar="ID", action="append", default=[], help="accept this finding, by its exact id"
    )
    launch.add_argument("--no-busy-poll", action="store_true", help="the program blocks when idle")
    launch.add_argument(
        "--attest", action="store_true", help="read back after exec; if it does not hold, end the program"
    )
    launch.add_argument(
        "--run-dir", metavar="PATH", default=RUN_DIRECTORY, help="leases and records; default: %(default)s"
    )
    launch.add_argument("command", metavar="COMMAND", nargs="+", help="after --, with its arguments")
    launch.set_defaults(run=run)


def add_attest(commands: Any) -> None:
    """Add `attest` to the subparsers of the `hosttune` parser."""
    attest = commands.add_parser("attest", help="read a launched process back from the kernel", epilog=_ATTEST_EPILOG)
    attest.add_argument("pid", metavar="PID", type=int)
    attest.add_argument("--format", choices=("text", "json"), default="text")
    attest.add_argument(
        "--wait", metavar="SECONDS", type=float, default=WAIT, help="for the launch; default: %(default)g"
    )
    attest.add_argument(
        "--after",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="read so long after exec; default: %(default)g",
    )
    attest.add_argument("--run-dir", metavar="PATH", default=RUN_DIRECTORY, help="default: %(default)s")
    attest.set_defaults(run=run_attest)


def run(arguments: argparse.Namespace) -> int:
    """Launch. Returns only if nothing was started, with the exit status."""
    import gc

    gc.disable()  # until exec, which is soon
    from hosttune import checker, profile
    from hosttune.cli.main import UsageError
    from hosttune.host.root import Live
    from hosttune.launch import checks, facts, process

    plan = _plan(arguments)
    root = Live()
    try:
        report = checker.run(profile.load(arguments.profile, root), root, None)
    except profile.ProfileError as error:
        raise UsageError(error) from None
    known = facts.read(root, plan)
    findings = [*report.findings, *checks.check(plan, known)]
    try:
        decision = checks.decide(findings, arguments.force)
    except checks.UnknownId as error:
        raise UsageError(error) from None
    if decision.code:
        _say_refused(decision)
        return decision.code
    for finding in decision.forced:
        _say(f"forced: {finding.id} is {finding.status}: found {finding.found}")
    for name in decision.idle:
        _say(f"--force {name} is not needed now")
    for finding in findings:
        if finding.status == "warn" and finding.id.startswith("launch."):
            _say(f"note: {finding.id}: {finding.found}: {finding.why}")
    if arguments.attest:
        _fork_reader(plan.run_directory)
    try:
        process.launch(plan, known, [finding.id for finding in decision.forced], _preflight(report))
    except process.LaunchError as error:
        _say(f"{error}; nothing was started")
        return DOES_NOT_HOLD


def run_attest(arguments: argparse.Namespace) -> int:
    """Read back and print. Returns the exit status."""
    from hosttune import attest
    from hosttune.cli.main import UsageError

    if arguments.pid < 1 or arguments.wait < 0 or arguments.after < 0:
        raise UsageError("PID has to be positive, --wait and --after not negative")
    try:
        result = attest.attest(_run_directory(arguments), arguments.pid, arguments.wait, arguments.after)
    except attest.Gone as error:
        print(f"hosttune attest: {error}", file=sys.stderr)
        return DOES_NOT_HOLD
    except attest.NotLaunched as error:
        print(f"hosttune attest: {error}", file=sys.stderr)
        return COULD_NOT_TELL
    print(_as_json(result) if arguments.format == "json" else as_text(result))
    return _EXIT[result.report.verdict]


# --- launch ---


def _plan(arguments: argparse.Namespace) -> Plan:
    """Check the arguments against each other and against this host's accounts. Raises UsageError."""
    from hosttune.cli.main import UsageError
    from hosttune.host import cpulist
    from hosttune.launch.plan import HIGHEST_PRIORITY, Plan, parse_rlimit

    realtime = arguments.policy != "other"
    priority = arguments.priority
    if realtime and priority is None:
        raise UsageError(f"--policy {arguments.policy} needs --priority N, 1 to {HIGHEST_PRIORITY}")
    if not realtime and priority not in (None, 0):
        raise UsageError("--priority needs --policy fifo or rr; for other it is --nice")
    if realtime and not 1 <= priority <= HIGHEST_PRIORITY:
        above = ": the kernel's watchdog and migration threads run at 99" if priority == 99 else ""
        raise UsageError(f"--priority {priority}: wanted 1 to {HIGHEST_PRIORITY}{above}")
    if not -20 <= arguments.nice <= 19:
        raise UsageError(f"--nice {arguments.nice}: wanted -20 to 19")
    try:
        last = (os.cpu_count() or 1) - 1
        cpus = None if arguments.cpus is None else cpulist.parse(arguments.cpus, last)
        rlimits = dict(parse_rlimit(text) for text in arguments.rlimit)
    except ValueError as error:
        raise UsageError(error) from None
    if cpus is not None and not cpus:
        raise UsageError("--cpus names no CPU")
    return Plan(
        command=arguments.command,
        policy=arguments.policy,
        priority=priority or 0,
        nice=arguments.nice,
        cpus=cpus,
        user=None if arguments.user is None else _user(arguments.user),
        lock_memory=not arguments.no_mlock,
        busy_poll=not arguments.no_busy_poll,
        rlimits=rlimits,
        run_directory=_run_directory(arguments),
    )


def _run_directory(arguments: argparse.Namespace) -> str:
    """Without symbolic links: /proc/PID/fd shows paths so."""
    path: str = os.path.realpath(arguments.run_dir)
    return path


def _user(name: str) -> User:
    import pwd

    from hosttune.cli.main import UsageError
    from hosttune.launch.plan import User

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"--user {name}: this host has no such user") from None
    groups = sorted(set(os.getgrouplist(name, entry.pw_gid)))
    return User(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def _preflight(report: Report) -> dict[str, Any]:
    return {"verdict": report.verdict, "summary": {status: n for status, n in report.summary.items() if n}}


def _say(text: str) -> None:
    print(f"hosttune launch: {text}", file=sys.stderr, flush=True)


def _say_refused(decision: Any) -> None:
    reason = (
        "this host is not ready"
        if decision.code == DOES_NOT_HOLD
        else "it could not be told whether this host is ready"
    )
    from hosttune.report.text import show

    _say(f"refused, nothing was started: {reason}")
    for finding in decision.against:
        print(f"  {finding.id}: {finding.status}", file=sys.stderr)
        for label in ("wanted", "found", "why", "fix"):
            print(f"    {label + ':':8}{show(getattr(finding, label))}", file=sys.stderr)
    print("  accept a finding with --force ID", file=sys.stderr)


def _fork_reader(run_directory: str) -> None:
    """Start the process that attests this one after exec, and ends it if that does not hold.

    Forked twice, so that it is not a child that the program did not start; before this process is placed
    and holds a lease, so that it neither runs on the leased CPUs nor keeps the lease.
    """
    target = os.getpid()
    handle = os.pidfd_open(target)
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            _read_back(target, handle, run_directory)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(handle)


def _read_back(target: int, handle: int, run_directory: str) -> NoReturn:
    from hosttune import attest

    code = DOES_NOT_HOLD
    try:
        os.setsid()  # a signal to the terminal's foreground group is not for the reader
        text = ""
        try:
            result = attest.attest(run_directory, target, WAIT)
            code, text = _EXIT[result.report.verdict], as_text(result)
        except attest.Gone:
            # A launcher that failed after the fork has said why; the preload library too.
            os._exit(code)
        except attest.NotLaunched as error:
            text = str(error)
        print(text, file=sys.stderr, flush=True)
        if code:
            print(f"hosttune launch: attest does not hold, ending process {target}", file=sys.stderr, flush=True)
            attest.stop(handle)
    except BaseException as error:
        with contextlib.suppress(OSError):
            print(
                f"hosttune launch: attest failed, ending process {target}: {error!r}",
                file=sys.stderr,
                flush=True,
            )
        attest.stop(handle)
    finally:
        os._exit(code)


# --- attest ---


def as_text(result: Attestation) -> str:
    """Every thread, then every finding; what does not hold with cause and fix."""
    from hosttune.host import cpulist

    lines = [f"process {result.record.pid}: {result.executable or 'executable not readable'}"]
    lines.append(f"  {'TID':>8} {'POLICY':8}{'PRIO':>5}{'NICE':>5}  {'CPUS':12}NAME")
    for thread in result.threads:
        cpus = cpulist.show(thread.cpus)
        lines.append(f"  {thread.tid:>8} {thread.policy:8}{thread.priority:>5}{thread.nice:>5}  {cpus:12}{thread.name}")
    for finding in result.report.findings:
        lines += _finding_lines(finding)
    words = {"ready": "holds", "not ready": "does not hold", "unknown": "could not be told"}
    lines.append(f"attest: {words[result.report.verdict]}")
    return "\n".join(lines)


def _finding_lines(finding: Finding) -> list[str]:
    from hosttune.report.text import show

    lines = [f"  {finding.status:8}{finding.id}: {show(finding.found)}"]
    if finding.status in ("fail", "unknown"):
        lines += [f"          {label}: {show(getattr(finding, label))}" for label in ("wanted", "why", "fix")]
    return lines


def _as_json(result: Attestation) -> str:
    import json

    import msgspec

    from hosttune.host import cpulist

    report = msgspec.to_builtins(result.report)
    document = {
        **report,
        "executable": result.executable,
        "threads": [{**msgspec.structs.asdict(thread), "cpus": cpulist.show(thread.cpus)} for thread in result.threads],
        "memory": None if result.memory is None else msgspec.to_builtins(result.memory),
        "record": msgspec.to_builtins(result.record),
    }
    return json.dumps(document, indent=2)
