"""The scenario names what exists: molecule skips a `verify` without tests and calls it a success."""

from pathlib import Path

import pytest
import yaml

SCENARIO = Path(__file__).resolve().parent.parent.parent / "molecule" / "default"
SEQUENCE = yaml.safe_load((SCENARIO / "molecule.yml").read_text())["scenario"]["test_sequence"]
VERIFIED = [step.split()[1] for step in SEQUENCE if step.startswith("verify ")]


@pytest.mark.parametrize("directory", VERIFIED)
def test_each_verify_has_tests(directory):
    assert list((SCENARIO / directory).glob("test_*.py"))


def test_no_directory_of_tests_is_left_out():
    there = {path.parent.name for path in (SCENARIO.parent.parent / "tests" / "testinfra").glob("*/test_*.py")}
    assert {Path(directory).name for directory in VERIFIED} == there
