"""Every fix works: what a hand breaks on a tuned host, the fix that the check prints mends when root pastes it.

What a fix changes for the next boot only is looked at after a reboot. Then the guest goes back to the state in which
it was, so that what follows finds nothing of all this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import testhost

from .breakages import ROUNDS

FOLDER = Path(__file__).parent
BROKEN = [(name, finding) for name, round_ in ROUNDS.items() for finding in round_]


@pytest.fixture(scope="module")
def guest() -> Iterator[testhost.Host]:
    guest = testhost.Host(testhost.Cache(), f"molecule-{os.environ['MOLECULE_SCENARIO_NAME']}")
    guest.save("tuned")
    yield guest
    guest.restore("tuned")


@pytest.fixture(scope="module")
def told(guest: testhost.Host) -> dict[str, Any]:
    """What the host's own run of all rounds found."""
    program = (FOLDER / "on_host.py").read_text()
    done = guest.run(["python3", "-c", program, json.dumps(ROUNDS)], timeout=900, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def rebooted(guest: testhost.Host, told: dict[str, Any]) -> dict[str, str]:
    """The status of each finding after one reboot."""
    guest.reboot()
    # The check by hand waits for what the boot starts.
    guest.run("systemctl is-system-running --wait", timeout=300)
    done = guest.run(["hosttune", "check", "--format", "json"], timeout=120)
    return {finding["id"]: finding["status"] for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.parametrize(("name", "finding"), BROKEN)
def test_the_check_sees_what_is_broken(told: dict[str, Any], name: str, finding: str) -> None:
    assert told["before"][finding]["status"] == "pass"
    assert told["rounds"][name]["broke"][finding]["status"] == 0, told["rounds"][name]["broke"][finding]
    assert finding in told["rounds"][name]["broken"]


@pytest.mark.parametrize(("name", "finding"), BROKEN)
def test_its_fix_mends_it(told: dict[str, Any], name: str, finding: str) -> None:
    broken = told["rounds"][name]["broken"][finding]
    ran, after = told["rounds"][name]["fixed"][finding], told["rounds"][name]["after"][finding]
    assert ran["status"] == 0, (broken["fix"], ran)
    assert broken["reboot"] or after["status"] == "pass", (broken["fix"], ran, after)


def test_after_one_reboot_all_are_as_before(told: dict[str, Any], rebooted: dict[str, str]) -> None:
    """Interrupts get other numbers at each boot."""
    before = {key: each["status"] for key, each in told["before"].items() if not key.startswith("irq_affinity.irq.")}
    assert {key: rebooted.get(key) for key in before} == before
