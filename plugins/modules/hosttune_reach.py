# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which does all the work on the controller."""

DOCUMENTATION = r"""
module: hosttune_reach
short_description: Wait until a host answers as root, and refuse at once what no waiting cures
description:
  - For the start of a play, also for a host that is still in the reboot of a run before this one. Runs one command of
    the shell there, which changes nothing, in check mode too.
  - Refuses a host on which the user cannot become root (a missing password of sudo), or that has no Python, or too old
    a one, with the reason. A host that ssh refuses for good (its key, its name) is unreachable at once.
options:
  timeout:
    description: Seconds to wait for a host that does not answer, or that is going down.
    type: int
    default: 300
author: The hosttune authors
"""

EXAMPLES = r"""
- name: Wait for a host that is down, or going down
  hosttune_reach:
    timeout: 60
"""

RETURN = r"""
waited:
  description: Whether the first attempt failed.
  returned: always
  type: bool
"""
