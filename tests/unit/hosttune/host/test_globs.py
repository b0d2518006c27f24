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
