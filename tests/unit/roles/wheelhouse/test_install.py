"""install_release.sh: a host takes the files that the list names by hash, and no others."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pip
import pytest

from tests.unit.roles.wheelhouse.examples import FILES, wheel

#: What the script compiles.
PACKAGES = {f"{name}/__init__.py": "" for name in ("hosttune", "agent", "msgspec", "yaml", "pyroute2")}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """An unpacked release of one wheel, with the pip that runs these tests."""
    (tmp_path / "wheels").mkdir()
    own = wheel(tmp_path / "wheels", "alpha-1", files={**PACKAGES, "alpha.py": "x = 1\n"})
    (tmp_path / "requirements.txt").write_text(
        f"alpha==1 --hash=sha256:{hashlib.sha256(own.read_bytes()).hexdigest()}\n"
    )
    package = Path(pip.__file__).parent
    with zipfile.ZipFile(tmp_path / f"wheels/pip-{pip.__version__}-py3-none-any.whl", "w") as archive:
        for path in package.rglob("*"):
            if "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(package.parent))
    return tmp_path


def install(release: Path) -> "subprocess.CompletedProcess[str]":
    command = ["sh", str(FILES / "install_release.sh"), str(release), sys.executable]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_listed_wheel_is_installed(release: Path) -> None:
    done = install(release)
    assert done.returncode == 0, done.stderr
    assert (release / ".complete").exists() and not (release / "wheels").exists()
    found = subprocess.run([release / "bin/python", "-c", "import alpha; print(alpha.x)"], capture_output=True)
    assert found.stdout == b"1\n"


def test_a_wheel_of_which_a_byte_was_changed_is_refused(release: Path) -> None:
    path = release / "wheels/alpha-1-py3-none-any.whl"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"x = 1", b"x = 2"))
    assert path.read_bytes() != data
    done = install(release)
    assert done.returncode != 0 and "HASH" in done.stderr.upper()
    assert not (release / ".complete").exists()
    assert not list(release.glob("lib/python*/site-packages/alpha.py"))


def test_a_wheel_that_the_list_does_not_name_is_not_installed(release: Path) -> None:
    wheel(release / "wheels", "beta-1", files={"beta.py": "x = 1\n"})
    wheel(release / "wheels", "alpha-2", files={"alpha.py": "x = 2\n"})
    assert install(release).returncode == 0
    (installed,) = release.glob("lib/python*/site-packages/alpha.py")
    assert installed.read_text() == "x = 1\n" and not (installed.parent / "beta.py").exists()
