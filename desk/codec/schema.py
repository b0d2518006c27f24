"""What of a Protobuf message becomes a record, and where in it: made from a FileDescriptorSet.

A record is fields of 8 bytes, in the order in which they were asked for. A field's name has dots where it is in a
message within the message. Behind the name of a string, of bytes and of a repeated number stands in brackets how much
room there is: `symbol[8]` bytes, `levels[10]` numbers.
"""

import importlib.resources
import itertools
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from desk.errors import DeskError
from hosttune import files

#: Bytes of a record at most: what a worker takes (desk_worker.h).
LARGEST_RECORD = 4096
#: Messages within messages, the outermost included.
DEEPEST = 16
#: Of all messages that are read, together.
MOST_FIELDS = 4096
#: Bytes of a FileDescriptorSet.
_MOST_BYTES = 16 << 20

_SPECIFIED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)(?:\[([1-9][0-9]{0,3})\])?")
_VARINT, _FIXED64, _LENGTH, _GROUP, _FIXED32 = 0, 1, 2, 3, 5

#: By google.protobuf's FieldDescriptor.type: the kind that the decoder knows (decode.pxd), the wire type, and the type
#: in the record, in NumPy's notation.
_TYPES = {
    1: ("word", _FIXED64, "f8"),  # double
    2: ("float", _FIXED32, "f8"),
    3: ("varint", _VARINT, "i8"),  # int64
    4: ("varint", _VARINT, "u8"),  # uint64
    5: ("int32", _VARINT, "i8"),
    6: ("word", _FIXED64, "u8"),  # fixed64
    7: ("fixed32", _FIXED32, "u8"),
    8: ("bool", _VARINT, "u8"),
    9: ("string", _LENGTH, "S"),
    12: ("bytes", _LENGTH, "V"),
    13: ("uint32", _VARINT, "u8"),
    14: ("int32", _VARINT, "i8"),  # enum
    15: ("sfixed32", _FIXED32, "i8"),
    16: ("word", _FIXED64, "i8"),  # sfixed64
    17: ("sint32", _VARINT, "i8"),
    18: ("sint64", _VARINT, "i8"),
}
_TYPE_GROUP, _TYPE_MESSAGE, _TYPE_ENUM = 10, 11, 14


class SchemaError(DeskError):
    """A descriptor set cannot be read, or a message of it cannot become a record; the message says why."""


class Place(NamedTuple):
    """Where a field is in the record: bytes from its start. type: NumPy's notation, u8, i8 and f8 for numbers, S8 for a
    string of at most 8 bytes, V8 for bytes, (4,)f8 for numbers. NAME.size is how many of the bytes of NAME are used,
    NAME.count how many of the numbers."""

    name: str
    offset: int
    type: str


class Entry(NamedTuple):
    """What is done with one field of one message. kind: of decode.pxd; wire: the wire type that it has to have;
    packed: whether it may also come packed; offset, size: of the record; width: bytes or numbers that there is room
    for; table: of the message in it; clear: the ranges of the record that go back to their defaults: those of the other
    members of its oneof."""

    number: int
    wire: int
    kind: str
    offset: int = 0
    size: int = 0
    width: int = 0
    table: int = 0
    repeated: bool = False
    packed: bool = False
    clear: tuple[tuple[int, int], ...] = ()


class Schema(NamedTuple):
    """How a message becomes a record. layout: its fields; defaults: a record of a message without fields; tables: of
    the message, and of the messages in it that have fields of the record; entries sorted by number."""

    layout: list[Place]
    defaults: bytes
    tables: list[list[Entry]]


class Word(NamedTuple):
    """A word of a record that becomes a field. kind: of decode.pxd; always: whether it is written where it is 0."""

    number: int
    wire: int
    kind: str
    offset: int
    always: bool


class _Field(NamedTuple):
    """A field that was asked for. path: its descriptors, from the outermost message; start, end: its part of the
    record."""

    path: tuple[Any, ...]
    start: int
    end: int
    width: int


def read_own_schema() -> bytes:
    """Returns the descriptor set of the messages of the desk (desk.proto)."""
    return importlib.resources.files("desk.codec").joinpath("desk.binpb").read_bytes()


def read_descriptor_set(path: str) -> bytes:
    """Returns what the file of a descriptor set holds; "": the desk's own. Raises SchemaError, which names the file."""
    if not path:
        return read_own_schema()
    try:
        return files.read_given(Path(path), _MOST_BYTES)
    except OSError as error:
        raise SchemaError(f"{path}: {error.strerror}") from None


