"""What a role makes of its variables: its argument specs, plan and templates, in this process and by Ansible's own."""

from __future__ import annotations

import functools
import sys
from pathlib import Path, PurePath
from typing import Any

import pytest

pytest.importorskip("ansible.plugins.action")

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

from tests.unit.roles.hosts import make_host
from tests.unit.roles.plans import action

ROLES = Path(__file__).resolve().parents[3] / "roles"
init_plugin_loader()
LOADER = DataLoader()
# What the roles' tasks read on a host.
READ = {
    "__hosttune_probe": {"stdout": "{}"},
    "__hosttune_release": "0.1.0-abc",
    "__desk_passwords": {"results": []},
}


class NotAllowed(Exception):
    """The role refuses its variables before it changes anything; the message is what the user reads."""


class NotPlanned(NotAllowed):
    """It is the role's plan that refuses them."""


@functools.cache
def load(path: Path) -> Any:
    return LOADER.load_from_file(str(path), trusted_as_template=True)


def list_options(role: str) -> dict[str, Any]:
    """Returns the public variables of a role: its argument specs, and what it checks itself."""
    options: dict[str, Any] = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options | {name: {"type": "raw"} for name in load(ROLES / role / "defaults/main.yml") if name not in options}


def render(role: str, given: dict[str, Any]) -> dict[str, str]:
    """Returns what each file of the role holds. Raises NotAllowed."""
    templar, tasks = _plan(role, given, make_host("0-7", "0-15"))
    for task in tasks:
        if "hosttune_settings" in task:
            return list_texts(templar.template(task["hosttune_settings"]["files"]))
    loops = {
        task["ansible.builtin.template"]["src"]: task
        for task in tasks
        if "loop" in task and "ansible.builtin.template" in task
    }
    found = {}
    for path in sorted((ROLES / role / "templates").glob("*.j2")):
        text = trust_as_template(f"{{{{ lookup('ansible.builtin.template', '{path.name}') }}}}")
        if (task := loops.get(path.name)) is None:
            found[path.name.removesuffix(".j2")] = templar.template(text)
            continue
        for item in templar.template(task["loop"]):
            each = templar.copy_with_new_env(
                available_variables={**templar.available_variables, **task.get("vars", {}), "item": item}
            )
            found[PurePath(each.template(task["ansible.builtin.template"]["dest"])).name] = each.template(text)
    return found


def settle(role: str, given: dict[str, Any], host: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the files and the kernel values that a tuning role hands to hosttune_settings on a host.

    Raises NotAllowed. host: from the names that the role's plan asks for to what was read, see `host_facts`.
    """
    templar, tasks = _plan(role, given, host)
    (asked,) = (task["hosttune_settings"] for task in tasks if "hosttune_settings" in task)
    return templar.template(asked["files"]), templar.template(asked.get("values", {}))


def list_texts(files: dict[str, Any]) -> dict[str, str]:
    """Returns the texts of files, and of links empty ones."""
    return {path: text if isinstance(text, str) else str(text.get("content", "")) for path, text in files.items()}


def _plan(role: str, given: dict[str, Any], host: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Returns what evaluates a role's variables, its plan among them, and the role's tasks. Raises NotAllowed.

    host: what was read of a host, or a function that reads it by the names that the plan asks for.
    """
    variables = {
        "role_path": str(ROLES / role),
        "role_name": role,
        "ansible_search_path": [str(ROLES / role)],
        "ansible_playbook_python": sys.executable,
        "ansible_check_mode": False,
        **READ,
        **load(ROLES / role / "defaults/main.yml"),
        **(load(ROLES / role / "vars/main.yml") if (ROLES / role / "vars").exists() else {}),
        **given,
    }
    templar = Templar(LOADER, variables=variables)
    # Those that are given: the defaults are right by the roles' other tests.
    options = {name: option for name, option in list_options(role).items() if name in given}
    asked = {name: templar.template(trust_as_template(f"{{{{ {name} }}}}")) for name in options}
    if errors := ArgumentSpecValidator(options).validate(asked).error_messages:
        raise NotAllowed("\n".join(errors))
    tasks = [
        task
        for name in ("preflight", "plan", "main", "present", "release")
        if (ROLES / role / f"tasks/{name}.yml").exists()
        for task in load(ROLES / role / f"tasks/{name}.yml")
    ]
    for task in tasks:
        if "hosttune_plan" in task:
            arguments = templar.template(task["hosttune_plan"])
            asked = dict(arguments["asked"])
            for argument, name in arguments.get("evaluated", {}).items():
                asked[argument] = templar.template(trust_as_template(f"{{{{ {name} }}}}"))
            if hasattr(module := action.load(role), "list_reads"):
                asked["host"] = host(module.list_reads(asked, image=False)) if callable(host) else host
            try:
                variables[task.get("register", "_")] = module.plan(**asked)
            except ValueError as error:
                raise NotPlanned(str(error)) from None
            templar = Templar(LOADER, variables=variables)
    return templar, tasks
