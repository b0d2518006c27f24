import pytest

from hosttune.host import globs

FILES = {"/sys/n0/x": "1", "/sys/n1/x": "2", "/sys/m/x": "3"}


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("/sys/n*/x", ["/sys/n0/x", "/sys/n1/x"]),
        ("/sys/n[1]/*", ["/sys/n1/x"]),
        ("/sys/absent", ["/sys/absent"]),
        ("/sys/*/absent", ["/sys/m/absent", "/sys/n0/absent", "/sys/n1/absent"]),
        ("/nothing/*", []),
    ],
)
def test_paths(host, pattern, paths):
    assert globs.find_paths(host(FILES), pattern) == paths


@pytest.mark.parametrize(("mark", "visit"), [("", "read"), ("/", "list"), ("@", "link")])
def test_a_mark_says_what_to_do(host, monkeypatch, mark, visit):
    root = host(FILES)
    seen = []
    listing = root.list
    for name in ("read", "list", "link"):
        monkeypatch.setattr(root, name, lambda path, name=name: (seen.append((name, path)), listing(path))[1])
    globs.read(root, "/sys/n0" + mark, "/sys/m" + mark)
    assert seen == [(visit, "/sys/n0"), (visit, "/sys/m")]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/x", "/x"),
        ("/x{a,b}", "/xa /xb"),
        ("{a,b}c{d,e}", "acd ace bcd bce"),
        ("x{a,{b,c}d}", "xa xbd xcd"),
        ("x{,a}", "x xa"),
        ("x{a}", "xa"),
        ("x{}{a,b}", "x{}a x{}b"),
        ("x{a,b", "x{a,b"),
        ("x}a", "x}a"),
    ],
)
def test_braces(pattern, found):
    """As GLOB_BRACE of glob(3) has them."""
    assert globs.expand_braces(pattern, 8) == found.split()


def test_too_many_braces():
    assert len(globs.expand_braces("{a,b}{a,b}{a,b}", 8)) == 8
    with pytest.raises(ValueError, match="too many"):
        globs.expand_braces("{a,b}{a,b}{a,b}", 7)
