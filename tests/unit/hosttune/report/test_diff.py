from hosttune.findings import Finding, Hop, summarise_findings
from hosttune.report.diff import Difference
from hosttune.report.document import Page


def report(**findings):
    return summarise_findings(
        {},
        [Finding(id=f"a.{name}", status=status, wanted=1, found=found) for name, (status, found) in findings.items()],
    )


def test_one_row_for_each_id_in_the_order_of_the_later_report():
    before = report(gone=("pass", 1), cpus=("fail", ""), pages=("pass", 512))
    after = report(pages=("pass", 512), cpus=("pass", "2-3"), new=("warn", "x" * 200))
    lines = Difference(before, after).as_text(Page(width=80)).splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if "|" in line]
    assert rows[:5] == [
        ["", "before", "after"],
        ["a.pages", "pass     512", "pass     512"],
        ["a.cpus", "fail     nothing", "pass     2-3"],
        ["a.new", "-", rows[3][2]],
        ["a.gone", "pass     1", "-"],
    ]
    assert rows[3][2].endswith("...")
    assert rows[5] == ["verdict", "NOT READY", "READY"]
    assert rows[6] == ["", "1 fail, 2 pass", "1 warn, 2 pass"]
    assert max(map(len, lines)) <= 80


def test_what_could_not_be_read_says_why():
    hops = {"runtime": Hop("unknown", "EACCES", "/f")}
    one = summarise_findings({}, [Finding(id="a.b", status="unknown", wanted=1, found=None, hops=hops)])
    assert "unknown  could not be read: EACCES" in Difference(one, one).as_text(Page(width=120))


def test_what_fits_is_not_cut():
    before, after = report(queues=("fail", "31: 1, 32: 2")), report(queues=("pass", "y" * 60))
    wanted = "a.queues | fail     31: 1, 32: 2 | pass     " + "y" * 60
    assert wanted in Difference(before, after).as_text(Page(width=len(wanted))).splitlines()
    assert wanted not in Difference(before, after).as_text(Page(width=len(wanted) - 1)).splitlines()


def test_the_longer_column_is_cut_and_the_shorter_is_not():
    before, after = report(queues=("fail", "31: 1, 32: 2, 33: 3, 34: 0")), report(queues=("pass", "y" * 200))
    lines = Difference(before, after).as_text(Page(width=100)).splitlines()
    assert "fail     31: 1, 32: 2, 33: 3, 34: 0 | pass     yyy" in "\n".join(lines)
    assert max(map(len, lines)) == 100
    both = Difference(after, after).as_text(Page(width=101)).splitlines()
    assert {len(line) for line in both if line.startswith(("a.queues", "---"))} == {101}


def test_the_fewest_cells_are_cut():
    before = report(a=("fail", "x" * 30), b=("fail", "x" * 30), c=("fail", "x" * 90))
    after = report(a=("pass", "y"), b=("pass", "y"), c=("pass", "y" * 90))
    lines = Difference(before, after).as_text(Page(width=80)).splitlines()
    assert [line.count("...") for line in lines if line.startswith("a.")] == [0, 0, 2]
    assert max(map(len, lines)) == 80
