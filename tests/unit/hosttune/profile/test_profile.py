import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hosttune import profile
from hosttune.profile import PROFILE_D, ProfileError
from hosttune.profile.nodes import drop_places, parse, reduce


def wanted(text):
    return {section.name: section.wanted for section in profile.load_text(text, "p.yml").sections}


def refusal(text):
    with pytest.raises(ProfileError) as caught:
        profile.load_text(text, "p.yml")
    return str(caught.value)


def test_sections_keep_their_order_and_place():
    loaded = profile.load_text("tcp_bbr:\n  qdisc: fq\nnet_buffers: {sysctl: {net.core.rmem_max: 1}}\n", "p.yml")
    assert [(section.name, section.place) for section in loaded.sections] == [
        ("tcp_bbr", "p.yml:1"),
        ("net_buffers", "p.yml:3"),
    ]
    assert loaded.sections[0].wanted.qdisc == "fq"


def test_the_built_in_profile_has_all_six_sections():
    loaded = profile.load_built_in()
    assert loaded.source == "built-in profile trading"
    assert sorted(section.name for section in loaded.sections) == profile.built_in_sections()
    assert len(loaded.sections) == 6


def test_only_modules_of_sections_that_are_present_are_imported():
    for name in ("hugepages", "net_buffers", "tcp_bbr"):
        sys.modules.pop(f"hosttune.checks.{name}", None)
    profile.load_text("tcp_bbr: {qdisc: fq}", "p.yml")
    assert "hosttune.checks.tcp_bbr" in sys.modules
    assert "hosttune.checks.hugepages" not in sys.modules


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "p.yml: the profile is empty; sections: cpu_isolation, hugepages"),
        ("# nothing\n", "the profile is empty"),
        ("- a\n", "p.yml:1: a profile is a mapping of sections"),
        ("tcp_bbr", "a profile is a mapping of sections"),
        ("tcp_bbr: {", "not valid YAML"),
        ("a: b\n\tc: d", "p.yml:2:1: not valid YAML"),
        ("\x00", "p.yml:1: not valid YAML: character U+0000 is not allowed"),
        ("a: 1\nb: x\ufffdy", "p.yml:2: not valid YAML: it is not UTF-8"),
        ("a: 1\n---\nb: 2\n", "p.yml:2:1: not valid YAML: but found another document"),
        ("a: [1, *b]", "not valid YAML: found undefined alias"),
        (
            "\ntcp_bbx: {}\n",
            "p.yml:2: unknown section tcp_bbx; did you mean tcp_bbr? allowed: cpu_isolation, hugepages",
        ),
        ("_sysctl: {}\n", "unknown section _sysctl"),
        ("a.b: {}\n", "unknown section a.b"),
        ("tcp_bbr:\n", "p.yml:1: tcp_bbr: found nothing; wanted a mapping with the keys congestion_control, qdisc"),
        (
            "tcp_bbr:\n  qdics: fq\n",
            "p.yml:2: unknown key tcp_bbr.qdics; did you mean qdisc? allowed: congestion_control",
        ),
        ("tcp_bbr:\n  qdisc: [fq]\n", "p.yml:2: tcp_bbr.qdisc: found a list; wanted text"),
        ("tcp_bbr:\n  require_fq: 1\n", "p.yml:2: tcp_bbr.require_fq: found the number 1; wanted true or false"),
        ("tcp_bbr:\n  require_fq: 'no'\n", "found the text 'no'; wanted true or false"),
        ("tcp_bbr:\n  qdisc: no\n", "p.yml:2: tcp_bbr.qdisc: found false; wanted text"),
        ("tcp_bbr:\n  qdisc: no\n", "quote the word if you meant text"),
        ("tcp_bbr:\n  require_fq: true\n", "p.yml:2: tcp_bbr.require_fq: it needs qdisc"),
        ("net_buffers: {}\n", "p.yml:1: net_buffers.sysctl is missing; wanted a mapping of text to an integer or text"),
        (
            "net_buffers:\n  sysctl:\n    net.core.rmem_max: 1\n    net.core.wmem_max: 1.5\n",
            "p.yml:4: net_buffers.sysctl.net.core.wmem_max: found the number 1.5; wanted",
        ),
        (
            "net_buffers:\n  sysctl:\n    net.ipv4.tcp_rmem:\n      - 1\n      - x\n",
            "p.yml:5: net_buffers.sysctl.net.ipv4.tcp_rmem[1]: found the text 'x'; wanted an integer",
        ),
        ("hugepages:\n  pages: {2M: {node0: '512'}}\n", "p.yml:2: hugepages.pages.2M.node0: found the text '512'"),
        ("hugepages:\n  pages: {2M: {node0: '512'}}\n", "(remove the quotes)"),
        ("hugepages:\n  pages: {2M: {node0: -1}}\n", "wanted an integer of at least 0"),
        ("hugepages:\n  pages: {2M: 512}\n", "hugepages.pages.2M: found the number 512; wanted a mapping"),
        ("hugepages:\n  transparent: off\n", "found false; wanted one of always, madvise, never"),
        ("rt_limits:\n  users: {a: {memlock: 5x}}\n", "found the text '5x'; wanted an integer or one of unlimited"),
        ("hugepages:\n  pages: {2M: {0: 512}}\n", "p.yml:2: YAML reads the key 0 as a number, quote it: '0'"),
        ("hugepages: {pages: {2MB: {node0: 1}}}\n", "p.yml:1: hugepages: page size '2MB'"),
        ("irq_affinity:\n  irqbalance: off\n", "p.yml:2: irq_affinity.irqbalance: found false; wanted one of"),
        (
            "cpu_isolation:\n  isolated: 3\n",
            "p.yml:2: cpu_isolation.isolated: found the number 3; wanted text (quote it: '3')",
        ),
        ("cpu_isolation:\n  isolated: 010\n", "p.yml:2: YAML reads 010 as a number in base 2, 8 or 60"),
        ("cpu_isolation:\n  isolated: 0b11\n", "YAML reads 0b11 as a number in base 2"),
        *(
            (f"cpu_isolation:\n  isolated: {text}\n", "p.yml:2: YAML reads")
            for text in ("0x_", '!!int "0xzz"', '!!int "²"', '!!int ""', '!!int "+"', '!!int "0x+1"', '!!int " 1"')
        ),
        *(
            (f"cpu_isolation:\n  isolated: {text}\n", f"p.yml:2: YAML 1.1 reads {text} as text")
            for text in ("0o17", "0O17", "08", "1e5", "1.0e5", ".5e3", "-09", "1_0e3")
        ),
        ("a: 1\nb: \ufeff5\n", "p.yml:2: not valid YAML: a byte order mark (U+FEFF) in the middle"),
        ("tcp_bbr: !!set {qdisc}\n", "p.yml:1: the tag tag:yaml.org,2002:set is not supported"),
        ("a: 1\ntcp_bbr: !!python/tuple [a]\n", "p.yml:2: the tag tag:yaml.org,2002:python/tuple is not"),
        (
            "hugepages:\n  pages: {2M: {node0: 18446744073709551616}}\n",
            "p.yml:2: found the number 18446744073709551616",
        ),
        (f"cpu_isolation:\n  isolated: {'9' * 5000}\n", "p.yml:2: found a number of 5,000 digits; wanted at most 20"),
        ("cpu_isolation:\n  isolated: 1:30\n", "YAML reads 1:30 as a number in base 2, 8 or 60"),
        ("cpu_isolation:\n  isolated: 2025-01-31\n", "YAML reads 2025-01-31 as a timestamp, quote it"),
        ("cpu_isolation: {isolated: !!python/object:os.system x}\n", "quote it if it is text"),
        ("yes: {}\n", "p.yml:1: YAML reads the key yes as true or false, quote it: 'yes'"),
        ("? [a]\n: 1\n", "a key must be a plain word"),
        ("tcp_bbr: &a {qdisc: fq}\nx:\n  <<: *a\n", "p.yml:3: merge keys (<<) are not supported"),
        ("tcp_bbr: {qdisc: fq}\n\ntcp_bbr: {}\n", "p.yml:3: tcp_bbr is given twice, first at p.yml:1"),
        ("tcp_bbr:\n  qdisc: fq\n  qdisc: fq\n", "p.yml:3: qdisc is given twice, first at p.yml:2"),
    ],
)
def test_what_is_refused_says_where_and_what_is_allowed(text, words):
    assert words in refusal(text)


