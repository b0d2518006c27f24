"""Each public variable of each role with values that mean more than themselves to some language: refused, or harmless.

The roles' own argument specs, plans and templates run as Ansible runs them; what comes out is read by the grammar of
its language, and has the same keys as with values that mean no harm.
"""

from __future__ import annotations

import copy
import datetime
import math
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.roles.plans import importlib

pytest.importorskip("ansible.plugins.action")

from agent import config as agent_config
from desk.settings import kafka as desk_kafka
from desk.settings import redis as desk_redis
from hosttune.host import systemd_lines
from tests.unit.roles.rendering import ROLES, NotAllowed, NotPlanned, list_options, render

toml_text = importlib.import_module("hosttune_plans.toml_text")
desk_plan = importlib.import_module("hosttune_plans.desk_plan")
trading_agent_plan = importlib.import_module("hosttune_plans.trading_agent_plan")
inputs = importlib.import_module("hosttune_plans.inputs")

NAMES = sorted(path.parts[-3] for path in ROLES.glob("*/meta/argument_specs.yml"))
TOPOLOGY = {"hosttune_isolated_cpus": "2-3", "hosttune_housekeeping_cpus": "0-1"}

# A value for each variable with which the role writes all its files, where its default does not do that.
HARMLESS: dict[str, dict[str, Any]] = {
    "boot": {},
    "cpu_isolation": {
        "cpu_isolation_isolated": "2-3",
        "cpu_isolation_housekeeping": "0-1",
        "cpu_isolation_nohz_full": "3",
        "cpu_isolation_rcu_nocbs": "2-3",
        "cpu_isolation_irqaffinity": "0",
    },
    "hosttune": {
        "hosttune_wheelhouse": "/srv/wheelhouse",
        "hosttune_wheelhouse_cache": "/srv/cache",
        "hosttune_source": "/srv/source",
        "hosttune_check_arguments": ["--observe", "5"],
        "hosttune_check_cpus": "0-1",
    },
    "hugepages": {
        "hugepages_pages": {"2M": {"node0": 4}, "1G": {"node0": 2}},
        "hugepages_mount": {"path": "/dev/hugepages_trading", "group": "trader", "size": "2M"},
    },
    "irq_affinity": {"irq_affinity_housekeeping": "0-1", "irq_affinity_queues": {"eth0": "1"}},
    "other_owners": {},
    "net_buffers": {
        "net_buffers_sysctl": {"net.core.rmem_max": 7},
        "net_buffers_sysctl_extra": {"net.core.busy_poll": 7, "net.ipv4.tcp_mem": [1, 2, 3]},
    },
    "rt_limits": {"rt_limits_users": {"svc.trader": {"memlock": 65536, "rtprio": 9, "nice": -5, "nofile": 7}}},
    "tcp_bbr": {"tcp_bbr_interfaces": ["eth0"]},
    "desk": {
        "desk_user": "svc.trader",
        "desk_group": "svc.trader",
        "desk_release": "0.1.0-abc",
        "desk_cpus": "0-1",
        "desk_processes": ["ingest", "worker geo", "run /opt/modules/paper.py"],
        "desk_config": {"kafka": {"brokers": "10.0.0.1:9092"}},
        "desk_kafka_password": "pw-of-kafka",
        "desk_redis_password": "pw-of-redis",
    },
    "trading_agent": {
        "trading_agent_user": "svc.trader",
        "trading_agent_group": "svc.trader",
        "trading_agent_release": "0.1.0-abc",
        "trading_agent_cpus": "3",
        "trading_agent_force": ["irq_affinity.eth0"],
        "trading_agent_launch_arguments": ["--setenv", "TZ=UTC"],
        "trading_agent_preflight_arguments": ["--profile", "/root/strict.yml"],
        "trading_agent_config": {"feed": {"address": "10.0.0.1"}},
    },
}


def poison(text: str) -> Iterator[Any]:
    """Yields what somebody may make of a value for a language that it ends up in."""
    for after in ("\n", "\r", "\0", "\n[Service]\nExecStart=/bin/evil", "\nevil = 1", "\n* - rtprio 99", "\\\n"):
        yield text + after
    for after in (" evil", "\tevil", "%n", "${EVIL}", "$(evil)", "`evil`", ";evil", " #evil", ",evil", '"', "'", "\\"):
        yield text + after
    for after in ('" evil "', "=evil", "&evil", "*", "\x1b[2J", "\x85evil", "\u2028evil", "\ud800", "é", "/../../evil"):
        yield text + after
    for before in ("-", "--evil=", "\n", " ", "../", "~", "!", "+", "@", "%", "#", "\ufeff"):
        yield before + text
    yield text.translate({ord("0") + digit: 0x660 + digit for digit in range(10)}) + "\u0663"
    yield from ("", " ", "a" * 70000)


