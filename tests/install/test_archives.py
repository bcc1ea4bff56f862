"""What an sdist and a wheel carry: all that the commands need, compiled, and nothing else."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from email.message import Message
from pathlib import Path

import pytest

from tests.install.cells import ROOMS, ROOT

NATIVE = ("engines", "crf")  # rooms with C++
MIB = 2**20


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The files that git knows."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: what belongs into the archives cannot be told")
    line = ["git", "ls-files", "-z"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def source(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the working tree: none of what lies around in it."""
    folder = tmp_path_factory.mktemp("source")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    script = f"from scikit_build_core.build import build_sdist; build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, check=True)
    (archive,) = folder.glob("*.tar.gz")
    return archive


def pip_wheel(
    source: Path, into: Path, path: Iterable[Path | str]
) -> subprocess.CompletedProcess[str]:
    """`pip wheel` with this environment's build tools; `path` follows them on PATH."""
    line = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w"]
    unset = ("CC", "CXX")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    scripts = Path(sys.executable).parent  # cmake and ninja
    environment["PATH"] = os.pathsep.join(str(folder) for folder in (scripts, *path))
    line += [str(into), str(source)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def test_an_sdist_is_the_repository(sdist: Path, tracked: list[str]) -> None:
    with tarfile.open(sdist) as archive:
        names = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert names - {"PKG-INFO"} == set(tracked)
    assert sdist.stat().st_size < 25 * MIB


def metadata_of(text: str) -> Message:
    return email.message_from_string(text)


def test_the_metadata_is_complete(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        (name,) = [n for n in archive.getnames() if n.endswith("/PKG-INFO")]
        file = archive.extractfile(name)
        assert file is not None
        metadata = metadata_of(file.read().decode())
    assert metadata["Name"] == "deeplab-edge"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-NC-4.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    kinds = metadata.get_all("Classifier") or []
    assert "Private :: Do Not Upload" in kinds
    assert "Typing :: Typed" in kinds
    base = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert {re.split(r"[>; ]", line)[0] for line in base} == {
        "numpy", "onnxruntime", "av", "pillow", "tomli",
    }  # fmt: skip


def test_without_a_compiler_pip_says_what_to_install(source: Path, tmp_path: Path) -> None:
    """A PATH with a shell's basics and no compiler, in a machine's words."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "uname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = pip_wheel(source, tmp_path, [tools])
    told = " ".join(done.stdout.split() + done.stderr.split())
    assert done.returncode != 0
    assert "No C++ compiler was found" in told
    assert "sudo apt install g++" in told


@pytest.mark.slow
def test_a_wheel_is_the_rooms_compiled(sdist: Path, tracked: list[str], tmp_path: Path) -> None:
    """Made from the unpacked sdist, on a PATH without git."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "uname", "g++", "as", "ld"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = pip_wheel(folder, tmp_path, [tools])
    assert done.returncode == 0, done.stdout + done.stderr

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    compiled = {name for name in names if re.fullmatch(r"(\w+)/_native\.\S+\.so", name)}
    assert sorted(name.split("/")[0] for name in compiled) == sorted(NATIVE)
    python = {n for n in tracked if n.split("/")[0] in ROOMS and "/native/" not in n}
    assert names - compiled == python
    assert {f"{room}/py.typed" for room in ROOMS} <= names
    assert wheel.stat().st_size < 20 * MIB
