# SPDX-License-Identifier: Apache-2.0
"""Which other programs on the host set what the roles of this play set, and what becomes of them."""

from __future__ import annotations

from typing import Any

from hosttune.host import hugetlb, owners
from hosttune.host.owners import OWNERS, TUNED, Owner, Tuned

from . import cpu_lists, inputs
from .host_facts import Host

_POLICY = inputs.make_choice("fail", "disable")
_RUNS = frozenset({"active", "activating", "reloading", "deactivating"})
_STARTS = frozenset({"enabled", "enabled-runtime", "alias", "linked", "linked-runtime"})


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the states of the services, and TuneD's files. No service runs in an image."""
    if image or not asked["refuse"]:
        return []
    services = [f"service:{owner.service}" for owner in OWNERS]
    profiles = [f"files:{top}/*/tuned.conf" for top in owners.PROFILES]
    return [*services, owners.ACTIVE_PROFILE, owners.PROFILE_MODE, owners.POST_LOADED, owners.TUNED_MAIN, *profiles]


def plan(wanted: dict[str, Any], policy: Any, refuse: bool = True, host: Host | None = None) -> dict[str, Any]:
    """Returns `files`, links that mask services, and `stop`, those of them that run.

    wanted: what the roles set: `sysctl` by key, `transparent`, the policy of huge pages ("" for none), and `isolated`,
    whether CPUs are isolated. Raises ValueError with one line per problem: with the policy `fail` for each program that
    runs, or that the next boot starts, and that sets any of it.
    """
    host = host or Host()
    cpu_lists.refuse(inputs.find_problems({"hosttune_other_owners": policy}, {"hosttune_other_owners": _POLICY}))
    knobs = _list_knobs(wanted)
    problems: list[str] = []
    files: dict[str, Any] = {}
    stop: list[str] = []
    for owner in OWNERS if knobs and refuse else ():
        state = _read_state(host, owner)
        if state.get("LoadState", "not-found") == "not-found":
            continue
        shared = _find_shared(host, owner, knobs)
        if not shared:
            continue
        running = state.get("ActiveState") in _RUNS
        if policy == "disable":
            files[f"/etc/systemd/system/{owner.service}"] = {"link": "/dev/null"}
            stop += [owner.service] if running else []
        elif running or state.get("UnitFileState") in _STARTS:
            problems.append(
                f"{owner.name} ({owner.service}{', which runs' if running else ', which the next boot starts'}) sets "
                f"{shared}, which a role of this play sets too: run `systemctl disable --now {owner.service}` on the "
                "host; or have hosttune_other_owners: disable, which stops and masks it until the revert"
            )
    cpu_lists.refuse(problems)
    return {"files": files, "stop": stop}


def _list_knobs(wanted: dict[str, Any]) -> set[str]:
    knobs = {f"sysctl {key}" for key in wanted["sysctl"]}
    if wanted["transparent"]:
        knobs.add(owners.TRANSPARENT)
    return knobs | ({owners.ISOLATION, owners.PLACEMENT} if wanted["isolated"] else set())


def _read_state(host: Host, owner: Owner) -> dict[str, str]:
    lines = (host.read(f"service:{owner.service}") or "").splitlines()
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def _find_shared(host: Host, owner: Owner, knobs: set[str]) -> str:
    """Returns in words what an owner and the roles both set, "" for nothing."""
    tuned = owners.read_tuned(host.read) if owner == TUNED else Tuned("", {})
    if tuned.problem:
        return f"what cannot be told ({tuned.problem})"
    named = owner.knobs | tuned.settings.keys()
    if owners.find_file(tuned, hugetlb.TRANSPARENT):
        named |= {owners.TRANSPARENT}
    shared = sorted(name.removeprefix("sysctl ") for name in knobs & named)
    profile = f" (profile {tuned.profile})" if tuned.profile and shared else ""
    return ", ".join(shared) + profile