def read_schema(descriptor_set: bytes, message: str, fields: Sequence[str], *, numbered: bool = False) -> Schema:
    """Returns how a message becomes a record.

    descriptor_set: a FileDescriptorSet, serialized, with all that it imports (protoc --include_imports). message: its
    full name. fields: in the order of the record. numbered: the record begins with a number that is not of the message.
    Raises SchemaError.
    """
    descriptor = _find_message(descriptor_set, message)
    if not fields:
        raise SchemaError(f"{message}: fields: found none, allowed: at least one of {_list_fields(descriptor)}")
    layout: list[Place] = []
    wanted: list[_Field] = []
    defaults = b""
    if numbered:
        layout.append(Place("@number", 0, "u8"))
        defaults = bytes(8)
    for text in fields:
        path, width = _find_field(descriptor, message, text)
        name = ".".join(each.name for each in path)
        if any(one.path == path for one in wanted):
            raise SchemaError(f"{message}: fields: found {name} twice")
        start, last = len(defaults), path[-1]
        _, _, kind = _TYPES[last.type]
        if last.is_repeated:
            layout += [Place(f"{name}.count", start, "u8"), Place(name, start + 8, f"({width},){kind}")]
            defaults += bytes(8 + 8 * width)
        elif kind == "V":
            layout += [Place(f"{name}.size", start, "u8"), Place(name, start + 8, f"V{width}")]
            defaults += struct.pack("<Q", len(last.default_value)) + _pad(name, last.default_value, width)
        elif kind == "S":
            layout.append(Place(name, start, f"S{width}"))
            defaults += _pad(name, last.default_value.encode(), width)
        else:
            layout.append(Place(name, start, kind))
            defaults += struct.pack({"u8": "<Q", "i8": "<q", "f8": "<d"}[kind], last.default_value)
        if len(defaults) > LARGEST_RECORD:
            raise SchemaError(f"{message}: {name}: records of more than {LARGEST_RECORD} bytes")
        wanted.append(_Field(path, start, len(defaults), width))
    tables: list[list[Entry]] = []
    _fill_table(tables, descriptor, 0, wanted)
    return Schema(layout, defaults, tables)


def read_words(descriptor_set: bytes, message: str, fields: Sequence[str]) -> tuple[int, list[Word]]:
    """Returns how records of 8-byte words become a message: the number of the repeated message that each record
    becomes, 0 where the whole message is one record; and the words, sorted by the number of the field.

    descriptor_set, message: as of read_schema(). fields: one for each word, in the order of the record; numbers of the
    message, or of the repeated one that is its only field. Raises SchemaError.
    """
    descriptor, number = _find_message(descriptor_set, message), 0
    if len(descriptor.fields) == 1 and descriptor.fields[0].is_repeated and descriptor.fields[0].type == _TYPE_MESSAGE:
        number, descriptor = descriptor.fields[0].number, descriptor.fields[0].message_type
    if not 0 < len(fields) <= LARGEST_RECORD // 8:
        raise SchemaError(f"{message}: fields: found {len(fields)}, allowed: 1 to {LARGEST_RECORD // 8} of "
                          f"{_list_fields(descriptor)}")  # fmt: skip
    if len(set(fields)) < len(fields):
        raise SchemaError(f"{message}: fields: found one twice")
    words = []
    for at, name in enumerate(fields):
        field = descriptor.fields_by_name.get(name)
        if field is None:
            raise SchemaError(f"{message}: fields: found {name!r}, allowed: {_list_fields(descriptor)}")
        kind, wire, _ = _TYPES.get(field.type, ("message", _LENGTH, ""))
        if field.is_repeated or wire == _LENGTH:
            raise SchemaError(f"{message}: {name}: not a number, which a word of a record is")
        words.append(Word(field.number, wire, kind, 8 * at, field.has_presence))
    return number, sorted(words)


def find_bytes_field(descriptor_set: bytes, message: str, field: str) -> int:
    """Returns the number of a field of a message that is bytes or a string, and not repeated. Raises SchemaError."""
    descriptor = _find_message(descriptor_set, message)
    found = descriptor.fields_by_name.get(field)
    if found is None:
        raise SchemaError(f"{message}: field: found {field!r}, allowed: {_list_fields(descriptor)}")
    if found.type not in (9, 12) or found.is_repeated:
        raise SchemaError(f"{message}: {field}: allowed: bytes or a string, one")
    return int(found.number)


def _pad(name: str, value: bytes, width: int) -> bytes:
    """Returns a default value of a string or bytes in its room."""
    if len(value) > width:
        raise SchemaError(f"{name}[{width}]: its default has {len(value)} bytes")
    return value.ljust(_round_up(width), b"\0")


def _round_up(size: int) -> int:
    return (size + 7) & ~7


