"""The scenarios name what exists: molecule skips a `verify` without tests, and a `side_effect` where no playbook is
configured for it, and calls that a success."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from testhost.systems import KERNELS, RELEASES

ROOT = Path(__file__).resolve().parents[3]
SHARED = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())
SCENARIOS = {path.parent: yaml.safe_load(path.read_text()) for path in ROOT.glob("molecule/*/molecule.yml")}
STEPS = [(folder, step) for folder, config in SCENARIOS.items() for step in config["scenario"]["test_sequence"]]


def select(action):
    """Returns the scenario's folder and the name that each step of an action gives."""
    return [(folder, step.split()[1]) for folder, step in STEPS if step.startswith(f"{action} ")]


def test_there_are_four_scenarios():
    assert {folder.name for folder in SCENARIOS} == {"default", "short", "fixes", "desk"}


@pytest.mark.parametrize(("folder", "directory"), select("verify"), ids=str)
def test_each_verify_has_tests(folder, directory):
    assert list((folder / directory).glob("test_*.py"))


def test_no_directory_of_tests_is_left_out():
    there = {path.parent.name for path in (ROOT / "tests/testinfra").glob("*/test_*.py")}
    assert {Path(directory).name for folder, directory in select("verify") if folder.name != "short"} == there


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


def test_the_matrix_has_every_guest():
    guests = [f"'{release} {kernel}'" for release in RELEASES for kernel in KERNELS]
    assert f"for guest in {' '.join(guests)};" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("fails", "status"), [("", 0), ("default bookworm stock", 7), ("short trixie rt", 1)], ids=["none", "one", "other"]
)
def test_both_scenarios_run_and_either_fails_the_whole(tmp_path, fails, status):
    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy(ROOT / "tools/molecule-tests", tools)
    (tools / "molecule-test").write_text(f'#!/bin/sh\necho "ran $*"\n[ "$*" != "{fails}" ] || exit 7\n')
    (tools / "molecule-test").chmod(0o755)
    done = subprocess.run([tools / "molecule-tests"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status
    assert done.stdout.splitlines()[0] == "ran default bookworm stock"
    assert done.stdout.splitlines()[-1] == "ran short trixie rt"
