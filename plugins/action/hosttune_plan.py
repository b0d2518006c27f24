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
    """Return plugins/plugin_utils/ROLE_plan.py of this tree, with the modules of hosttune that it imports.

    The only place that knows where they are. Whatever hosttune this Python has installed is not used: the roles install
    modules of this tree on hosts, and plan with the same.
    """
    for name, directory in PACKAGES.items():
        if name not in sys.modules:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(directory)]
            sys.modules[name] = module_from_spec(spec)
    return import_module(f"hosttune_plans.{role}_plan")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Runs on the controller, and connects to no host."""

    _requires_connection = False

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
                "evaluated": {"type": "dict", "default": {}},
            }
        )
        asked = dict(arguments["asked"])
        for argument, variable in arguments["evaluated"].items():
            asked[argument] = self._evaluate(variable, (task_vars or {}).get(variable))
        try:
            plan: dict[str, Any] = load(arguments["role"]).plan(**asked)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        return {"changed": False, **plan}

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