def spoil(value: Any) -> Iterator[Any]:
    """Yields the value with one of its texts, numbers or keys made worse, and other kinds of value in its place."""
    if isinstance(value, dict):
        for key in value:
            for worse in spoil(value[key]):
                yield {**value, key: worse}
            for worse in poison(str(key)):
                yield {worse if other == key else other: content for other, content in value.items()}
            yield {7 if other == key else other: content for other, content in value.items()}
    elif isinstance(value, list):
        for at in range(len(value)):
            for worse in spoil(value[at]):
                yield [*value[:at], worse, *value[at + 1 :]]
    else:
        yield from poison(str(value))
    yield from (
        None,
        True,
        -1,
        10**30,
        1.5,
        math.nan,
        [],
        ["evil\n"],
        {},
        {"evil\n": "evil\n"},
        datetime.date(2026, 1, 2),
    )


def read_shape(name: str, text: str, given: dict[str, Any]) -> Any:
    """Returns the keys of a file as its own reader finds them."""
    if name.endswith((".service", ".timer", ".mount")) or "/systemd/" in name:
        # systemd takes no other line ends than this one.
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text), name
        found = systemd_lines.parse(text, name)
        for setting in found:
            if setting.key.startswith("Exec"):
                assert "evil" not in shlex.split(setting.value)[0]
                assert "%" not in setting.value.replace("%%", "")
        return [(setting.section, setting.key) for setting in found]
    if name in ("agent.toml", "desk.toml"):
        config = tomllib.loads(text)
        assert same_data(config, given["trading_agent_config" if name == "agent.toml" else "desk_config"])
        return None
    if name.endswith((".yml", ".yaml")):
        section = yaml.safe_load(text)
        return [{key: sorted(map(str, inner)) if key == "mode" else None for key, inner in section.items()}]
    if name.endswith(("sysctl.d", ".conf")) and "sysctl" in name:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[a-z0-9_.]+ = -?[a-z0-9_]+( -?[0-9]+)*", line) for line in lines)
        return None
    if "limits.d" in name:
        lines = [line.split(" ") for line in text.splitlines() if not line.startswith("#")]
        assert all(len(line) == 4 and line[1] == "-" and line[0] in given["rt_limits_users"] for line in lines)
        return None
    if "tmpfiles.d" in name:
        lines = [line.split(" ") for line in text.splitlines() if not line.startswith("#")]
        assert all(len(line) == 7 and line[0] == "w" and line[1].startswith("/sys/") for line in lines)
        return None
    if "modules-load.d" in name:
        assert all(re.fullmatch("(#.*|[a-z0-9_]+)", line) for line in text.splitlines())
        return len(text.splitlines())
    if "grub.d" in name:
        script = f"{text}\nprintf '%s\\n' \"$GRUB_CMDLINE_LINUX_DEFAULT\""
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, env={"PATH": ""}, timeout=10)
        assert done.stderr == ""
        words = [word.partition("=")[0] for word in done.stdout.split()]
        assert done.stdout.count("\n") == 1
        return sorted(set(words) & {"isolcpus", "irqaffinity"}), set(words) <= {
            *("isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity", "hugepagesz", "hugepages")
        }
    return None


