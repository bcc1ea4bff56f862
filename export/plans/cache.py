"""TensorRT's timing cache: which tactic was the fastest for a layer, kept from build to build.

The builder times tactics on the GPU, so timings belong to one GPU and one library version: both
are in the file's name, and one `--timing-cache F` may serve several machines. TensorRT for RTX has
none: it times nothing while it builds.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from engines.atomic import write_bytes
from engines.failures import Refused
from engines.gpu_facts import probe_gpu


@contextmanager
def saved_timings(trt: ModuleType, config: Any, path: Path | None) -> Iterator[None]:
    """Give the builder what is known when the block starts, keep what it found when it ends.

    What another build has stored meanwhile is kept, too; without a path nothing is read or written.
    A file that this library does not take raises `Refused`.
    """
    if path is None:
        yield
        return
    file = keyed(path, trt.__name__, trt.__version__)
    with _locked(file):
        known = _read(file)
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise Refused(f"{file} holds no timings of this GPU and TensorRT: delete it")
    yield
    found = config.get_timing_cache()
    with _locked(file):
        found.combine(config.create_timing_cache(_read(file)), ignore_mismatch=False)
        write_bytes(file, bytes(found.serialize()))


def keyed(path: Path, library: str, version: str) -> Path:
    """`timing.cache` -> `timing.tensorrt-10.3.0-orin-8.7.cache` beside it, for the GPU here."""
    gpu = probe_gpu()
    device = f"{gpu.name}-{gpu.compute_capability}" if gpu else "no-gpu"
    key = re.sub(r"[^a-z0-9.]+", "-", f"{library}-{version}-{device}".lower())
    return path.with_name(f"{path.stem}.{key}{path.suffix}")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Alone with a file among all builds on this machine; the lock goes with the process."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(file.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""
