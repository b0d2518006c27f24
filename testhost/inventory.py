"""Hosts as ssh and Ansible want them described."""

from __future__ import annotations

import json

from testhost.ssh import LOOPBACK, Access


def ssh_config(name: str, access: Access, user: str) -> str:
    """An ssh_config(5) block, for `ssh -F FILE NAME`."""
    pairs = {"HostName": LOOPBACK, "Port": str(access.port), "User": user, **access.options()}
    return "".join([f"Host {name}\n", *(f"    {key} {_quoted(value)}\n" for key, value in pairs.items())])


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value


def ansible(hosts: dict[str, Access], group: str, user: str) -> str:
    """An Ansible YAML inventory with literal values only, so that every tool that reads inventories understands it.

    Scalars are written as JSON, which is YAML.
    """
    lines = [f"{group}:", "  hosts:"]
    for name, access in hosts.items():
        skip = ("IdentityFile", "ConnectTimeout", "BatchMode", "LogLevel")
        common = " ".join(f'-o "{key}={value}"' for key, value in access.options().items() if key not in skip)
        values = {
            "ansible_host": LOOPBACK,
            "ansible_port": access.port,
            "ansible_user": user,
            "ansible_ssh_private_key_file": str(access.key),
            "ansible_ssh_common_args": f"-F none {common}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        lines += [f"    {name}:", *(f"      {key}: {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
