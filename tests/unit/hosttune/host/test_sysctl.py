import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.host import sysctl, sysctl_lines
from hosttune.host.root import Fact, Tree
from hosttune.host.sysctl import Assignment
from tests.cpu_time import is_soon

KEY = "net.core.rmem_max"
ETC, RUN, LOCAL, LIB = sysctl.DIRECTORIES
NOTHING = {f"{directory}/README": "" for directory in (*sysctl.DIRECTORIES, "/etc/systemd/system")}


def deciding(root, key=KEY):
    return sysctl_lines.find_winner(sysctl.read(root, [key]).boot.value, key)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.core.rmem_max", "net/core/rmem_max"),
        ("net/core/rmem_max", "net/core/rmem_max"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("/net//core/rmem_max", "net/core/rmem_max"),
    ],
)
def test_dots_and_slashes(key, path):
    assert sysctl_lines.normalise_key(key) == path


def test_a_path_that_leads_up_is_no_other_key():
    assert sysctl_lines.normalise_key("net/core/../core/rmem_max") == "net/core/../core/rmem_max"


def test_a_carriage_return_and_a_nul_end_a_line_and_other_separators_do_not():
    text = "a.b = 1\r\na.c = 2\ra.d = 3\0a.e = 4\n\na.f = 5\u20286\x0b\x85\n"
    assert [(line.key, line.value, line.line) for line in sysctl_lines.parse(text, "f")] == [
        ("a/b", "1", 1),
        ("a/c", "2", 2),
        ("a/d", "3", 3),
        ("a/e", "4", 4),
        ("a/f", "5\u20286\x0b\x85", 6),
    ]


def test_a_line_that_repeats_a_value_stays_where_the_first_one_was(host):
    lines = "net.core.*_max = 1\nnet.*.rmem_max = 2\nnet.core.*_max = 1\n"
    assert deciding(host({**NOTHING, f"{ETC}/a.conf": lines})).value == "2"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("net.core.[^w]mem_max", True), ("net.core.[!w]mem_max", True), ("net.core.[^r]mem_max", False)],
)
def test_a_set_of_characters_may_be_negated_in_both_ways(host, pattern, matches):
    assert (deciding(host({**NOTHING, f"{ETC}/a.conf": f"{pattern} = 1"})) is not None) is matches


def test_a_directory_called_like_a_file_is_passed_over(host):
    root = host({**NOTHING, f"{ETC}/a.conf/x": "", f"{LIB}/a.conf": f"{KEY} = 1"}, refused={f"{ETC}/a.conf": "EISDIR"})
    root.link = lambda path: Fact("absent", None, path, "not a symbolic link")
    assert deciding(root).value == "1"


@given(st.text("ab.=-#; \r\n\0/*5_x", max_size=40))
def test_what_is_kept_reads_as_the_file_itself(text):
    text = text.replace("a", "net.")
    kept = sysctl.reduce(text)
    assert sysctl.reduce(kept) == kept
    sought = [line for line in sysctl_lines.parse(text, "f") if line.key.startswith("net/")]
    assert [(line.key, line.line) for line in sysctl_lines.parse(kept, "f") if line.key.startswith("net/")] == [
        (line.key, line.line) for line in sought
    ]


def test_lines():
    text = "\n# c\n; c\na.b=1\n  a.c  =  1 2 \n-a.d = 3\n-a.e\nnonsense\n= 4\n"
    assert sysctl_lines.parse(text, "f") == [
        Assignment("a/b", "1", "f", 4),
        Assignment("a/c", "1 2", "f", 5),
        Assignment("a/d", "3", "f", 6),
        Assignment("a/e", None, "f", 7),
    ]


def test_the_later_file_name_wins_whatever_its_directory(host):
    files = {f"{ETC}/10-a.conf": f"{KEY} = 1", f"{LIB}/50-b.conf": f"\n{KEY} = 2"}
    line = deciding(host({**NOTHING, **files}))
    assert (line.value, line.place) == ("2", f"{LIB}/50-b.conf:2")


def test_of_files_with_one_name_the_one_in_etc_counts(host):
    files = {f"{LIB}/50-a.conf": f"{KEY} = 1", f"{LOCAL}/50-a.conf": f"{KEY} = 2", f"{ETC}/50-a.conf": ""}
    assert deciding(host({**NOTHING, **files})) is None


def test_a_link_to_dev_null_masks(host, tree):
    files = {f"{LIB}/50-a.conf": f"{KEY} = 1"}
    link = f"{ETC}/50-a.conf"
    live = host({**NOTHING, **files}, links={link: "/dev/null"})
    assert deciding(live) is None
    captured = Tree(tree({**NOTHING, **files, link: "-> /dev/null", sysctl.CONF: ""}))
    assert deciding(captured) is None


