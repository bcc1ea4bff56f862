"""The doctor on recorded machines.

Their answers are put together from public reports: nv_tegra_release, boards and versions from
rbonghi/jetson_stats #603 and #711, nvidia-smi's from dusty-nv/jetson-containers #1403, TensorRT
10.13.3 on Orin from NVIDIA-ISAAC-ROS/isaac-ros-cli #22. A machine's variants change an answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines import doctor
from engines.diagnosis import find_notes, find_problems
from engines.platforms import Platform, examine
from engines.probes import SNIPPETS, Machine
from engines.verdicts import RTX, verdicts

ROOT = Path(__file__).resolve().parents[2]
PLATFORMS = Path(__file__).with_name("platforms")
HEALTHY = (
    "jetpack62_orin",
    "jetpack70_thor",
    "desktop_tensorrt10",
    "desktop_tensorrt11",
    "laptop_cpu",
)
Answers = dict[str, dict[str, Any]]
Recorded = Callable[..., Platform]


def recording(name: str) -> Answers:
    data: Answers = json.loads((PLATFORMS / f"{name}.json").read_text())
    return data


def missing(module: str) -> list[str | None]:
    return [None, f"ModuleNotFoundError: No module named '{module}'"]


@pytest.fixture
def recorded() -> Recorded:
    """`recorded(name, kind={key: answer})`: a machine, some of its answers replaced."""

    def load(name: str, **changed: dict[str, Any]) -> Platform:
        answers = recording(name)
        for kind, replaced in changed.items():
            answers.setdefault(kind, {}).update(replaced)
        return examine(Machine(answers))

    return load


def process(name: str, **changed: Any) -> dict[str, Any]:
    """An answer for `fact`: the machine's own process, changed."""
    return {"process": recording(name)["fact"]["process"] | changed}