def test_numbers():
    text = "net_buffers: {sysctl: {net.a: 67_108_864, net.b: 0x10, net.c: -1, net.d: '010', net.e: 0}}"
    assert [*wanted(text)["net_buffers"].sysctl.values()] == [67108864, 16, -1, "010", 0]


WORDS = st.one_of(
    st.from_regex(r"[-+]?[0-9_.:eExXoObBnfaN+-]{1,10}", fullmatch=True),
    st.sampled_from(
        ["yes", "No", "ON", "off", "y", "n", "~", "null", "", "true", "False", "<<", "=", ".inf", "2M", "N"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
)


@given(WORDS, st.sampled_from(["{}", "'{}'", '"{}"', "!!str {}", "!!int {}"]), st.booleans())
@settings(max_examples=600, deadline=None)
def test_a_profile_says_what_ansible_reads_or_is_refused(word, spelling, key):
    """What a role's template or a person writes there, PyYAML reads on the controller."""
    scalar = spelling.format(word)
    text = f"a:\n  {scalar}: x\n" if key else f"a:\n  b: {scalar}\n"
    try:
        read = drop_places(parse(text, "p.yml"))
    except ProfileError as error:
        assert "\n" not in str(error)
        return
    # The parser that Ansible takes where there is one: libyaml reads a few texts that PyYAML's own refuses.
    expected = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert read == expected and repr(read) == repr(expected)  # 1 == True == 1.0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_told_in_a_line(encoding, tmp_path):
    file = tmp_path / "p.yml"
    file.write_bytes("tcp_bbr: {qdisc: fq}\n".encode(encoding))
    with pytest.raises(ProfileError) as raised:
        profile.load(str(file))
    assert str(raised.value).startswith(f"{file}:1: not valid YAML: ")
    assert "\n" not in str(raised.value)


def test_a_byte_order_mark_at_the_start_is_none(tmp_path):
    file = tmp_path / "p.yml"
    file.write_bytes("tcp_bbr: {qdisc: fq}\n".encode("utf-8-sig"))
    assert profile.load(str(file)).sections[0].wanted.qdisc == "fq"


def test_what_an_alias_repeats_stands_where_the_alias_does():
    node = parse("a: &x\n  b:\n  - 1\n\nc: {d: *x}\n", "p.yml")
    (item,) = node.value["c"].value["d"].value["b"].value
    assert item.place == "p.yml:5"
    assert parse(reduce(node, lambda name: True), "p.yml") == node


def test_an_alias_repeats_a_value():
    text = "cpu_isolation: {isolated: &cpus '2-3', nohz_full: *cpus}"
    assert wanted(text)["cpu_isolation"].nohz_full == "2-3"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]),
        "[" * 200 + "]" * 200,
    ],
)
def test_a_small_file_cannot_become_a_large_profile(text):
    assert "nested too deep or too large" in refusal(text)


