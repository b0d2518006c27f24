"""Values that give a terminal orders, and documents that hold one in every text that they have."""

import types
import typing
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from hosttune.output import escape_values

#: Erase the screen, set the title, C1's CSI, a bell, line ends of all kinds, marks that turn the direction of writing,
#: what has no width, halves of surrogates, what is for private use, what continues the character before it.
# fmt: off
ORDERS = (
    "\x1b[2J\x1b[H", "\x1b[H\x1b[J", "\x1b]0;x\x07", "\x9b2J", "\x07", "\b\b", "\r", "\n", "\n\n", "\t",
    "\x0b\x0c", "\x1c", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff",
    "\ud800", "\udcff", "\ue000", "\U000e0041", "\x00", "e\u0301\u0300", "\U0001f600", "\uff21", "\\u001b", '"',
    "'",
)
# fmt: on
#: One with each of them, and one with all.
HOSTILE = (*(f"a{order}b" for order in ORDERS), "a" + "b".join(ORDERS) + "b")
#: A word of a command line, and so a file's name, can hold all but two of them.
_MOST = HOSTILE[-1].replace("\x00", "").replace("\ud800", "")
WORDS = ("a\x1b[2Jb", "a\nb", "a\u202eb", "a\udcffb", _MOST)


def tame(value: Any) -> Any:
    """Returns data with harmless texts of the same kind in it: printable, of the same width and the same words."""
    return _replace(escape_values(value))


def _replace(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\\", "x")
    if isinstance(value, dict):
        return {_replace(key): _replace(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        kind: Any = type(value)
        return kind(*map(_replace, value)) if hasattr(value, "_fields") else kind(map(_replace, value))
    if isinstance(value, msgspec.Struct):
        return type(value)(**{name: _replace(getattr(value, name)) for name in value.__struct_fields__})
    return value


def fill(kind: Any, text: str, given: dict[str, Any]) -> Any:
    """Returns a value of a type, with `text` in every place that takes any text, deep down too.

    given: by `STRUCT.FIELD` a function of `text` for the fields whose keys a reader knows by name.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, TypeVar) or kind is Any or kind is object:
        return [text, {text: text}]
    if origin is typing.Annotated:
        return fill(arguments[0], text, given)
    if origin is Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return fill(arguments[0], text, given)
    if isinstance(kind, typing.NewType):
        return fill(kind.__supertype__, text, given)
    if kind is str:
        return text
    if kind in (int, float):
        return kind(1)
    if kind is bool:
        return True
    if kind is type(None):
        return None
    if origin is dict:
        keys = get_args(arguments[0]) if get_origin(arguments[0]) is Literal else [fill(arguments[0], text, given)]
        return {key: fill(arguments[1], text, given) for key in keys}
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple(fill(part, text, given) for part in arguments)
    if origin in (list, tuple, set, frozenset):
        return origin([fill(arguments[0], text, given)])
    names = getattr(origin or kind, "__struct_fields__", None) or getattr(kind, "_fields", None)
    assert names, f"how is a {kind} made?"
    hints = typing.get_type_hints(origin or kind, include_extras=True)
    own = (origin or kind).__name__
    values = {
        name: given[f"{own}.{name}"](text) if f"{own}.{name}" in given else fill(hints[name], text, given)
        for name in names
    }
    return (origin or kind)(**values)


def find_orders(printed: str) -> set[str]:
    """Returns what is in printed text and is neither a character that is seen, nor a line's end or a tabulator."""
    return {character for character in printed if not character.isprintable() and character not in "\n\t"}
