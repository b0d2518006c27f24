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


LOG = """\
INFO     [default > discovery] scenario test matrix: create, destroy
INFO     [default > create] Executing
TASK [Start the host and wait until ssh answers] INFO Executing
{said}
INFO     [default > create] Executed: {ended}
"""


@pytest.fixture
def tree(tmp_path):
    """A checkout with the tool alone, whose `molecule` and `python` say what the test wants."""

    def make(said, status):
        for name in ("tools", ".venv/bin"):
            (tmp_path / name).mkdir(parents=True)
        shutil.copy(ROOT / "tools/molecule-test", tmp_path / "tools")
        log = LOG.format(said=said, ended="Failed" if status else "Successful")
        molecule = f"[ $1 = destroy ] || {{ cat <<'END'\n{log}END\nexit {status}; }}\n"
        for name, script in {"molecule": molecule, "python": 'echo "asked $*"\n'}.items():
            (tmp_path / ".venv/bin" / name).write_text(f"#!/bin/sh\n{script}")
            (tmp_path / ".venv/bin" / name).chmod(0o755)
        return tmp_path

    return make


def run_tool(tree, *words):
    command = [tree / "tools/molecule-test", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_steps_are_told_and_the_rest_is_in_the_log(tree):
    made = tree("ok: [molecule-default]", 0)
    done = run_tool(made)
    assert done.returncode == 0, done.stderr
    log = ".cache/molecule-default-bookworm-stock.log"
    told = [line.partition(" default on bookworm, stock kernel: ")[2] for line in done.stdout.splitlines()]
    assert told == [f"whole log in {log}", "create: Executing", "create: Executed: Successful"]
    assert "ok: [molecule-default]" in (made / log).read_text()


def test_a_failure_is_told_last_with_the_guests_own_word(tree):
    failed = 'fatal: [molecule-default]: FAILED! => {"msg": "no such guest"}'
    done = run_tool(tree(failed, 3), "short", "trixie", "rt")
    assert done.returncode == 3
    assert "short on trixie, rt kernel: create: Executed: Failed" in done.stdout
    assert "asked -m testhost serial molecule-short" in done.stdout
    assert failed in done.stdout.rpartition("--- what failed")[2]


@pytest.mark.parametrize("target", ["test", "test-guests"])
def test_a_guest_runs_beside_the_rest(target):
    command = ["make", "--dry-run", target]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    assert "-j 2 " in said
    assert "tools/molecule-test default bookworm stock" in said
    assert ("tools/molecule-test short trixie rt" in said) == (target == "test-guests")
    assert all((f"pytest {tests}" in said) == (target == "test") for tests in ("tests/unit", "tests/live", "tests/vm"))
