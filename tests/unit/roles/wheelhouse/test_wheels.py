"""hosttune_wheelhouse/wheels.py: which wheels a host needs, and what wheels say of themselves."""

from pathlib import Path

import pytest

from tests.unit.roles.wheelhouse.examples import host, wheel, wheels


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("p-1-py3-none-any.whl", (0, 0)),
        ("p-1-cp311-abi3-manylinux_2_34_x86_64.whl", (2, 34)),
        # A wheel that names several runs on the oldest of them.
        ("p-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl", (2, 17)),
        ("p-1-cp311-cp311-manylinux1_x86_64.whl", (2, 5)),
    ],
)
def test_glibc_floor(name: str, floor: tuple[int, int]) -> None:
    assert wheels.glibc_floor(name) == floor


def test_a_binary_wheel_without_a_glibc_is_not_trusted() -> None:
    with pytest.raises(wheels.Broken, match="does not say which glibc"):
        wheels.glibc_floor("p-1-cp311-cp311-linux_x86_64.whl")


def test_closure_is_that_of_the_host_not_of_the_controller(tmp_path: Path) -> None:
    found = {
        "own": wheel(
            tmp_path,
            "own-1",
            'old; python_version < "3.12"',
            'fast>=2; extra == "agent"',
            'w; os_name == "nt"',
        ),
        "old": wheel(tmp_path, "old-1"),
        "fast": wheel(tmp_path, "fast-2"),
    }
    assert wheels.closure(found, "own", (), host(python="3.11")) == ["old", "own"]
    assert wheels.closure(found, "own", (), host(python="3.12")) == ["own"]
    assert wheels.closure(found, "own", ("agent",), host(python="3.12")) == ["fast", "own"]
    found["fast"] = wheel(tmp_path, "fast-1")
    with pytest.raises(wheels.Broken, match=r"own needs 'fast>=2.*locked: fast-1"):
        wheels.closure(found, "own", ("agent",), host())
    del found["old"]
    with pytest.raises(wheels.Broken, match="no such wheel"):
        wheels.closure(found, "own", (), host(python="3.11"))


def test_our_wheel_says_what_cpu_it_is_for(tmp_path: Path) -> None:
    build = {"hosttune/_build.py": '"""What."""\n\nCPU = "x86-64-v3"\n', "hosttune/x.so": ""}
    assert wheels.built_for(wheel(tmp_path, "own-1", files=build)) == "x86-64-v3"
    with pytest.raises(wheels.Broken, match="no compiled module"):
        wheels.built_for(wheel(tmp_path, "own-2"))
    with pytest.raises(wheels.Broken, match=r"no hosttune/_build\.py"):
        wheels.built_for(wheel(tmp_path, "own-3", files={"hosttune/x.so": ""}))
