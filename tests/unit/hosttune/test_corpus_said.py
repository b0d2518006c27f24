"""Hosts where a script names what sets something wrongly, and only says so to somebody, keeps it to be run later, or
has another machine do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus
from tests.unit.hosttune.corpus import Changes
from tests.unit.hosttune.test_corpus_scripts import script
from tests.unit.hosttune.test_corpus_who_writes import KNOBS, Outcome, expect

# LINE stands for shell that writes.
HOSTS: dict[str, tuple[Changes, Outcome]] = {
    "said by a function": (script('die(){ echo "$1"; exit 1; }\n[ -d /sys ] || die "run LINE first"\n'), "nothing"),
    "kept to be said": (script('MSG="Please run: LINE"\nlogger "$MSG"\n'), "nothing"),
    "kept to be run": (script('CMD="LINE"\n$CMD\n'), "unknown"),
    "run by a function": (script('run(){ eval "$1"; }\nrun "LINE"\n'), "unknown"),
    "run in another language": (script("perl -e 'say now; system q(LINE)'\n"), "writes"),
    "run in awk": (script("awk 'BEGIN { system(\"LINE\") }'\n"), "writes"),
    "said, and the end": (script('warn "Please run LINE" || exit 1\n'), "nothing"),
    "said to the terminal": (script('echo "Run: LINE" >&2\n'), "nothing"),
    "said to a log": (script('echo "Run: LINE" | tee -a /var/log/x\n'), "nothing"),
    "said by a name": (script('die "$0: please run LINE"\n'), "nothing"),
    "said by a mark": (script('die "[tune] please run LINE"\n'), "nothing"),
    "behind another command": (script('CMD="ethtool -K eth0 gro off; LINE"\neval "$CMD"\n'), "unknown"),
    "behind another command that succeeds": (script('run "ip link set eth0 up && LINE"\n'), "unknown"),
    "what a command within it prints": (script('echo "set: $(LINE)"\n'), "writes"),
    "what a command within a sentence prints": (script('log_it "Now we set $(LINE)"\n'), "writes"),
    "over several lines": (script('echo "To tune it by hand:\n\n    LINE\n"\n'), "nothing"),
    "over several lines, and then run": (script('echo "To tune it by hand:\n"\nLINE\necho "\n"\n'), "writes"),
    "over several lines, to a shell": (script("echo '\nLINE\n' | sh\n"), "writes"),
    "over several lines of printf": (script("printf 'Run:\nLINE\nand see\n' >&2\n"), "nothing"),
    "over several lines, with a command in it": (script('echo "Set:\n$(LINE)\n"\n'), "writes"),
    "evaluated": (script('eval "LINE"\n'), "writes"),
    "run by another shell": (script('bash -ec "LINE"\n'), "writes"),
    "said to another shell": (script('echo "LINE" | sh\n'), "writes"),
    "a document for another machine": (script("ssh h 'sudo bash -s' <<'EOF'\nLINE\nEOF\n"), "nothing"),
    "a document for this machine by its name": (script("ssh root@localhost bash <<'EOF'\nLINE\nEOF\n"), "writes"),
    "a document whose output is run": (script("ssh h cat <<'EOF' | sh\nLINE\nEOF\n"), "writes"),
    "in the first process's namespaces": (script("nsenter -t 1 -m -u -n -i sh -c 'LINE'\n"), "writes"),
    "a document for this one": (script("bash -s <<'EOF'\nLINE\nEOF\n"), "writes"),
    "behind a document for another one": (script("ssh h bash <<EOF\ntrue\nEOF\nLINE\n"), "writes"),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    files, outcome = HOSTS[name]
    for knob, (line, start) in KNOBS.items():
        changes = {path: text and text.replace("LINE", line) for path, text in files.items()}
        (tmp_path / knob).mkdir()
        expected = expect(start, outcome)
        if outcome == "unknown" and knob == "affinity":
            expected["irq_affinity.queues"] = "unknown"  # any interrupt's may be written there
        corpus.assert_judged(changes, expected, fake_host, tmp_path / knob)


def test_what_a_command_within_backquotes_writes_is_not_only_said(fake_host: type[Any], tmp_path: Path) -> None:
    for knob, (line, start) in KNOBS.items():
        changes = script(f'echo "set: `{line}`"\n')
        root = corpus.make(fake_host, changes)
        found = {finding.id: finding.status for finding in corpus.judge(root).findings if finding.id.startswith(start)}
        assert found and set(found.values()) <= {"volatile", "unknown"}, knob
