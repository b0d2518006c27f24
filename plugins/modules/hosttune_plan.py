# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which does all the work on the controller."""

DOCUMENTATION = r"""
module: hosttune_plan
short_description: Check what a role is asked for, and work out what that comes to
description:
  - Runs on the controller. What a plan has to know of the host (C(list_reads) in
    C(plugins/plugin_utils/ROLE_plan.py)) is read there by one command, which changes nothing, in check mode too. Fails
    with one line for each value that cannot be meant, which names the variable, what was found and what is allowed.
  - What the host's kernel cannot have is refused where it was asked for, and left out with a warning where it is a
    default of the role.
  - The rules are those of C(hosttune check), from the same Python modules.
options:
  role:
    description: The role that asks. What is returned is described in C(plugins/plugin_utils/ROLE_plan.py).
    type: str
    choices:
      - boot
      - cpu_isolation
      - desk
      - hosttune
      - hugepages
      - irq_affinity
      - net_buffers
      - other_owners
      - rt_limits
      - tcp_bbr
      - trading_agent
    required: true
  asked:
    description: The role's variables, the arguments of C(plan) there.
    type: dict
    required: true
  image:
    description: Whether the host that is written to is an image, for a kernel and a machine that are not there yet.
    type: bool
    default: false
  evaluated:
    description: >-
      Further arguments of C(plan), each the name of a variable that holds a secret. The plugin evaluates it, and shows
      nothing of a value that cannot be evaluated.
    type: dict
    default: {}
author: The hosttune authors
"""

EXAMPLES = r"""
- name: Check the huge pages asked for
  hosttune_plan:
    role: hugepages
    asked: {pages: {2M: {node0: 512}}, boot_sizes: [1G], transparent: never, mount: {}}
  register: plan
"""

RETURN = r"""
arguments:
  description: Words for the kernel's command line, of cpu_isolation and hugepages.
  returned: if the role has boot arguments
  type: list
  elements: str
"""
