"""What keeps a module from being loaded, and what it brings in, against modprobe itself (without loading anything)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune.host import modules
from tests.examples import TIMES

SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
MODPROBE, DEPMOD, CC = shutil.which("modprobe", path=SBIN), shutil.which("depmod", path=SBIN), shutil.which("cc")
pytestmark = pytest.mark.skipif(
    not (MODPROBE and DEPMOD and CC), reason="modprobe and depmod (package kmod) and a C compiler are not installed"
)
RELEASE = "6.1"
#: nf_nat needs a symbol of nf_conntrack.
SOURCES = {
    "nf_conntrack": "int nf_track; int __ksymtab_nf_track;",
    "nf_nat": "extern int nf_track; int *used = &nf_track;",
    "tcp_bbr": "int alone;",
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory with three modules and their index."""
    root = tmp_path_factory.mktemp("kernel")
    folder = root / "lib/modules" / RELEASE
    folder.mkdir(parents=True)
    for name, source in SOURCES.items():
        command = [str(CC), "-c", "-x", "c", "-o", str(folder / f"{name}.ko"), "-"]
        subprocess.run(command, input=source, text=True, check=True, timeout=60)
    subprocess.run([str(DEPMOD), "-b", str(root), RELEASE], check=True, timeout=60, capture_output=True)
    return root


def list_loaded(kernel: Path, configuration: Path, name: str) -> set[str]:
    """Returns the modules that modprobe would load for a name, by blacklists too, as systemd-modules-load does."""
    command = [str(MODPROBE), "-n", "-v", "-b", "-C", str(configuration), "-d", str(kernel), "-S", RELEASE, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    found = set()
    for line in done.stdout.splitlines():
        if line.startswith(("insmod ", "install ")):
            loads = line.startswith("insmod ") or "modprobe" in line
            found |= {one for one in SOURCES if loads and (f"/{one}.ko" in line or f"-i {one}" in line)}
    return found


WORDS = st.sampled_from(
    ["blacklist", "install", "options", "alias", "softdep", "#blacklist", "Blacklist", "remove", ""]
)
NAMES = st.sampled_from(["nf_conntrack", "nf-conntrack", "nf_nat", "tcp_bbr", "tcp-bbr", "nf_conntrac"])
TAILS = st.sampled_from(["", "", " ", "\t", " /bin/false", " /bin/true x", " # why", " /sbin/modprobe -i {0} && true"])
BEFORE = st.sampled_from(["", "", " ", "\t", "# ", "\\\n"])
BETWEEN = st.sampled_from([" ", " ", "\t", "  ", " \\\n", "\\\n ", "\\\n"])
LINES = (
    st.tuples(BEFORE, WORDS, BETWEEN, NAMES, TAILS)
    # modprobe prints options behind the command of an install line, as if they were part of it.
    .filter(lambda parts: parts[1] != "options" or "modprobe" not in parts[4])
    .map(lambda parts: "".join([*parts[:4], parts[4].format(parts[3].replace("-", "_"))]))
)


def test_what_modprobe_loads_is_what_we_say(kernel: Path, host: Any) -> None:
    depends = (kernel / "lib/modules" / RELEASE / "modules.dep").read_text()

    @settings(
        max_examples=200 * TIMES,
        phases=[__import__("hypothesis").Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.dictionaries(st.sampled_from(["a.conf", "b.conf"]), st.lists(LINES, max_size=4)),
        st.sampled_from(list(SOURCES)),
    )
    def compare(files: dict[str, list[str]], asked: str) -> None:
        texts = {name: "".join(f"{line}\n" for line in lines) for name, lines in files.items()}
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                Path(folder, name).write_text(text)
            loaded = list_loaded(kernel, Path(folder), asked)
        found = modules.read(
            host(
                {
                    "/proc/sys/kernel/osrelease": RELEASE,
                    f"/lib/modules/{RELEASE}/modules.dep": depends,
                    f"/lib/modules/{RELEASE}/modules.builtin": "",
                    "/proc/modules": "",
                    "/etc/modules-load.d/x.conf": f"{asked}\n",
                    **{f"/etc/modprobe.d/{name}": text for name, text in texts.items()},
                }
            )
        )
        ours = {name for name in SOURCES if modules.find_load(found, name).value is not None}
        assert ours == loaded, (texts, asked)

    compare()
