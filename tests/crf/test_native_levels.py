"""No instruction of a SIMD level where a machine without it would run into it.

A kernel is compiled once per level, into a namespace of its own. What levels share (templates of
the standard library, engines/native/team.h) is compiled for each as well, and the linker keeps the
first copy that it meets: that must be one for the plainest machine.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VECTORS = re.compile(r"%[yz]mm|%k[1-7]|\tv[a-z]")  # AVX and later: wide registers, v... mnemonics

both_rooms = pytest.mark.parametrize("room", ["crf", "engines"])


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def linked_objects(room: str) -> list[Path]:
    """The objects of `room`._native in the order in which they are linked."""
    for tool in ("objdump", "nm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: it comes with binutils")
    if "x86_64" not in sysconfig.get_platform():
        pytest.skip("there is one SIMD level on this architecture")
    for build in sorted(ROOT.glob(f"build/{_tag()}-*")):
        rules = (build / "build.ninja").read_text()
        for link in re.findall(r"^build \S*/_native\.\S+: \S+ (.*)$", rules, re.MULTILINE):
            objects = shlex.split(link.split("|")[0])
            if any(f"{room}_native.dir" in name for name in objects):
                return [build / name for name in objects if name.endswith(".o")]
    pytest.skip("no objects in build/: `make install` compiles them there")


def _tag() -> str:
    return f"cp{sysconfig.get_config_var('py_version_nodot')}"


def is_plain(compiled: Path) -> bool:
    return "_avx" not in str(compiled)


def merged_symbols(compiled: Path) -> set[str]:
    """What several objects may define and the linker keeps one of."""
    lines = run("nm", "--defined-only", str(compiled)).splitlines()
    return {name for _, kind, name in (line.split() for line in lines) if kind in "WVu"}


@both_rooms
def test_plain_objects_hold_plain_instructions(room: str) -> None:
    objects = linked_objects(room)
    assert {is_plain(compiled) for compiled in objects} == {True, False}
    for compiled in objects:
        code = run("objdump", "--disassemble", "--no-show-raw-insn", str(compiled))
        assert bool(VECTORS.search(code)) != is_plain(compiled), compiled


@both_rooms
def test_what_the_levels_share_is_compiled_for_the_plainest(room: str) -> None:
    advanced: set[str] = set()  # kept from an object for a better machine
    plain: set[str] = set()
    for compiled in linked_objects(room):
        symbols = merged_symbols(compiled)
        if is_plain(compiled):
            assert not symbols & advanced, compiled
            plain |= symbols
        else:
            advanced |= symbols - plain