def _find_message(descriptor_set: bytes, name: str) -> Any:
    """Returns the descriptor of a message. Raises SchemaError."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise SchemaError(f"needs protobuf ({error}): pip install hosttune[desk]") from None
    given = descriptor_pb2.FileDescriptorSet()
    pool = descriptor_pool.DescriptorPool()
    try:
        given.ParseFromString(descriptor_set)
    except DecodeError as error:
        raise SchemaError(f"not a FileDescriptorSet: {error}") from None
    if not given.file:
        raise SchemaError("a FileDescriptorSet without files; protoc --descriptor_set_out writes one")
    try:
        for file in given.file:  # those that are imported come first
            pool.AddSerializedFile(file.SerializeToString())
    except (TypeError, ValueError) as error:
        hint = "; protoc --include_imports writes all files" if "Depends on file" in str(error) else ""
        raise SchemaError(f"a FileDescriptorSet that is not whole: {' '.join(str(error).split())}{hint}") from None
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError:
        known = sorted(itertools.chain.from_iterable(_list_messages(f.package, f.message_type) for f in given.file))
        shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        raise SchemaError(f"message: found {name!r}, allowed: {shown or 'none, for the files have none'}") from None


def _list_messages(scope: str, messages: Sequence[Any]) -> Iterator[str]:
    for message in messages:
        name = f"{scope}.{message.name}".lstrip(".")
        yield name
        yield from _list_messages(name, message.nested_type)


def _list_fields(descriptor: Any) -> str:
    names = [field.name for field in descriptor.fields]
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _find_field(descriptor: Any, message: str, text: str) -> tuple[tuple[Any, ...], int]:
    """Returns the descriptors on the way to a field, and its width, 0 for a number. Raises SchemaError."""
    match = _SPECIFIED.fullmatch(text)
    if match is None:
        raise SchemaError(f"{message}: fields: found {text!r}, allowed: NAME, NAME.NAME, or NAME[8] for 8 bytes or "
                          "numbers at most")  # fmt: skip
    path: list[Any] = []
    names = match[1].split(".")
    if len(names) > DEEPEST:
        raise SchemaError(f"{message}: {match[1]}: {len(names)} names, allowed: {DEEPEST}")
    for at, name in enumerate(names):
        field = descriptor.fields_by_name.get(name)
        shown = ".".join(names[: at + 1])
        if field is None:
            raise SchemaError(f"{message}: fields: found {shown}, allowed: {_list_fields(descriptor)}")
        path.append(field)
        if at == len(names) - 1:
            break
        if field.type != _TYPE_MESSAGE or field.is_repeated:
            raise SchemaError(f"{message}: {shown}: not a message, or a repeated one, which has no fields for a record")
        descriptor = field.message_type
    return tuple(path), _find_width(message, match[1], path[-1], match[2])


def _find_width(message: str, name: str, field: Any, given: str | None) -> int:
    """Returns the width of a field, 0 for a number. Raises SchemaError where it is not one for a record."""
    if field.type not in _TYPES:
        what = "a group" if field.type == _TYPE_GROUP else "a message"
        raise SchemaError(f"{message}: {name}: {what}; allowed: its fields, {name}.NAME, unless it is repeated")
    if field.type == _TYPE_ENUM and getattr(field.enum_type, "is_closed", False):
        raise SchemaError(f"{message}: {name}: a closed enum (proto2), whose unknown values are no values; allowed: an "
                          "open one (proto3)")  # fmt: skip
    _, _, kind = _TYPES[field.type]
    text = kind in "SV"
    if text and field.is_repeated:
        raise SchemaError(f"{message}: {name}: repeated strings or bytes, allowed: repeated numbers")
    if (given is None) == (text or field.is_repeated):
        raise SchemaError(f"{message}: {name}: allowed: " + (f"{name}[N], with room for N" if given is None else
                          f"{name}, for it is one number"))  # fmt: skip
    return int(given or 0)


def _fill_table(tables: list[list[Entry]], descriptor: Any, depth: int, wanted: list[_Field]) -> int:
    """Append the table of a message, of which `wanted` fields are in the record, and those of the messages in it.
    Returns its number."""
    mine = len(tables)
    entries: list[Entry] = []
    tables.append(entries)
    if sum(map(len, tables)) + len(descriptor.fields) > MOST_FIELDS:
        raise SchemaError(f"{descriptor.full_name}: more than {MOST_FIELDS} fields in all messages that are read")
    below: dict[int, list[_Field]] = {}
    for one in wanted:
        below.setdefault(one.path[depth].number, []).append(one)
    for field in sorted(descriptor.fields, key=lambda each: each.number):
        inside = below.get(field.number, [])
        clear = _find_cleared(field, below)
        repeated = field.is_repeated
        if field.type in (_TYPE_GROUP, _TYPE_MESSAGE):
            delimited = field.type == _TYPE_MESSAGE
            if inside:
                table = _fill_table(tables, field.message_type, depth + 1, inside)
                entries.append(Entry(field.number, _LENGTH, "message", table=table, clear=clear))
            else:
                entries.append(Entry(field.number, _LENGTH if delimited else _GROUP, "skip", clear=clear))
            continue
        kind, wire, _ = _TYPES[field.type]
        packed = repeated and wire != _LENGTH
        if not inside:
            entries.append(Entry(field.number, wire, "skip", packed=packed, clear=clear))
            continue
        (one,) = inside
        entries.append(
            Entry(field.number, wire, kind, one.start, one.end - one.start, one.width, 0, repeated, packed, clear)
        )
    return mine


def _find_cleared(field: Any, below: dict[int, list[_Field]]) -> tuple[tuple[int, int], ...]:
    """Returns the ranges of the record that are of the other members of a field's oneof."""
    if field.containing_oneof is None:
        return ()
    others = (each.number for each in field.containing_oneof.fields if each.number != field.number)
    return tuple((one.start, one.end) for number in others for one in below.get(number, []))
