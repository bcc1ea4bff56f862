"""What this machine is, which targets run on it, and what is wrong, each with its fix.

Exit code 0: no problem. 3: there are problems, but a model can run. 4: none can.
docs/doctor.md shows machines and what is said of them. Nothing is changed, nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.atomic import write_text
from engines.command import parser, run_command
from engines.diagnosis import Problem, find_notes, find_problems
from engines.failures import MALFORMED, DeviceMissing, GateFailed, Refused
from engines.platforms import Camera, Library, Platform, examine
from engines.probes import Machine
from engines.verdicts import Verdict, verdicts


@dataclass(frozen=True)
class Options:
    """Which machine: this one, or a recorded one."""

    record: Path | None = None
    replay: Path | None = None
    json: Path | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    platform: Platform
    targets: dict[str, Verdict]
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 3 with problems, or 4 where nothing runs."""
        if not any(verdict.runs for verdict in self.targets.values()):
            return DeviceMissing.exit_code
        return GateFailed.exit_code if self.problems else 0


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    p = parser(__doc__, "python -m engines.doctor --record machine.json")
    p.add_argument("--record", type=Path, metavar="FILE", help="also write what was asked and said")
    p.add_argument("--replay", type=Path, metavar="FILE", help="examine such a recording instead")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Diagnosis:
    """Examine the machine."""
    if options.replay is None:
        machine = Machine()
        here = examine(machine)
    else:
        machine, here = _replayed(options.replay)
    if options.record is not None:
        write_text(options.record, json.dumps(machine.answers, indent=1, sort_keys=True) + "\n")
    return Diagnosis(here, verdicts(here), find_problems(here), find_notes(here))


def _replayed(path: Path) -> tuple[Machine, Platform]:
    """A recorded machine; `Refused` if the file is none, or answers in another form."""
    try:
        data = json.loads(path.read_text())
        machine = Machine({kind: dict(data[kind]) for kind in data} | {"fact": dict(data["fact"])})
        return machine, examine(machine)
    except (OSError, *MALFORMED) as error:
        raise Refused(
            f"{path} is no recording of a machine ({error}): python -m engines.doctor --record FILE"
        ) from error


def show(found: Diagnosis) -> None:
    """Print what is there, what runs, and what is wrong."""
    here = found.platform
    section("machine", machine_lines(here))
    section("GPU", gpu_lines(here))
    section("video", video_lines(here))
    targets = {
        name: f"{'yes' if verdict.runs else 'no':5}{verdict.why}"
        for name, verdict in found.targets.items()
    }
    section("runs", targets)
    for note in found.notes:
        print(f"note: {note}")
    for number, problem in enumerate(found.problems, start=1):
        print(f"\nproblem {number}: {problem.what}\n      fix: {problem.fix}")
    print(f"\nproblems: {len(found.problems) or 'none'}")


def section(title: str, lines: Mapping[str, str | None]) -> None:
    """A heading and its aligned lines; what does not apply is None."""
    print(title)
    for name, text in lines.items():
        if text is not None:
            print(f"  {name:18}{text}")


def machine_lines(here: Platform) -> dict[str, str | None]:
    """The computer and its Python."""
    jetpack = f"{here.jetpack or 'unknown'} (L4T {here.l4t})" if here.l4t else None
    place = "in a container, " if here.container else ""
    return {
        "board": here.board,
        "JetPack": jetpack,
        "power mode": here.power_mode,
        "system": f"{place}{here.system}",
        "Python": f"{here.python} ({here.environment})",
        "memory": f"{here.free_memory_mb} of {here.memory_mb} MB free",
        "C++ loops": "compiled" if here.libraries["compiled loops"].version else "not compiled",
        "onnxruntime": told(here.libraries["onnxruntime"]),
        "OpenVINO": told(here.libraries["openvino"]),
    }


def gpu_lines(here: Platform) -> dict[str, str | None]:
    """The GPU, and what drives it."""
    libraries, gpu = here.libraries, here.gpu
    lines = {
        "TensorRT": told(libraries["tensorrt"]),
        "TensorRT for RTX": told(libraries["tensorrt_rtx"]),
        "nvcc": "installed" if here.nvcc else "not installed",
        "kernel cache": f"{here.cache}, {here.cache_free_mb} MB free",
    }
    if gpu is None:
        seen = "there, but not usable" if here.gpu_on_bus or here.jetson else "no NVIDIA GPU"
        return {"GPU": seen, "driver": here.driver, **lines}
    return {
        "GPU": f"{gpu.name}, compute capability {gpu.compute_capability}",
        "clocks": gpu.clocks,
        "driver": f"{here.driver or 'version unknown'}, runs CUDA up to {gpu.cuda}",
        "PyCUDA": told(libraries["pycuda"]),
        "cuda.core": told(libraries["cuda.core"]),
        "kernel compiler": told(libraries["kernel compiler"], "of"),
        **lines,
    }


def video_lines(here: Platform) -> dict[str, str | None]:
    """What reads pictures."""
    cameras = {camera.device: camera_line(camera) for camera in here.cameras}
    opencv = here.libraries["cv2"]
    streams = "with" if "GStreamer" in opencv.details else "without"
    return {
        "PyAV": told(here.libraries["av"], "can decode with"),
        "OpenCV": f"{opencv.version} {streams} GStreamer" if opencv.version else told(opencv),
        "tools": ", ".join(here.tools) or "none",
        **(cameras or {"cameras": "no /dev/video*; the virtual one is --camera street:"}),
    }


def camera_line(camera: Camera) -> str:
    """A camera's name, what it is, and whether it may be used."""
    kind = " (CSI)" if camera.csi else ""
    return f"{camera.name}{kind}{'' if camera.opens else ': no permission'}"


def told(library: Library, offers: str = "with") -> str:
    """A library's version and what it offers, or why there is none."""
    if library.version is None:
        return "not installed" if library.missing else f"broken: {library.error}"
    return f"{library.version} {offers} {', '.join(library.details)}".removesuffix(f" {offers} ")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
