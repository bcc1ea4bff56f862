"""`*.plan.json`: what a plan is, what it was built with, and whether it belongs to this machine.

A plan is machine code for one library version and one kind of GPU, and deserialising it trusts it:
so its sidecar is read first, and whatever does not match is a reason to refuse the plan unread.

A build writes `PlanSidecar(..., environment=environment("tensorrt"), ...).to_json()`; who loads
asks `mismatches(sidecar, environment("tensorrt"))` and shows the reasons with `rebuild_command`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.failures import MALFORMED, Refused
from engines.gpu_facts import driver_version, power_mode, probe_gpu
from engines.machine import platform_name
from engines.spec import ModelSpec

FORMAT = 1
CAPABILITY = re.compile(r"\d{1,4}\.\d{1,4}\+?")
PORTABLE = "8.0+"  # of TensorRT for RTX by default, and of TensorRT's AMPERE_PLUS

# hardware_compatibility: "none" (this very GPU), "same-compute-capability", "ampere-plus"
ANY_GPU_OF_ITS_CAPABILITY = ("same-compute-capability", "ampere-plus")


@dataclass(frozen=True)
class Environment:
    """The facts of a machine that a plan depends on; None is unknown or not there.

    Args:
        library: The Python module: tensorrt or tensorrt_rtx.
        version: The library's; None where it does not import.
        platform: Operating system and processor, such as linux-aarch64.
        gpu: The GPU's name.
        compute_capability: Such as 8.7.
        driver: The version of the kernel module.
        cuda: The newest CUDA version that the driver runs.
        power_mode: Of a Jetson, such as MAXN.
    """

    library: str
    version: str | None = None
    platform: str = field(default_factory=platform_name)
    gpu: str | None = None
    compute_capability: str | None = None
    driver: str | None = None
    cuda: str | None = None
    power_mode: str | None = None


@dataclass(frozen=True)
class HashedFile:
    """A file of the same bundle and its content's sha256."""

    file: str
    sha256: str


@dataclass(frozen=True)
class PlanOptions:
    """What the builder was told."""

    workspace_mb: int
    optimization_level: int | None = None  # None: the library's default
    hardware_compatibility: str = "none"


@dataclass(frozen=True)
class PlanSidecar:
    """The content of a plan's sidecar.

    Args:
        target: tensorrt or tensorrt-rtx.
        precision: The bundle's word for it: fp32, fp16, int8 or mixed.
        environment: Where the plan was built.
        compute_capabilities: What it runs on: "8.7" is that one, "8.0+" that and later ones.
        plan: The plan itself.
        source: The ONNX graph that it was built from.
        batch: Least, best and largest number of frames of a run.
        size: Least, best and largest (height, width) of the frames.
        layers: Fused layers by precision, where the library's log told them.
        options: What the builder was told.
        format: The version of this form.
    """

    target: str
    precision: str
    environment: Environment
    compute_capabilities: tuple[str, ...]
    plan: HashedFile
    source: HashedFile
    batch: tuple[int, int, int]
    size: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    options: PlanOptions
    layers: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; `from_json` is its inverse."""
        data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return data

    def text(self) -> str:
        """The sidecar's file."""
        return json.dumps(self.to_json(), indent=1) + "\n"

    @staticmethod
    def from_json(data: Any) -> PlanSidecar:
        """Read JSON data; unknown, missing or malformed fields raise `Refused`."""
        try:
            if data["format"] != FORMAT:
                raise Refused(f"the sidecar has format {data['format']}, this version {FORMAT}")
            parts = {
                "target": str(data["target"]),
                "precision": str(data["precision"]),
                "environment": Environment(**_texts(data["environment"])),
                "compute_capabilities": tuple(map(_capability, data["compute_capabilities"])),
                "plan": HashedFile(**_texts(data["plan"])),
                "source": HashedFile(**_texts(data["source"])),
                "batch": _three(int(n) for n in data["batch"]),
                "size": _three((int(h), int(w)) for h, w in data["size"]),
                "options": PlanOptions(**data["options"]),
                "layers": {str(name): int(count) for name, count in data["layers"].items()},
            }
            return PlanSidecar(**{**data, **parts})
        except MALFORMED as error:
            raise Refused(f"the plan's sidecar is not valid ({error!r})") from error

    @staticmethod
    def parse(text: bytes) -> PlanSidecar:
        """Read the file's bytes; anything but a valid sidecar raises `Refused`."""
        try:
            return PlanSidecar.from_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise Refused(f"the plan's sidecar is not JSON ({error})") from error


def environment(library: str, index: int = 0) -> Environment:
    """The facts of this machine, with GPU number `index`; no GPU is needed to ask."""
    gpu = probe_gpu(index)
    return Environment(
        library,
        _version(library),
        gpu=gpu.name if gpu else None,
        compute_capability=gpu.compute_capability if gpu else None,
        driver=driver_version(),
        cuda=gpu.cuda if gpu else None,
        power_mode=power_mode(),
    )


