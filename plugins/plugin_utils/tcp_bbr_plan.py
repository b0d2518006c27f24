# SPDX-License-Identifier: Apache-2.0
"""What the role tcp_bbr is asked for, checked."""

from __future__ import annotations

from typing import Any

from . import cpu_lists, inputs

_ALWAYS = {"tcp_bbr_interfaces": inputs.make_list(inputs.INTERFACE)}
_NAMES = {"tcp_bbr_congestion_control": inputs.KERNEL_NAME, "tcp_bbr_qdisc": inputs.KERNEL_NAME}


def plan(variables: dict[str, Any], refuse: bool = True) -> dict[str, Any]:
    """Returns nothing. Raises ValueError with one line per problem; without `refuse`, of what a revert uses."""
    cpu_lists.refuse(inputs.find_problems(variables, {**_NAMES, **_ALWAYS} if refuse else _ALWAYS))
    return {}
