"""The printing boundary: no text gives an order to a terminal, and JSON stays the same JSON."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.findings import Finding
from hosttune.output import escape, escape_lines, escape_values, quote_word

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


@given(
    st.recursive(
        anything | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(anything, inner) | st.tuples(inner)
    )
)
def test_every_text_in_data_is_printable(value: object) -> None:
    shown = escape_values(value)
    assert all(text.isprintable() for text in _texts(shown))
    assert escape_values(shown) == shown and type(shown) is type(value)


def _texts(value: object) -> "list[str]":
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    return [text for each in value for text in _texts(each)] if isinstance(value, list | tuple) else []


def test_fields_of_structs_are_escaped_and_documents_keep_their_lines() -> None:
    finding = Finding(
        id="a\x1b", status="pass", wanted=["b\n"], found={"c\r": "d\te"}, hops={}, why="\x07", fix="1\n2\x9b"
    )
    shown = escape_values(finding, documents=("fix",))
    assert (shown.id, shown.wanted, shown.found) == ("a\\u001b", ["b"], {"c\\u000d": "d e"})
    assert (shown.why, shown.fix) == ("\\u0007", "1\n2\\u009b")
    assert escape_values(finding).fix == "1 2\\u009b"


def test_only_the_callers_own_orders_pass() -> None:
    red, reset = "\x1b[31m", "\x1b[0m"
    assert escape_lines(f"{red}a{reset}\x1b[2J\n", orders=(red, reset)) == f"{red}a{reset}\\u001b[2J\n"
    assert escape_lines(f"{red}a", orders=()) == "\\u001b[31ma"
    assert escape_lines("\x1b[31", orders=(red,)) == "\\u001b[31"


@given(anything)
def test_a_quoted_word_is_one_word_of_a_shell(text: str) -> None:
    quoted = quote_word(text)
    assert quoted.isprintable()
    if text.isprintable():
        assert shlex.split(quoted) == [text]


@pytest.mark.parametrize("text", ["a b", "$(x)", "it's", "a\nb", "\x1b[2J'\\", "\udcff", "\u202eµ", "\x9b\x7f", ""])
def test_bash_reads_the_name_back(text: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf %s {quote_word(text)}"], capture_output=True, timeout=20)
    assert done.stdout.decode("utf-8", "surrogateescape") == text


def test_what_others_write_to_standard_error_is_escaped_as_well() -> None:
    program = (
        "import sys, warnings\n"
        "from hosttune.output import guard_messages, print_traceback\n"
        "with guard_messages():\n"
        "    warnings.warn('\x1b[2J')\n"
        "    print('\x9b', file=sys.stderr)\n"
        "    try:\n"
        "        raise ValueError('\u202e')\n"
        "    except ValueError:\n"
        "        print_traceback()\n"
        "    class Late:\n"
        "        def __del__(self):\n"
        "            raise ValueError('\x07')\n"
        "    Late()\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, timeout=30, text=True)
    assert done.returncode == 0
    assert all(character.isprintable() or character == "\n" for character in done.stderr)
    for told in ("UserWarning: \\u001b[2J", "\\u009b\n", "ValueError: \\u202e", "ValueError: \\u0007"):
        assert told in done.stderr


def test_a_locale_without_a_character_is_no_fault() -> None:
    program = "from hosttune.output import write_out\nwrite_out('\u00b5\U0001f600\\n')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, timeout=30, env=environment)
    assert (done.stdout, done.stderr) == (b"\\u00b5\\ud83d\\ude00\n", b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("program", "command"), [("hosttune", "diff a b"), ("agent", "venues"), ("agent", "stats /x")])
def test_a_closed_stream_is_no_fault(program: str, command: str, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -P -m {program} {command} {closed}', sys.executable],
        capture_output=True,
        timeout=30,
        text=True,
    )
    wanted = 0 if command == "venues" and closed == "2>&-" else 2
    assert done.returncode == wanted
    assert "Traceback" not in done.stderr
    if closed == "2>&-":
        assert program + ":" not in done.stdout
