"""The GRUB menu is rebuilt once, whoever of the roles changed a file of /etc/default/grub.d."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
pytestmark = pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible-core is not installed beside this Python")

# As revert.yml and site.yml have them.
PLAYS = {
    "roles": "  roles: [hugepages, cpu_isolation]\n",
    "import_role": "  tasks:\n    - import_role: {name: hugepages}\n    - import_role: {name: cpu_isolation}\n",
    "tags": "  tasks:\n    - import_role: {name: hugepages}\n      tags: [me]\n",
    "include_role": "  tasks:\n    - include_role: {name: hugepages}\n    - include_role: {name: cpu_isolation}\n",
    "one": "  roles: [hugepages]\n",
}


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        pytest.param(
            kind, changed, marks=[] if (changed and kind != "import_role") or kind == "roles" else pytest.mark.long
        )
        for kind in PLAYS
        for changed in (True, False)
    ],
)
def test_rebuilt_once_if_at_all(tmp_path: Path, kind: str, changed: bool) -> None:
    """In check mode, with a stand-in that says that it removed each file."""
    (tmp_path / "play.yml").write_text(f"- hosts: all\n  gather_facts: false\n{PLAYS[kind]}")
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_remote_tmp": str(tmp_path / "tmp"),
        "hosttune_state": "absent",
        "hugepages_pages": {"1G": {"node0": 1}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"me": host}}}))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(PROJECT / "roles"),
        "ANSIBLE_LIBRARY": str(HERE / "library"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_NOCOLOR": "1",
        "HOSTTUNE_RENDERED": str(tmp_path),
        "HOSTTUNE_CHANGED": "1" if changed else "",
    }
    command: list[str | Path] = [PLAYBOOK, "--check", "-i", "hosts.yml", "play.yml"]
    command += ["--tags", "me"] if kind == "tags" else []
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("RUNNING HANDLER [boot : Rebuild the GRUB menu]") == changed, done.stdout
