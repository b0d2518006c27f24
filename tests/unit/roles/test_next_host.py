"""A host that fails, or is lost (as one that did not come back from its reboot), ends the play for those after it.

`any_errors_fatal` would do the opposite for the second kind: with `serial`, ansible-core 2.19 then goes on to the next
host (seen here). A batch of one host that fails as a whole is what ends the play.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


@pytest.fixture
def closed_port():
    with socket.socket() as bound:  # and not listening: ssh is refused at once
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible-core is not installed beside this Python")
@pytest.mark.parametrize("playbook", ["site", "tune", "deploy", "revert"])
@pytest.mark.parametrize("kind", ["unreachable", "failed"])
def test_the_next_host_is_not_touched(tmp_path: Path, closed_port: int, playbook: str, kind: str) -> None:
    local = f"ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable}"
    first = {
        "unreachable": f"ansible_host=127.0.0.1 ansible_port={closed_port} boot_up_timeout=2",
        # No role accepts this state; nothing has been looked at then.
        "failed": f"{local} hosttune_state=nonsense net_buffers_state=nonsense",
    }[kind]
    (tmp_path / "hosts.ini").write_text(f"[trading]\nfirst {first}\nafter {local} hosttune_offline=true\n")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [PLAYBOOK, "-i", tmp_path / "hosts.ini", f"playbooks/{playbook}.yml", "--check"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)
    recap = done.stdout.partition("PLAY RECAP")[2]
    assert done.returncode != 0
    assert f"{kind}=1" in recap
    # Not one task, not even one that reads.
    assert "[after]" not in done.stdout and "after " not in recap