def only_problem(here: Platform) -> tuple[str, str]:
    (problem,) = find_problems(here)
    return problem.what, problem.fix


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_machine_has_no_problem(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert doctor.main(["--replay", str(PLATFORMS / f"{name}.json"), "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["problems"] == []
    assert result["targets"]["cpu"]["runs"]
    assert "problems: none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "runs", "seen"),
    [
        ("jetpack62_orin", {"cpu", "tensorrt"}, ("6.2", "36.4.3", (8, 7), "MAXN_SUPER")),
        ("jetpack70_thor", {"cpu", "tensorrt"}, ("7.0", "38.2.0", (11, 0), "120W")),
        ("jetpack72_orin", {"cpu"}, ("7.2", "39.2.0", (8, 7), "15W")),
        ("desktop_tensorrt10", {"cpu", "tensorrt"}, (None, None, (8, 9), None)),
        (
            "desktop_tensorrt11",
            {"cpu", "openvino", "tensorrt", "tensorrt-rtx"},
            (None, None, (12, 0), None),
        ),
        ("laptop_cpu", {"cpu", "openvino"}, (None, None, None, None)),
        ("container_without_driver", {"cpu"}, (None, None, None, None)),
    ],
)
def test_what_a_machine_is_and_what_runs_on_it(
    recorded: Recorded, name: str, runs: set[str], seen: tuple[Any, ...]
) -> None:
    here = recorded(name)
    capability = here.gpu.capability if here.gpu else None
    assert (here.jetpack, here.l4t, capability, here.power_mode) == seen
    assert {target for target, verdict in verdicts(here).items() if verdict.runs} == runs


def test_everything_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--replay", str(PLATFORMS / "jetpack62_orin.json")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for words in (
        "JetPack 6.2 (L4T 36.4.3)",
        "Python 3.10.12 (venv with the system's packages)",
        "GPU Orin, compute capability 8.7",
        "clocks 306 of 1020 MHz",
        "driver 540.4.0, runs CUDA up to 12.6",
        "TensorRT 10.3.0",
        "PyCUDA 2025.1.2",
        "OpenCV 4.8.0 with GStreamer",
        "/dev/video0 vi-output, imx219 9-0010 (CSI)",
        "onnxruntime 1.23.2 with AzureExecutionProvider, CPUExecutionProvider",
    ):
        assert words in told


def test_orin_with_a_tensorrt_without_its_kernels(recorded: Recorded) -> None:
    what, fix = only_problem(recorded("jetpack72_orin"))
    assert what == "TensorRT 10.13.3.9 has no kernels for compute capability 8.7, which is Orin"
    assert "/etc/apt/preferences.d" in fix


def test_jetpacks_bindings_are_for_one_python(recorded: Recorded) -> None:
    name = "jetpack62_orin"
    here = recorded(
        name,
        fact=process(name, python="3.11.9", environment="venv"),
        snippet={"tensorrt": missing("tensorrt")},
    )
    what, fix = only_problem(here)
    assert what == "JetPack's TensorRT is for Python 3.10, this is 3.11"
    assert fix.startswith("python3.10 -m venv --clear --system-site-packages .venv && ")
    assert verdicts(here)["tensorrt"].why == "not installed"


def test_a_plain_venv_hides_jetpacks_bindings(recorded: Recorded) -> None:
    name = "jetpack62_orin"
    here = recorded(
        name, fact=process(name, environment="venv"), snippet={"tensorrt": missing("tensorrt")}
    )
    what, fix = only_problem(here)
    assert what == "JetPack's TensorRT is installed, but this venv does not see it"
    assert "python3.10 -m venv --clear --system-site-packages" in fix


def test_jetpack_without_tensorrt(recorded: Recorded) -> None:
    here = recorded(
        "jetpack70_thor",
        snippet={"tensorrt": missing("tensorrt")},
        paths={"/usr/lib/python3.*/dist-packages/tensorrt": []},
    )
    assert only_problem(here) == (
        "JetPack's TensorRT is not installed",
        "sudo apt install tensorrt python3-libnvinfer",
    )


def test_rtx_never_runs_on_a_jetson(recorded: Recorded) -> None:
    here = recorded("jetpack62_orin", snippet={"tensorrt_rtx": ["1.7.1.116", ""]})
    what, fix = only_problem(here)
    assert "no kernels for any Jetson" in what
    assert fix.startswith("pip uninstall -y tensorrt-rtx-cu13")
    assert "capability 8.7" in verdicts(here)["tensorrt-rtx"].why


@pytest.mark.parametrize(
    ("jetpack", "version", "fits"),
    [
        ("6.2+b77", "11.4.1", False),
        ("7.2.2", "11.4.0.106", False),
        ("7.2.2", "11.4.1.5", True),
    ],
)
def test_tensorrt_11_is_for_the_newest_jetpack_alone(
    recorded: Recorded, jetpack: str, version: str, fits: bool
) -> None:
    here = recorded(
        "jetpack70_thor",
        output={"dpkg-query -W '-f=${Version}' nvidia-jetpack": jetpack},
        snippet={"tensorrt": [version, ""]},
    )
    assert verdicts(here)["tensorrt"].runs is fits
    assert [problem.fix.split(" && ")[0] for problem in find_problems(here)] == (
        [] if fits else ["pip uninstall -y tensorrt"]
    )


def test_tensorrt_11_needs_a_driver_for_cuda_13(recorded: Recorded) -> None:
    here = recorded("desktop_tensorrt10", snippet={"tensorrt": ["11.4.0.106", ""]})
    what, fix = only_problem(here)
    assert "needs a driver for CUDA 13, this one runs CUDA 12.6" in what
    assert fix == "pip uninstall -y tensorrt && pip install 'tensorrt-cu12<11'"


def test_hopper_is_not_for_rtx(recorded: Recorded) -> None:
    """One TensorRT is enough, so RTX's lack is a problem where there is no other."""
    hopper = {"name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0", "cuda": "13.0"}
    here = recorded("desktop_tensorrt11", fact={"gpu": hopper})
    assert find_problems(here) == []
    assert "no kernels for compute capability 9.0" in verdicts(here)["tensorrt-rtx"].why
    alone = recorded(
        "desktop_tensorrt11", fact={"gpu": hopper}, snippet={"tensorrt": missing("tensorrt")}
    )
    assert only_problem(alone) == ("TensorRT is not installed", "pip install tensorrt")
    ada = recorded("desktop_tensorrt11", snippet={"tensorrt": missing("tensorrt")})
    assert find_problems(ada) == []


def test_a_gpu_older_than_turing_is_left_to_the_cpu(recorded: Recorded) -> None:
    pascal = {"name": "NVIDIA GeForce GTX 1080", "compute_capability": "6.1", "cuda": "12.6"}
    what, fix = only_problem(recorded("desktop_tensorrt10", fact={"gpu": pascal}))
    assert what == "TensorRT 10.16.1.11 has no kernels for compute capability 6.1"
    assert fix.startswith("use --target cpu")


def test_a_library_that_does_not_load_is_broken_not_missing(recorded: Recorded) -> None:
    error = "ImportError: libnvinfer.so.10: cannot open shared object file"
    what, fix = only_problem(recorded("desktop_tensorrt10", snippet={"tensorrt": [None, error]}))
    assert what == f"TensorRT does not import ({error})"
    assert "pip install 'tensorrt-cu12<11'" in fix


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, ("the container lacks the driver's library", "docker run --gpus all")),
        ({"container": False}, ("the driver 580.159.04 is loaded, but", "sudo reboot")),
    ],
)
def test_a_gpu_that_cannot_be_used(
    recorded: Recorded, changed: dict[str, Any], wanted: tuple[str, str]
) -> None:
    name = "container_without_driver"
    what, fix = only_problem(recorded(name, fact=process(name, **changed)))
    assert wanted[0] in what
    assert wanted[1] in fix


