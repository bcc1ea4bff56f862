"""What kind of machine this is and what is installed on it, as far as DeepLab Edge cares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from engines.probes import Machine

TEGRA = "/etc/nv_tegra_release"  # R36 (release), REVISION: 4.3, GCID: ..., BOARD: generic, ...
BOARD = "/proc/device-tree/model"
PCI = "/sys/bus/pci/devices/*/uevent"
NVIDIA_DISPLAY = re.compile(r"PCI_CLASS=30[0-9A-F]{3}\b.*PCI_ID=10DE:", re.DOTALL)
ARGUS = "/tmp/argus_socket"  # of nvargus-daemon, which serves a Jetson's CSI cameras
JETPACKS = {"35": "5", "36": "6", "38": "7", "39": "7"}  # of L4T's major version
ALWAYS = ("compiled loops", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "av", "cv2")
WITH_GPU = ("pycuda", "cuda.core", "kernel compiler")


@dataclass(frozen=True)
class Library:
    """A package under this Python: `version` is None where it does not import; `error` says why."""

    version: str | None
    details: tuple[str, ...] = ()
    error: str = ""

    @property
    def missing(self) -> bool:
        """Not installed, as opposed to installed and broken."""
        return self.version is None and "No module named" in self.error

    @property
    def number(self) -> tuple[int, ...]:
        """The version's leading numbers, to compare; () if there is none."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version or "")[:3])


@dataclass(frozen=True)
class Gpu:
    """What the driver tells."""

    name: str
    compute_capability: str  # 8.7
    cuda: str  # the newest that the driver runs, 12.6
    clocks: str | None

    @property
    def capability(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.compute_capability.split("."))

    @property
    def cuda_major(self) -> int:
        return int(self.cuda.partition(".")[0])


@dataclass(frozen=True)
class Camera:
    """A /dev/video*; `csi` is a raw sensor, which only NVIDIA's libargus can use."""

    device: str
    name: str
    opens: bool
    csi: bool


@dataclass(frozen=True)
class Platform:
    """Everything that the doctor looks at; sizes in MB."""

    system: str
    python: str
    environment: str
    container: bool
    board: str | None
    jetson: bool
    l4t: str | None
    jetpack: str | None
    power_mode: str | None
    gpu: Gpu | None
    gpu_on_bus: bool
    driver: str | None
    libraries: dict[str, Library]
    system_tensorrt: tuple[str, ...]  # Pythons that the system's bindings are for, such as 3.10
    nvcc: bool
    cameras: tuple[Camera, ...]
    argus: bool
    tools: tuple[str, ...]
    memory_mb: int
    free_memory_mb: int
    cache: str
    cache_writable: bool
    cache_free_mb: int


def examine(machine: Machine) -> Platform:
    """Ask the machine everything."""
    process, gpu = machine.fact("process"), _gpu(machine)
    release = machine.text(TEGRA)
    l4t = _l4t(release)
    names = (*ALWAYS, *WITH_GPU) if gpu else ALWAYS
    return Platform(
        system=process["platform"],
        python=process["python"],
        environment=process["environment"],
        container=process["container"],
        board=machine.text(BOARD),
        jetson=release is not None or "Jetson" in (machine.text(BOARD) or ""),
        l4t=l4t,
        jetpack=_jetpack(machine, l4t),
        power_mode=machine.fact("power mode"),
        gpu=gpu,
        gpu_on_bus=any(
            NVIDIA_DISPLAY.search(machine.text(path) or "") for path in machine.paths(PCI)
        ),
        driver=machine.fact("driver"),
        libraries={name: _library(*answer) for name, answer in machine.snippets(names).items()},
        system_tensorrt=tuple(_system_tensorrt(machine)),
        nvcc=machine.finds("nvcc"),
        cameras=tuple(_cameras(machine)),
        argus=bool(machine.paths(ARGUS)),
        tools=tuple(t for t in ("gst-launch-1.0", "ffmpeg", "v4l2-ctl") if machine.finds(t)),
        memory_mb=_memory(machine, "MemTotal"),
        free_memory_mb=_memory(machine, "MemAvailable"),
        cache=process["cache"],
        cache_writable=process["cache_writable"],
        cache_free_mb=process["cache_free_mb"],
    )


def _gpu(machine: Machine) -> Gpu | None:
    facts = machine.fact("gpu")
    return Gpu(**facts, clocks=_clocks(machine)) if facts else None


def _clocks(machine: Machine) -> str | None:
    """Of the GPU's cores, now and at most."""
    for now in machine.paths("/sys/class/devfreq/*gpu*/cur_freq"):  # a Jetson; Hz
        most = machine.text(str(PurePosixPath(now).with_name("max_freq")))
        current = machine.text(now)
        if current and most:
            return f"{int(current) // 10**6} of {int(most) // 10**6} MHz"
    told = machine.output(
        "nvidia-smi", "--query-gpu=clocks.sm,clocks.max.sm", "--format=csv,noheader,nounits"
    )
    numbers = re.findall(r"\d+", (told or "").partition("\n")[0])
    return f"{numbers[0]} of {numbers[1]} MHz" if len(numbers) == 2 else None


def _l4t(release: str | None) -> str | None:
    """`# R36 (release), REVISION: 4.3, ...` is 36.4.3."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release or "")
    return f"{found[1]}.{found[2]}" if found else None


def _jetpack(machine: Machine, l4t: str | None) -> str | None:
    """The version of the package nvidia-jetpack; without it, what L4T's major version says."""
    if l4t is None:
        return None
    told = machine.output("dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack")  # 6.2+b77
    version = re.match(r"[\d.]+", told or "")
    return version[0] if version else JETPACKS.get(l4t.partition(".")[0])


def _library(text: str | None, error: str) -> Library:
    words = (text or "").split()
    return Library(words[0], tuple(words[1:])) if words else Library(None, error=error)


def _system_tensorrt(machine: Machine) -> Iterator[str]:
    """The Pythons of the bindings that JetPack's packages install."""
    for path in machine.paths("/usr/lib/python3.*/dist-packages/tensorrt"):
        yield path.split("/")[3].removeprefix("python")


def _cameras(machine: Machine) -> Iterator[Camera]:
    for device in machine.paths("/dev/video*"):
        name = machine.text(f"/sys/class/video4linux/{PurePosixPath(device).name}/name") or "?"
        # NVIDIA's capture driver: "vi-output, imx219 9-0010"
        yield Camera(device, name, machine.opens(device), name.startswith("vi-output"))


def _memory(machine: Machine, entry: str) -> int:
    found = re.search(rf"{entry}:\s*(\d+) kB", machine.text("/proc/meminfo") or "")
    return int(found[1]) >> 10 if found else 0
