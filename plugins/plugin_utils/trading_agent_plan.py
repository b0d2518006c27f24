# SPDX-License-Identifier: Apache-2.0
"""What the role trading_agent is asked for, checked, and its agent.toml."""

from __future__ import annotations

from typing import Any

from . import cpu_lists, inputs, toml_text

_USERS = {"trading_agent_user": inputs.UNPRIVILEGED, "trading_agent_group": inputs.UNPRIVILEGED}
_RULES = {
    **_USERS,
    "trading_agent_release": inputs.either(inputs.NOTHING, inputs.RELEASE),
    "trading_agent_keep_releases": inputs.Rule(
        inputs.make_number(2, 1000).holds, "a number from 2 to 1000: with less than 2 there is nothing to roll back to"
    ),
    "trading_agent_cpus": inputs.CPU_LIST,
    "trading_agent_policy": inputs.make_choice("fifo", "rr", "other"),
    "trading_agent_priority": inputs.make_number(1, 98),
    "trading_agent_force": inputs.make_list(inputs.FINDING),
    "trading_agent_launch_arguments": inputs.make_list(inputs.ARGUMENT),
    "trading_agent_preflight_arguments": inputs.make_list(inputs.ARGUMENT),
    "trading_agent_start_timeout": inputs.make_number(1, 86400),
}


def plan(variables: dict[str, Any], config: Any, refuse: bool = True) -> dict[str, Any]:
    """Returns `config`, the text of agent.toml without the comment at its top.

    config: the tables of agent.toml. Raises ValueError with one line per problem; without `refuse`, for a removal, only
    of what that uses.
    """
    if not refuse:
        cpu_lists.refuse(inputs.find_problems(variables, _USERS))
        return {"config": ""}
    given = dict(variables)
    if isinstance(given["trading_agent_cpus"], int) and not isinstance(given["trading_agent_cpus"], bool):
        given["trading_agent_cpus"] = str(given["trading_agent_cpus"])
    problems = inputs.find_problems(given, _RULES)
    text = ""
    if not isinstance(config, dict):
        problems.append(f"trading_agent_config is {cpu_lists.show(config)}: allowed: a dictionary for each table")
    else:
        try:
            text = toml_text.write("trading_agent_config", config)
        except ValueError as error:
            problems += str(error).split("\n")
    cpu_lists.refuse(problems)
    return {"config": text}
