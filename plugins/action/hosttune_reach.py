# SPDX-License-Identifier: Apache-2.0
"""Wait until a host answers as root, and refuse at once what no waiting cures: documented beside the modules."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

#: Seconds between two attempts, and from the moment at which a host goes down until its ssh is gone.
PAUSE, GOING_DOWN = 2.0, 15.0
#: The oldest Python that runs the modules.
OLDEST = (3, 9)
#: What ssh(1) says of hosts that will say the same again.
_HOPELESS = re.compile(
    r"Permission denied|Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|Could not resolve hostname"
    r"|No such identity|Bad configuration option|Invalid/incorrect password"
)
_PROBE = """printf 'hosttune: %s\\n' answers
{python} -c 'import sys; print("hosttune: python %d.%d" % sys.version_info[:2])' 2>&1
state=$(timeout 10 systemctl is-system-running 2>/dev/null)
printf 'hosttune: %s\\n' "state $state"
"""


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Runs one command on the host until it answers; no module, for which the host needs a Python."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns whether the host was waited for.

        Raises AnsibleConnectionFailure for one that does not answer in time, AnsibleActionFail with the reason for one
        that answers and cannot be tuned.
        """
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec({"timeout": {"type": "int", "default": 300}})
        python = self._find_interpreter(task_vars or {})
        waited = wait(lambda: read_answer(self._probe(python), python), self._connection.reset, arguments["timeout"])
        return {"changed": False, "waited": waited}

    def _probe(self, python: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._low_level_execute_command(
                _PROBE.format(python=shlex.quote(python)), executable="/bin/sh"
            )
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:  # of sudo, before the command ran
            raise AnsibleActionFail(explain_become(str(error))) from None
        return found

    def _find_interpreter(self, task_vars: dict[str, Any]) -> str:
        """Returns the Python that Ansible will use: that of the inventory, or that of the configuration."""
        given = self._templar.template(task_vars.get("ansible_python_interpreter"))
        configured = given or constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
        return "python3" if str(configured).startswith("auto") else str(configured)


def wait(
    probe: Callable[[], str],
    reset: Callable[[], object],
    timeout: float,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Probe until the host answers and is not going down; `reset` ends the connection between two attempts.

    Returns whether that took more than one. Raises AnsibleConnectionFailure, the last one, after `timeout` seconds, and
    at once for one that the next attempt would meet again.
    """
    until = clock() + timeout
    waited = False
    while True:
        try:
            if probe() != "stopping":
                return waited
            pause, failure = GOING_DOWN, AnsibleConnectionFailure("the host is still going down")
        except AnsibleConnectionFailure as error:
            pause, failure = PAUSE, error
            if _HOPELESS.search(str(error)):
                raise
        if clock() + pause > until:
            raise failure
        waited = True
        sleep(pause)
        reset()


def read_answer(answer: dict[str, Any], python: str) -> str:
    """Returns the state of systemd.

    Raises AnsibleActionFail for an answer that is not the command's, or that is of no Python.
    """
    lines = [line.strip() for line in answer["stdout"].splitlines()]
    if "hosttune: answers" not in lines:
        raise AnsibleActionFail(explain_become(f"{answer['stderr']} {answer['stdout']}"))
    found = re.search(r"^hosttune: python (\d+)\.(\d+)$", "\n".join(lines), re.MULTILINE)
    oldest = "{}.{}".format(*OLDEST)
    if found is None:
        raise AnsibleActionFail(
            f"there is no Python that runs as {python} on the host: install Python {oldest} or later there (apt-get "
            "install python3), or name another one as ansible_python_interpreter"
        )
    if (int(found[1]), int(found[2])) < OLDEST:
        raise AnsibleActionFail(
            f"{python} on the host is Python {found[1]}.{found[2]}: the roles need {oldest} or later; name another "
            "one as ansible_python_interpreter"
        )
    return next((line[len("hosttune: state ") :] for line in lines if line.startswith("hosttune: state ")), "")


def explain_become(said: str) -> str:
    """Returns why the host did not run a command, and what to do about it."""
    said = re.sub(r"^.* waiting for become success\.( >>> Standard (Output|Error)\b)*", "", " ".join(said.split()))
    said = said.strip()[:400]
    if re.search(r"[Mm]issing .* password|password is required|incorrect password|Incorrect .* password", said):
        return (
            f"the user that Ansible logs in as needs a password to become root ({said}): run with "
            "--ask-become-pass, give ansible_become_password from ansible-vault, or allow that user NOPASSWD in sudoers"
        )
    return f"the host answers, and does not run commands as root: {said or 'it said nothing'}"
