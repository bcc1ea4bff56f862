"""What each extra of pyproject.toml is for: the commands that must run once it is installed.

`{bundle}` in a command is a bundle of the bundled model; all run in one empty folder, in order.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("scenes", "engines", "crf", "calibration", "train", "export", "runtime")
NOT_FROM_PIP = ("tensorrt",)  # a gigabyte for a desktop GPU; a Jetson's comes with JetPack
TORCH_FROM = (3, 11)  # pyproject.toml's markers: below, torch and onnx are left out of
WITH_TORCH = ("train", "export", "triton", "dev")

FRAMES = "street:?frames=16&size=128x96"
STREAM = "-m runtime.stream --bundle {bundle} --camera street: --frames 20"
DEVICE = (
    f"{STREAM} --headless --record stream.mp4",
    "-m runtime.contact_sheet stream.mp4 frames.png",
    "-m engines.doctor",
)
TRAIN = (
    "-m train.models",
    "-m train.complexity --table5",
    f"-m train.fit --data {FRAMES} --epochs 1 --batch 2 --crop 96x96 --input-size 96x128 "
    "--run-dir run --name first",
    f"-m train.evaluate --checkpoint run/first.safetensors --data {FRAMES}",
)
SPEC = (  # a graph of one's own has its spec beside it
    'import json; spec = json.load(open("bundle/manifest.json"))["spec"]; '
    'json.dump(spec, open("bundle/fp32.json", "w"))'
)
EXPORT = (
    f"-m calibration.doctor --data {FRAMES}",
    f"-c '{SPEC}'",
    "-m export.build_engine --fp32 --onnx {bundle}/fp32.onnx --target cpu --out from_onnx",
    "-m runtime.stream --bundle from_onnx --camera street: --frames 5 --headless",
)
FROM_WEIGHTS = (  # [train] and [export] together
    "-m export.build_engine --int8 --checkpoint run/first.safetensors --scheme percentile "
    f"--data {FRAMES} --out built",
    "-m export.verify --bundle built --html verify.html",
    f"-m calibration.report --bundle built --data {FRAMES} --max-drop 100 --html report.html",
    "-m runtime.stream --bundle built --camera street: --frames 20 --headless",
)
NVRTC = (
    "from engines import gpu_pixels, kernels; "
    'print(len(kernels.find_compiler().build(gpu_pixels.source(), "sm_87")), "bytes for an Orin")'
)
RUNS: dict[str, tuple[str, ...]] = {
    "window": (STREAM, "-c 'import cv2; print(cv2.__version__)'"),
    "serve": (f"{STREAM} --headless --serve 127.0.0.1:0",),
    "openvino": (f"{STREAM} --headless --precision int8 --target openvino",),
    "train": TRAIN,
    "export": EXPORT,
    "tensorrt-rtx": ("-c 'import tensorrt_rtx; print(tensorrt_rtx.__version__)'",),
    "gpu": (f"-c '{NVRTC}'",),
    "ray": ("-m runtime.label --bundle {bundle} --input stream.mp4 --output labels --workers 1",),
    "docs": ("-m sphinx --version",),
    "triton": ("-m export.triton_repository --bundle {bundle} --out models",),
    "dev": ("-m pytest --version", "-m ruff --version", "-c 'import nncf, sklearn'"),
}
PC = ("window", "serve", "openvino")  # docs/desktop.md
NEEDS = {"triton": ("export",)}  # the command that it serves is `export`'s


@dataclass(frozen=True)
class Cell:
    """A set of extras that is installed into one fresh environment."""

    extras: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As in `pip install 'deeplab-edge[...]'`; `base` without any."""
        return ",".join(self.extras) or "base"

    @property
    def helps(self) -> bool:
        """Whether `--help` of every command is tried, too: with the least and the most."""
        return not self.extras or self.extras == makes_extras()

    def runs_on(self, version: tuple[int, ...]) -> tuple[str, ...]:
        """The commands that this Python can run: the device's, then those of each extra."""
        names = [name for name in self.extras if version >= TORCH_FROM or name not in WITH_TORCH]
        device = DEVICE if self.helps else DEVICE[:1]
        both = FROM_WEIGHTS if {"train", "export"} <= {*names} else ()
        return (*device, *(run for name in names for run in RUNS.get(name, ())), *both)


def cells() -> list[Cell]:
    """Nothing, each extra (with what its command needs), a PC that runs models, all of `make`'s."""
    alone = [(*NEEDS.get(extra, ()), extra) for extra in extras() if extra not in NOT_FROM_PIP]
    return [Cell(names) for names in [(), *alone, PC, makes_extras()]]


def extras() -> list[str]:
    """The extras of pyproject.toml (by hand: tomllib is not in Python 3.10)."""
    text = (ROOT / "pyproject.toml").read_text()
    table = text.partition("[project.optional-dependencies]")[2].partition("\n[tool")[0]
    return re.findall(r"^([\w-]+) = \[", table, re.MULTILINE)


def makes_extras() -> tuple[str, ...]:
    """The extras that `make install` takes everywhere."""
    match = re.search(r"-e '\.\[([\w,-]+)\]'", (ROOT / "Makefile").read_text())
    assert match, "the Makefile installs no extras any more"
    return tuple(match[1].split(","))


def commands(root: Path = ROOT) -> list[str]:
    """The modules of the rooms that are commands: they take `--help`."""
    files = [file for room in ROOMS for file in sorted((root / room).rglob("*.py"))]
    return [".".join(f.relative_to(root).with_suffix("").parts) for f in files if _is_command(f)]


def _is_command(file: Path) -> bool:
    """Whether a file ends with `if __name__ == "__main__":`."""
    return any(
        isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
        for node in ast.parse(file.read_text()).body
    )
