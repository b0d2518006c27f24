# SPDX-License-Identifier: Apache-2.0
"""What the role trading_agent is asked for, checked, and its agent.toml."""

from __future__ import annotations

import re
from typing import Any

from . import cpu_lists, inputs, toml_text
from .host_facts import ONLINE, PRESENT, Host

_USERS = {"trading_agent_user": inputs.UNPRIVILEGED, "trading_agent_group": inputs.UNPRIVILEGED}
_RULES = {
    **_USERS,
    "trading_agent_release": inputs.either(inputs.NOTHING, inputs.RELEASE),
    "trading_agent_keep_releases": inputs.KEPT_RELEASES,
    "trading_agent_cpus": inputs.CPU_LIST,
    "trading_agent_policy": inputs.make_choice("fifo", "rr", "other"),
    "trading_agent_priority": inputs.make_number(1, 98),
    "trading_agent_force": inputs.make_list(inputs.FINDING),
    "trading_agent_launch_arguments": inputs.make_list(inputs.ARGUMENT),
    "trading_agent_preflight_arguments": inputs.make_list(inputs.ARGUMENT),
    "trading_agent_start_timeout": inputs.make_number(1, 86400),
}

_LINE = frozenset({"address", "port", "interface", "source"})
#: The keys of each table of agent.toml, as agent/config.py and agent/limits.py have them: a test compares. They need
#: packages that a controller may not have.
TABLES: dict[str, frozenset[str]] = {
    "feed": _LINE
    | {"ring", "format", "receive_buffer", "gap_wait_us", "gap_limit_ms", "start", "session", "silence_ms", "max_jump"}
    | {"store", "timestamps", "time_unit", "market", "b", "request"},
    "feed.b": _LINE,
    "feed.request": _LINE,
    "exchange": frozenset({"address", "port", "username", "password_file", "reconnect_s", "symbols"}),
    "strategy": frozenset({"name", "symbol", "symbols", "size", "fast", "slow", "values", "timer_ms"}),
    "risk": frozenset({"max_size", "max_orders_per_second", "burst", "max_notional", "collar", "max_position"})
    | {"max_open_orders", "duplicate_ms", "max_tick_age_us", "max_orders_per_day", "refuse_self_match", "max_loss"}
    | {"max_drawdown", "max_symbol_loss", "max_symbol_drawdown", "allow_unknown", "allow_quoting", "allow_paused"}
    | {"allow_halted", "allow_halted_here", "allow_closed", "allow_pre_market", "allow_post_market", "allow_locked"}
    | {"allow_crossed", "allow_short"},
    "book": frozenset({"orders", "levels"}),
    "series": frozenset({"path", "capacity"}),
    "journal": frozenset({"directory", "ring"}),
    "engine": frozenset(
        {"name", "shm", "cache_dir", "busy_poll_us", "yield_every_ms", "yield_us", "stamps", "warm_us"}
    ),
}
#: Tables whose keys are the desk's own names, and whose values are plain ones.
_NAMES = frozenset({"exchange.symbols"})
#: What the unit has a value of, which the role knows.
_OF_SYSTEMD = frozenset(
    {"NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "CREDENTIALS_DIRECTORY"}
)


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the lists of the host's CPUs: on a CPU that does not run, nothing can be launched."""
    return [] if image or not asked["refuse"] else [PRESENT, ONLINE]


def plan(
    variables: dict[str, Any], config: Any = None, password: Any = "", refuse: bool = True, host: Host | None = None
) -> dict[str, Any]:
    """Returns `config`, the text of agent.toml without the comment at its top, `has_password`, and `environment`: what
    the launch arguments set, NAME=VALUE each, or None if one is handed on whose value only the unit knows.

    config: the tables of agent.toml. password: the exchange's, empty for the one that the host has. Raises ValueError
    with one line per problem, which shows nothing of the two; without `refuse`, for a removal, only of what that uses.
    """
    if not refuse:
        cpu_lists.refuse(inputs.find_problems(variables, _USERS))
        return {"config": "", "has_password": False, "environment": []}
    given = dict(variables)
    if isinstance(given["trading_agent_cpus"], int) and not isinstance(given["trading_agent_cpus"], bool):
        given["trading_agent_cpus"] = str(given["trading_agent_cpus"])
    host = host or Host()
    problems = inputs.find_problems(given, _RULES) or cpu_lists.find_unusable(
        "trading_agent_cpus", given["trading_agent_cpus"], host.read(PRESENT), host.read(ONLINE)
    )
    text = ""
    if of_config := _find_problems("trading_agent_config", config):
        problems += of_config
    else:
        try:
            text = toml_text.write("trading_agent_config", config)
        except ValueError as error:
            problems += str(error).split("\n")
    problems += _find_password_problems("trading_agent_exchange_password", password)
    cpu_lists.refuse(problems)
    environment = _list_environment(list(map(str, variables["trading_agent_launch_arguments"])))
    return {"config": text, "has_password": password != "", "environment": environment}


def _list_environment(arguments: list[str]) -> list[str] | None:
    found, following = [], iter(arguments)
    for argument in following:
        option, equals, value = argument.partition("=")
        if option == "--setenv":
            found.append(value if equals else next(following, ""))
    if any("=" not in one and one not in _OF_SYSTEMD for one in found):
        return None
    return [one for one in found if "=" in one]


def _find_password_problems(name: str, password: Any) -> list[str]:
    allowed = "allowed are at most 10, and each of them printable ASCII"
    if isinstance(password, int) and not isinstance(password, bool):  # of digits, without quotes
        password = str(password)
    if not isinstance(password, str):
        return [f"{name} is {toml_text.name_type(password)}: allowed: text; quote it"]
    if not re.fullmatch("[ -~]{0,10}", password):
        return [f"{name} has {len(password)} characters: {allowed}"]
    return []


def _find_problems(name: str, found: Any) -> list[str]:
    """Returns a line for each key that no table of agent.toml has, and for each table that is none.

    None of them holds a value: what has a wrong name or shape may be the password.
    """
    place = name.partition(".")[2]
    known = _list_keys(place, found)
    if not isinstance(found, dict):
        return [f"{name} is {toml_text.name_type(found)}: allowed: a dictionary" + ("" if place else " for each table")]
    problems = []
    for key, value in found.items():
        below = f"{place}.{key}".lstrip(".")
        if not isinstance(key, str):
            problems.append(f"{name} has a key that is {toml_text.name_type(key)}: allowed: text; quote it")
        elif (below in _NAMES and isinstance(value, dict)) or (key in known and below in TABLES):
            problems += _find_problems(f"{name}.{key}", value)
        elif key in known:
            if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(x, dict | list) for x in value)):
                problems.append(
                    f"{name}.{key} is {toml_text.name_type(value)} with values in it: allowed: a plain value"
                )
        elif "password" in re.sub("[^a-z]", "", key.lower()):
            problems.append(
                f"{name} has the key {_show_key(key)}, whose value every diff and every backup of the configuration "
                "would show: remove it, and give the password as trading_agent_exchange_password (from ansible-vault)"
            )
        else:
            problems.append(f"{name} has the key {_show_key(key)}: allowed: {', '.join(sorted(known))}")
    return problems


def _list_keys(place: str, found: Any) -> frozenset[str]:
    """Returns the keys that a table may have."""
    if place in _NAMES:
        return frozenset(key for key in found if isinstance(key, str) and "password" not in key.lower())
    return TABLES[place] if place else frozenset(table for table in TABLES if "." not in table)


def _show_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]{1,40}", key) else cpu_lists.show(key)