def write(directory, files):
    for name, text in files.items():
        (directory / name).write_text(text)
    return str(directory)


def test_a_directory_is_merged_by_name(tmp_path):
    files = {
        "20-b.yaml": "hugepages: {transparent: never}",
        "10-a.yml": "hugepages: {pages: {2M: {node0: 1}}}",
        "30-c.yml": "# nothing\n",
        ".hidden.yml": "nonsense",
        "README": "nonsense",
    }
    loaded = profile.load(write(tmp_path, files))
    (section,) = loaded.sections
    assert section.wanted.pages == {"2M": {"node0": 1}}
    assert section.wanted.transparent == "never"
    assert loaded.source == str(tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"a.yml": "tcp_bbr: {qdisc: fq}", "b.yml": "\ntcp_bbr: {qdisc: fq}"},
            "{0}/b.yml:2: tcp_bbr.qdisc is given twice, first at {0}/a.yml:1",
        ),
        ({"a.yml": "tcp_bbr: {}", "b.yml": "- x"}, "{0}/b.yml:1: the whole profile is given twice"),
        ({"a.yml": "tcp_bbr: {}", "b.yml": "tcp_bbr: {qdics: x}"}, "{0}/b.yml:1: unknown key tcp_bbr.qdics"),
        ({"a.yml": "# x"}, "the profile is empty"),
        ({"README": ""}, "{0}: no *.yml or *.yaml file in this directory"),
    ],
)
def test_errors_in_a_directory_name_the_file(tmp_path, files, words):
    with pytest.raises(ProfileError) as caught:
        profile.load(write(tmp_path, files))
    assert words.replace("{0}", str(tmp_path)) in str(caught.value)


