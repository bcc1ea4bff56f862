"""What is asked of a machine; this one answers, or a recording of another.

`python -m engines.doctor --record FILE` writes all answers as JSON and `--replay FILE` reads them
back, so that a machine can be examined where its owner is not, and tests have a Jetson to examine.
"""

from __future__ import annotations

import glob
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engines.gpu_facts import driver_version, power_mode, probe_gpu
from engines.kernels import cache_folder, find_nvcc
from engines.machine import platform_name

PATIENCE = 20  # seconds: TensorRT's libraries are 0.5 GB and more, read from an SD card at first

# Each runs in an interpreter of its own: a library that does not load may take its process along.
SNIPPETS = {
    "compiled loops": "import engines._native, crf._native; print('yes')",
    "onnxruntime": "import onnxruntime as o; print(o.__version__, *o.get_available_providers())",
    "tensorrt": "import tensorrt; print(tensorrt.__version__)",
    "tensorrt_rtx": "import tensorrt_rtx; print(tensorrt_rtx.__version__)",
    "pycuda": "import pycuda.driver; print(pycuda.VERSION_TEXT)",
    "cuda.core": "import cuda.core; print(cuda.core.__version__)",
    "kernel compiler": "from engines.kernels import find_compiler; print(find_compiler().version)",
    "openvino": "import openvino; print(openvino.__version__.split('-')[0])",
    "av": (
        "import av; names = {c.split('_')[-1] for c in av.codecs_available};"
        " print(av.__version__, *sorted(names & {'cuvid', 'nvv4l2dec', 'nvmpi', 'v4l2m2m', 'qsv'}))"
    ),
    "cv2": (
        "import cv2; print(cv2.__version__, *('GStreamer' for line in"
        " cv2.getBuildInformation().splitlines() if 'GStreamer' in line and 'YES' in line))"
    ),
}


class Machine:
    """Asks this machine, or looks up what was recorded of another; remembers every answer.

    Nothing raises: what is not there, may not be read or was not recorded is None, False or empty.
    """

    def __init__(self, recording: dict[str, dict[str, Any]] | None = None) -> None:
        self._live = recording is None
        self.answers: dict[str, dict[str, Any]] = recording or {}

    def fact(self, name: str) -> Any:
        """One of FACTS."""
        return self._ask("fact", name)

    def text(self, path: str) -> str | None:
        """The content of a small file."""
        answer: str | None = self._ask("text", path)
        return answer

    def paths(self, pattern: str) -> list[str]:
        """The files that match, sorted."""
        return list(self._ask("paths", pattern) or [])

    def opens(self, device: str) -> bool:
        """Whether this user may read and write a device."""
        return bool(self._ask("opens", device))

    def finds(self, command: str) -> bool:
        """Whether a command is installed."""
        return bool(self._ask("finds", command))

    def output(self, *command: str) -> str | None:
        """What a command prints; None where it is missing, fails or hangs."""
        answer: str | None = self._ask("output", shlex.join(command))
        return answer

    def snippets(self, names: Iterable[str]) -> dict[str, tuple[str | None, str]]:
        """What each of SNIPPETS prints under this Python (or None), and else why not."""
        with ThreadPoolExecutor() as pool:
            answers = pool.map(lambda name: (name, self._ask("snippet", name)), names)
            return {name: tuple(answer or (None, "not recorded")) for name, answer in answers}

    def _ask(self, kind: str, key: str) -> Any:
        known = self.answers.setdefault(kind, {})
        if key not in known and self._live:
            known[key] = ANSWERS[kind](key)
        return known.get(key)


def _process() -> dict[str, Any]:
    """The interpreter that asks, and where it would keep compiled kernels."""
    cache = cache_folder()
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return {
        "platform": platform_name(),
        "python": platform.python_version(),
        "environment": _environment(),
        "container": any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")),
        "cache": _without_home(str(cache)),
        "cache_writable": os.access(there, os.W_OK),
        "cache_free_mb": shutil.disk_usage(there).free >> 20,
    }


def _environment() -> str:
    """Where this Python finds packages."""
    if sys.prefix == sys.base_prefix:
        return "system"
    settings = _text(str(Path(sys.prefix, "pyvenv.cfg"))) or ""
    shares = "include-system-site-packages = true" in settings.lower()
    return "venv with the system's packages" if shares else "venv"


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return None


def _output(command: str) -> str | None:
    return _run(shlex.split(command))[0]


def _snippet(name: str) -> tuple[str | None, str]:
    return _run([sys.executable, "-c", SNIPPETS[name]])


def _run(command: list[str]) -> tuple[str | None, str]:
    """What it prints, or None and the last line of its complaint."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"did not end within {PATIENCE} s"
    except OSError as error:
        return None, str(error.strerror)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with exit code {done.returncode}"]
        return None, _without_home(lines[-1])
    return done.stdout.strip(), ""


def _finds(command: str) -> bool:
    return bool(find_nvcc() if command == "nvcc" else shutil.which(command))


def _without_home(text: str) -> str:
    """Recordings travel: no user's name in them."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


FACTS: dict[str, Callable[[], Any]] = {
    "process": _process,
    "gpu": lambda: asdict(gpu) if (gpu := probe_gpu()) else None,
    "driver": driver_version,
    "power mode": power_mode,
}
ANSWERS: dict[str, Callable[[str], Any]] = {
    "fact": lambda name: FACTS[name](),
    "text": _text,
    "paths": lambda pattern: sorted(glob.glob(pattern)),  # noqa: PTH207  absolute
    "opens": lambda device: os.access(device, os.R_OK | os.W_OK),
    "finds": _finds,
    "output": _output,
    "snippet": _snippet,
}