def test_a_gpu_without_a_driver(recorded: Recorded) -> None:
    name = "container_without_driver"
    facts = process(name, container=False) | {"driver": None}
    what, fix = only_problem(recorded(name, fact=facts))
    assert what == "there is an NVIDIA GPU, but no driver is loaded for it"
    assert fix.startswith("sudo ubuntu-drivers install")


def test_no_binding_and_no_compiler(recorded: Recorded) -> None:
    here = recorded(
        "desktop_tensorrt10",
        snippet={
            "cuda.core": missing("cuda"),
            "kernel compiler": [None, "engines.failures.DeviceMissing: no CUDA compiler"],
        },
    )
    problems = find_problems(here)
    assert [problem.fix for problem in problems] == ["pip install 'cuda-core[cu12]'"] * 2
    assert "No module named 'pycuda'" in problems[0].what
    assert verdicts(here)["tensorrt"].why == "neither PyCUDA nor cuda.core works"


@pytest.mark.parametrize("compiler", ["nvrtc 13.2", "nvcc cuda_13.0.r13.0/compiler.36424714_0"])
def test_a_compiler_newer_than_the_driver(recorded: Recorded, compiler: str) -> None:
    what, fix = only_problem(
        recorded("desktop_tensorrt10", snippet={"kernel compiler": [compiler, ""]})
    )
    assert "is newer than the driver, which runs CUDA 12.6" in what
    assert "'cuda-core[cu12]'" in fix


def test_cameras_that_may_not_be_opened(recorded: Recorded) -> None:
    closed = {"/dev/video0": False, "/dev/video1": False}
    assert only_problem(recorded("jetpack62_orin", opens=closed)) == (
        "no permission for /dev/video0, /dev/video1",
        "sudo usermod -aG video $USER, then log in again",
    )
    facts = process("jetpack62_orin", container=True)
    _, fix = only_problem(recorded("jetpack62_orin", opens=closed, fact=facts))
    assert fix.startswith("docker run --device /dev/video0 --device /dev/video1 ")


