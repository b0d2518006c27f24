"""The flame graphs that py-spy writes, with Numba's functions by name and without control characters."""

import html
import json
import re

from desk.profile.stacks import Function, find_function
from hosttune.output import escape_lines

#: py-spy's words for its formats, and the file that each becomes.
SPEEDSCOPE, SVG = "speedscope", "flamegraph"
FILES = {SPEEDSCOPE: "flame.speedscope.json", SVG: "flame.svg"}
_ADDRESS = re.compile(r"\b0x[0-9a-f]{4,16}\b")


def clean(data: bytes, form: str, functions: list[Function]) -> bytes:
    """Returns a flame graph in which an address within one of the functions is its name, and which holds no control
    character: names of functions and files are the program's own."""
    quote = html.escape if form == SVG else lambda name: json.dumps(name)[1:-1]

    def show(match: re.Match[str]) -> str:
        found = find_function(int(match[0], 16), functions)
        return quote(f"numba:{found.name}") if found else match[0]

    text = data.decode("utf-8", "replace")
    return escape_lines(_ADDRESS.sub(show, text) if functions else text).encode("utf-8", "surrogatepass")
