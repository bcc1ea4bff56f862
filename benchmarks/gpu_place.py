"""Where `benchmarks/gpu.py` works: its folders, its Python, and what that Python must hold.

Without a network the packages come from a folder of wheels. They go into an environment that looks
into the calling Python's own packages first, so that the machine's torch and CUDA are used.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engines.failures import DeviceMissing, UsageError
from engines.gpu_facts import GpuFacts

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
)
PLAN_TARGETS = ("tensorrt", "tensorrt-rtx")

PACKAGES = Path(__file__).with_name("gpu_wheels.txt")


@dataclass(frozen=True)
class Command:
    """One process of a part.

    Args:
        words: What to run.
        environment: Added to this process's.
        accepted: Exit codes that are no failure.
        lacking: The one that says that this machine lacks something; None if there is none.
    """

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    accepted: tuple[int, ...] = (0,)
    lacking: int | None = None


@dataclass(frozen=True)
class Place:
    """One machine's checks: where they are kept, which GPU, which wheels."""

    out: Path
    gpu: GpuFacts | None
    wheels: Path | None = None
    given: Path | None = None

    @property
    def python(self) -> Path:
        """The Python of all parts: this one, or that of the wheels' environment."""
        return self.venv / "bin" / "python" if self.wheels else Path(sys.executable)

    @property
    def venv(self) -> Path:
        return self.out / "venv"

    @property
    def bundle(self) -> Path:
        """Built here, or a copy of the one that was given."""
        return self.out / "bundle"

    @property
    def path(self) -> str:
        """PATH with both Pythons' scripts: cmake and ninja are among them."""
        scripts = [str(self.python.parent), str(Path(sys.executable).parent)]
        return os.pathsep.join([*scripts, os.environ.get("PATH", "")])

    def run(self, *words: str | Path, accepted: tuple[int, ...] = (0,), **env: str) -> Command:
        """A command of this project under the place's Python."""
        lacking = None if "pytest" in words else DeviceMissing.exit_code  # pytest's own 4: usage
        line = (str(self.python), *map(str, words))
        return Command(line, tuple(sorted(env.items())), accepted, lacking)

    def result(self, name: str) -> Path:
        """Where a part puts its JSON."""
        return self.out / f"{name}.json"

    @cached_property
    def doctor(self) -> dict[str, Any]:
        """What the part `doctor` found."""
        try:
            found: dict[str, Any] = json.loads(self.result("doctor").read_text())
        except OSError:
            raise DeviceMissing("what is installed is not known: run --part doctor") from None
        return found

    def targets(self) -> list[str]:
        """The TensorRT libraries that can run plans here."""
        verdicts = self.doctor["targets"]
        return [name for name in PLAN_TARGETS if verdicts[name]["runs"]]

    def builders(self) -> list[str]:
        """Those that can build plans, which TensorRT for RTX does without a GPU, too."""
        if self.gpu is not None:
            return self.targets()
        library = self.doctor["platform"]["libraries"]["tensorrt_rtx"]
        return [] if library["version"] is None else ["tensorrt-rtx"]

    def required(self, found: list[str]) -> list[str]:
        """The same, at least one.

        Raises:
            DeviceMissing: There is none; with the reason for each library.
        """
        if found:
            return found
        verdicts = self.doctor["targets"]
        raise DeviceMissing("; ".join(f"{name}: {verdicts[name]['why']}" for name in PLAN_TARGETS))


def prepare(place: Place) -> list[Command]:
    """How the environment of the parts is made, or that the one there has what every part needs."""
    if place.wheels is None:
        return [place.run("-c", "import numpy, onnxruntime, av, PIL, engines._native, crf._native")]
    wheels = sorted(str(path) for path in place.wheels.glob("*.whl"))
    if not wheels:
        raise DeviceMissing(f"{place.wheels} holds no wheels: --list-wheels prints how to get them")
    link = f"from pathlib import Path; Path({str(_site(place.venv))!r}, 'parent.pth').write_text"
    return [
        Command((sys.executable, "-m", "venv", "--clear", "--without-pip", str(place.venv))),
        Command((sys.executable, "-c", f"{link}({parent_packages()!r})")),
        Command((*pip(place), *wheels)),
        Command((*pip(place), "-e", str(ROOT))),
    ]


def compile_sources(place: Place) -> list[Command]:
    """What there are no wheels of; the parts that can do without come first."""
    sources = sorted(place.wheels.glob("*.tar.gz")) if place.wheels else []
    if not sources:
        raise DeviceMissing("not needed: there is no --wheels with packages to compile")
    return [Command((*pip(place), str(source))) for source in sources]


def pip(place: Place) -> tuple[str, ...]:
    """An installation into the environment, of exactly what is named, with this Python's pip."""
    words = (sys.executable, "-m", "pip", "--python", str(place.python), "install", "-q")
    return (*words, "--no-index", "--no-deps", "--no-build-isolation")


def parent_packages() -> str:
    """The lines of a .pth file: where the calling Python has its packages, venv or not."""
    folders = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return "\n".join(dict.fromkeys(folders)) + "\n"


def _site(venv: Path) -> Path:
    """The package folder of an environment of this Python."""
    base = {"base": str(venv), "platbase": str(venv)}
    return Path(sysconfig.get_path("purelib", "venv", base))


def missing_packages(has: Path | None) -> tuple[list[str], list[str]]:
    """Wheels and sources that a machine lacks: this one, or that whose `pip list` is in a file."""
    if has is None:
        there = {_canonical(d.metadata["Name"]) for d in importlib.metadata.distributions()}
    else:
        there = {_canonical(word) for word in re.findall(r"[\w.-]+", _listed(has))}
    wheels, _, sources = PACKAGES.read_text().partition("as PyPI has no wheels of them")
    return _absent(wheels, there), _absent(sources, there)


def _listed(has: Path) -> str:
    try:
        return has.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--has {has} cannot be read ({error}): make it there with pip list > {has.name}"
        ) from None


def _absent(text: str, there: set[str]) -> list[str]:
    """The packages of some lines, comments left away, that are not there."""
    names = (word for line in text.splitlines() for word in line.partition("#")[0].split())
    return [name for name in names if name not in there]


def download_lines(has: Path | None, python: str, machine: str) -> list[str]:
    """What to type where there is a network; one version of each, nothing else."""
    wheels, sources = missing_packages(has)
    platforms = " ".join(f"--platform {name}_{machine}" for name in PLATFORMS)
    get = "python3 -m pip download -q --no-deps -d WHEELS"
    lines = []
    if wheels:
        lines.append(
            f"{get} --only-binary=:all: --python-version {python} --implementation cp {platforms} "
            + " ".join(wheels)
        )
    if sources:
        lines.append(f"{get} --no-binary=:all: --no-build-isolation {' '.join(sources)}")
    return lines


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
