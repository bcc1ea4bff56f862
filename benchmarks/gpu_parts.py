"""The parts of `benchmarks/gpu.py`, in their order: what each runs, and what it needs.

A part that cannot be done on a machine raises `DeviceMissing` with the reason. `rehearsal` is what
of it a machine without a GPU can do; a part without one has never run until a GPU was there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.gpu_place import ROOT, Command, Place, compile_sources, prepare
from engines.failures import DeviceMissing
from engines.kernels import find_nvcc

PRECISIONS = ("fp32", "fp16", "int8", "mixed")
MIXED = ("mixed", "s8")  # of a bundle's graphs, those that such plans come from
Commands = Callable[[Place], list[Command]]


@dataclass(frozen=True)
class Part:
    """One of the checks.

    Args:
        name: For --part and --skip.
        what: One line for people.
        seconds: The most it may take where all have ten minutes.
        commands: Its processes, run in order until one fails.
        rehearsal: The same on a machine without a GPU, as far as it goes.
        left: What the rehearsal leaves out, "" if nothing.
        asked: Whether it runs only if it is named.
    """

    name: str
    what: str
    seconds: float
    commands: Commands
    rehearsal: Commands | None = None
    left: str = "all of it"
    asked: bool = False


def doctor(place: Place) -> list[Command]:
    """Problems are told, not a failure of the part."""
    out, record = place.result("doctor"), place.result("machine")
    words = ("-m", "engines.doctor", "--json", out, "--record", record)
    return [place.run(*words, accepted=(0, 3, 4))]


def kernels(place: Place) -> list[Command]:
    """With nvcc, which also tells registers; NVRTC compiles them in the tests."""
    if find_nvcc() is None:
        raise DeviceMissing("nvcc is not installed; the tests compile the kernels with NVRTC")
    capability = place.gpu.compute_capability if place.gpu else "8.7"
    words = ("-m", "crf.compile_kernels", "--architectures", capability.replace(".", ""))
    return [place.run(*words, "--json", place.result("kernels"))]


def marked(mark: str) -> list[str]:
    """The test files that bear a mark, or whose `device` (tests/conftest.py) is a GPU, too.

    Others would only be imported.
    """
    signs = [f"mark.{mark}", *(["device: Device"] if mark == "gpu" else [])]
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    wanted = [path for path in files if any(sign in path.read_text() for sign in signs)]
    return [str(path.relative_to(ROOT)) for path in wanted]


def pytest(place: Place, mark: str, choice: str, *flags: str, **env: str) -> Command:
    """The tests of a mark that `choice` leaves, none of them slow."""
    words = ("-m", "pytest", "-q", "-m", f"{choice} and not slow", *flags)
    return place.run(*words, *marked(mark), accepted=(0,), **env)


def gpu_tests(place: Place) -> list[Command]:
    """Kernels, CRF, device layer and network on the GPU; without one nothing may be skipped."""
    return [pytest(place, "gpu", "gpu and not tensorrt", REQUIRE_GPU="1")]


def gpu_tests_collected(place: Place) -> list[Command]:
    """That they import."""
    return [pytest(place, "gpu", "gpu", "--collect-only")]


def bundle(place: Place) -> list[Command]:
    """All graphs of the bundled model; a bundle that was given is copied, as plans go into it."""
    if place.given is not None:
        copy = "import shutil, sys; shutil.copytree(*sys.argv[1:], dirs_exist_ok=True)"
        return [place.run("-c", copy, place.given, place.bundle)]
    words = ("export/build_engine.py", "--mixed", "--target", "cpu", "--out", place.bundle)
    return [place.run(*words, "--json", place.result("bundle"))]


def engines(precision: str) -> Commands:
    """The plans of one precision, by every TensorRT that works here."""

    def commands(place: Place) -> list[Command]:
        if precision == "mixed":
            _require_mixed(place)
        return [
            place.run(
                "export/build_engine.py", f"--{precision}", "--bundle", place.bundle,
                "--target", target, "--json", place.result(f"engines-{precision}-{target}"),
            )
            for target in place.required(place.builders())
        ]  # fmt: skip

    return commands


def _require_mixed(place: Place) -> None:
    """`DeviceMissing` for a bundle without such graphs: one that was given need not have them."""
    if place.given is not None:
        files = json.loads((place.given / "manifest.json").read_text())["files"]
        if not any((file.get("precision"), file.get("flavour")) == MIXED for file in files):
            raise DeviceMissing(f"{place.given} has no mixed graph: build it with --mixed")


def tensorrt_tests(place: Place) -> list[Command]:
    """On a GPU those that run plans, too."""
    place.required(place.builders())
    required = {"REQUIRE_TENSORRT": "1"} | ({"REQUIRE_GPU": "1"} if place.gpu else {})
    choice = "tensorrt" if place.gpu else "tensorrt and not gpu"
    return [pytest(place, "tensorrt", choice, **required)]


def verify(place: Place) -> list[Command]:
    """Layers and graphs against PyTorch, and the engines of every TensorRT that works here."""
    return [
        place.run(
            "export/verify.py", "--bundle", place.bundle, "--target", target, "--frames", "2",
            "--json", place.result(f"verify-{target}"), "--html", place.out / f"{target}.html",
        )
        for target in place.builders() or ["cpu"]
    ]  # fmt: skip


def report(place: Place) -> list[Command]:
    """Accuracy and speed of all precisions; over the gate is a finding, not a failure."""
    page = ("--json", place.result("report"), "--html", place.out / "report.html")
    words = ("calibration/report.py", "--bundle", place.bundle, "--data", "street:", "--no-tries")
    short = ("--limit", "40", "--rank-frames", "0")  # of 100: ten minutes are for everything
    return [place.run(*words, *short, *page, accepted=(0, 3))]


def crf(place: Place) -> list[Command]:
    """Against pydensecrf, on the CPU and the GPU."""
    words = ("--modes", "exact", "--settings", "80/13,model", "--frames", "2", "--repeats", "3")
    sizes = ("--sizes", "480x360x11,1280x720x21")
    return [
        place.run(
            "benchmarks/crf.py", "--bundle", place.bundle, *words, *sizes,
            "--json", place.result("crf"),
        )
    ]  # fmt: skip


def speed(place: Place) -> list[Command]:
    """Plans against PyTorch in FP16, and the CRF, all on the GPU."""
    words = ("benchmarks/gpu_speed.py", "--bundle", place.bundle, "--json", place.result("speed"))
    return [place.run(*words)]


def stream(place: Place) -> list[Command]:
    """The whole way from a frame to a picture, on each TensorRT."""
    return [
        place.run(
            "runtime/stream.py", "--camera", "street:", "--bundle", place.bundle, "--headless",
            "--target", target, "--precision", "fp16", "--frames", "300",
            "--json", place.result(f"stream-{target}"),
        )
        for target in place.required(place.targets())
    ]  # fmt: skip


def train(place: Place) -> list[Command]:
    """One epoch on the street: 50 steps."""
    words = ("train/fit.py", "--data", "street:", "--epochs", "1", "--run-dir", place.out / "train")
    return [place.run(*words, "--json", place.result("train"))]


def anywhere(name: str, what: str, seconds: float, commands: Commands, left: str = "") -> Part:
    """A part that is rehearsed by its own commands."""
    return Part(name, what, seconds, commands, commands, left)


PARTS = (
    anywhere("environment", "Python, packages and the compiled core", 600, prepare),
    anywhere("sources", "packages without wheels compile", 300, compile_sources),
    anywhere("doctor", "what this machine is", 60, doctor),
    anywhere("kernels", "CUDA kernels compile with nvcc", 120, kernels),
    Part("gpu-tests", "tests on the GPU", 400, gpu_tests, gpu_tests_collected, "all but importing"),
    anywhere("bundle", "the bundle's graphs", 240, bundle),
    *(
        anywhere(
            f"engines-{precision}", f"TensorRT plans in {precision}", 240, engines(precision),
            "plans of TensorRT itself",
        )
        for precision in PRECISIONS
    ),
    anywhere(
        "tensorrt-tests", "tests of the TensorRT path", 400, tensorrt_tests, "those that run plans"
    ),
    anywhere("verify", "layers and engines against PyTorch", 400, verify, "the engines themselves"),
    anywhere("report", "accuracy and speed of each precision", 400, report, "the rows of plans"),
    Part("crf", "the CRF against pydensecrf", 180, crf),
    Part("speed", "plans and CRF against PyTorch in FP16", 240, speed),
    Part("stream", "the whole stream", 120, stream),
    Part("train", "an epoch of training", 600, train, asked=True),
)  # fmt: skip