def test_a_path_that_cannot_be_read(tmp_path):
    for path in ("no", "file/below"):
        (tmp_path / "file").write_text("")
        with pytest.raises(ProfileError, match="cannot be read"):
            profile.load(str(tmp_path / path))
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/a.yml").mkdir()
    with pytest.raises(ProfileError, match=r"a.yml: cannot be read \(EISDIR\)"):
        profile.load(str(tmp_path / "dir"))


def test_a_built_in_profile_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trading").mkdir()
    assert profile.load("trading").source == "built-in profile trading"
    with pytest.raises(ProfileError, match=r"no .*file in this directory"):
        profile.load("./trading")
    with pytest.raises(ProfileError, match=r"tradnig: cannot be read \(ENOENT\); built-in profiles: trading"):
        profile.load("tradnig")


def test_the_default_is_the_hosts_own_profile_if_it_has_one(host):
    own = host({f"{PROFILE_D}/tcp_bbr.yml": "tcp_bbr: {qdisc: fq}"})
    assert profile.load(None, own).source == PROFILE_D
    for without in (host({}), host({f"{PROFILE_D}/README": ""})):
        assert profile.load(None, without).source == "built-in profile trading"


def test_a_desks_own_section(monkeypatch, tmp_path):
    package = tmp_path / "desk_hosttune-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: desk-hosttune\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[hosttune.checks]\nfeed = desk_feed\nbroken = desk_missing\n")
    (tmp_path / "desk_feed.py").write_text(
        "import msgspec\nclass Section(msgspec.Struct, forbid_unknown_fields=True):\n    port: int\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert wanted("feed: {port: 1}")["feed"].port == 1
    assert "unknown key feed.prot; did you mean port?" in refusal("feed: {prot: 1}")
    assert "allowed: broken, cpu_isolation, feed," in refusal("nothing: {}")
    assert "section broken: desk_missing cannot be loaded" in refusal("broken: {}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("net_buffers:\n  sysctl:\n    net.core.rmem_max: 5\n    kernel.x: 1\n", 4),
        ("net_buffers:\n  sysctl:\n    net.core.rmem_max: 5\n    net.core.wmem_max: ''\n", 4),
        ("hugepages:\n  pages:\n    2M:\n      node0: 1\n      nodex: 1\n", 5),
        ("hugepages:\n  pages:\n    2M: {node0: 1}\n    2X: {node0: 1}\n", 4),
        ("irq_affinity:\n  housekeeping: '0'\n  queues:\n    eth0: '1'\n    eth1: '3-2'\n", 5),
        ("irq_affinity:\n  housekeeping: '0'\n  queues:\n    'a/b': '1'\n", 4),
        ("irq_affinity:\n  queues: {}\n  housekeeping: '3-2'\n", 3),
        ("rt_limits:\n  users:\n    a: {nice: 1}\n    'b c': {nice: 1}\n", 4),
        ("rt_limits:\n  users:\n    a:\n      nice: 99\n", 4),
    ],
)
def test_a_value_that_a_section_refuses_has_the_line_of_its_key(text, line):
    assert refusal(text).startswith(f"p.yml:{line}: ")
