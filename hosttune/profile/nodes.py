"""YAML as nodes that know their file and line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
import yaml

from hosttune.output import escape
from hosttune.patterns import late_pattern
from hosttune.profile.errors import ProfileError

# Of one file, and of all files of a profile.
MAX_CHARACTERS = 1 << 20
MAX_NODES = 20_000  # aliases may repeat a node: this bounds what a small file can grow to
MAX_DEPTH = 20
_MAX_SIMPLE_KEY = 1000  # characters; YAML takes 1024
MAX_DIGITS = 20  # as an unsigned 64-bit number
_LARGEST = 2**64 - 1

_DECIMAL = late_pattern(r"0|[1-9][0-9]*")
_HEXADECIMAL = late_pattern(r"0x[0-9a-fA-F]+")
_NOT_UTF8 = "\ufffd"  # what stands for bytes that are none
_BYTE_ORDER = "\ufeff"
# Text for YAML 1.1, and a number for YAML 1.2 or for people.
_ALMOST_NUMBER = late_pattern(r"[-+]?(0[oO][0-7_]+|(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][-+]?\d+)?)", re.ASCII)


_COLLECTIONS = {
    yaml.SequenceStartEvent: "tag:yaml.org,2002:seq",
    yaml.MappingStartEvent: "tag:yaml.org,2002:map",
}


class Node(msgspec.Struct):
    """A YAML value, and the file and line where it (or the key that holds it) is written."""

    value: Any
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


class Budget:
    """How many nodes the files of a profile may still have, the repetitions by aliases counted."""

    def __init__(self) -> None:
        self.left = MAX_NODES


def parse(text: str, file: str, budget: Budget | None = None) -> Node:
    """Read the text of one YAML file. Nothing is made of it beyond the budget. Raises ProfileError."""
    if len(text) > MAX_CHARACTERS:
        raise ProfileError(f"{file}: {len(text):,} characters; a file of a profile has at most {MAX_CHARACTERS:,}")
    if _NOT_UTF8 in text:
        raise ProfileError(f"{file}:{_count_lines(text, text.index(_NOT_UTF8))}: not valid YAML: it is not UTF-8")
    try:
        text = text.removeprefix(_BYTE_ORDER)
        if _BYTE_ORDER in text:
            at = _count_lines(text, text.index(_BYTE_ORDER))
            raise ProfileError(f"{file}:{at}: not valid YAML: a byte order mark (U+FEFF) in the middle of the text")
        return _Reader(text, file, budget or Budget()).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise ProfileError(f"{line}: not valid YAML: {show(str(error.problem or error))}") from None
    except (yaml.YAMLError, UnicodeError):
        at = next((at for at, character in enumerate(text) if _is_refused(character)), 0)
        words = f"character U+{ord(text[at]):04X} is not allowed" if text else "it cannot be read"
        raise ProfileError(f"{file}:{_count_lines(text, at)}: not valid YAML: {words}") from None


def reduce(node: Node, keep: Callable[[str], bool]) -> str:
    """Returns a mapping as YAML that reads as the same, each key on the line where it was, without comments.

    Of a key that `keep` says no to, the value is left out.
    """
    pieces: list[str] = []
    line = 1

    def write(item: Node, name: str | None, first: bool) -> None:
        nonlocal line
        pieces.append("" if first else ",")
        if item.line > line:
            pieces.append("\n" * (item.line - line))
            line = item.line
        if name is not None:
            quoted = _quote(name)
            pieces.append(f"{quoted}: " if len(quoted) < _MAX_SIMPLE_KEY else f"? {quoted} : ")
        write_value(item.value)

    def write_value(value: Any) -> None:
        if isinstance(value, dict):
            pieces.append("{")
            for number, (key, item) in enumerate(value.items()):
                write(item, key, not number)
            pieces.append("}")
        elif isinstance(value, list):
            pieces.append("[")
            for number, item in enumerate(value):
                write(item, None, not number)
            pieces.append("]")
        else:
            pieces.append(_write_scalar(value))

    entries = {key: item if keep(key) else Node(None, item.file, item.line) for key, item in node.value.items()}
    write_value(entries)
    return "".join(pieces) + "\n"


def merge(first: Node, second: Node, path: tuple[str, ...] = ()) -> Node:
    """Join two mappings at all depths; `path` is the key that they are at. Raises ProfileError for a key in both."""
    if not (isinstance(first.value, dict) and isinstance(second.value, dict)):
        name = show(".".join(path)) or "the whole profile"
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


def _move(node: Node, line: int) -> Node:
    """Returns the node that an alias repeats: all that it holds stands where the alias does."""
    value = node.value
    if isinstance(value, dict):
        value = {key: _move(item, line) for key, item in value.items()}
    elif isinstance(value, list):
        value = [_move(item, line) for item in value]
    return Node(value, node.file, line)


class _Reader:
    """Makes nodes of the events of one file, counting them: composing would make of an alias what it stands for."""

    def __init__(self, text: str, file: str, budget: Budget) -> None:
        self.loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self.file = file
        self.budget = budget
        # Node, size and depth; None while the node is being read: an alias within it repeats it without end.
        self.anchors: dict[str, tuple[Node, int, int] | None] = {}

    def read(self) -> Node:
        """Returns the node of the one document, an empty mapping if there is none."""
        self.loader.get_event()  # the start of the stream
        event = self.loader.get_event()
        if isinstance(event, yaml.StreamEndEvent):
            return Node({}, self.file, 1)
        event = self.loader.get_event()
        node, _, _ = self._read_node(event, event.start_mark.line + 1, 0)
        self.loader.get_event()  # the end of the document
        event = self.loader.get_event()
        if not isinstance(event, yaml.StreamEndEvent):
            place = f"{self.file}:{event.start_mark.line + 1}:{event.start_mark.column + 1}"
            raise ProfileError(f"{place}: not valid YAML: but found another document")
        return node

    def _read_node(self, event: Any, line: int, depth: int) -> tuple[Node, int, int]:
        """Returns the node that an event begins, how many nodes it comes to, and how deep they are nested."""
        place = f"{self.file}:{line}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise ProfileError(f"{place}: not valid YAML: found undefined alias {show(str(event.anchor))}")
            known, size, height = self.anchors[event.anchor] or (None, MAX_NODES + 1, 0)
            self._spend(size, depth + height, place)
            return _move(known, line) if known else Node(None, self.file, line), size, height
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        left = self.budget.left
        self._spend(1, depth, place)
        height = 0
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = _read_scalar(self._resolve(event), place)
            if event.tag is None and event.implicit[0] and isinstance(value, str) and _ALMOST_NUMBER.fullmatch(value):
                words = "write the number in decimal, or quote it if it is text"
                raise ProfileError(f"{place}: YAML 1.1 reads {show(value)} as text; {words}")
        elif event.tag not in (None, "!", _COLLECTIONS[type(event)]):
            raise ProfileError(f"{place}: the tag {show(str(event.tag))} is not supported")
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := self.loader.get_event(), yaml.SequenceEndEvent):
                node, _, below = self._read_node(item, item.start_mark.line + 1, depth + 1)
                value.append(node)
                height = max(height, below + 1)
        else:
            value = {}
            while not isinstance(item := self.loader.get_event(), yaml.MappingEndEvent):
                key_line = item.start_mark.line + 1
                name = self._read_key(item, f"{self.file}:{key_line}")
                if name in value:
                    first = value[name].place
                    raise ProfileError(f"{self.file}:{key_line}: {show(name)} is given twice, first at {first}")
                value[name], _, below = self._read_node(self.loader.get_event(), key_line, depth + 1)
                height = max(height, below + 1)
        made = Node(value, self.file, line), left - self.budget.left, height
        if event.anchor is not None:
            self.anchors[event.anchor] = made
        return made

    def _spend(self, nodes: int, depth: int, place: str) -> None:
        self.budget.left -= nodes
        if depth > MAX_DEPTH or self.budget.left < 0:
            raise ProfileError(f"{place}: nested too deep or too large for a profile")

    def _resolve(self, event: Any) -> yaml.ScalarNode:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        return yaml.ScalarNode(tag, event.value)

    def _read_key(self, event: Any, place: str) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise ProfileError(f"{place}: a key must be a plain word")
        node = self._resolve(event)
        if node.tag == "tag:yaml.org,2002:merge":
            raise ProfileError(f"{place}: merge keys (<<) are not supported, write the keys out")
        if node.tag != "tag:yaml.org,2002:str":
            shown = show(node.value)
            raise ProfileError(f"{place}: YAML reads the key {shown} as {_describe_kind(node)}, quote it: '{shown}'")
        name = str(node.value)
        if event.anchor is not None:
            self.anchors[event.anchor] = (Node(name, self.file, int(place.rpartition(":")[2])), 1, 0)
        return name


def show(text: str) -> str:
    """Returns text as it may stand in a line of an error."""
    return escape(text if len(text) <= 60 else f"{text[:57]}...")


def _is_refused(character: str) -> bool:
    """Returns whether YAML refuses a character wherever it is. Source: YAML 1.1, section 5.1."""
    return (
        character in "\x7f\ufffe\uffff"
        or "\ud800" <= character <= "\udfff"
        or (character < " " and character not in "\t\n\r")
    )


def _count_lines(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _quote(text: str) -> str:
    """Returns text between double quotes, as YAML reads it whatever it holds."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


