# SPDX-License-Identifier: Apache-2.0
"""What the role hosttune is asked for, checked."""

from __future__ import annotations

from typing import Any

from . import cpu_lists, inputs

_RULES = {
    "hosttune_wheelhouse": inputs.either(inputs.NOTHING, inputs.CONTROLLER_PATH),
    "hosttune_wheelhouse_cache": inputs.CONTROLLER_PATH,
    "hosttune_source": inputs.CONTROLLER_PATH,
    "hosttune_python": inputs.HOST_PATH,
    "hosttune_keep_releases": inputs.make_number(1, 1000),
    "hosttune_check_calendar": inputs.CALENDAR,
    "hosttune_check_arguments": inputs.make_list(inputs.ARGUMENT),
    "hosttune_check_cpus": inputs.either(inputs.NOTHING, inputs.CPU_LIST),
}


def plan(variables: dict[str, Any]) -> dict[str, Any]:
    """Returns nothing. Raises ValueError with one line per problem."""
    cpu_lists.refuse(inputs.find_problems(variables, _RULES))
    return {}
