"""The worker team of the C++ loops, compiled alone, under ThreadSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_the_team_keeps_its_promises(sanitizer: str, tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    assert compiler, "the package was built, so there must be a C++ compiler: set CXX"
    program = tmp_path / "team_check"
    source = Path(__file__).with_name("team_check.cpp")
    flags = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{ROOT}"]
    subprocess.run(
        [compiler, *flags, f"-fsanitize={sanitizer}", str(source), "-o", str(program)], check=True
    )
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "team: ok" in done.stdout
