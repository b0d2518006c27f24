# SPDX-License-Identifier: Apache-2.0
"""Check what a role is asked for, and work out what that comes to: the module's documentation is beside the modules."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# A checkout, or the installed collection. Both hold these two directories, and neither has them on Python's path.
TREE = Path(__file__).resolve().parents[2]
PLANS = TREE / "plugins" / "plugin_utils"
PACKAGES = {"hosttune": TREE / "hosttune", "hosttune_plans": PLANS}


def load(role: str) -> ModuleType:
    """Return plugins/plugin_utils/ROLE_plan.py of this tree, with the modules of hosttune that it imports."""
    return load_utility(f"{role}_plan")


def load_utility(name: str) -> ModuleType:
    """Return a module of plugins/plugin_utils.

    The only place that knows where they are. Whatever hosttune this Python has installed is not used: the roles install
    modules of this tree on hosts, and plan with the same.
    """
    for package, directory in PACKAGES.items():
        if package not in sys.modules:
            spec = ModuleSpec(package, None, is_package=True)
            spec.submodule_search_locations = [str(directory)]
            sys.modules[package] = module_from_spec(spec)
    return import_module(f"hosttune_plans.{name}")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Plans on the controller. What the plan has to know of the host is read there first, by one command."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan of the role in `role` for the arguments in `asked`."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "role": {
                    "type": "str",
                    "required": True,
                    "choices": sorted(path.name.removesuffix("_plan.py") for path in PLANS.glob("*_plan.py")),
                },
                "asked": {"type": "dict", "required": True},
                "image": {"type": "bool", "default": False},
                "evaluated": {"type": "dict", "default": {}},
            }
        )
        asked = dict(arguments["asked"])
        for argument, variable in arguments["evaluated"].items():
            asked[argument] = self._evaluate(variable, (task_vars or {}).get(variable))
        module = load(arguments["role"])
        try:
            if not hasattr(module, "list_reads"):
                return {"changed": False, **module.plan(**asked)}
            host = self._read_host(arguments["role"], module.list_reads(asked, image=arguments["image"]))
            plan: dict[str, Any] = module.plan(**asked, host=host)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        name = (task_vars or {}).get("inventory_hostname", "the host")
        return {"changed": False, "warnings": [f"{name}: {line}" for line in host.left_out], **plan}

    def _read_host(self, role: str, names: list[str]) -> Any:
        """Returns what the host answers, a `Host` of host_facts. Raises ValueError."""
        facts = load_utility("host_facts")
        found = {}
        if names:
            answer = self._low_level_execute_command(facts.write_script(names), executable="/bin/sh")
            try:
                found = facts.parse(answer["stdout"])
            except ValueError as error:
                said = " ".join(f"{answer['stderr']} {answer['stdout'][:200]}".split())
                raise ValueError(f"the host cannot be read: {error}; it said {said!r}") from None
        defaults = self._loader.load_from_file(str(TREE / "roles" / role / "defaults" / "main.yml"))
        return facts.Host(found, defaults)

    def _evaluate(self, name: str, value: Any) -> Any:
        """Returns the value of a variable that holds a secret.

        Ansible shows what it cannot evaluate, and the lines of the inventory around it, whatever no_log says.
        """
        with contextlib.suppress(Exception):  # whatever a template may raise, which no message shows
            return _evaluate_all(self._templar.template(value))
        raise AnsibleActionFail(
            f"{name} cannot be evaluated; its value is not shown. Where it has two braces, or a brace and a percent "
            "sign or a number sign in it, mark it !unsafe; where it names another variable, define that"
        )


def _evaluate_all(value: Any) -> Any:
    """Returns a value with everything in it, which Ansible evaluates when it is read."""
    if isinstance(value, dict):
        return {key: _evaluate_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_evaluate_all(inner) for inner in value]
    return value
