"""The role other_owners: programs that set what the roles set are refused by name, or stopped and masked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles.plans import action, host_facts

plans = action.load("other_owners")
WANTED: dict[str, Any] = {"sysctl": {"net.core.busy_poll": 50}, "transparent": "never", "isolated": True}
RUNS, STARTS = "LoadState=loaded\nActiveState=active\n", "LoadState=loaded\nActiveState=inactive\nUnitFileState=enabled"
OFF = "LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled"
MASKED = "LoadState=masked\nActiveState=inactive\nUnitFileState=masked"
MASKED_RUNS = "LoadState=masked\nActiveState=active\nUnitFileState=masked"
NONE = "LoadState=not-found\nActiveState=inactive\nUnitFileState="
TUNED = {
    "service:tuned.service": f"{RUNS}UnitFileState=enabled",
    "service:numad.service": NONE,
    "/etc/tuned/active_profile": "network-latency",
    "/etc/tuned/tuned-main.conf": "reapply_sysctl = 1",
    "/usr/lib/tuned/network-latency/tuned.conf": "[vm]\ntransparent_hugepages=never\n[sysctl]\nnet.core.busy_poll=50\n",
    "/usr/lib/tuned/balanced/tuned.conf": "[cpu]\ngovernor=powersave\n[sysctl]\nvm.swappiness=1\n",
}
MASK = {"/etc/systemd/system/tuned.service": {"link": "/dev/null"}}


def plan(policy: str = "fail", wanted: dict[str, Any] | None = None, **found: str | None) -> dict[str, Any]:
    host = host_facts.Host({**TUNED, **found})
    planned: dict[str, Any] = plans.plan(wanted or WANTED, policy, host=host)
    return planned


def test_each_program_that_sets_the_same_is_named_with_what_to_do() -> None:
    with pytest.raises(ValueError) as refusal:
        plan(**{"service:numad.service": STARTS})
    assert str(refusal.value).splitlines() == [
        "TuneD (tuned.service, which runs) sets net.core.busy_poll, transparent huge pages (profile network-latency), "
        "which a role of this play sets too: run `systemctl disable --now tuned.service` on the host; or have "
        "hosttune_other_owners: disable, which stops and masks it until the revert",
        "numad (numad.service, which the next boot starts) sets the CPUs of processes, which a role of this play sets "
        "too: run `systemctl disable --now numad.service` on the host; or have hosttune_other_owners: disable, which "
        "stops and masks it until the revert",
    ]


@pytest.mark.parametrize(
    ("state", "refused", "stop"),
    [
        (RUNS, True, True),
        (STARTS, True, False),
        (OFF, False, False),
        (MASKED, False, False),
        (MASKED_RUNS, True, True),
    ],
)
def test_states_of_a_service(state: str, refused: bool, stop: bool) -> None:
    found = {"service:tuned.service": state}
    if refused:
        with pytest.raises(ValueError, match="TuneD"):
            plan(**found)
    else:
        assert plan(**found) == {"files": {}, "stop": []}
    # It stays masked however often the role runs, so the record of what was there before stays too.
    assert plan("disable", **found) == {"files": MASK, "stop": ["tuned.service"] if stop else []}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"service:tuned.service": NONE}, WANTED),
        ({"service:tuned.service": None}, WANTED),  # no systemd
        ({"/etc/tuned/active_profile": "", "/etc/tuned/profile_mode": "manual"}, WANTED),
        ({"/etc/tuned/active_profile": "off"}, WANTED),
        ({"/etc/tuned/active_profile": "balanced"}, WANTED),
        ({}, {"sysctl": {"net.core.rmem_max": 1}, "transparent": "", "isolated": False}),
        ({}, {"sysctl": {}, "transparent": "", "isolated": False}),  # no tuning role is in the play
    ],
)
@pytest.mark.parametrize("policy", ["fail", "disable"])
def test_what_sets_nothing_of_the_roles_is_left_alone(
    policy: str, found: dict[str, Any], wanted: dict[str, Any]
) -> None:
    assert plan(policy, wanted, **found) == {"files": {}, "stop": []}


@pytest.mark.parametrize("profile", [None, "no-such-profile", "\x1b["])
def test_a_profile_that_cannot_be_told_may_set_anything(profile: str | None) -> None:
    with pytest.raises(ValueError, match=r"TuneD .* sets what cannot be told \(.*(active_profile|no-such-profile)"):
        plan(**{"/etc/tuned/active_profile": profile})
    assert plan("disable", **{"/etc/tuned/active_profile": profile})["files"] == MASK


def test_a_revert_asks_nobody() -> None:
    asked = {"wanted": WANTED, "policy": "fail", "refuse": False}
    assert plans.list_reads(asked, image=False) == []
    assert plans.plan(**asked, host=host_facts.Host(TUNED)) == {"files": {}, "stop": []}
    assert plans.list_reads({**asked, "refuse": True}, image=True) == []


def test_another_policy_is_refused() -> None:
    with pytest.raises(ValueError, match='hosttune_other_owners is "ignore": allowed: one of fail, disable'):
        plan("ignore")