def test_a_csi_camera_needs_argus_and_gstreamer(recorded: Recorded) -> None:
    here = recorded(
        "jetpack62_orin", paths={"/tmp/argus_socket": []}, snippet={"cv2": ["5.0.0", ""]}
    )
    argus, opencv = find_problems(here)
    assert argus.fix == "sudo systemctl restart nvargus-daemon"
    assert opencv.what == "there is a CSI camera, but OpenCV 5.0.0 has no GStreamer"


def test_what_every_machine_needs(recorded: Recorded, tmp_path: Path) -> None:
    """Nothing runs without the loops: exit code 4."""
    lacking = {
        "compiled loops": missing("engines._native"),
        "onnxruntime": missing("onnxruntime"),
        "av": missing("av"),
    }
    here = recorded("laptop_cpu", snippet=lacking)
    assert [problem.fix for problem in find_problems(here)] == [
        "make install, or without make: sudo apt install g++ && pip install -e .",
        "pip install onnxruntime",
        "pip install av",
    ]
    answers = recording("laptop_cpu")
    answers["snippet"] |= lacking
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(answers))
    assert doctor.main(["--replay", str(bare)]) == 4


def test_little_memory_and_no_place_for_kernels(recorded: Recorded) -> None:
    name = "jetpack62_orin"
    memory = {"/proc/meminfo": "MemTotal: 7802840 kB\nMemAvailable: 204800 kB"}
    here = recorded(name, text=memory, fact=process(name, cache_writable=False))
    tight, closed = find_problems(here)
    assert tight.what.startswith("200 MB of memory are free")
    assert closed.fix.startswith("export XDG_CACHE_HOME=")
    full = recorded(name, fact=process(name, cache_free_mb=3))
    assert only_problem(full)[0].startswith("3 MB are free where compiled kernels are kept")


def test_notes_are_no_problems(recorded: Recorded) -> None:
    assert find_notes(recorded("desktop_tensorrt11")) == []
    (python,) = find_notes(recorded("jetpack62_orin"))
    assert "training, export and calibration need 3.11" in python
    (mode,) = find_notes(recorded("jetpack70_thor"))
    assert mode.startswith("power mode 120W: sudo nvpmodel")


def test_problems_set_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--replay", str(PLATFORMS / "container_without_driver.json")]) == 3
    assert re.search(r"problem 1: .*\n +fix: docker run", capsys.readouterr().out)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"fact": 3}', '{"text": {}}', '{"fact": {}}', '{"fact": {"process": {}}}']
)
def test_what_is_no_recording_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "no.json"
    path.write_text(text)
    assert doctor.main(["--replay", str(path)]) == 6
    assert "is no recording of a machine" in capsys.readouterr().err


def test_this_machine_can_be_recorded_and_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a replay asks nobody: it says the same."""
    path = tmp_path / "here.json"
    code = doctor.main(["--record", str(path)])
    told = capsys.readouterr().out
    assert doctor.main(["--replay", str(path)]) == code
    assert capsys.readouterr().out == told
    assert str(Path.home()) not in path.read_text()


def test_it_runs_where_nothing_is_installed(tmp_path: Path) -> None:
    """Without site-packages: no NumPy, no onnxruntime, nothing."""
    line = [sys.executable, "-S", "-c", "import engines.doctor, sys; print(*sys.modules)"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "onnxruntime", "torch", "onnx", "tensorrt", "cuda", "av", "cv2"}


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippets_are_python(name: str) -> None:
    compile(SNIPPETS[name], name, "exec")


def test_a_command_that_fails_or_is_missing_says_nothing() -> None:
    machine = Machine()
    assert machine.output("false") is None
    assert machine.output("no-such-command-anywhere") is None
    assert machine.output("echo", "a b") == "a b"
    assert machine.text("/no/such/file") is None
    assert not machine.finds("no-such-command-anywhere")


@pytest.mark.tensorrt
def test_the_gpus_of_rtx_are_those_that_it_names() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    names = re.findall(r"SM(\d+)(\d)\b", " ".join(rtx.ComputeCapability.__members__))
    assert {(int(major), int(minor)) for major, minor in names} == set(RTX)