def test_a_link_that_leads_nowhere_is_passed_over(host, tree):
    files = {f"{LIB}/50-a.conf": f"{KEY} = 1"}
    link = f"{ETC}/99-sysctl.conf"
    assert deciding(host({**NOTHING, **files}, links={link: "../sysctl.conf"})).value == "1"
    assert deciding(Tree(tree({**NOTHING, **files, link: "-> ../sysctl.conf"}))).value == "1"


def test_hidden_and_other_files_do_not_count(host):
    files = {f"{ETC}/.50-a.conf": f"{KEY} = 1", f"{ETC}/50-a.conf.rpmnew": f"{KEY} = 2"}
    assert deciding(host({**NOTHING, **files})) is None


def test_a_named_key_goes_before_any_glob(host):
    lines = f"{KEY} = 1\nnet.core.*_max = 2\nnet.*.rmem_max = 3\n"
    assert deciding(host({**NOTHING, f"{ETC}/a.conf": lines})).value == "1"
    lines = "net.core.*_max = 2\nnet.*.rmem_max = 3\nnet.* = 4\n"
    assert deciding(host({**NOTHING, f"{ETC}/a.conf": lines})).value == "3"
    lines = f"net.core.*_max = 2\n-{KEY}\n"
    assert deciding(host({**NOTHING, f"{ETC}/a.conf": lines})) is None


def test_a_directory_that_cannot_be_listed_decides_nothing(host):
    facts = sysctl.read(host({**NOTHING, f"{ETC}/a.conf": f"{KEY} = 1"}, refused={LIB: "EACCES"}), [KEY])
    assert (facts.boot.state, facts.boot.reason, facts.boot.source) == ("unreadable", "EACCES", LIB)


def test_a_file_that_cannot_be_read_decides_nothing(host):
    facts = sysctl.read(host(NOTHING, refused={f"{ETC}/a.conf": "EACCES"}), [KEY])
    assert (facts.boot.state, facts.boot.source) == ("unreadable", f"{ETC}/a.conf")


FILES = st.dictionaries(
    st.tuples(st.sampled_from(sysctl.DIRECTORIES), st.sampled_from(["10.conf", "50-x.conf", "99.conf", "a.conf"])),
    st.lists(st.tuples(st.sampled_from(["net.core.a", "net/core/a", "net.core.b", "net.core.*"]), st.integers(0, 9))),
    max_size=8,
)


@given(FILES)
def test_precedence_is_that_of_systemd_sysctl(host, files):
    """Against the algorithm of systemd's sysctl.c, done the slow way: a table of options, applied in order."""
    chosen = {}
    for directory in (LIB, LOCAL, ETC):
        chosen |= {name: lines for (place, name), lines in files.items() if place == directory}
    options = {}
    for name in sorted(chosen):
        for key, value in chosen[name]:
            path = key.replace(".", "/")
            if options.get(path) != str(value):
                options.pop(path, None)
                options[path] = str(value)
    expected = options.get("net/core/a", options.get("net/core/*"))

    text = {
        os.path.join(*place): "".join(f"{key} = {value}\n" for key, value in lines) for place, lines in files.items()
    }
    line = deciding(host({**NOTHING, **text}), "net.core.a")
    assert (line.value if line else None) == expected


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"net.core.k{number} = 1\n" for number in range(40_000)),
        f"{KEY} = 1\n" * 40_000,
        f"net.core.{'[' * 500_000} = 1\n",
        "".join(f"net.core.{'*' * 900}{number} = 1\n" for number in range(999)),
    ],
    ids=["keys", "one key", "brackets", "stars"],
)
def test_a_long_file_takes_less_than_a_second(host, text):
    keys = [f"net.core.key{number}" for number in range(30)]
    root = host({**NOTHING, f"{ETC}/a.conf": sysctl.reduce(text)})

    def read():
        facts = sysctl.read(root, keys)
        for key in keys:
            sysctl_lines.find_written(facts.boot.value, key)
            sysctl_lines.find_lines(facts.lines.value, key)

    assert is_soon(read, 1)


def test_of_a_key_the_last_lines_are_told(host):
    lines = "".join(f"{KEY} = {number}\n" for number in range(2 * sysctl.MAX_LINES))
    facts = sysctl.read(host({**NOTHING, f"{ETC}/a.conf": f"net.core.other = 1\n{lines}"}), [KEY])
    assert [line.line for line in facts.lines.value] == list(range(sysctl.MAX_LINES + 2, 2 * sysctl.MAX_LINES + 2))
    assert facts.boot.value[-1].value == str(2 * sysctl.MAX_LINES - 1)
