"""CUDA source to cubin: includes, the cache on disk, and the compilers that are here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engines import kernels
from engines.failures import DeviceMissing
from engines.kernels import Compiler, KernelSource, cubin, find_compiler, nvcc, nvrtc

DOUBLE = KernelSource(
    "double.cu",
    'extern "C" __global__ void twice(int* x) { x[threadIdx.x] *= FACTOR; }',
    (("FACTOR", 2),),
)


class Counting:
    """A compiler that counts what it is asked to build."""

    def __init__(self, version: str = "test 1.0") -> None:
        self.asked: list[str] = []
        self.compiler = Compiler(version, self.build)

    def build(self, source: KernelSource, architecture: str) -> bytes:
        self.asked.append(architecture)
        return b"\x7fELF" + f"{source.text} for {architecture}".encode()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "deeplab-edge" / "kernels"


def test_includes_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "row.cuh").write_text("// rows\n")
    (tmp_path / "a.cu").write_text('// before\n#include "row.cuh"\n// after\n')
    source = KernelSource.read(tmp_path / "a.cu", contract=False, CLASSES=3, AXES=2)
    assert source.text == "// before\n// rows\n\n// after\n"
    assert source.name == "a.cu"
    assert source.defines == (("AXES", 2), ("CLASSES", 3))


def test_a_cubin_is_compiled_once(cache: Path) -> None:
    counting = Counting()
    first = cubin(DOUBLE, "sm_87", counting.compiler)
    assert cubin(DOUBLE, "sm_87", counting.compiler) == first
    assert counting.asked == ["sm_87"]
    assert [path.read_bytes() for path in cache.iterdir()] == [first]


@pytest.mark.parametrize("left", [b"", bytes(100)])
def test_what_a_power_cut_left_is_compiled_again(cache: Path, left: bytes) -> None:
    first = cubin(DOUBLE, "sm_87", Counting().compiler)
    (path,) = cache.iterdir()
    path.write_bytes(left)
    assert cubin(DOUBLE, "sm_87", Counting().compiler) == first == path.read_bytes()


@pytest.mark.parametrize(
    ("source", "architecture", "version"),
    [
        (replace(DOUBLE, text=DOUBLE.text + " "), "sm_87", "test 1.0"),
        (replace(DOUBLE, defines=(("FACTOR", 3),)), "sm_87", "test 1.0"),
        (replace(DOUBLE, contract=False), "sm_87", "test 1.0"),
        (DOUBLE, "sm_90", "test 1.0"),
        (DOUBLE, "sm_87", "test 1.1"),
    ],
    ids=["text", "macro", "option", "architecture", "toolkit"],
)
def test_whatever_changes_the_code_compiles_anew(
    cache: Path, source: KernelSource, architecture: str, version: str
) -> None:
    cubin(DOUBLE, "sm_87", Counting().compiler)
    counting = Counting(version)
    cubin(source, architecture, counting.compiler)
    assert counting.asked == [architecture]
    assert len(list(cache.iterdir())) == 2


def test_a_failed_compilation_leaves_nothing_behind(cache: Path) -> None:
    def fail(source: KernelSource, architecture: str) -> bytes:
        raise RuntimeError("no such architecture")

    with pytest.raises(
        DeviceMissing, match=r"test 2 does not compile double.cu for sm_999.*no such"
    ):
        cubin(DOUBLE, "sm_999", Compiler("test 2", fail))
    assert not cache.exists()


def test_without_a_compiler_the_fix_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "nvrtc", lambda: None)
    monkeypatch.setattr(kernels, "nvcc", lambda: None)
    with pytest.raises(DeviceMissing, match="pip install"):
        find_compiler()


def test_nvrtc_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Counting("nvrtc").compiler, Counting("nvcc").compiler
    monkeypatch.setattr(kernels, "nvrtc", lambda: first)
    monkeypatch.setattr(kernels, "nvcc", lambda: second)
    assert find_compiler() is first
    monkeypatch.setattr(kernels, "nvrtc", lambda: None)
    assert find_compiler() is second


@pytest.fixture(params=["nvrtc", "nvcc"])
def compiler(request: pytest.FixtureRequest) -> Compiler:
    """Each real compiler that is installed."""
    found = {"nvrtc": nvrtc, "nvcc": nvcc}[request.param]()
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    return found


def test_real_compilers_make_cubins(compiler: Compiler, cache: Path) -> None:
    code = cubin(DOUBLE, "sm_87", compiler)
    assert code.startswith(b"\x7fELF")
    assert b"twice" in code
    assert code != cubin(replace(DOUBLE, defines=(("FACTOR", 3),)), "sm_87", compiler)


def test_real_compilers_tell_what_is_wrong(compiler: Compiler, cache: Path) -> None:
    with pytest.raises(DeviceMissing, match=r"(?s)does not compile double.cu for sm_87.*FACTOR"):
        cubin(replace(DOUBLE, defines=()), "sm_87", compiler)