def _write_scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # YAML 1.1 takes it for a number only with a dot, and an exponent only with a sign.
        mantissa, exponent, power = repr(value).partition("e")
        return mantissa + ("" if "." in mantissa else ".0") + exponent + power
    return str(value) if isinstance(value, int) else _quote(str(value))


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
            if (value := _parse_float(text)) is not None:
                return value
    shown = show(text)
    raise ProfileError(f"{place}: YAML reads {shown} as {_describe_kind(node)}, quote it if it is text: '{shown}'")


def _parse_float(text: str) -> float | None:
    """Returns a finite number, None for text that is none."""
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _parse_integer(text: str, place: str) -> int:
    """Decimal and 0x only: YAML 1.1 also reads 010 as 8 and 1:30 as 90, which nobody means here."""
    digits = text.replace("_", "")
    digits = digits[1:] if digits[:1] in ("+", "-") else digits
    sign = -1 if text.startswith("-") else 1
    if len(digits) > MAX_DIGITS:
        raise ProfileError(f"{place}: found a number of {len(digits):,} digits; wanted at most {MAX_DIGITS}")
    number = None
    if _DECIMAL.fullmatch(digits):
        number = int(digits)
    elif _HEXADECIMAL.fullmatch(digits):
        number = int(digits, 16)
    if number is not None and number > _LARGEST:
        raise ProfileError(f"{place}: found the number {show(text)}; wanted at most {_LARGEST}")
    if number is not None:
        return sign * number
    raise ProfileError(
        f"{place}: YAML reads {show(text)} as a number in base 2, 8 or 60; "
        "write it in decimal, or quote it if it is text"
    )


def _describe_kind(node: Any) -> str:
    tag = node.tag.rpartition(":")[2]
    words = {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"}
    return words.get(tag, f"a {show(tag)}")
