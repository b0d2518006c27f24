# SPDX-License-Identifier: Apache-2.0
"""What the role boot is asked for, checked."""

from __future__ import annotations

from typing import Any

from . import cpu_lists, inputs

_SECONDS = inputs.make_number(1, 86400)
_RULES = {
    "boot_parameters": inputs.make_list(inputs.BOOT_PARAMETER),
    "boot_up_timeout": _SECONDS,
    "boot_reboot_timeout": _SECONDS,
    "boot_settle_timeout": _SECONDS,
}


def plan(variables: dict[str, Any]) -> dict[str, Any]:
    """Returns nothing. Raises ValueError with one line per problem."""
    cpu_lists.refuse(inputs.find_problems(variables, _RULES))
    return {}
