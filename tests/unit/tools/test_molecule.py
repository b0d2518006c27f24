"""The scenario names what exists: molecule skips a `verify` without tests, and a `side_effect` where no playbook is
configured for it, and calls that a success."""

from pathlib import Path

import pytest
import yaml

SCENARIO = Path(__file__).resolve().parents[3] / "molecule" / "default"
CONFIG = yaml.safe_load((SCENARIO / "molecule.yml").read_text())
SEQUENCE = CONFIG["scenario"]["test_sequence"]
VERIFIED = [step.split()[1] for step in SEQUENCE if step.startswith("verify ")]


@pytest.mark.parametrize("directory", VERIFIED)
def test_each_verify_has_tests(directory):
    assert list((SCENARIO / directory).glob("test_*.py"))


def test_no_directory_of_tests_is_left_out():
    there = {path.parent.name for path in (SCENARIO.parent.parent / "tests" / "testinfra").glob("*/test_*.py")}
    assert {Path(directory).name for directory in VERIFIED} == there


def test_each_side_effect_is_a_playbook():
    named = [step.split()[1] for step in SEQUENCE if step.startswith("side_effect ")]
    assert named and CONFIG["ansible"]["playbooks"]["side_effect"] in named
    assert all((SCENARIO / name).is_file() for name in named)
