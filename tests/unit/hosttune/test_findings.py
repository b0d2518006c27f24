import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.findings import HOPS, STATUSES, Finding, Hop, judge_hops, summarise_findings

STATES = ["ok", "bad", "absent", "unknown", "na"]


@pytest.mark.parametrize(
    ("hops", "status"),
    [
        ({"persisted": "ok", "runtime": "ok"}, "pass"),
        ({"persisted": "ok", "booted": "ok", "runtime": "ok", "effective": "ok"}, "pass"),
        ({"persisted": "ok", "runtime": "bad"}, "fail"),
        ({"persisted": "bad", "runtime": "bad"}, "fail"),
        ({"persisted": "ok", "runtime": "absent"}, "fail"),
        ({"persisted": "ok", "booted": "bad", "runtime": "bad"}, "pending"),
        ({"persisted": "ok", "booted": "absent", "runtime": "absent"}, "pending"),
        ({"persisted": "ok", "booted": "ok", "runtime": "bad"}, "fail"),
        ({"persisted": "absent", "runtime": "ok"}, "volatile"),
        ({"persisted": "bad", "runtime": "ok"}, "volatile"),
        ({"persisted": "unknown", "runtime": "ok"}, "unknown"),
        ({"persisted": "ok", "runtime": "unknown"}, "unknown"),
        ({"persisted": "unknown", "runtime": "bad"}, "fail"),
        ({"persisted": "ok", "runtime": "ok", "effective": "bad"}, "fail"),
        ({"persisted": "ok", "runtime": "ok", "effective": "unknown"}, "unknown"),
        ({"persisted": "ok", "runtime": "na"}, "na"),
        ({}, "unknown"),
    ],
)
def test_judge(hops, status):
    assert judge_hops({name: Hop(state) for name, state in hops.items()}) == status


@given(st.dictionaries(st.sampled_from(HOPS), st.sampled_from(STATES)))
def test_nothing_passes_that_was_not_looked_at(states):
    status = judge_hops({name: Hop(state) for name, state in states.items()})
    assert status in STATUSES
    if status == "pass":
        assert states["persisted"] in ("ok", "na")
        assert states["runtime"] == "ok"
        assert states.get("effective", "ok") in ("ok", "absent", "na")


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (["pass", "warn", "na"], "ready"),
        (["pass", "fail"], "not ready"),
        (["pass", "pending"], "not ready"),
        (["pass", "volatile", "unknown"], "not ready"),
        (["pass", "unknown", "warn"], "unknown"),
        ([], "unknown"),
    ],
)
def test_verdict(statuses, verdict):
    for order in itertools.permutations(statuses):
        findings = [Finding(id=f"x.{n}", status=s, wanted=1, found=1) for n, s in enumerate(order)]
        report = summarise_findings({}, findings)
        assert report.verdict == verdict
        assert sum(report.summary.values()) == len(statuses)
        assert set(report.summary) == set(STATUSES)
