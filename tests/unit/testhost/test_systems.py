"""Which Debian and which kernel a guest has, and what follows for its packages and its image."""

from pathlib import Path

import pytest

from testhost import image
from testhost.cache import Cache
from testhost.cli import main
from testhost.errors import TesthostError, UsageError
from testhost.systems import KERNELS, RELEASES, System

EVERY = [System(release, kernel) for release in RELEASES for kernel in KERNELS]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("sid", "stock"), "--release sid: allowed is bookworm, trixie"),
        (("trixie", "cloud"), "--kernel cloud: allowed is stock, rt"),
    ],
)
def test_what_testhost_does_not_build_is_refused(wrong: tuple[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        System(*wrong)


def test_debian_12_with_the_stock_kernel_is_the_default() -> None:
    assert str(System()) == "Debian 12, stock kernel"
    assert System().kernel_package == "linux-image-cloud-amd64"


@pytest.mark.parametrize("system", EVERY, ids=str)
def test_one_kernel_is_installed(system: System) -> None:
    kernels = [name for name in image.packages_of(system) if name.startswith("linux-image-")]
    assert kernels == [system.kernel_package]
    assert "python3" in image.packages_of(system)


def test_each_has_an_image_of_its_own() -> None:
    keys = {image.recipe_key(image.recipe(system)) for system in EVERY}
    assert len(keys) == len(EVERY)


def test_an_image_is_found_by_what_it_holds(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    directory = cache.images / image.recipe_key(image.recipe(System("trixie", "rt")))
    directory.mkdir(parents=True)
    (directory / "image.json").write_text("{}")
    found = image.find(cache, System("trixie", "rt"))
    assert found is not None and found.directory == directory
    assert [image.find(cache, system) for system in EVERY if system != System("trixie", "rt")] == [None] * 3


def test_a_release_that_this_machine_has_no_key_of_is_explained() -> None:
    said = "W: GPG error: http://m trixie InRelease: The following signatures couldn't be verified: NO_PUBKEY 6ED0E7B8"
    told = str(image.explain_key(TesthostError(said), System("trixie")))
    assert told.startswith(said) and "apt install --only-upgrade debian-archive-keyring" in told
    other = TesthostError("mke2fs failed with status 1")
    assert image.explain_key(other, System("trixie")) is other


@pytest.mark.parametrize("command", ["build", "start"])
def test_the_command_line_takes_no_other(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--release", "sid"])
    assert caught.value.code == 2
    assert "invalid choice: 'sid'" in capsys.readouterr().err
