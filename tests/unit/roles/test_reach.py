"""plugins/action/hosttune_reach.py: a host is waited for, and one that no waiting helps is refused at once."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ansible.plugins.action")

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

PROJECT = Path(__file__).resolve().parents[3]
ANSIBLE = Path(sys.executable).with_name("ansible")
_SPEC = importlib.util.spec_from_file_location("hosttune_reach", PROJECT / "plugins/action/hosttune_reach.py")
assert _SPEC and _SPEC.loader
reach = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reach)

DENIED = "trader@h: Permission denied (publickey)."
REFUSED = "ssh: connect to host h port 22: Connection refused"


class Moments:
    """A clock that only waiting moves, and a host that answers one thing after the other, the last one for ever."""

    def __init__(self, *answers: str | Exception) -> None:
        self.now, self.resets, self.answers = 0.0, 0, list(answers)

    def probe(self) -> str:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, timeout: float = 300) -> bool:
        def sleep(seconds: float) -> None:
            self.now += seconds

        def reset() -> None:
            self.resets += 1

        waited: bool = reach.wait(self.probe, reset, timeout, sleep, lambda: self.now)
        return waited


@pytest.mark.parametrize("state", ["running", "degraded", "starting", "offline", ""])
def test_a_host_that_answers_is_not_waited_for(state: str) -> None:
    moments = Moments(state)
    assert moments.wait() is False
    assert (moments.now, moments.resets) == (0, 0)


def test_a_host_that_is_down_or_going_down_is_waited_for() -> None:
    moments = Moments("stopping", AnsibleConnectionFailure(REFUSED), AnsibleConnectionFailure("timed out"), "starting")
    assert moments.wait() is True
    assert moments.now == reach.GOING_DOWN + 2 * reach.PAUSE
    assert moments.resets == 3


@pytest.mark.parametrize("answer", ["stopping", AnsibleConnectionFailure(REFUSED)])
def test_no_host_is_waited_for_longer_than_asked(answer: Any) -> None:
    moments = Moments(answer)
    with pytest.raises(AnsibleConnectionFailure, match=r"still going down|Connection refused"):
        moments.wait(60)
    assert 45 <= moments.now <= 60


@pytest.mark.parametrize(
    "error",
    [
        AnsibleConnectionFailure(DENIED),
        AnsibleConnectionFailure("Host key verification failed."),
        AnsibleConnectionFailure("ssh: Could not resolve hostname h: Name or service not known"),
        AnsibleActionFail("no Python"),
    ],
)
def test_what_no_waiting_cures_ends_at_once(error: Exception) -> None:
    moments = Moments(error)
    with pytest.raises(type(error), match=re.escape(str(error))):
        moments.wait()
    assert moments.now == 0


def ask(work: Path, **variables: str) -> tuple[str, float]:
    """Returns what `ansible` says of a host, and the seconds that it took."""
    given = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    (work / "hosts").write_text(f"one {' '.join(f'{name}={value}' for name, value in given.items())}\n")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_HOME": str(work / "home"),
        "ANSIBLE_NOCOLOR": "1",
    }
    command: list[str | Path] = [ANSIBLE, "-i", "hosts", "one", "-m", "hosttune_reach", "-a", "timeout=90"]
    start = time.monotonic()
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr, time.monotonic() - start


def write_program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


needs_ansible = pytest.mark.skipif(not ANSIBLE.exists(), reason="ansible-core is not installed beside this Python")


@needs_ansible
def test_this_host_answers(tmp_path: Path) -> None:
    said, _ = ask(tmp_path)
    assert "one | SUCCESS" in said, said


@needs_ansible
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sudo: a password is required", "needs a password to become root .*--ask-become-pass"),
        ("trader is not in the sudoers file.", "does not run commands as root: trader is not in the sudoers file"),
        ("", "does not run commands as root: it said nothing"),
    ],
)
def test_a_user_that_cannot_become_root_is_told_at_once(tmp_path: Path, words: str, message: str) -> None:
    sudo = write_program(tmp_path / "sudo", f"echo '{words}' >&2; exit 1")
    said, seconds = ask(tmp_path, ansible_become="true", ansible_become_exe=sudo, ansible_become_user="nobody")
    assert "one | FAILED" in said
    assert re.search(message, said), said
    assert seconds < 60


@needs_ansible
@pytest.mark.parametrize(
    ("python", "message"),
    [
        (None, "there is no Python that runs as /.*/missing on the host: install Python 3.9 or later"),
        ("exit 1", "there is no Python that runs as"),
        ("echo 'hosttune: python 3.6'", "on the host is Python 3.6: the roles need 3.9 or later"),
    ],
)
def test_a_host_without_a_python_that_runs_the_roles_is_told_at_once(
    tmp_path: Path, python: str | None, message: str
) -> None:
    path = str(tmp_path / "missing") if python is None else write_program(tmp_path / "python", python)
    said, seconds = ask(tmp_path, ansible_python_interpreter=path)
    assert "one | FAILED" in said
    assert re.search(message, said), said
    assert seconds < 60


@needs_ansible
def test_a_key_that_the_host_refuses_is_told_at_once(tmp_path: Path) -> None:
    ssh = write_program(tmp_path / "ssh", f"echo '{DENIED}' >&2; exit 255")
    said, seconds = ask(tmp_path, ansible_connection="ssh", ansible_ssh_executable=ssh)
    assert "one | UNREACHABLE" in said and "Permission denied" in said, said
    assert seconds < 60
