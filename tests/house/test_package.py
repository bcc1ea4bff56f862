"""What a wheel and an sdist carry: all that the commands need, and no C++ sources in the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["scenes", "engines", "crf", "calibration", "train", "export", "runtime"]
NATIVE = ["engines", "crf"]


def files(pattern: str) -> set[str]:
    """The repository's files below the folders that match."""
    found = (path for folder in ROOT.glob(pattern) for path in folder.rglob("*"))
    kept = (path for path in found if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in kept}


def test_an_sdist_can_be_built_from(tmp_path: Path) -> None:
    script = f"from scikit_build_core.build import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    needed = {"CMakeLists.txt", "pyproject.toml", "LICENSE", "README.md"}
    needed |= files("cmake") | files("*/native") | files("train/weights")
    assert needed <= names


@pytest.mark.slow
def test_a_wheel_holds_the_rooms_compiled(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    scripts = str(Path(sys.executable).parent)  # where the environment's cmake and ninja are
    environment = {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"]}
    subprocess.run([*line, "-w", str(tmp_path), str(ROOT)], env=environment, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(ROOMS)
    assert not [name for name in names if "/native/" in name]
    for room in NATIVE:
        assert [n for n in names if re.fullmatch(rf"{room}/_native\.\S+\.so", n)]
    for room in ROOMS:
        assert files(room) - files(f"{room}/native") <= names
