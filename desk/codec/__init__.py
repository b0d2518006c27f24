"""Protobuf messages to records of one size, and back, by tables made from the messages' descriptor."""

from desk.codec._decoder import Decoder
from desk.codec._encoder import Encoder
from desk.codec.schema import Place, SchemaError, read_own_schema

__all__ = ["Decoder", "Encoder", "Place", "SchemaError", "read_own_schema"]
