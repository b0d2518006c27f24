"""The repository is also a collection: it builds, installs offline, and its playbooks run from there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.skipif(
    not (BIN / "ansible-galaxy").exists(), reason="ansible-core is not installed beside this Python"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A controller's directory with the collection in it, and no checkout."""
    work = tmp_path_factory.mktemp("controller")
    galaxy = BIN / "ansible-galaxy"
    build: list[str | Path] = [galaxy, "collection", "build", "--output-path", work]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    archive = next(work.glob("hosttune-tuning-*.tar.gz"))
    install: list[str | Path] = [galaxy, "collection", "install", "--offline", "-p", work / "collections", archive]
    environment = {**os.environ, "ANSIBLE_HOME": str(work / "home")}
    subprocess.run(install, cwd=work, env=environment, check=True, capture_output=True, timeout=120)
    return work


def test_the_archive_has_roles_playbooks_and_plugins_only(installed: Path) -> None:
    with tarfile.open(next(installed.glob("*.tar.gz"))) as archive:
        names = archive.getnames()
    wanted = {"roles", "playbooks", "plugins", "meta", "LICENSE", "README.md", "CHANGELOG.md"}
    # And the rules that the plugins share with the check.
    assert {name.partition("/")[0] for name in names} == wanted | {"MANIFEST.json", "FILES.json", "hosttune"}
    shared = {"/".join(name.split("/")[:2]) for name in names if name.startswith("hosttune/")}
    assert shared == {"hosttune/host", "hosttune/errors.py", "hosttune/output.py", "hosttune/patterns.py"}


@pytest.mark.parametrize("playbook", ["tune", "revert"])
def test_a_playbook_runs_from_the_installed_collection(installed: Path, playbook: str) -> None:
    """In check mode and offline, against this machine: nothing is changed."""
    inventory = f"me ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable} "
    inventory += f"ansible_remote_tmp={installed / 'tmp'} "  # the user may have no home
    inventory += "hosttune_offline=True hosttune_isolated_cpus=\"'1'\" hosttune_housekeeping_cpus=\"'0'\"\n"
    (installed / "hosts.ini").write_text("[trading]\n" + inventory)
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(installed / "collections"),
        "ANSIBLE_HOME": str(installed / "home"),
        "ANSIBLE_NOCOLOR": "1",
    }
    command: list[str | Path] = [BIN / "ansible-playbook", "-i", "hosts.ini", f"hosttune.tuning.{playbook}", "--check"]
    command += ["--tags", "net_buffers,tcp_bbr,hugepages,irq_affinity,cpu_isolation"]
    done = subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed=0" in done.stdout
