"""What the role rt_limits refuses, and what it plans."""

from __future__ import annotations

import importlib

import pytest

from . import plans

PLAN = plans.action.load("rt_limits")
HOST = importlib.import_module("hosttune_plans.host_facts").Host
TOP = "/sys/kernel/debug/sched/fair_server"
OPEN = "/proc/sys/fs/nr_open"


@pytest.mark.parametrize(
    ("nofile", "nr_open", "allowed"),
    [(1048576, "1048576", True), (1048577, "1048576", False), (1 << 29, None, True), (1 << 29, "", True)],
)
def test_open_files_that_the_kernel_refuses(nofile: int, nr_open: str | None, allowed: bool) -> None:
    asked = {"users": {"a": {"rtprio": 1}, "svc.trader": {"nofile": nofile}}, "sched_rt_runtime_us": -1}
    host = HOST({OPEN: nr_open})
    if allowed:
        assert PLAN.plan(**asked, host=host)["services"]["DefaultLimitNOFILE"] == f"{nofile}:{nofile}"
        return
    message = r"^rt_limits_users: svc\.trader: nofile is 1048577: the host's fs\.nr_open is 1048576"
    with pytest.raises(ValueError, match=message):
        PLAN.plan(**asked, host=host)
    assert PLAN.plan(**asked, host=host, refuse=False)["users"]["svc.trader"] == {"nofile": nofile}


def test_a_share_of_more_than_its_period() -> None:
    """The kernel refuses it, which would be after other roles have changed the host."""
    period = "/proc/sys/kernel/sched_rt_period_us"
    assert period in PLAN.list_reads({"fair_server_off": "", "refuse": True}, image=False)
    for share in (1000000, -1, 0):
        assert PLAN.plan({}, share, host=HOST({period: "1000000"}))["share"] == share
    assert PLAN.plan({}, 1000001)["share"] == 1000001
    with pytest.raises(ValueError, match=r"^rt_limits_sched_rt_runtime_us is 1000001: .* which is 1000000$"):
        PLAN.plan({}, 1000001, host=HOST({period: "1000000"}))


def test_cpus_without_the_fair_server() -> None:
    assert PLAN.plan({}, None)["fair_server_off"] == []
    assert PLAN.plan({}, None, fair_server_off="5,2-3,3")["fair_server_off"] == [2, 3, 5]
    for wrong in ("3-2", "2-N", 3, "a"):
        with pytest.raises(ValueError, match=r"^rt_limits_fair_server_off is "):
            PLAN.plan({}, None, fair_server_off=wrong)
    host = HOST({"/sys/devices/system/cpu/possible": "0-3"})
    assert PLAN.plan({}, None, fair_server_off="3", host=host)["fair_server_off"] == [3]
    with pytest.raises(ValueError, match=r"^rt_limits_fair_server_off is .2-5.: the host has no CPU 4-5"):
        PLAN.plan({}, None, fair_server_off="2-5", host=host)
    assert "/sys/devices/system/cpu/possible" in PLAN.list_reads({"fair_server_off": "", "refuse": True}, image=False)


def test_the_fair_server_is_set_now_where_the_kernel_shows_it() -> None:
    asked = {"users": {}, "sched_rt_runtime_us": None, "fair_server_off": "2-3", "refuse": True}
    paths = [f"{TOP}/cpu{cpu}/runtime" for cpu in (2, 3)]
    assert set(paths) | {OPEN} <= set(PLAN.list_reads(asked, image=False))
    assert PLAN.list_reads(asked, image=True) == []
    assert PLAN.list_reads(asked | {"refuse": False}, image=False) == []
    release = "/proc/sys/kernel/osrelease"
    for found, values, said in (
        ({release: "6.12.9-amd64", **dict.fromkeys(paths, "50000000")}, dict.fromkeys(paths, 0), 0),
        ({release: "6.12.9-amd64", **dict.fromkeys(paths)}, {}, 1),  # not root's to see
        ({release: "6.1.0-28-amd64", **dict.fromkeys(paths)}, {}, 0),
        ({release: "?", **dict.fromkeys(paths)}, {}, 0),
        ({}, {}, 0),
    ):
        host = HOST(found)
        assert PLAN.plan(**asked, host=host)["values"] == values
        assert len(host.left_out) == said
