# SPDX-License-Identifier: Apache-2.0
"""What the role net_buffers is asked for, checked, and the kernel values that it comes to.

Source: `Documentation/networking/ip-sysctl.rst` and `Documentation/admin-guide/sysctl/net.rst` of the Linux kernel.
"""

from __future__ import annotations

import re
from typing import Any

from . import cpu_lists, inputs

#: Interface names may hold dots, so only keys that name no interface can be turned into paths.
_KEY = re.compile(r"net\.[a-z0-9_]+(\.[a-z0-9_]+)+")
_SHOWN = re.compile(r"[a-z0-9_.-]+")
_OF_TCP_BBR = ("net.core.default_qdisc", "net.ipv4.tcp_congestion_control")
_RISING = ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_mem")


def plan(sysctl: Any, refuse: bool = True) -> dict[str, Any]:
    """Returns `sysctl`, key to a number or a list of them, and `values`, path below /proc/sys to the same.

    Raises ValueError with one line per problem; without `refuse`, for a revert, what is wrong is left out.
    """
    problems: list[str] = []
    checked: dict[str, int | list[int]] = {}
    for key, value in (sysctl if isinstance(sysctl, dict) else {}).items():
        numbers = [inputs.read_number(one) for one in (value if isinstance(value, list) else [value])]
        found = [number for number in numbers if number is not None]
        rising = key not in _RISING or (len(found) == 3 and found == sorted(found))
        if not isinstance(key, str) or not _KEY.fullmatch(key) or key in _OF_TCP_BBR or not rising or found != numbers:
            problems.append(
                f"net_buffers_sysctl: {key if _SHOWN.fullmatch(str(key)) else ascii(key)}: {value!a}: "
                "expected a key of net.core, net.ipv4 or the like without an interface name, "
                f"that is none of the role tcp_bbr's ({', '.join(_OF_TCP_BBR)}), and a number or a list of numbers; "
                "tcp_rmem, tcp_wmem and tcp_mem are [minimum, default, maximum] in rising order"
            )
        elif found:
            checked[key] = found if isinstance(value, list) else found[0]
        else:
            problems.append(f"net_buffers_sysctl: {key}: []: expected a number or a list of numbers")
    if not isinstance(sysctl, dict):
        problems.append(f"net_buffers_sysctl is {cpu_lists.show(sysctl)}: expected keys with values")
    if refuse:
        cpu_lists.refuse(problems)
    return {
        "sysctl": checked,
        "values": {f"/proc/sys/{key.replace('.', '/')}": value for key, value in checked.items()},
    }
