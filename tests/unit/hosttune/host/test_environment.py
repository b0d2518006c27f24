import pytest

from hosttune.host import environment


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("A=1\nB=2\n", [("A", "1"), ("B", "2")]),
        ("A=1\nA=2", [("A", "1"), ("A", "2")]),
        (" A =  1 2 \r\n", [("A", "1 2")]),
        ("# A=1\n;B=2\nC=3 # no comment\n", [("C", "3 # no comment")]),
        ('A=\'1 2\'\nB="3\\"4\\x"\n', [("A", "1 2"), ("B", '3"4\\x')]),
        ("A=\"1\" '2' 3 '4'\n", [("A", "123 '4'")]),
        ("A='1\n2'\nB=3\n", [("A", "1\n2"), ("B", "3")]),
        ("A=1\\\n2\\3\nB=4\n", [("A", "123"), ("B", "4")]),
        ('A="1\\\n2"\n', [("A", "12")]),
        ("export A=1\nB\n=C=2\n2D=3\nE=\n", [("E", "")]),
        ("A='no end\nB=1\n", [("A", "no end\nB=1\n")]),
        ("A=1 \\ \n", [("A", "1  ")]),
    ],
)
def test_a_file(text, pairs):
    assert environment.parse_file(text) == pairs


def test_a_comment_that_may_go_on():
    with pytest.raises(ValueError, match="depends on the version"):
        environment.parse_file("# a \\\nA=1\n")
    assert environment.parse_file("# a \\\n# b\nA=1\n") == [("A", "1")]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("A=1 B=2", [("A", "1"), ("B", "2")]),
        ('"A=1 2" B=\'3 4\' C=5"6 7"8', [("A", "1 2"), ("B", "3 4"), ("C", "56 78")]),
        ("A=1 word 2B=3 C=", [("A", "1"), ("C", "")]),
        ("A=1 'B=2", [("A", "1")]),
        ("A='1\\'2'", [("A", "1'2")]),
        ("", []),
    ],
)
def test_words(text, pairs):
    assert environment.parse_words(text) == pairs


def test_what_nobody_writes():
    for parse in (environment.parse_file, environment.parse_words):
        with pytest.raises(ValueError, match="characters"):
            parse("x" * (environment.MAX_LENGTH + 1))
