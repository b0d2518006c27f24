"""Plan and facts → findings, and from all findings the decision whether to start. Pure."""

from __future__ import annotations

from hosttune.findings import Finding
from hosttune.launch.checks import placement, privileges, program, realtime
from hosttune.launch.checks.decide import Decision as Decision
from hosttune.launch.checks.decide import UnknownId as UnknownId
from hosttune.launch.checks.decide import decide as decide
from hosttune.launch.checks.privileges import choose_memory_limit as choose_memory_limit
from hosttune.launch.facts import Facts
from hosttune.launch.plan import Plan


def check(plan: Plan, facts: Facts) -> list[Finding]:
    """Returns all findings of launch; those that do not apply are `na`, so that ids are the same on every host."""
    return [
        program.check_command(plan, facts),
        program.check_memory_lock(plan, facts),
        placement.check_cpus(plan, facts),
        placement.check_lease(plan, facts),
        realtime.check_rt_throttling(plan, facts),
        realtime.check_fair_server(plan, facts),
        realtime.check_starvation(plan, facts),
        realtime.check_rt_group(plan, facts),
        privileges.check_scheduling_privilege(plan, facts),
        privileges.check_memory_privilege(plan, facts),
        privileges.check_user_privilege(plan, facts),
        *privileges.check_rlimit_privileges(plan, facts),
        placement.check_run_directory(plan, facts),
        placement.check_dma_latency(facts),
    ]
