# SPDX-License-Identifier: Apache-2.0
"""What the role desk is asked for, checked: its units, and its desk.toml."""

from __future__ import annotations

import re
from typing import Any

from . import cpu_lists, inputs, toml_text
from .host_facts import ONLINE, PRESENT, Host

_USERS = {"desk_user": inputs.UNPRIVILEGED, "desk_group": inputs.UNPRIVILEGED}
_RULES = {
    **_USERS,
    "desk_release": inputs.either(inputs.NOTHING, inputs.RELEASE),
    "desk_keep_releases": inputs.KEPT_RELEASES,
    "desk_cpus": inputs.either(inputs.NOTHING, inputs.CPU_LIST),
    "desk_processes": inputs.make_list(
        inputs.make_text(
            r"ingest|sync|export|worker [A-Za-z0-9][A-Za-z0-9_.-]{0,31}|run (/[A-Za-z0-9_.+@:-]+)+\.py",
            "one of ingest, sync, export, worker NAME (of a table worker.NAME), and run PATH (of a module, *.py)",
        )
    ),
}
#: Where the role puts the configuration.
_CONFIG = "/etc/desk/desk.toml"
#: The variables that hold a password, and the credential that a unit gets it as.
PASSWORDS = {"desk_kafka_password": "kafka_password", "desk_redis_password": "redis_password"}
#: Parts of a key whose value is a secret, or may be one; a path to a file that holds it is none.
_SECRET = re.compile("password|secret|token|passphrase|privatekey|keypem|jaas|oauthbearerconfig")
_FILE = re.compile("(file|location|path)$")


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the lists of the host's CPUs: on one that is not there no process can run."""
    return [] if image or not asked["refuse"] else [PRESENT, ONLINE]


def plan(
    variables: dict[str, Any],
    config: Any = None,
    kafka_password: Any = "",
    redis_password: Any = "",
    refuse: bool = True,
    host: Host | None = None,
) -> dict[str, Any]:
    """Returns `config`, the text of desk.toml without the comment at its top, `units`, a dictionary of the arguments of
    `desk` by the unit's name, `passwords`, the credential by the variable for those variables that hold one, and
    `credentials`, all that there may be.

    config: the tables of desk.toml, whose keys the release itself checks. kafka_password, redis_password: empty for
    what the host has. Raises ValueError with one line per problem, which shows nothing of the three; without `refuse`,
    for a removal, only of what that uses.
    """
    if not refuse:
        cpu_lists.refuse(inputs.find_problems(variables, _USERS))
        return {"config": "", "units": {}, "passwords": {}, "credentials": []}
    given = dict(variables)
    if isinstance(given["desk_cpus"], int) and not isinstance(given["desk_cpus"], bool):
        given["desk_cpus"] = str(given["desk_cpus"])
    host = host or Host()
    problems = inputs.find_problems(given, _RULES)
    units: dict[str, list[str]] = {}
    if not problems:
        if given["desk_cpus"]:
            problems += cpu_lists.find_unusable("desk_cpus", given["desk_cpus"], host.read(PRESENT), host.read(ONLINE))
        for process in given["desk_processes"]:
            name, arguments = _make_unit(process)
            if name in units:
                problems.append(f"desk_processes has two that are called {name}: allowed: each once")
            units[name] = arguments
    text = ""
    if of_config := _find_config_problems("desk_config", config):
        problems += of_config
    else:
        try:
            text = toml_text.write("desk_config", config)
        except ValueError as error:
            problems += str(error).split("\n")
    passwords = dict(zip(PASSWORDS, (kafka_password, redis_password), strict=True))
    for name, password in passwords.items():
        problems += _find_password_problems(name, password)
    cpu_lists.refuse(problems)
    return {
        "config": text,
        "units": units,
        "passwords": {name: PASSWORDS[name] for name, password in passwords.items() if password != ""},
        "credentials": list(PASSWORDS.values()),
    }


def _make_unit(process: str) -> tuple[str, list[str]]:
    """Returns the name of a process's unit, without its suffix, and the arguments of `desk`."""
    command, _, rest = process.partition(" ")
    if command == "run":
        return f"desk-run-{rest.rpartition('/')[2].removesuffix('.py')}", ["run", rest, "--config", _CONFIG]
    return f"desk-{process.replace(' ', '-')}", [command, _CONFIG, *([rest] if rest else [])]


def _find_password_problems(name: str, password: Any) -> list[str]:
    if not isinstance(password, str):
        return [f"{name} is {toml_text.name_type(password)}: allowed: text; quote it"]
    if not re.fullmatch("[ -~]{0,4096}", password):
        return [f"{name} has {len(password)} characters: allowed are at most 4096, and each of them printable ASCII"]
    return []


def _find_config_problems(name: str, found: Any) -> list[str]:
    """Returns a line for each key whose value may be a secret, and for what is no dictionary; none shows a value."""
    if not isinstance(found, dict):
        return [f"{name} is {toml_text.name_type(found)}: allowed: a dictionary for each table"]
    problems = []
    for table, values in found.items():
        if not isinstance(table, str) or not isinstance(values, dict):
            problems.append(f"{name} has a key that is no table: allowed: a dictionary for each table")
        else:
            problems += _find_secrets(f"{name}.{_show_key(table)}", values)
    return problems


def _find_secrets(name: str, found: Any) -> list[str]:
    if isinstance(found, list):
        return [line for at, value in enumerate(found) for line in _find_secrets(f"{name}[{at}]", value)]
    if not isinstance(found, dict):
        return []
    problems = []
    for key, value in found.items():
        if not isinstance(key, str):
            problems.append(f"{name} has a key that is {toml_text.name_type(key)}: allowed: text; quote it")
            continue
        plain = re.sub("[^a-z]", "", key.lower())
        if _SECRET.search(plain) and not _FILE.search(plain):
            problems.append(
                f"{name} has the key {_show_key(key)}, whose value every diff and every backup of the configuration "
                f"would show: remove it, and give it as {' or '.join(PASSWORDS)} (from ansible-vault)"
            )
        else:
            problems += _find_secrets(f"{name}.{_show_key(key)}", value)
    return problems


def _show_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_.-]{1,40}", key) else cpu_lists.show(key)
