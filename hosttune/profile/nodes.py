"""YAML as nodes that know their file and line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from hosttune.profile.errors import ProfileError

MAX_NODES = 20_000  # aliases may repeat a node: this bounds what a small file can grow to
MAX_DEPTH = 20


class Node(msgspec.Struct):
    """A YAML value, and the file and line where it (or the key that holds it) is written."""

    value: Any
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def parse(text: str, file: str) -> Node:
    """Read the text of one YAML file. Raises ProfileError."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        top = yaml.compose(text, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise ProfileError(f"{line}: not valid YAML: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise ProfileError(f"{file}: not valid YAML: {error}") from None
    if top is None:
        return Node({}, file, 1)
    budget = iter(range(MAX_NODES))
    return _convert_node(top, file, top.start_mark.line + 1, 0, budget)


def merge(first: Node, second: Node, path: tuple[str, ...] = ()) -> Node:
    """Join two mappings at all depths; `path` is the key that they are at. Raises ProfileError for a key in both."""
    if not (isinstance(first.value, dict) and isinstance(second.value, dict)):
        name = ".".join(path) or "the whole profile"
        raise ProfileError(f"{second.place}: {name} is given twice, first at {first.place}")
    entries = dict(first.value)
    for key, node in second.value.items():
        entries[key] = merge(entries[key], node, (*path, key)) if key in entries else node
    return Node(entries, first.file, first.line)


def drop_places(node: Node) -> Any:
    """Returns the value without its places."""
    if isinstance(node.value, dict):
        return {key: drop_places(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [drop_places(item) for item in node.value]
    return node.value


def find_place(node: Node, key: tuple[str | int, ...]) -> str:
    """Returns the place of the value that a way of keys and indices leads to."""
    for part in key:
        node = node.value[part]
    return node.place


def _convert_node(node: Any, file: str, line: int, depth: int, budget: Iterator[int]) -> Node:
    place = f"{file}:{line}"
    if depth > MAX_DEPTH or next(budget, None) is None:
        raise ProfileError(f"{place}: nested too deep or too large for a profile")
    if isinstance(node, yaml.ScalarNode):
        return Node(_read_scalar(node, place), file, line)
    if isinstance(node, yaml.SequenceNode):
        items = [_convert_node(item, file, item.start_mark.line + 1, depth + 1, budget) for item in node.value]
        return Node(items, file, line)
    entries: dict[str, Node] = {}
    for key, value in node.value:
        key_line = key.start_mark.line + 1
        name = _read_key(key, f"{file}:{key_line}")
        if name in entries:
            raise ProfileError(f"{file}:{key_line}: {name} is given twice, first at {entries[name].place}")
        entries[name] = _convert_node(value, file, key_line, depth + 1, budget)
    return Node(entries, file, line)


def _read_key(node: Any, place: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ProfileError(f"{place}: a key must be a plain word")
    if node.tag == "tag:yaml.org,2002:merge":
        raise ProfileError(f"{place}: merge keys (<<) are not supported, write the keys out")
    if node.tag != "tag:yaml.org,2002:str":
        raise ProfileError(
            f"{place}: YAML reads the key {node.value} as {_describe_kind(node)}, quote it: '{node.value}'"
        )
    return str(node.value)


def _read_scalar(node: Any, place: str) -> Any:
    text = str(node.value)
    match node.tag.rpartition(":")[2]:
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() in ("yes", "true", "on")
        case "int":
            return _parse_integer(text, place)
        case "float":
            try:
                return float(text.replace("_", ""))
            except ValueError:
                pass
    raise ProfileError(f"{place}: YAML reads {text} as {_describe_kind(node)}, quote it if it is text: '{text}'")


def _parse_integer(text: str, place: str) -> int:
    """Decimal and 0x only: YAML 1.1 also reads 010 as 8 and 1:30 as 90, which nobody means here."""
    digits = text.replace("_", "").lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    if digits.isdigit() and (digits == "0" or digits[0] != "0"):
        return sign * int(digits)
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    raise ProfileError(
        f"{place}: YAML reads {text} as a number in base 2, 8 or 60; write it in decimal, or quote it if it is text"
    )


def _describe_kind(node: Any) -> str:
    tag = node.tag.rpartition(":")[2]
    words = {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"}
    return words.get(tag, f"a {tag}")
