"""What is parsed without PyYAML means the same there; the rest is left to it."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hosttune import plain_yaml, profile, profile_yaml

WORDS = st.sampled_from(
    [
        "fq",
        "yes",
        "No",
        "true",
        "False",
        "null",
        "~",
        "y",
        "0",
        "-1",
        "012",
        "0x1f",
        "1_0",
        "1:30",
        "1.5",
        "1e3",
        "2M",
        ".5",
    ]
    + [
        "2026-01-02",
        "a b",
        "a: b",
        "a #b",
        "'x'",
        '"1-N"',
        '"\\n"',
        "[1, a]",
        "[]",
        "{}",
        "[1, [2]]",
        "&a b",
        "*a",
        "|",
        "",
    ]
    + [
        "net.core.rmem_max",
        "<<",
        "=",
        "!!str 1",
        "- x",
        "a:b",
        "it's",
        "[a, 'b, c']",
        "@x",
        "%x",
        "1-N",
        "a\\b",
        ".",
        "on-1",
    ]
)
LINES = st.builds(
    lambda indent, item, key, value: " " * indent + ("- " if item else f"{key}: ") + value,
    st.sampled_from([0, 0, 2, 2, 4, 1]),
    st.booleans(),
    WORDS,
    WORDS,
)


def flat(node: profile.Node) -> object:
    value = node.value
    if isinstance(value, dict):
        return node.line, {key: flat(inner) for key, inner in value.items()}
    return node.line, [flat(inner) for inner in value] if isinstance(value, list) else value


@given(st.lists(LINES | st.sampled_from(["", "# note", "---", "  # note", "...", "a:", "  b:", "  c: 1"]), max_size=6))
@settings(max_examples=2000, deadline=None, derandomize=True, database=None)
def test_what_is_parsed_is_what_pyyaml_says(lines: list[str]) -> None:
    text = "\n".join(lines)
    if plain_yaml.parse(text) is not None:
        assert flat(profile._parse(text, "f")) == flat(profile_yaml.parse(text, "f"))
        assert plain_yaml.values(text) == profile.plain(profile_yaml.parse(text, "f"))


@pytest.mark.parametrize("name", profile.built_in_profiles())
def test_the_built_in_profiles_need_no_pyyaml(name: str) -> None:
    with open(f"{profile.BUILT_IN}/{name}.yml", encoding="utf-8") as file:
        text = file.read()
    assert plain_yaml.values(text) == yaml.safe_load(text)


def test_what_roles_write_needs_no_pyyaml() -> None:
    """to_nice_yaml: block style, lists indented."""
    text = "# Managed by a role.\nirq_affinity:\n  housekeeping: '0'\n  cpus:\n  - 1\n"
    assert plain_yaml.values(text) is None  # a list that is not indented: not to_nice_yaml's
    text = text.replace("  - 1", "    - 1")
    assert plain_yaml.values(text) == {"irq_affinity": {"housekeeping": "0", "cpus": [1]}}


@pytest.mark.parametrize(
    "text", ["", "# a\n", "a", "a: 1\na: 2", "a:\n  b: 1\n c: 2", "a: é", "a:\tb", "a: 1\n...", "a:", "x: 1 # y", "- a"]
)
def test_the_rest_is_left_to_pyyaml(text: str) -> None:
    assert plain_yaml.parse(text) is None
