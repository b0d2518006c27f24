from hosttune.host import tmpfiles
from hosttune.host.tmpfiles import Line

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
ETC, _, _, LIB = tmpfiles.DIRECTORIES
NOTHING = {f"{directory}/README": "" for directory in tmpfiles.DIRECTORIES}


def test_only_writes_below_proc_and_sys():
    text = (
        f"# w /sys/a - - - - 1\nd /sys/b - - - - 1\nw /run/c - - - - 1\nw\nw /sys/d - - - -\nw! {THP} - - - -  never \n"
    )
    assert tmpfiles.parse(text, "f") == [Line(THP, "never", "f:6")]
    assert tmpfiles.parse('w "/sys/a" - - - - "1 2"', "f") == [Line("/sys/a", "1 2", "f:1")]


def test_the_first_line_counts_by_file_name(host):
    files = {f"{ETC}/b.conf": f"w {THP} - - - - never", f"{LIB}/a.conf": f"w {THP} - - - - always"}
    assert tmpfiles.read(host({**NOTHING, **files})).value[THP].place == f"{LIB}/a.conf:1"


def test_a_file_in_etc_replaces_one_of_its_name(host):
    files = {f"{ETC}/a.conf": f"w {THP} - - - - never", f"{LIB}/a.conf": f"w {THP} - - - - always"}
    assert tmpfiles.read(host({**NOTHING, **files})).value[THP].value == "never"


def test_what_cannot_be_read_decides_nothing(host):
    assert tmpfiles.read(host(NOTHING, refused={LIB: "EACCES"})).reason == "EACCES"
    assert tmpfiles.read(host(NOTHING, refused={f"{LIB}/a.conf": "EIO"})).reason == "EIO"
