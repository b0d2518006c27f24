"""The printing boundary: no text gives an order to a terminal, and JSON stays the same JSON."""

import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from hosttune.output import escape, escape_lines

anything = st.text(st.characters(codec=None, categories=None))


@given(anything)
def test_every_escaped_text_is_printable_and_stays(text: str) -> None:
    shown = escape(text)
    assert shown.isprintable() and escape(shown) == shown
    assert (shown == text) is text.isprintable()
    assert all(part.isprintable() for line in escape_lines(text).split("\n") for part in line.split("\t"))


@given(st.recursive(anything, lambda inner: st.lists(inner) | st.dictionaries(anything, inner), max_leaves=5))
def test_escaped_json_is_the_same_json(value: object) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only, indent=1)
        assert json.loads(escape_lines(text)) == value


def test_documents_and_messages_go_through_it() -> None:
    program = (
        "from hosttune.output import print_message, write_out\n"
        "write_out('a\\tb\\x1b[2J\\x9b\\u202e\\x00\\r\\n')\n"
        "print_message('c\\x1b]0;x\\x07\\udcff')\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, timeout=30)
    assert done.stdout == b"a\tb\\u001b[2J\\u009b\\u202e\\u0000\\u000d\n"
    assert done.stderr == b"c\\u001b]0;x\\u0007\\udcff\n"
