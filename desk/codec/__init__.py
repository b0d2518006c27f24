"""Protobuf messages to records of one size, by a table made from the messages' descriptor."""

from desk.codec._decoder import Decoder
from desk.codec.schema import Place, SchemaError, read_own_schema

__all__ = ["Decoder", "Place", "SchemaError", "read_own_schema"]