def same_data(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_data(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_data, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    # Ansible's own kinds of text and number are theirs by inheritance.
    return isinstance(other, type(one)) and one == other


def shape(role: str, given: dict[str, Any]) -> dict[str, Any]:
    return {name: read_shape(name, text, given) for name, text in render(role, given).items()}


def test_each_public_variable_is_tried() -> None:
    assert set(NAMES) == set(HARMLESS)
    for role in NAMES:
        assert set(HARMLESS[role]) <= set(list_options(role))


@pytest.mark.parametrize(("role", "name"), [(role, name) for role in NAMES for name in list_options(role)])
def test_a_hostile_value_is_refused_or_harmless(role: str, name: str) -> None:
    harmless = {**TOPOLOGY, **HARMLESS[role]}
    expected = shape(role, harmless)
    option = list_options(role)[name]
    sample = harmless.get(name, option.get("default"))
    if isinstance(sample, str) and "{{" in sample:
        sample = {"bool": True, "str": "present", "path": "/srv/x"}[option["type"]]
    refused = 0
    for value in spoil(copy.deepcopy(sample)):
        given = {**harmless, name: value}
        try:
            found = shape(role, given)
        except NotAllowed as problem:
            refused += 1
            if isinstance(problem, NotPlanned):
                assert len(str(problem)) < 3000
                assert re.fullmatch("[\n -~]+", str(problem))
                assert name.removesuffix("_extra") in str(problem)
            continue
        for path in found.keys() & expected.keys():
            if found[path] != expected[path]:
                # What is left out on purpose: an empty list of CPUs, of interfaces, of users.
                assert is_part(found[path], expected[path]), (value, path, found[path])
    assert refused or option["type"] in ("bool", "raw", "dict", "list")


def is_part(found: Any, expected: Any) -> bool:
    if isinstance(found, list) and isinstance(expected, list):
        left = list(expected)
        return all(one in left and not left.remove(one) for one in found)  # type: ignore[func-returns-value]
    return isinstance(found, tuple)


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["a.b", "a b", '"', "\n", "[x]", "é", "", "a=1"]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | TEXT
    | st.sampled_from(['"""', "'''", "\\u0041", "\r\n", "\x7f\x80\u2028", "{{ evil }}", "a\\"])
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), VALUES, max_size=4))
@example({"a": {"b": {"c": [{"d": []}, {}]}}, "": {"": ""}, "x": 1e300, "y": 5e-324, "z": -0.0})
def test_toml_is_read_back_as_it_was(document: dict[str, Any]) -> None:
    assert same_data(tomllib.loads(toml_text.write("config", document)), document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": {"b": None}}, r"^config.a.b is null: allowed: text, .*; leave it out$"),
        ({"a": [1, None]}, r"^config.a\[1\] is null"),
        ({"a": 1 << 63}, r"^config.a is a number: allowed: .*64 bits"),
        ({"a": {True: 1}}, r"^config.a: a key is true or false: allowed: text; quote it"),
        ({1: 2}, r"^config: a key is a number: allowed: text"),
        ({"a": "\ud800"}, r"^config.a is text of other kinds of characters: allowed: text of whole characters"),
        ({"a": b"x"}, r"^config.a is "),
        ({"a": None, "b": None}, r"^config.a is null.*\nconfig.b is null"),
    ],
)
def test_what_toml_has_no_form_for_is_refused(document: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toml_text.write("config", document)


def test_the_tables_of_the_plan_are_those_of_the_agent() -> None:
    def list_keys(table: type[msgspec.Struct]) -> set[str]:
        return {field.encode_name for field in msgspec.structs.fields(table)}

    nested = {"feed.b": agent_config.Line, "feed.request": agent_config.Line}
    tables = {field.encode_name: field.type for field in msgspec.structs.fields(agent_config.Config)}
    assert {name: set(keys) for name, keys in trading_agent_plan.TABLES.items()} == {
        name: list_keys(table) for name, table in (tables | nested).items()
    }


def test_a_unit_of_the_desk_hands_over_the_credentials_that_the_desk_asks_for() -> None:
    assert desk_plan.PASSWORDS == {
        "desk_kafka_password": desk_kafka.PASSWORD_CREDENTIAL,
        "desk_redis_password": desk_redis.CREDENTIAL,
    }


@pytest.mark.parametrize("name", ["svc.trader", "_apt", "T", "a-b_c.d", "x" * 32])
def test_names_that_useradd_takes_are_allowed(name: str) -> None:
    assert inputs.USER.holds(name)


@pytest.mark.parametrize(
    "name",
    ["", "-a", ".a", "1", "a b", "a\n", "a:b", "a,b", "a/b", "é", "a$", "a%", "x" * 33, "@a", "*", 7, None, "a\u0661"],
)
def test_names_that_mean_more_are_not(name: Any) -> None:
    assert not inputs.USER.holds(name)


@pytest.mark.parametrize("value", [1, "1", 98, "98"])
def test_numbers(value: Any) -> None:
    assert inputs.make_number(1, 98).holds(value)


@pytest.mark.parametrize("value", [0, 99, "0x1", "1\n", " 1", "1 ", "٣", "1_0", "+1", 1.0, True, None, "", "1" * 5000])
def test_what_is_no_number(value: Any) -> None:
    assert not inputs.make_number(1, 98).holds(value)


@pytest.mark.parametrize("text", ["hourly", "Mon..Fri 06:00", "*-*-* 06:00:00 Europe/Berlin", "*:0/15", "2026-01-02"])
def test_calendar_expressions(text: str) -> None:
    assert inputs.CALENDAR.holds(text)


def test_an_error_names_each_wrong_variable_once() -> None:
    with pytest.raises(NotAllowed) as problem:
        render(
            "trading_agent",
            {"trading_agent_user": "a\nb", "trading_agent_cpus": "", "trading_agent_config": {"feed": {"port": None}}},
        )
    lines = str(problem.value).splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "trading_agent_user",
        "trading_agent_group",
        "trading_agent_cpus",
        "trading_agent_config.feed.port",
    ]
    assert 'trading_agent_user is "a\\nb": allowed: ' in lines[0]