def mismatches(sidecar: PlanSidecar, here: Environment) -> list[str]:
    """Why the plan may not be loaded here, in words; empty where nothing speaks against it.

    What is unknown on either side is no mismatch: without a GPU or a library there is nothing to
    load it with, which is said when they are opened.
    """
    return list(_mismatches(sidecar, here))


def remarks(sidecar: PlanSidecar, here: Environment) -> list[str]:
    """What differs and may cost speed, but not correctness: the driver and the power mode."""
    built = sidecar.environment
    pairs = (("with driver", built.driver, here.driver), ("at", built.power_mode, here.power_mode))
    return [f"built {name} {was}, now {now}" for name, was, now in pairs if _differ(was, now)]


def check_profile(sidecar: PlanSidecar, spec: ModelSpec) -> Iterator[str]:
    """Why the plan's profile does not take the model's frames, if it does not."""
    (low, _, high), (height, width) = sidecar.size, spec.input_size
    if not (low[0] <= height <= high[0] and low[1] <= width <= high[1]):
        yield (
            f"its frames are {low[0]}x{low[1]} to {high[0]}x{high[1]}, the model's {height}x{width}"
        )
    if not 1 == sidecar.batch[0] <= sidecar.batch[1] <= sidecar.batch[2]:
        yield f"its batches are {list(sidecar.batch)}, and one frame must be possible"


def rebuild_command(
    bundle: Path, target: str, precision: str, built: PlanSidecar | None = None
) -> str:
    """What to type to build a plan again on this machine, from the graphs in the bundle; as it was
    `built`, where that is known."""
    words = ["python", "export/build_engine.py", f"--{precision}", "--bundle", str(bundle)]
    return shlex.join([*words, "--target", target, *(_flags(built) if built else ())])


def _flags(built: PlanSidecar) -> Iterator[str]:
    """export/build_engine.py's, for the same profile and options."""
    if built.batch != (1, 1, 1):
        yield from ("--batch", ":".join(map(str, built.batch)))
    if built.size[0] != built.size[2]:
        yield from ("--input-size", ":".join(f"{height}x{width}" for height, width in built.size))
    yield from ("--workspace-mb", str(built.options.workspace_mb))
    if built.options.optimization_level is not None:
        yield from ("--optimisation-level", str(built.options.optimization_level))
    if built.options.hardware_compatibility == "ampere-plus":
        yield "--hardware-compatible"


def _mismatches(sidecar: PlanSidecar, here: Environment) -> Iterator[str]:
    built = sidecar.environment
    if built.library != here.library:
        yield f"it is a plan of {built.library}, not of {here.library}"
    elif _differ(built.version, here.version):
        yield f"it was built with {built.library} {built.version}, here is {here.version}"
    if built.platform != here.platform:
        yield f"it was built on {built.platform}, this is {here.platform}"
    if _differ(_major(built.cuda), _major(here.cuda)):
        yield f"it was built with a driver for CUDA {built.cuda}, here is one for {here.cuda}"
    capability = here.compute_capability
    runs_on = sidecar.compute_capabilities
    if capability is not None and not any(_covers(each, capability) for each in runs_on):
        yield f"it is for compute capability {', '.join(runs_on)}, {here.gpu} has {capability}"
    elif not _portable(sidecar) and _differ(built.gpu, here.gpu):
        yield f"it was built for {built.gpu}, this is {here.gpu}"


def _portable(sidecar: PlanSidecar) -> bool:
    """Whether the capability decides alone; else a plan's kernels were timed for one GPU model,
    and NVIDIA promises nothing on another."""
    compatible = sidecar.options.hardware_compatibility in ANY_GPU_OF_ITS_CAPABILITY
    return compatible or sidecar.environment.library == "tensorrt_rtx"


def _covers(runs_on: str, capability: str) -> bool:
    if runs_on.endswith("+"):
        return _number(capability) >= _number(runs_on[:-1])
    return runs_on == capability


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))


def _major(version: str | None) -> str | None:
    return version and version.partition(".")[0]


def _differ(was: str | None, now: str | None) -> bool:
    return was is not None and now is not None and was != now


def _version(library: str) -> str | None:
    try:
        return str(importlib.import_module(library).__version__)
    except ImportError:
        return None


def _texts(data: dict[str, Any]) -> dict[str, Any]:
    for name, value in data.items():
        if not (value is None or isinstance(value, str)):
            raise ValueError(f"{name} is {value!r}, no text")
    return data


def _capability(text: str) -> str:
    if not CAPABILITY.fullmatch(text):
        raise ValueError(f"{text!r} is no compute capability")
    return text


def _three(values: Iterator[Any]) -> tuple[Any, Any, Any]:
    low, best, high = values
    return low, best, high
