"""The scenarios name what exists: molecule skips a `verify` without tests, and a `side_effect` where no playbook is
configured for it, and calls that a success."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SHARED = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())
SCENARIOS = {path.parent: yaml.safe_load(path.read_text()) for path in ROOT.glob("molecule/*/molecule.yml")}
STEPS = [(folder, step) for folder, config in SCENARIOS.items() for step in config["scenario"]["test_sequence"]]


def select(action):
    """Returns the scenario's folder and the name that each step of an action gives."""
    return [(folder, step.split()[1]) for folder, step in STEPS if step.startswith(f"{action} ")]


def test_there_are_two_scenarios():
    assert {folder.name for folder in SCENARIOS} == {"default", "short"}


@pytest.mark.parametrize(("folder", "directory"), select("verify"), ids=str)
def test_each_verify_has_tests(folder, directory):
    assert list((folder / directory).glob("test_*.py"))


def test_no_directory_of_tests_is_left_out():
    there = {path.parent.name for path in (ROOT / "tests/testinfra").glob("*/test_*.py")}
    assert {Path(directory).name for folder, directory in select("verify") if folder.name == "default"} == there


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_each_playbook_is_there(folder):
    playbooks = SHARED["ansible"]["playbooks"]
    named = [name for scenario, name in select("side_effect") if scenario == folder]
    assert named and playbooks["side_effect"] in named
    assert all((folder / name).is_file() for name in [*named, *playbooks.values()])


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_a_scenario_begins_and_ends_without_a_guest(folder):
    sequence = SCENARIOS[folder]["scenario"]["test_sequence"]
    assert sequence[0] == sequence[-1] == "destroy" and sequence.count("create") == 1


def test_make_test_runs_both_and_the_matrix_every_guest():
    makefile = (ROOT / "Makefile").read_text()
    recipes = {part.split(":")[0]: part for part in makefile.split("\n\n")}
    ran = [line.split()[1:] for line in recipes["test"].splitlines() if line.strip().startswith("tools/molecule-test")]
    assert ran == [["default", "bookworm", "stock"], ["short", "trixie", "rt"]]
    assert "for guest in 'bookworm stock' 'bookworm rt' 'trixie stock' 'trixie rt'" in makefile
