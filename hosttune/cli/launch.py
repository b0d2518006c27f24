"""`hosttune launch`: start a program on this host, if the host is ready."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from hosttune.cli import arguments as shared
from hosttune.errors import FAILED, UsageError
from hosttune.output import escape, print_message

if TYPE_CHECKING:
    from hosttune.findings import Finding, Report
    from hosttune.host.root import Root
    from hosttune.launch.checks import Decision
    from hosttune.launch.plan import Plan, User
    from hosttune.launch.record import Preflight

_EPILOG = (
    "exit status: 1 refused, 2 usage or profile error, 3 could not tell, 71 memory could not be locked; "
    "else the command's own"
)


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the `hosttune` parser."""
    launch = commands.add_parser("launch", help="start a program on this host, if the host is ready", epilog=_EPILOG)
    preflight = launch.add_mutually_exclusive_group()
    preflight.add_argument("--profile", metavar="PATH", help="profile of the preflight; default: as `hosttune check`")
    preflight.add_argument(
        "--preflight", metavar="REPORT", help="of a check that was made just now, as JSON; the file is removed"
    )
    shared.add_policy(launch)
    launch.add_argument("--priority", metavar="N", type=int, help="1 to 98, with fifo and rr")
    launch.add_argument("--cpus", metavar="LIST", help="run on these CPUs and lease them")
    launch.add_argument("--user", metavar="NAME", help="become this user before exec")
    launch.add_argument("--nice", metavar="N", type=int, default=0, help="-20 to 19; default: %(default)s")
    launch.add_argument("--no-mlock", action="store_true", help="do not lock memory")
    launch.add_argument(
        "--rlimit", metavar="NAME=VALUE", action="append", default=[], help="SOFT:HARD or one value for both"
    )
    launch.add_argument(
        "--setenv", metavar="NAME[=VALUE]", action="append", default=[], help="a variable; NAME alone: as it is here"
    )
    launch.add_argument("--umask", metavar="OCTAL", default=None, help="of the program; default: 0027")
    launch.add_argument(
        "--force", metavar="ID", action="append", default=[], help="accept this finding, by its exact id"
    )
    launch.add_argument("--no-busy-poll", action="store_true", help="the program blocks when idle")
    launch.add_argument(
        "--attest", action="store_true", help="read back after exec; if it does not hold, end the program"
    )
    shared.add_run_directory(launch, "leases and records; ")
    launch.add_argument("command", metavar="COMMAND", nargs="+", help="after --, with its arguments")
    launch.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Launch. Returns the exit status, and only if nothing was started. Raises UsageError."""
    import gc

    gc.disable()  # until exec, which is soon
    from hosttune.descriptors import open_standard
    from hosttune.host.root import Live
    from hosttune.launch import checks, facts, process, session

    open_standard()
    plan = build_plan(arguments)
    root = Live()
    report = _check_host(arguments.profile, root) if arguments.preflight is None else _take_report(arguments.preflight)
    known = facts.read(root, plan)
    findings = [*report.findings, *checks.check(plan, known)]
    try:
        decision = checks.decide(findings, arguments.force)
    except checks.UnknownId as error:
        raise UsageError(error) from None
    if decision.code:
        _print_refusal(decision)
        return decision.code
    _print_notes(decision, findings)
    launcher = None
    if plan.changes_user and session.has_terminal():
        launcher = os.getpid()
        code = session.start_child()
        if code is not None:
            return code
    if arguments.attest:
        from hosttune.attest.reader import fork_reader

        fork_reader(plan.run_directory, shared.ATTEST_WAIT_SECONDS)
    try:
        forced = [finding.id for finding in decision.forced]
        process.launch(plan, known, forced, _summarise_preflight(report), launcher)
    except process.LaunchError as error:
        _print_message(f"{error}; nothing was started")
        return FAILED


def _check_host(path: str | None, root: Root) -> Report:
    from hosttune import checker, profile

    try:
        return checker.run_checks(profile.load(path, root), root, None)
    except profile.ProfileError as error:
        raise UsageError(error) from None


def _take_report(path: str) -> Report:
    from hosttune.launch import preflight

    try:
        return preflight.take_report(path)
    except preflight.PreflightError as error:
        raise UsageError(error) from None


def build_plan(arguments: argparse.Namespace) -> Plan:
    """Check the arguments against each other and against this host's accounts. Raises UsageError."""
    from hosttune.host import cpulist
    from hosttune.host.sched import HIGHEST_PRIORITY
    from hosttune.launch.environment import parse_variable
    from hosttune.launch.plan import UMASK, Plan, parse_rlimit, parse_umask

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
        cpus = None if arguments.cpus is None else cpulist.parse(cpulist.KernelList(arguments.cpus), last)
        rlimits = dict(parse_rlimit(text) for text in arguments.rlimit)
        variables = dict(parse_variable(text, os.environ) for text in arguments.setenv)
        umask = UMASK if arguments.umask is None else parse_umask(arguments.umask)
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
        user=None if arguments.user is None else _require_user(arguments.user),
        lock_memory=not arguments.no_mlock,
        busy_poll=not arguments.no_busy_poll,
        rlimits=rlimits,
        variables=variables,
        umask=umask,
        run_directory=shared.resolve_run_directory(arguments),
    )


def _require_user(name: str) -> User:
    from hosttune.launch.account import look_up_user

    user = look_up_user(name)
    if user is None:
        raise UsageError(f"--user {name}: this host has no such user")
    return user


def _summarise_preflight(report: Report) -> Preflight:
    from hosttune.launch.record import Preflight

    return Preflight(report.verdict, {status: n for status, n in report.summary.items() if n})


def _print_message(text: str) -> None:
    print_message(f"hosttune launch: {escape(text)}")


def _print_refusal(decision: Decision) -> None:
    from hosttune.report.words import show_value

    reason = "this host is not ready" if decision.code == FAILED else "it could not be told whether this host is ready"
    _print_message(f"refused, nothing was started: {reason}")
    for finding in decision.against:
        print_message(f"  {escape(finding.id)}: {finding.status}")
        for label in ("wanted", "found", "why", "fix"):
            # A line each: commands of a fix that are joined do another thing.
            lines = [show_value(line) for line in str(getattr(finding, label)).splitlines()] if label == "fix" else []
            first, *others = lines or [show_value(getattr(finding, label))]
            print_message("\n".join([f"    {label + ':':8}{first}", *(f"{'':12}{line}" for line in others)]))
    print_message("  accept a finding with --force ID")


def _print_notes(decision: Decision, findings: list[Finding]) -> None:
    for finding in decision.forced:
        _print_message(f"forced: {finding.id} is {finding.status}: found {finding.found}")
    for name in decision.idle:
        _print_message(f"--force {name} is not needed now")
    for finding in findings:
        if finding.status == "warn" and finding.id.startswith("launch."):
            _print_message(f"note: {finding.id}: {finding.found}: {finding.why}")
