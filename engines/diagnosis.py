"""What is wrong with a platform, each with the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engines.platforms import Library, Platform
from engines.verdicts import OLDEST, bindings, unsupported, verdicts

STREAM_MB = 260  # the stream's peak on a CPU, docs/benchmarks/stream-street.json
CACHE_MB = 50  # TensorRT for RTX has made plans of 44.5 MB; its compiled kernels are kept here
RTX_PACKAGES = "tensorrt-rtx-cu13 tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings"


@dataclass(frozen=True)
class Problem:
    """What does not work although it should, and what to type."""

    what: str
    fix: str


def find_problems(here: Platform) -> list[Problem]:
    """All of them, the fundamental ones first."""
    problems = [*_packages(here), *_room(here), *_driver(here)]
    if here.gpu is not None:
        problems += [*_tensorrt(here), *_cuda(here)]
    return [*problems, *_cameras(here)]


def find_notes(here: Platform) -> list[str]:
    """What is no fault, but good to know."""
    notes = []
    if tuple(int(part) for part in here.python.split(".")[:2]) < (3, 11):
        notes.append("this Python runs models; training, export and calibration need 3.11")
    if here.power_mode and not here.power_mode.startswith("MAXN"):
        notes.append(f"power mode {here.power_mode}: sudo nvpmodel -p --verbose lists faster ones")
    return notes


def _packages(here: Platform) -> Iterator[Problem]:
    loops = here.libraries["compiled loops"]
    if loops.version is None:
        yield Problem(
            f"the C++ loops do not work with this Python ({loops.error})",
            "make install, or without make: sudo apt install g++ && pip install -e .",
        )
    for name, package in {"onnxruntime": "onnxruntime", "av": "av"}.items():
        if here.libraries[name].version is None:
            yield _broken(name, here.libraries[name], f"pip install {package}")


def _room(here: Platform) -> Iterator[Problem]:
    """Memory and disk."""
    if here.free_memory_mb < STREAM_MB:
        desktop = "sudo systemctl isolate multi-user.target, which ends the desktop"
        yield Problem(
            f"{here.free_memory_mb} MB of memory are free, the stream takes {STREAM_MB}",
            desktop if here.jetson else "close other programs",
        )
    if not here.cache_writable:
        yield Problem(
            f"compiled kernels cannot be kept: {here.cache} is not writable",
            "export XDG_CACHE_HOME=$PWD/.cache",
        )
    elif here.cache_free_mb < CACHE_MB:
        yield Problem(
            f"{here.cache_free_mb} MB are free where compiled kernels are kept, {here.cache}",
            "df -h, and make room or: export XDG_CACHE_HOME=/another/disk",
        )


def _driver(here: Platform) -> Iterator[Problem]:
    """A GPU that is there and cannot be used."""
    if here.gpu is not None or not (here.gpu_on_bus or here.jetson or here.driver):
        return
    if here.container:
        yield Problem(
            "there is a GPU, but the container lacks the driver's library libcuda.so.1",
            f"docker run {'--runtime nvidia' if here.jetson else '--gpus all'} ..., with "
            "nvidia-container-toolkit installed on the host",
        )
    elif here.driver:
        yield Problem(
            f"the driver {here.driver} is loaded, but its library libcuda.so.1 finds no GPU: an "
            "update changed one of the two",
            "sudo reboot",
        )
    else:
        install = "sudo apt install --reinstall nvidia-l4t-core nvidia-l4t-cuda && sudo reboot"
        yield Problem(
            "there is an NVIDIA GPU, but no driver is loaded for it",
            install if here.jetson else "sudo ubuntu-drivers install && sudo reboot",
        )


def _tensorrt(here: Platform) -> Iterator[Problem]:
    if here.jetson and not here.libraries["tensorrt_rtx"].missing:
        yield Problem(
            "TensorRT for RTX is installed, which has no kernels for any Jetson",
            f"pip uninstall -y {RTX_PACKAGES}",
        )
    library, reason = here.libraries["tensorrt"], unsupported(here, "tensorrt")
    if verdicts(here)["tensorrt-rtx"].runs and library.missing:
        return  # one TensorRT is enough
    if reason is not None:
        yield Problem(reason, _other_tensorrt(here))
    elif library.version is None and here.jetson and library.missing:
        yield _jetson_bindings(here)
    elif library.version is None:
        yield _broken("TensorRT", library, _other_tensorrt(here))


def _jetson_bindings(here: Platform) -> Problem:
    """JetPack's bindings are for the system's Python alone, and a plain venv hides them."""
    pythons, mine = here.system_tensorrt, ".".join(here.python.split(".")[:2])
    if not pythons:
        return Problem(
            "JetPack's TensorRT is not installed",
            "sudo apt install tensorrt python3-libnvinfer",
        )
    python = mine if mine in pythons else pythons[0]
    venv = f"python{python} -m venv --clear --system-site-packages .venv && "
    if mine in pythons:
        what = f"JetPack's TensorRT is installed, but this {here.environment} does not see it"
    else:
        what = f"JetPack's TensorRT is for Python {', '.join(pythons)}, this is {mine}"
    return Problem(what, f"{venv}.venv/bin/pip install -e .")


def _other_tensorrt(here: Platform) -> str:
    """How to get a TensorRT that fits."""
    library, gpu = here.libraries["tensorrt"], here.gpu
    gone = "" if library.missing else "pip uninstall -y tensorrt && "
    if gpu is not None and gpu.capability < OLDEST:
        return "use --target cpu: TensorRT 10 and later begin with Turing, compute capability 7.5"
    if here.jetson and library.number >= (11,):
        return f"{gone}sudo apt install tensorrt python3-libnvinfer"
    if here.jetson:
        return (
            "remove what pins it in /etc/apt/preferences.d, then: "
            "sudo apt update && sudo apt install tensorrt python3-libnvinfer"
        )
    old = gpu is not None and gpu.cuda_major < 13
    return f"{gone}pip install 'tensorrt-cu12<11'" if old else f"{gone}pip install tensorrt"


def _cuda(here: Platform) -> Iterator[Problem]:
    """What talks to the GPU, and what compiles for it."""
    if here.gpu is None:
        return
    fitting = f"pip install 'cuda-core[cu{here.gpu.cuda_major}]'"
    if not bindings(here):
        told = "; ".join(f"{n}: {here.libraries[n].error}" for n in ("pycuda", "cuda.core"))
        yield Problem(f"no CUDA binding works ({told})", fitting)
    compiler = here.libraries["kernel compiler"]
    toolkit = re.search(r"(\d+)\.\d+", " ".join(compiler.details))  # nvrtc 13.2, nvcc cuda_12.6...
    if compiler.version is None:
        yield Problem("nothing compiles the CUDA kernels: neither NVRTC nor nvcc is here", fitting)
    elif toolkit is not None and int(toolkit[1]) > here.gpu.cuda_major:
        yield Problem(
            f"{compiler.version} of CUDA {toolkit[0]} is newer than the driver, which runs CUDA "
            f"{here.gpu.cuda} and may refuse the kernels",
            f"{fitting}, or update the driver",
        )


def _cameras(here: Platform) -> Iterator[Problem]:
    closed = [camera.device for camera in here.cameras if not camera.opens]
    if closed:
        devices = " ".join(f"--device {device}" for device in closed)
        yield Problem(
            f"no permission for {', '.join(closed)}",
            f"docker run {devices} --group-add video ..."
            if here.container
            else "sudo usermod -aG video $USER, then log in again",
        )
    if not any(camera.csi for camera in here.cameras):
        return
    if not here.argus:
        mount = "docker run -v /tmp/argus_socket:/tmp/argus_socket ..."
        yield Problem(
            "there is a CSI camera, but nvargus-daemon, which serves it, is not reachable",
            mount if here.container else "sudo systemctl restart nvargus-daemon",
        )
    opencv = here.libraries["cv2"]
    if "GStreamer" not in opencv.details:
        yield Problem(
            "there is a CSI camera, but "
            + (f"OpenCV {opencv.version} has no GStreamer" if opencv.version else "no OpenCV"),
            "pip uninstall -y opencv-python opencv-python-headless && "
            "sudo apt install python3-opencv, in a venv made with --system-site-packages",
        )


def _broken(name: str, library: Library, fix: str) -> Problem:
    state = "is not installed" if library.missing else f"does not import ({library.error})"
    return Problem(f"{name} {state}", fix)
