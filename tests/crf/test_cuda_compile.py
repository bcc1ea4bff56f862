"""The real kernels through real compilers, and the command that compiles them for every GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from crf.compile_kernels import Options, main, parse, row, run, sources
from engines.failures import GateFailed
from engines.kernels import KernelSource, nvrtc

PTXAS = """ptxas info    : Compiling entry function 'blur' for 'sm_87'
ptxas info    : Function properties for blur
    {stack} bytes stack frame, {spill} bytes spill stores, {spill} bytes spill loads
ptxas info    : Used 24 registers, used 1 barriers, 64 bytes smem, 392 bytes cmem[0]
ptxas info    : Compiling entry function 'splat' for 'sm_87'
ptxas info    : Function properties for splat
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 0 barriers, 424 bytes cmem[0]
"""


@pytest.mark.parametrize("architecture", ["sm_75", "sm_87", "sm_90", "sm_120"])
@pytest.mark.parametrize("source", sources((21,)), ids=lambda source: source.name)
def test_nvrtc_compiles_the_kernels(source: KernelSource, architecture: str) -> None:
    """As a device does on first use: no headers, no nvcc. Neither GPU nor driver is needed."""
    compiler = nvrtc()
    if compiler is None:
        pytest.skip("cuda.core is not installed: pip install 'cuda-core[cu13]'")
    assert compiler.build(source, architecture).startswith(b"\x7fELF")


@pytest.fixture
def fake_nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvcc that knows Orin and Hopper and prints what `report` holds; returns that file."""
    report = tmp_path / "report"
    report.write_text(PTXAS.format(stack=0, spill=0))
    command = tmp_path / "nvcc"
    command.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --list-gpu-code ]; then echo sm_87; echo sm_90; exit; fi\n'
        f"cat {report} >&2\n"
        f"[ ! -e {tmp_path}/broken ] || exit 2\n"
        'while [ "$1" != -o ]; do shift; done\n'
        'echo cubin > "$2"\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return report


@pytest.mark.parametrize("text", ["x", "8.7", "87,", ""])
def test_an_architecture_is_a_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["--architectures", text])
    assert "expected N,N such as 75,86" in capsys.readouterr().err


def test_what_ptxas_says_is_read() -> None:
    first = row("a.cu", 21, "87", PTXAS.format(stack=8, spill=16).split("entry function ")[1])
    assert (first.kernel, first.registers, first.shared, first.stack) == ("blur", 24, 64, 8)
    assert first.spilled == 32


def test_every_source_is_compiled_for_every_gpu(
    fake_nvcc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(Options(architectures=("87", "90")))
    assert len(result.rows) == len(sources()) * 2 * 2
    assert result.skipped is None
    assert main(["--architectures", "87"]) == 0
    shown = capsys.readouterr().out
    assert "sm_87" in shown
    assert "blur" in shown


def test_gpus_that_the_toolkit_does_not_know_are_named(fake_nvcc: Path) -> None:
    result = run(Options())
    assert {row.architecture for row in result.rows} == {"87", "90"}
    assert result.skipped is not None
    assert "sm_75, sm_86, sm_89, sm_110, sm_120" in result.skipped


def test_a_spill_fails(fake_nvcc: Path) -> None:
    fake_nvcc.write_text(PTXAS.format(stack=8, spill=16))
    with pytest.raises(GateFailed, match=r"spill registers: blur \(sm_87\)"):
        run(Options(architectures=("87",)))


def test_a_source_that_does_not_compile_fails(fake_nvcc: Path) -> None:
    fake_nvcc.write_text("error: expected a ;")
    fake_nvcc.with_name("broken").touch()
    with pytest.raises(GateFailed, match="does not compile for sm_90: error: expected"):
        run(Options(architectures=("90",)))


def test_without_nvcc_the_skip_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("crf.compile_kernels.find_nvcc", lambda: None)
    assert main([]) == 0
    assert "skipped: no nvcc" in capsys.readouterr().out


def test_architectures_are_parsed() -> None:
    assert parse(["--architectures", "75,120"]).architectures == ("75", "120")
