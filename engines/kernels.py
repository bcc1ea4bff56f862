"""CUDA source to machine code for one architecture, compiled once per machine and kept on disk.

Kernels ship as source. NVRTC, which comes with `pip install cuda-core`, or `nvcc`, which comes with
the CUDA toolkit and JetPack, compiles them; whichever is there, NVRTC first.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engines.atomic import write_bytes
from engines.failures import DeviceMissing
from engines.spec import canonical_json

ELF = b"\x7fELF"  # how a cubin begins; a power cut may leave an empty file, or one of zeros
INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)


@dataclass(frozen=True)
class KernelSource:
    """CUDA C++ without headers, and how to compile it.

    Args:
        name: For messages.
        text: The source, includes in quotes already replaced.
        defines: Macros and their values.
        contract: Whether a * b + c may become one fused multiply-add.
    """

    name: str
    text: str
    defines: tuple[tuple[str, int], ...] = ()
    contract: bool = True

    @staticmethod
    def read(path: Path, contract: bool = True, **defines: int) -> KernelSource:
        """A .cu file with the files beside it that it includes."""

        def included(match: re.Match[str]) -> str:
            return path.with_name(match[1]).read_text()

        text = INCLUDE.sub(included, path.read_text())
        return KernelSource(path.name, text, tuple(sorted(defines.items())), contract)


@dataclass(frozen=True)
class Compiler:
    """A toolkit: `version` names it exactly, `build` makes a cubin for an architecture."""

    version: str
    build: Callable[[KernelSource, str], bytes]


def cubin(source: KernelSource, architecture: str, compiler: Compiler | None = None) -> bytes:
    """Machine code of `source` for `architecture` (sm_87), from the cache or freshly compiled.

    Raises:
        DeviceMissing: No compiler is installed, or it does not compile the source for this GPU.
    """
    compiler = compiler or find_compiler()
    path = cache_folder() / f"{_key(source, architecture, compiler.version)}.cubin"
    kept = path.read_bytes() if path.is_file() else b""
    if kept.startswith(ELF):
        return kept
    try:
        code = compiler.build(source, architecture)
    except Exception as error:  # cuda.core does not export the class of its compiler's errors
        raise DeviceMissing(
            f"{compiler.version} does not compile {source.name} for {architecture}; if it does not "
            f"know this GPU, install a CUDA toolkit that does: {error}"
        ) from error
    write_bytes(path, code)
    return code


def cache_folder() -> Path:
    """Where compiled kernels are kept; deleting it costs a recompilation."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "deeplab-edge" / "kernels"


def find_compiler() -> Compiler:
    """NVRTC or else nvcc; two ways to the same code, told apart in the cache."""
    compiler = nvrtc() or nvcc()
    if compiler is None:
        raise DeviceMissing(
            "no CUDA compiler is installed to build the kernels with: pip install 'cuda-core[cu13]'"
            " ([cu12] for a CUDA 12 driver), or put nvcc of the CUDA toolkit on PATH"
        )
    return compiler


def nvrtc() -> Compiler | None:
    """The run-time compiler behind `cuda.core`, or None where it is not installed."""
    try:
        from cuda.bindings import nvrtc as library
        from cuda.core import Program, ProgramOptions

        error, major, minor = library.nvrtcVersion()
    except (ImportError, RuntimeError):  # the package, or the shared library that it loads
        return None
    if int(error):
        return None

    def build(source: KernelSource, architecture: str) -> bytes:
        options = ProgramOptions(
            name=source.name,
            arch=architecture,
            std="c++17",
            fma=source.contract,
            define_macro=[(name, str(value)) for name, value in source.defines] or None,
        )
        return bytes(Program(source.text, "c++", options).compile("cubin").code)

    return Compiler(f"nvrtc {major}.{minor}", build)


def nvcc() -> Compiler | None:
    """The toolkit's command, or None where there is none."""
    command = find_nvcc()
    if command is None:
        return None
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)

    def build(source: KernelSource, architecture: str) -> bytes:
        return run_nvcc(command, source, architecture)[0]

    return Compiler(f"nvcc {told.stdout.split()[-1]}", build)


def find_nvcc() -> str | None:
    """nvcc on PATH, or where JetPack puts it without adding it to PATH."""
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def run_nvcc(command: str, source: KernelSource, architecture: str) -> tuple[bytes, str]:
    """The cubin, and what ptxas says of registers and spills."""
    with tempfile.TemporaryDirectory() as folder:
        text, code = Path(folder, source.name), Path(folder, "kernels.cubin")
        text.write_text(source.text)
        done = subprocess.run(
            [
                command, "-cubin", "-arch", architecture, "-std=c++17", "-Xptxas", "-v",
                f"-fmad={'true' if source.contract else 'false'}",
                *(f"-D{name}={value}" for name, value in source.defines),
                "-o", str(code), str(text),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{source.name} does not compile for {architecture}: {done.stderr}")
        return code.read_bytes(), done.stderr


def _key(source: KernelSource, architecture: str, toolkit: str) -> str:
    parts = [source.text, source.defines, source.contract, architecture, toolkit]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
