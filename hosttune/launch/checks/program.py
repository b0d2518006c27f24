"""Whether the command can be executed, and whether its memory can be locked."""

from __future__ import annotations

from hosttune.findings import Finding
from hosttune.launch.checks._finding import make_finding
from hosttune.launch.facts import LIBRARY, Facts
from hosttune.launch.plan import Plan
from hosttune.output import quote_word


def check_command(plan: Plan, facts: Facts) -> Finding:
    """Judge whether execve(2) will run the command, and only once if its memory is to be locked."""
    name, program = plan.command[0], facts.program
    wanted = "an executable file"
    if facts.path is None or program is None:
        return make_finding(
            "command",
            "fail",
            wanted,
            f"{name} is not found",
            "PATH",
            "there is nothing to start",
            "give the path of the program after --",
        )
    who = plan.user.name if plan.user else "this user"
    if facts.executable != "ok":
        return make_finding(
            "command",
            "fail",
            wanted,
            f"{facts.path}: {facts.executable} for {who}",
            facts.path,
            f"{who} cannot execute it",
            f"chmod a+x {quote_word(facts.path)}, and x on each directory above it",
        )
    if program.problem:
        return make_finding(
            "command",
            "fail",
            wanted,
            program.problem,
            facts.path,
            "execve would fail",
            "give a program, or a script whose #! line names one",
        )
    if plan.lock_memory and program.executes_again:
        return make_finding(
            "command",
            "fail",
            "a program that does not execute another",
            " → ".join(program.images),
            facts.path,
            "env executes the program it finds, and execve drops the memory lock",
            "name the interpreter itself in the #! line, or use --no-mlock",
        )
    return make_finding("command", "pass", wanted, facts.path, facts.path)


def check_memory_lock(plan: Plan, facts: Facts) -> Finding:
    """Judge whether the preload library reaches the program (ld.so(8))."""
    wanted = "memory locked across exec"
    if not plan.lock_memory:
        return make_finding("memory_lock", "na", wanted, "--no-mlock", "")
    if facts.library != "ok":
        return make_finding(
            "memory_lock",
            "fail",
            wanted,
            f"{LIBRARY}: {facts.library}",
            LIBRARY,
            "without the preload library the program's memory is not locked",
            "install hosttune from its wheel, readable for the agent's user, or use --no-mlock",
        )
    if " " in LIBRARY or ":" in LIBRARY:
        return make_finding(
            "memory_lock",
            "fail",
            wanted,
            LIBRARY,
            LIBRARY,
            "LD_PRELOAD cannot name a path with : or space",
            "install hosttune elsewhere, or use --no-mlock",
        )
    program = facts.program
    if program is None or program.problem:
        return make_finding("memory_lock", "na", wanted, "no program", "")
    if program.secure or not program.dynamic:
        kind = "setuid, setgid or has file capabilities" if program.secure else "statically linked"
        return make_finding(
            "memory_lock",
            "fail",
            wanted,
            f"{program.images[-1]} is {kind}",
            program.images[-1],
            "its loader ignores LD_PRELOAD, so its memory would not be locked",
            "use --no-mlock and let the program call mlockall itself",
        )
    return make_finding("memory_lock", "pass", wanted, LIBRARY, LIBRARY)
